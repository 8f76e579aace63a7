/**
 * Clients that a sink can't work with are refused when it is made, with the reason, instead of being tried forever. With the real
 * package `ioredis`, which people use beside `redis`.
 */

import { after, test } from "node:test";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { natsSink } from "../../src/sinks/nats.ts";
import { postgresSink, postgresTransactionSink } from "../../src/sinks/postgres.ts";
import { redisSink } from "../../src/sinks/redis.ts";
import { loadPackages } from "../support/npm_packages.ts";
import { batchOf, refusalOf } from "./tools.ts";

/** What is used of the packages: constructors that don't connect yet. */
interface Others {
  readonly ioredis: {
    new (options: object): { disconnect(): void };
    Cluster: new (nodes: object[], options: object) => { disconnect(): void };
  };
}

const loaded = await loadPackages<Others & Record<string, unknown>>({ ioredis: "6.0.0" });
after(() => loaded?.remove());
const WITH_PACKAGES = { skip: loaded === undefined ? "ioredis can't be fetched here" : false };

test("postgresSink() and postgresTransactionSink() refuse a client of ioredis", WITH_PACKAGES, () => {
  const client = new loaded!.modules.ioredis({ lazyConnect: true });
  const apply = () => Promise.resolve();
  for (
    const make of [
      () => postgresSink(client as never, { table: "a" }),
      () => postgresTransactionSink(client as never, { apply }),
    ]
  ) {
    assertThrows(make, TypeError, "must be one of the package postgres, or a Pool or Client of the package pg");
  }
  client.disconnect();
});

test("redisSink() refuses what is no client, one of an earlier version, and one with other arguments", () => {
  const call = () => Promise.resolve();
  const cases: readonly (readonly [client: unknown, found: string])[] = [
    ...[null, undefined, "redis://localhost", {}, () => {}, { eval: 1 }].map((one) => [one, "without eval()"] as const),
    [{ eval: call, evalsha: call, send_command: call }, "before version 4"],
    [{ eval: call, send_command: call }, "before version 4"],
    // As of @upstash/redis.
    [{ eval: call, evalsha: call }, "other arguments"],
    [{ eval: call, options: { legacyMode: true } }, "legacy mode"],
    [{ createClient: call, createCluster: call }, "a package"],
    [{ default: call, Redis: call }, "a package"],
  ];
  for (const [client, found] of cases) {
    const error = assertThrows(() => redisSink(client as never, { stream: "a" }), TypeError, found);
    assertStringIncludes(error.message, "client must be one of redis (4 or later), ioredis or iovalkey; got");
  }
});

test("redisSink() takes no answer for one that isn't the script's, or is one to another call", async () => {
  const answers: readonly (readonly [answer: unknown, retryable: boolean])[] = [
    ...[true, undefined, null, "OK", [1, 2], ["a", "b", "c", 0, "1"]].map((one) => [one, false] as const),
    [[2, 0, "", 0, "some other call"], true],
  ];
  for (const [answer, retryable] of answers) {
    const sink = redisSink<number>({ eval: () => Promise.resolve(answer) }, { stream: "a" });
    const refusal = await refusalOf(sink, batchOf([1, 2], (n) => n));
    assertEquals([refusal.scope, refusal.retryable, refusal.failed], ["target", retryable, undefined], String(answer));
  }
});

test("natsSink() refuses a connection instead of a client of JetStream", () => {
  const options = { stream: "A", subject: "a" };
  assertThrows(() => natsSink({ publish() {} } as never, options), TypeError, "jetstream(connection)");
  for (const client of [null, undefined, {}, "nats://localhost"]) {
    assertThrows(() => natsSink(client as never, options), TypeError, "client of JetStream");
  }
});
