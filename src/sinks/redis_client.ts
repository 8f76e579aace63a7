/**
 * The clients of Redis that people have, behind one interface: `redis` from version 4 on, `ioredis`, and `iovalkey`, which is made
 * from it.
 *
 * Guarantees: a script is sent by its hash, and as a whole only to a server that doesn't know it or to a user who may not call it by
 * its hash. A client is told to reconnect only when an attempt's time was over and nothing at all came back meanwhile; a client that
 * its owner has closed stays closed.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { clearTimeout, setTimeout } from "node:timers";
import { abortable } from "../base/abortable.ts";
import { errorText } from "../errors/text.ts";

/**
 * What the sink uses of a client of the package `redis`; `createClient()`, `createCluster()`, `createClientPool()` and
 * `createSentinel()` have it.
 *
 * @typeParam Argument The client's own type for an argument. The sink passes strings and `Buffer`s.
 */
export interface RedisClient<Argument = string | Uint8Array> {
  /** Runs a script. */
  eval(script: string, options: { keys: string[]; arguments: Argument[] }): Promise<unknown>;
  /** Runs a script that the server has, by its hash. */
  evalSha?(sha1: string, options: { keys: string[]; arguments: Argument[] }): Promise<unknown>;
}

/**
 * What the sink uses of a client of the packages `ioredis` and `iovalkey`; `Redis` and `Cluster` have it.
 *
 * @typeParam Argument The client's own type for an argument. The sink passes strings and `Buffer`s.
 */
export interface IoRedisClient<Argument = string | Uint8Array> {
  /** Runs a script: the number of keys, the keys, then the other arguments. */
  eval(script: string, keys: number, ...args: Argument[]): Promise<unknown>;
  /** Runs a script that the server has, by its hash. */
  evalsha(sha1: string, keys: number, ...args: Argument[]): Promise<unknown>;
  /** Closes the connection and, if so asked, opens another. */
  disconnect(reconnect?: boolean): void;
  /** `"end"` when it is closed and doesn't reconnect. */
  readonly status: string;
}

/** What is sent as an argument. */
export type Word = string | Uint8Array;

/** A client of any package. */
export interface RedisConnection {
  /** Runs the script, on a connection that is connected again if that was left. */
  run(keys: readonly string[], words: readonly Word[], signal: AbortSignal): Promise<unknown>;
  /** Whether it was closed and nobody connects it again. */
  isClosed(): boolean;
  /** Gives the connection up, for another. */
  leave(): void;
}

/** How long a client of `redis` may still be at connecting after it was told to end: longer than its pauses are by default. */
const MAX_PAUSE_MS = 5_000;

const FITTING = "client must be one of redis (4 or later), ioredis or iovalkey";

/**
 * Takes a client.
 *
 * @throws {TypeError} if it is another package's.
 */
export function toConnection(client: unknown, script: string): RedisConnection {
  const members = (typeof client === "object" || typeof client === "function" ? client ?? {} : {}) as Members;
  const has = (name: string) => typeof members[name] === "function";
  const refuse = (found: string) => new TypeError(`Cannot make a Redis sink: ${FITTING}; got ${found}`);
  const sha1 = createHash("sha1").update(script).digest("hex");
  if (has("evalsha") && has("defineCommand") && has("disconnect")) {
    return new IoRedisConnection(client as IoRedisClient<unknown>, script, sha1);
  }
  if (has("send_command") || has("internal_send_command")) throw refuse("a client of redis before version 4");
  if ((members["options"] as Members | undefined)?.["legacyMode"] === true) {
    throw refuse("a client of redis in its legacy mode: pass one without legacyMode");
  }
  if (has("eval") && !has("evalsha")) {
    return new NodeRedisConnection(client as NodeRedisClient, script, sha1);
  }
  if (has("createClient") || has("Redis")) throw refuse("a package instead of a client that it has made");
  throw refuse(
    has("evalsha") ? "a client with other arguments" : `${client === null ? null : typeof client} without eval()`,
  );
}

type Members = Readonly<Record<string, unknown>>;

/** Runs a script by its hash, or as a whole. */
async function runScript(byHash: () => Promise<unknown>, asAWhole: () => Promise<unknown>): Promise<unknown> {
  try {
    return await byHash();
  } catch (error) {
    if (!/^NOSCRIPT\b|^NOPERM\b.*\bevalsha\b/i.test(errorText(error))) throw error;
    return await asAWhole();
  }
}

/**
 * Runs calls of a client that keeps what it can't send until it is connected, also when nobody waits for it any more. While such a call
 * is left from an attempt that is over, the next attempts wait for it, and add none: in a long outage they would fill the memory.
 */
class CallQueue {
  readonly #isReady: () => boolean;
  /** Settles when the last call has that was left while there was no connection. */
  #left: Promise<void> | undefined;

  constructor(isReady: () => boolean) {
    this.#isReady = isReady;
  }

