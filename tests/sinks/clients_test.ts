/**
 * Clients that a sink can't work with are refused when it is made, with the reason, instead of being tried forever. With the real
 * package `ioredis`, which people use beside `redis`.
 */

import { after, test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
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

test("redisSink() refuses a client of ioredis", WITH_PACKAGES, () => {
  const Redis = loaded!.modules.ioredis;
  for (const client of [new Redis({ lazyConnect: true }), new Redis.Cluster([{ port: 1 }], { lazyConnect: true })]) {
    assertThrows(
      () => redisSink(client as never, { stream: "a" }),
      TypeError,
      "client must be one of the package redis",
    );
    assertThrows(() => redisSink(client as never, { stream: "a" }), TypeError, "ioredis");
    client.disconnect();
  }
});

test("redisSink() refuses what is no client, or one of an earlier version", () => {
  for (const client of [null, undefined, "redis://localhost", {}, () => {}, { eval: 1 }]) {
    assertThrows(() => redisSink(client as never, { stream: "a" }), TypeError, "with eval(); got");
  }
  const old = { eval: () => true, send_command: () => true };
  assertThrows(() => redisSink(old as never, { stream: "a" }), TypeError, "before version 4");
});

test("redisSink() doesn't try again what another client answers", async () => {
  for (const answer of [true, undefined, null, "OK", [1, 2]]) {
    const sink = redisSink<number>({ eval: () => Promise.resolve(answer) }, { stream: "a" });
    const { retryable, failed } = await refusalOf(sink, batchOf([1, 2], (n) => n));
    assertEquals([retryable, failed], [false, undefined]);
  }
});

test("natsSink() refuses a connection instead of a client of JetStream", () => {
  const options = { stream: "A", subject: "a" };
  assertThrows(() => natsSink({ publish() {} } as never, options), TypeError, "jetstream(connection)");
  for (const client of [null, undefined, {}, "nats://localhost"]) {
    assertThrows(() => natsSink(client as never, options), TypeError, "client of JetStream");
  }
});
