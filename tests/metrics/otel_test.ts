/**
 * `@sluice/buffer/otel` with a meter that is no SDK: names, what is observed when, ends, bad options.
 */

import { test } from "node:test";
import { assertAlmostEquals, assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { BufferEvent, BufferStats } from "../../src/buffer/events.ts";
import { MemoryBuffer } from "../../src/buffer/memory_buffer.ts";
import { BufferFailedError, NoSpaceError } from "../../src/errors/mod.ts";
import { BUFFER_METRICS, PRODUCER_METRICS } from "../../src/metrics/definitions.ts";
import { instrument, type InstrumentOptions } from "../../src/metrics/otel.ts";
import type { ProducerEvent, ProducerStats } from "../../src/producer/events.ts";
import { Producer } from "../../src/producer/producer.ts";
import { FakeMeter, isSteady, makeShipping, openOrders, ORDERS, SHIPPING, useOrders, useShipping } from "./tools.ts";

const bare = await MemoryBuffer.open<string>();
const idle = new Producer<string>({ buffer: bare, send: () => {} });
const BUFFER_STATS: BufferStats = { ...bare.stats(), oldestAgeMs: 1_500, lastProgressAt: 10_000 };
const PRODUCER_STATS: ProducerStats = idle.stats();
await idle.close();
await bare.close();

/** Something to be measured that does as it is told. */
class Source<S, E> {
  stats: () => S;
  /** How often it was asked. */
  reads = 0;
  readonly #listeners = new Set<(event: E) => void>();

  constructor(stats: S) {
    this.stats = () => {
      this.reads++;
      return stats;
    };
  }

  subscribe(listener: (event: E) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event: E): void {
    for (const listener of this.#listeners) listener(event);
  }
}

const bufferSource = () => new Source<BufferStats, BufferEvent>(BUFFER_STATS);
const producerSource = (stats: Partial<ProducerStats> = {}) =>
  new Source<ProducerStats, ProducerEvent>({ ...PRODUCER_STATS, ...stats });

test("instrument() names metrics as the semantic conventions say", () => {
  const meter = new FakeMeter();
  instrument(bufferSource(), { meter });
  instrument(producerSource(), { meter });
  const names = meter.instruments.map(({ name }) => name);
  assertEquals(new Set(names).size, names.length);
  for (const { name, kind, unit, description } of meter.instruments) {
    assertMatch(name, /^sluice\.(buffer|producer)(\.[a-z]+(_[a-z]+)*)+$/);
    assertMatch(name, /^(?!.*[._](total|count|sum|bucket|bytes|seconds|ratio)([._]|$))/);
    // What is counted has no plural.
    assertMatch(unit!, /^(s|By|\{[a-z]+(?<!s)\})$/);
    assertMatch(description!, /^[A-Z0-9].*[^.]$/);
    // Durations are no counters, and times don't add up.
    assertEquals(unit === "s", kind === "gauge" || kind === "histogram", name);
  }
});

test("instrument() observes what has happened to a buffer and a producer", async () => {
  const meter = new FakeMeter();
  const orders = await openOrders();
  const shipping = await makeShipping();
  instrument(orders, { meter, name: "orders" });
  instrument(shipping.producer, { meter, name: "shipping" });
  await useOrders(orders);
  await useShipping(shipping.producer);
  assertEquals(meter.collect().filter(isSteady), [...ORDERS, ...SHIPPING]);
  const syncs = meter.recorded.filter((line) =>
    line.startsWith("sluice.buffer.sync.duration{sluice.buffer.name=orders}")
  );
  assertEquals(syncs.length, orders.stats().syncs);
  await orders.close();
  await shipping.close();
});

/** The figure behind each metric that is one number of `stats()`. */
const FIGURES: Readonly<Record<string, keyof BufferStats | keyof ProducerStats>> = {
  "sluice.buffer.queue.size": "pendingRecords",
  "sluice.buffer.queue.payload.size": "pendingBytes",
  "sluice.buffer.record.inflight": "inFlightRecords",
  "sluice.buffer.backlog.size": "backlogBytes",
  "sluice.buffer.backlog.capacity": "maxBacklogBytes",
  "sluice.buffer.segment.live": "segments",
  "sluice.buffer.disk.size": "diskBytes",
  "sluice.buffer.record.put": "puts",
  "sluice.buffer.put.rejected": "rejected",
  "sluice.buffer.record.dropped": "dropped",
  "sluice.buffer.record.expired": "expired",
  "sluice.buffer.batch.emitted": "batchesEmitted",
  "sluice.buffer.batch.redelivered": "batchesRedelivered",
  "sluice.buffer.batch.committed": "batchesCommitted",
  "sluice.buffer.quarantined": "quarantinedBytes",
  "sluice.producer.batch.inflight": "inFlightBatches",
  "sluice.producer.target.blocked": "blocks",
  "sluice.producer.attempt.started": "attempts",
  "sluice.producer.attempt.repeated": "retries",
  "sluice.producer.attempt.failed": "failedAttempts",
  "sluice.producer.attempt.target_fault": "targetFaults",
  "sluice.producer.attempt.timed_out": "timeouts",
  "sluice.producer.attempt.abandoned": "abandoned",
  "sluice.producer.delivery.halved": "halved",
  "sluice.producer.record.delivered": "deliveredRecords",
  "sluice.producer.record.expired": "expiredRecords",
  "sluice.producer.record.dead_lettered": "deadLetters",
  "sluice.producer.batch.committed": "committedBatches",
  "sluice.producer.record.committed": "committedRecords",
};

test("each metric is the figure that it is named for", () => {
  // A number of its own for each figure, so that none is taken for another.
  const numbered = <S extends object>(stats: S): S =>
    Object.fromEntries(
      Object.entries(stats).map(([key, value], i) => [key, typeof value === "number" ? 100 + i : value]),
    ) as S;
  const buffer = numbered(BUFFER_STATS);
  const producer = numbered(PRODUCER_STATS);
  const values = new Map([
    ...BUFFER_METRICS.metrics.map((metric) => [metric.name, metric.samples(buffer, 0)] as const),
    ...PRODUCER_METRICS.metrics.map((metric) => [metric.name, metric.samples(producer, 0)] as const),
  ]);
  for (const [name, figure] of Object.entries(FIGURES)) {
    const value = { ...buffer, ...producer }[figure] as number;
    assertEquals(values.get(name), [{ value }], name);
    values.delete(name);
  }
  const rest = ["queue.age", "idle.time", "error.reported"].map((name) => `sluice.buffer.${name}`);
  const others = ["status", "backoff.remaining", "blocked.time"].map((name) => `sluice.producer.${name}`);
  assertEquals([...values.keys()], [...rest, ...others]);
});

test("instrument() counts the syncs since it was called", async () => {
  const meter = new FakeMeter();
  const orders = await openOrders();
  await orders.put("before");
  const before = orders.stats();
  instrument(orders, { meter });
  await useOrders(orders);
  await orders.flush();
  const { syncs, syncMs } = orders.stats();
  const seconds = meter.recorded.map((line) => Number(line.split(" ")[1]));
  assertEquals(seconds.length, syncs - before.syncs);
  assertAlmostEquals(seconds.reduce((sum, one) => sum + one, 0) * 1_000, syncMs - before.syncMs, 1e-6);
  await orders.close();
});

test("instrument() reads a source once for a collection, and not without one", () => {
  const meter = new FakeMeter();
  const [buffer, producer] = [bufferSource(), producerSource()];
  instrument(buffer, { meter });
  instrument(producer, { meter });
  const before = [buffer.reads, producer.reads];
  assertEquals(meter.collect().length, BUFFER_METRICS.metrics.length + PRODUCER_METRICS.metrics.length + 2);
  meter.collect();
  assertEquals([buffer.reads, producer.reads], [before[0]! + 2, before[1]! + 2]);
});

test("instrument() records each sync and each attempt, in seconds, with buckets for both", () => {
  const meter = new FakeMeter();
  const [buffer, producer] = [bufferSource(), producerSource()];
  instrument(buffer, { meter, name: "b" });
  instrument(producer, { meter, name: "p" });
  buffer.tell({ type: "synced", durationMs: 2 });
  buffer.tell({ type: "backlog-filled", backlogBytes: 10 });
  buffer.tell({ type: "synced", durationMs: 3_000 });
  producer.tell({ type: "delivered", id: "1", batchId: "1", records: 1, durationMs: 40 });
  producer.tell(failed(new Error("no"), 1));
  assertEquals(meter.recorded, [
    "sluice.buffer.sync.duration{sluice.buffer.name=b} 0.002",
    "sluice.buffer.sync.duration{sluice.buffer.name=b} 3",
    "sluice.producer.attempt.duration{sluice.producer.name=p} 0.04",
    "sluice.producer.attempt.duration{error.type=Error,sluice.producer.name=p} 0.001",
  ]);
  for (const { kind, name, advice } of meter.instruments) {
    const bounds = advice?.explicitBucketBoundaries;
    assertEquals(bounds !== undefined, kind === "histogram", name);
    assertEquals(bounds, bounds?.toSorted((a, b) => a - b));
  }
});

test("instrument() counts what a buffer tells of, and has a line for its failure from the start", () => {
  const meter = new FakeMeter();
  const buffer = bufferSource();
  instrument(buffer, { meter });
  const errors = () => meter.collect().filter((line) => line.startsWith("sluice.buffer.error.reported{"));
  assertEquals(errors(), ["sluice.buffer.error.reported{error.type=BUFFER_FAILED} 0"]);
  const noSpace = new NoSpaceError({ operation: "write", path: "/a", errno: "ENOSPC" });
  buffer.tell({ type: "warned", error: noSpace });
  buffer.tell({ type: "warned", error: noSpace });
  buffer.tell({ type: "failed", error: new BufferFailedError("/a", noSpace) });
  assertEquals(errors(), [
    "sluice.buffer.error.reported{error.type=BUFFER_FAILED} 1",
    "sluice.buffer.error.reported{error.type=NO_SPACE} 2",
  ]);
});

test("times are counted from what stats() says", () => {
  const idleTime = BUFFER_METRICS.metrics.find(({ name }) => name === "sluice.buffer.idle.time")!;
  assertEquals(idleTime.samples(BUFFER_STATS, 12_500), [{ value: 2.5 }]);
  // The wall clock was set back.
  assertEquals(idleTime.samples(BUFFER_STATS, 9_000), [{ value: 0 }]);
  const age = BUFFER_METRICS.metrics.find(({ name }) => name === "sluice.buffer.queue.age")!;
  assertEquals(age.samples(BUFFER_STATS, 0), [{ value: 1.5 }]);
  const backoff = PRODUCER_METRICS.metrics.find(({ name }) => name === "sluice.producer.backoff.remaining")!;
  assertEquals(backoff.samples(PRODUCER_STATS, 5_000), [{ value: 0 }]);
  assertEquals(backoff.samples({ ...PRODUCER_STATS, backoffUntil: 5_250 }, 5_000), [{ value: 0.25 }]);
  assertEquals(backoff.samples({ ...PRODUCER_STATS, backoffUntil: 4_000 }, 5_000), [{ value: 0 }]);
  const blocked = PRODUCER_METRICS.metrics.find(({ name }) => name === "sluice.producer.blocked.time")!;
  assertEquals(blocked.samples(PRODUCER_STATS, 5_000), [{ value: 0 }]);
  assertEquals(blocked.samples({ ...PRODUCER_STATS, blockedSince: 4_000 }, 5_000), [{ value: 1 }]);
  assertEquals(blocked.samples({ ...PRODUCER_STATS, blockedSince: 6_000 }, 5_000), [{ value: 0 }]);
});

const failed = (error: unknown, durationMs = 0): ProducerEvent => ({
  type: "attempt-failed",
  id: "1",
  batchId: "1",
  attempt: 1,
  taken: 0,
  error,
  durationMs,
  timedOut: false,
  abandoned: false,
});

function failures(meter: FakeMeter): string[] {
  return meter.collect().filter((line) => line.startsWith("sluice.producer.attempt.failed{"));
}

test("instrument() counts each failure once: those from before it as others", () => {
  const meter = new FakeMeter();
  const producer = producerSource({ failedAttempts: 10 });
  instrument(producer, { meter, name: "p" });
  producer.tell(failed(new TypeError("no")));
  producer.tell(failed(new TypeError("no")));
  producer.tell(failed("no"));
  assertEquals(failures(meter), [
    "sluice.producer.attempt.failed{error.type=TypeError,sluice.producer.name=p} 2",
    "sluice.producer.attempt.failed{error.type=_OTHER,sluice.producer.name=p} 8",
  ]);
});

test("instrument() puts name and attributes on every value; no attribute takes another's place", () => {
  const meter = new FakeMeter();
  const attributes = { region: "north", shard: 3, "sluice.buffer.name": "another", "error.type": "none" };
  const [buffer, producer] = [bufferSource(), producerSource()];
  instrument(buffer, { meter, name: "b", attributes });
  instrument(producer, { meter, attributes: { region: "south" } });
  buffer.tell({ type: "synced", durationMs: 1 });
  producer.tell(failed("no"));
  const lines = [...meter.collect(), ...meter.recorded];
  const wrong = lines.filter((line) => {
    if (line.startsWith("sluice.producer.")) return !line.includes("region=south");
    const type = line.includes(".error.") ? "BUFFER_FAILED" : "none";
    return !line.includes(`{error.type=${type},region=north,shard=3,sluice.buffer.name=b}`);
  });
  assertEquals(wrong, []);
});

test("what instrument() gives ends it, once, and nothing else", () => {
  const meter = new FakeMeter();
  const [first, second] = [bufferSource(), bufferSource()];
  const end = instrument(first, { meter, name: "first" });
  instrument(second, { meter, name: "second" });
  const before = first.reads;
  end();
  end();
  first.tell({ type: "synced", durationMs: 1 });
  second.tell({ type: "synced", durationMs: 1 });
  const lines = [...meter.collect(), ...meter.recorded];
  assertEquals(lines.filter((line) => line.includes("first")), []);
  assertEquals(lines.length, BUFFER_METRICS.metrics.length + 1);
  assertEquals(first.reads, before);
});

const { createHistogram: _left, ...withoutHistogram } = {
  createObservableGauge() {},
  createObservableCounter() {},
  createObservableUpDownCounter() {},
  createHistogram() {},
  addBatchObservableCallback() {},
  removeBatchObservableCallback() {},
};
const BAD_OPTIONS: readonly (readonly [unknown, string])[] = [
  [undefined, "options must be an object, got undefined"],
  [{}, "meter must have a method createObservableGauge(), got undefined"],
  [{ meter: withoutHistogram }, "meter must have a method createHistogram(), got an object"],
  [{ meter: new FakeMeter(), name: "" }, 'name must be a string that isn\'t empty, got ""'],
  [{ meter: new FakeMeter(), name: 7 }, "name must be a string that isn't empty, got 7"],
  [{ meter: new FakeMeter(), attributes: "a" }, 'attributes must be an object, got "a"'],
  [{ meter: new FakeMeter(), attributes: null }, "attributes must be an object, got null"],
  [
    { meter: new FakeMeter(), attributes: { a: {} } },
    "attributes.a must be a string, a number or a boolean, got an object",
  ],
  [{ meter: new FakeMeter(), labels: {} }, "unknown option labels"],
];

for (const [options, message] of BAD_OPTIONS) {
  test(`instrument() throws a TypeError: ${message}`, () => {
    const buffer = bufferSource();
    const error = assertThrows(() => instrument(buffer, options as InstrumentOptions), TypeError);
    assertEquals(error.message, `Cannot instrument: ${message}`);
  });
}

test("instrument() throws a TypeError for what is neither a buffer nor a producer", () => {
  const meter = new FakeMeter();
  for (const source of [undefined, null, {}, { stats: () => BUFFER_STATS }]) {
    assertThrows(() => instrument(source as never, { meter }), TypeError, "the buffer or producer must have a method");
  }
});
