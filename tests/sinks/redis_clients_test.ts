/**
 * `redisSink()` with each client of Redis on a real server: each record once, faults of the server told from those of a record, and
 * connections that are dead left. Node has all versions of the clients, the other runtimes the newest.
 */

import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { type Delivery, DeliveryError, type Send } from "../../mod.ts";
import { redisSink } from "../../src/sinks/redis.ts";
import {
  connectRedis,
  isNodeRedis,
  NEWEST_REDIS_CLIENTS,
  type OpenRedisClient,
  REDIS_CLIENTS,
  type RedisAddress,
  type RedisClientName,
} from "../engines/redis_clients.ts";
import { currentRuntime } from "../support/children.ts";
import { yieldToEventLoop } from "../support/event_loop.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { batchOf, refusalOf, send, testWithServer } from "./tools.ts";

const CLIENTS = currentRuntime().name === "node" ? REDIS_CLIENTS : NEWEST_REDIS_CLIENTS;
const number = (sequence: number) => sequence;
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** What the body of a test has: a client, and a way to more. */
interface Place {
  /** A stream of this client's own. */
  readonly stream: string;
  readonly opened: OpenRedisClient;
  /** Connects another one, closed in the end. */
  connect(address?: Partial<RedisAddress>): Promise<OpenRedisClient>;
  /** A network between client and server, closed in the end. */
  makeProxy(): Promise<TcpProxy>;
  /** Sends a command beside the client that is tested. */
  run<Reply = unknown>(...words: string[]): Promise<Reply>;
  /** The records of the stream, in its order. */
  values(): Promise<number[]>;
}

/** A test with each client, on one server. */
function testWithClients(
  what: string,
  body: (place: Place) => Promise<void>,
  names: readonly RedisClientName[] = CLIENTS,
): void {
  if (names.length === 0) return;
  testWithServer("redis", `redisSink() with ${names.join(", ")} ${what}`, async ({ port }) => {
    const admin = await connectRedis("redis", { port });
    for (const name of names) {
      const all = [admin];
      const connect = async (address: Partial<RedisAddress> = {}) => {
        const opened = await connectRedis(name, { port, ...address });
        all.push(opened);
        return opened;
      };
      const proxies: TcpProxy[] = [];
      const makeProxy = async () => {
        const proxy = await TcpProxy.start(port);
        proxies.push(proxy);
        return proxy;
      };
      const values = async () => {
        const entries = await admin.command<[string, string[]][]>("XRANGE", name, "-", "+");
        return entries.map(([, words]) => Number(words[1]));
      };
      try {
        await body({ stream: name, opened: await connect(), connect, makeProxy, run: admin.command, values });
        all.shift();
      } catch (error) {
        throw new Error(`with ${name}: ${error instanceof Error ? error.message : error}`, { cause: error });
      } finally {
        for (const one of all) await one.close();
        for (const proxy of proxies) await proxy.close();
      }
    }
    await admin.close();
  });
}

/** Sends until all of it is taken; the faults that were told meanwhile, which must be the target's and not final. */
async function deliver<T>(sink: Send<T>, delivery: Delivery<T>): Promise<DeliveryError[]> {
  for (const faults: DeliveryError[] = [];;) {
    try {
      await send(sink, delivery);
      return faults;
    } catch (error) {
      assert(error instanceof DeliveryError, String(error));
      assertEquals([error.scope, error.final, error.failed], ["target", false, undefined], error.message);
      faults.push(error);
      await yieldToEventLoop(5);
    }
  }
}

/** An attempt whose time is over when `isOver` resolves, as a producer makes it. */
async function timeOut<T>(sink: Send<T>, delivery: Delivery<T>, isOver: Promise<void>, reason?: Error): Promise<void> {
  const controller = new AbortController();
  const sending = (async () => await sink(delivery, { attempt: 1, signal: controller.signal }))();
  const rejected = assertRejects(() => sending);
  await Promise.race([isOver, rejected]);
  controller.abort(reason ?? new DeliveryError({ reason: "no answer within 1 ms", scope: "target", retryable: true }));
  await rejected;
}

testWithClients(
  "adds each record once, also when the server has forgotten the script",
  async ({ opened, stream, run, values }) => {
    const results: unknown[] = [];
    const sink = redisSink<number>(opened.client, { stream, onDelivered: (result) => results.push(result) });
    await send(sink, batchOf([1, 1200], number));
    await run("SCRIPT", "FLUSH");
    await send(sink, batchOf([1, 1201], number, { sequences: range(1, 1200), redelivered: true }));
    await send(sink, batchOf([1, 1200], number, { redelivered: true }));
    assertEquals(await values(), [...range(1, 1200), ...range(1, 1200)]);
    assertEquals(results.map((one) => Object.values(one as object)), [[1200, 0], [1200, 0], [0, 1200]]);
  },
);