  async run(call: () => Promise<unknown>, signal: AbortSignal): Promise<unknown> {
    if (this.#left !== undefined && !this.#isReady()) await abortable(this.#left, signal);
    const running = call();
    try {
      return await abortable(running, signal);
    } catch (error) {
      if (signal.aborted && !this.#isReady()) {
        const end = () => {
          if (this.#left === left) this.#left = undefined;
        };
        const left = running.then(end, end);
        this.#left = left;
      }
      throw error;
    }
  }
}

class IoRedisConnection implements RedisConnection {
  readonly #queue = new CallQueue(() => this.#client.status === "ready");
  readonly #client: IoRedisClient<unknown>;
  readonly #script: string;
  readonly #sha1: string;

  constructor(client: IoRedisClient<unknown>, script: string, sha1: string) {
    this.#client = client;
    this.#script = script;
    this.#sha1 = sha1;
  }

  run(keys: readonly string[], words: readonly Word[], signal: AbortSignal): Promise<unknown> {
    const args = [...keys, ...words];
    const byHash = () => this.#client.evalsha(this.#sha1, keys.length, ...args);
    const asAWhole = () => this.#client.eval(this.#script, keys.length, ...args);
    return this.#queue.run(() => runScript(byHash, asAWhole), signal);
  }

  isClosed(): boolean {
    return this.#client.status === "end";
  }

  leave(): void {
    // In all other states it has no connection.
    if (/^connect|^ready$/.test(this.#client.status)) this.#client.disconnect(true);
  }
}

/** What a client of `redis` has beyond what a user must give. */
interface NodeRedisClient extends RedisClient<unknown> {
  /** False before it is connected, and when it is closed. */
  readonly isOpen?: boolean;
  readonly isReady?: boolean;
  connect?(): Promise<unknown>;
  destroy?(): unknown;
  /** Its name up to version 4. */
  disconnect?(): unknown;
}

/**
 * The client's own attempts to connect must have ended before it connects again: two of them would open two connections. And it
 * connects again only within an attempt to deliver, so that none is opened when the producer is closed.
 */
class NodeRedisConnection implements RedisConnection {
  readonly #queue = new CallQueue(() => this.#client.isReady !== false);
  readonly #client: NodeRedisClient;
  readonly #script: string;
  readonly #sha1: string;
  /** Whether the connection was left and isn't back. */
  #isLeft = false;
  /** Resolves when the client doesn't connect any more. */
  #ended: Promise<void> = Promise.resolve();
  /** The call that connects again. */
  #connecting: Promise<unknown> | undefined;

  constructor(client: NodeRedisClient, script: string, sha1: string) {
    this.#client = client;
    this.#script = script;
    this.#sha1 = sha1;
  }

  async run(keys: readonly string[], words: readonly Word[], signal: AbortSignal): Promise<unknown> {
    if (this.#isLeft) await this.#connect(signal);
    const client = this.#client;
    const options = { keys: [...keys], arguments: [...words] };
    const asAWhole = () => client.eval(this.#script, options);
    const byHash = client.evalSha === undefined ? asAWhole : () => client.evalSha!(this.#sha1, options);
    return await this.#queue.run(() => runScript(byHash, asAWhole), signal);
  }

  isClosed(): boolean {
    return this.#client.isOpen === false && !this.#isLeft;
  }

  leave(): void {
    const client = this.#client;
    const end = client.destroy ?? client.disconnect;
    if (client.isOpen !== true || client.connect === undefined || end === undefined) return;
    // A pool takes another connection for the next attempt. It would destroy those that it has once more, later, which is an uncaught
    // error in version 5.
    if ("clientsInUse" in client) return;
    // While it isn't ready, it is at connecting by itself, or waits to do so.
    const isEnded = this.#connecting === undefined && client.isReady !== false;
    this.#ended = isEnded ? Promise.resolve() : settled(this.#connecting, MAX_PAUSE_MS);
    this.#connecting = undefined;
    this.#isLeft = true;
    // Not waited for: `disconnect()` waits for other connections of the client, which may be as dead.
    (async () => await end.call(client))().catch(() => {});
  }

  async #connect(signal: AbortSignal): Promise<void> {
    await abortable(this.#ended, signal);
    signal.throwIfAborted();
    // Another attempt, or the client's owner, may have been faster.
    if (this.#isLeft && this.#client.isOpen === false) {
      const connecting = this.#client.connect!();
      this.#connecting = connecting;
      const settle = (isLeft: boolean) => {
        if (this.#connecting !== connecting) return;
        this.#connecting = undefined;
        this.#isLeft = isLeft;
      };
      // A single client tries for ever, unless its owner closes it or has told it to give up.
      connecting.then(() => settle(false), () => settle(this.#client.isReady === undefined));
    }
    if (this.#connecting !== undefined) await abortable(this.#connecting, signal);
    else this.#isLeft = false;
  }
}

/** Resolves when `work`, if there is any, has ended; at the latest after a time. */
function settled(work: Promise<unknown> | undefined, maxMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, maxMs).unref();
    const end = (): void => {
      clearTimeout(timer);
      resolve();
    };
    work?.then(end, end);
  });
}
