/**
 * `redisSink()` while a client has no connection for long: what the client keeps to send later doesn't grow with each attempt.
 */

import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { DeliveryError, type Send } from "../../mod.ts";
import { redisSink } from "../../src/sinks/redis.ts";
import { batchOf, send } from "./tools.ts";

const number = (sequence: number) => sequence;

/** A client that keeps what it can't send. */
class OfflineClient {
  isConnected = false;
  readonly kept: (() => void)[] = [];
  calls = 0;

  /** Answers a call with these words, at once or when it is connected. */
  answer(words: readonly unknown[]): Promise<unknown> {
    this.calls++;
    const reply = [1, 0, "", 0, words[4]];
    if (this.isConnected) return Promise.resolve(reply);
    return new Promise((resolve) => this.kept.push(() => resolve(reply)));
  }

  connect(): void {
    this.isConnected = true;
    for (const release of this.kept.splice(0)) release();
  }
}

const MAKERS: Readonly<Record<string, (offline: OfflineClient) => Send<number>>> = {
  ioredis: (offline) => {
    const client = {
      get status() {
        return offline.isConnected ? "ready" : "reconnecting";
      },
      evalsha: (_sha1: string, keys: number, ...args: unknown[]) => offline.answer(args.slice(keys)),
      eval: () => Promise.reject(new Error("not by its hash")),
      defineCommand: () => {},
      disconnect: () => {},
    };
    return redisSink<number>(client, { stream: "s" });
  },
  redis: (offline) => {
    const client = {
      isOpen: true,
      get isReady() {
        return offline.isConnected;
      },
      evalSha: (_sha1: string, options: { arguments: unknown[] }) => offline.answer(options.arguments),
      eval: () => Promise.reject(new Error("not by its hash")),
    };
    return redisSink<number>(client, { stream: "s", reconnect: false });
  },
};

for (const [name, make] of Object.entries(MAKERS)) {
  test(`redisSink() leaves one call with a client of ${name} that isn't connected, however often it tries`, async () => {
    const offline = new OfflineClient();
    const sink = make(offline);
    for (let attempt = 1; attempt <= 20; attempt++) {
      const late = new AbortController();
      const sending = Promise.resolve(sink(batchOf([1, 1], number), { attempt, signal: late.signal }));
      const refused = assertRejects(() => sending, DeliveryError, "late");
      late.abort(new DeliveryError({ reason: "late", scope: "target" }));
      await refused;
    }
    assertEquals(offline.kept.length, 1);
    // The next one goes on when the client is connected.
    const sending = send(sink, batchOf([1, 1], number), 21);
    await Promise.resolve();
    assertEquals(offline.calls, 1);
    offline.connect();
    await sending;
    await send(sink, batchOf([2, 2], number));
    assertEquals(offline.calls, 3);
  });
}