testWithClients(
  "waits for a permission, and adds nothing twice without one",
  async ({ stream, connect, run, values }) => {
    const setUser = (...rules: string[]) =>
      run("ACL", "SETUSER", "writer", "reset", "on", ">secret", "~*", "&*", "+@all", ...rules);
    await setUser();
    const { client } = await connect({ username: "writer", password: "secret" });
    const sink = redisSink<number>(client, { stream });
    await send(sink, batchOf([1, 2], number));
    const batches = ["-evalsha -eval", "-xadd", "-hset", "-hget", "-@all", "resetkeys"].entries();
    for (const [at, rules] of batches) {
      const batch = batchOf([10 * at + 3, 10 * at + 5], number);
      await setUser(...rules.split(" "));
      for (let attempt = 0; attempt < 2; attempt++) {
        const { scope, retryable, final, failed, message } = await refusalOf(sink, batch);
        assertEquals([scope, retryable, final, failed], ["target", false, false, undefined], `${rules}: ${message}`);
      }
      await setUser();
      await send(sink, batch);
      assertEquals((await values()).slice(-3), range(10 * at + 3, 10 * at + 5), rules);
    }
    // Who could run the script of an earlier version still can; and no more is needed than the page of the sinks says.
    for (const [at, commands] of ["+eval", "+evalsha +eval"].entries()) {
      await setUser("-@all", ...`${commands} +exists +hget +hset +time +xadd +xinfo`.split(" "));
      await send(sink, batchOf([100 + at, 100 + at], number));
    }
    assertEquals((await values()).length, 2 + 3 * 6 + 2);
  },
);

testWithClients("waits while a password is wrong", async ({ stream, connect, run, values }) => {
  await run("ACL", "SETUSER", "locked", "reset", "on", ">right", "~*", "&*", "+@all");
  const { client } = await connect({ username: "locked", password: "wrong", isLazy: true, failsOffline: true });
  const sink = redisSink<number>(client, { stream });
  const refusal = await refusalOf(sink, batchOf([1, 3], number));
  assertEquals([refusal.scope, refusal.final, refusal.failed], ["target", false, undefined], refusal.message);
  await run("ACL", "SETUSER", "locked", ">wrong");
  await deliver(sink, batchOf([1, 3], number));
  assertEquals(await values(), [1, 2, 3]);
});

testWithClients("waits while the server takes nothing", async ({ opened, stream, run, values }) => {
  const sink = redisSink<number>(opened.client, { stream });
  const cases: readonly (readonly [kind: string, begin: string, end: string])[] = [
    ["OOM", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"],
    ["READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"],
    ["NOREPLICAS", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"],
    ["WRONGTYPE", `SET|${stream}|text`, `DEL|${stream}`],
    ["WRONGTYPE", `SET|{${stream}}:delivered|text`, `DEL|{${stream}}:delivered`],
  ];
  for (const [kind, begin, end] of cases) {
    const runLine = (line: string) => run(...line.split(line.includes("|") ? "|" : " "));
    await run("DEL", stream, `{${stream}}:delivered`);
    await runLine(begin);
    try {
      const { scope, retryable, final, failed, message } = await refusalOf(sink, batchOf([1, 3], number));
      assertEquals([scope, retryable, final, failed], ["target", kind === "NOREPLICAS", false, undefined], message);
      assertStringIncludes(message, kind);
    } finally {
      await runLine(end);
    }
    await send(sink, batchOf([1, 3], number));
    assertEquals(await values(), [1, 2, 3], kind);
  }
});

testWithClients(
  "refuses a record alone that is larger than the server takes",
  async ({ opened, stream, run, values }) => {
    await run("CONFIG", "SET", "proto-max-bulk-len", String(2 ** 20));
    const valueOf = (sequence: number) => sequence % 20 === 0 ? "x".repeat(2 ** 20 + sequence) : String(sequence);
    const sink = redisSink<string>(opened.client, { stream, fields: (text) => ({ text }) });
    const results: unknown[] = [];
    for (const first of [1, 51]) {
      // The connection is closed by each of the two: what comes behind is sent again.
      for (let left: DeliveryError | undefined; left === undefined;) {
        const refusal = await refusalOf(sink, batchOf([first, first + 41], valueOf));
        if (refusal.scope === "record") left = refusal;
        else assertEquals([refusal.retryable, refusal.final], [true, false], refusal.message);
        results.push(refusal.failed?.map(({ index, retryable }) => [first + index, retryable]));
        await yieldToEventLoop(5);
      }
    }
    const large = [[[20, false], [40, false]], [[60, false], [80, false]]];
    assertEquals(results.filter((one) => one !== undefined), large);
    const expected = [...range(1, 42), ...range(51, 92)].filter((sequence) => sequence % 20 !== 0);
    assertEquals(await values(), expected);
  },
);

testWithClients("says that a client that was closed is final", async ({ stream, connect }) => {
  for (const failsOffline of [false, true]) {
    const { client, close } = await connect({ failsOffline });
    const sink = redisSink<number>(client, { stream });
    await send(sink, batchOf([1, 3], number, { redelivered: true }));
    await close();
    for (let refusal = await refusalOf(sink, batchOf([4, 5], number)); !refusal.final;) {
      assertEquals(refusal.scope, "target");
      await yieldToEventLoop();
      refusal = await refusalOf(sink, batchOf([4, 5], number));
    }
  }
});

testWithClients(
  "leaves a connection that is silent, and adds nothing that arrives late",
  async (place) => {
    const { stream, makeProxy, run, values } = place;
    const proxy = await makeProxy();
    const { client, close } = await place.connect({ port: proxy.port });
    const sink = redisSink<number>(client, { stream });
    await send(sink, batchOf([1, 50], number));
    proxy.swallow();
    const batch = batchOf([51, 100], number);
    await timeOut(sink, batch, proxy.hasSwallowed(500));
    await deliver(sink, batch);
    assertGreater(proxy.accepted, 1);
    // More batches than are noted, then the network delivers the call of the attempt that was given up.
    for (let first = 101; first <= 600; first += 10) await send(sink, batchOf([first, first + 9], number));
    const calls = async () => Number(/evalsha:calls=(\d+)/.exec(await run("INFO", "commandstats"))?.[1]);
    const before = await calls();
    proxy.revive();
    while (await calls() === before) await yieldToEventLoop();
    assertEquals(await values(), range(1, 600));
    await close();
  },
);

testWithClients("leaves connections until one isn't silent", async ({ stream, connect, makeProxy, values }) => {
  const proxy = await makeProxy();
  for (const failsOffline of [false, true]) {
    const { client, close } = await connect({ port: proxy.port, failsOffline });
    const sink = redisSink<number>(client, { stream });
    const batch = batchOf([1, 10], number, { checksum: failsOffline ? "00000001" : "00000002" });
    await send(sink, batchOf([11, 20], number, { redelivered: true }));
    proxy.swallow("everything", { alsoNew: true });
    await timeOut(sink, batch, proxy.hasSwallowed(100));
    for (let attempt = 0; attempt < 3; attempt++) {
      // Not even the greeting is answered.
      proxy.swallow("everything", { alsoNew: true });
      await timeOut(sink, batch, proxy.hasSwallowed(1));
    }
    proxy.heal();
    await deliver(sink, batch);
    await close();
  }
  assertEquals((await values()).length, 30);
}, CLIENTS.filter(isNodeRedis));

testWithClients("leaves a connection that its client has made by itself, and that is silent", async (place) => {
  const { stream, makeProxy, values } = place;
  const proxy = await makeProxy();
  const { client, close } = await place.connect({ port: proxy.port });
  const sink = redisSink<number>(client, { stream });
  proxy.swallow("everything", { alsoNew: true });
  proxy.cutAll();
  await proxy.hasSwallowed(1); // the greeting of another connection
  await timeOut(sink, batchOf([1, 10], number), yieldToEventLoop(5));
  proxy.heal();
  await deliver(sink, batchOf([1, 10], number));
  assertEquals(await values(), range(1, 10));
  await close();
  // The one of `redis` is given some seconds to end its own attempts: once is enough.
}, currentRuntime().name === "node" ? ["redis"] : []);

testWithClients("leaves no connection when told not to, nor for another reason than time", async (place) => {
  const { stream, makeProxy, values } = place;
  const proxy = await makeProxy();
  const { client, close } = await place.connect({ port: proxy.port });
  const batch = batchOf([1, 10], number);
  for (const [reconnect, reason] of [[false, undefined], [true, new Error("the producer ends")]] as const) {
    const sink = redisSink<number>(client, { stream, reconnect });
    proxy.swallow();
    await timeOut(sink, batch, proxy.hasSwallowed(100), reason);
    proxy.revive();
    await send(sink, batch);
  }
  assertEquals([proxy.accepted, await values()], [1, range(1, 10)]);
  await close();
}, NEWEST_REDIS_CLIENTS);
