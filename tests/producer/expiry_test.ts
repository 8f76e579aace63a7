/**
 * Producer: records that are older than the buffer's `maxRecordAgeMs` are never sent; they are dead letters, or left out and counted.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { BatchPart } from "../../src/producer/batch_part.ts";
import { DeliveryError, MemoryBuffer, textCodec } from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { settle } from "../support/event_loop.ts";
import { benchTest, fails, pass } from "./tools.ts";

const LIMITED = { codec: textCodec(), maxAgeMs: 100, maxRecords: 4, maxRecordAgeMs: 1_000 };
const away = fails(new DeliveryError({ reason: "no connection", scope: "target", retryable: true }));

benchTest(
  "what has expired before it is sent becomes a dead letter, and the rest is delivered",
  LIMITED,
  async (bench) => {
    const { clock, buffer, target, deadLetters, events, make } = bench;
    await buffer.putMany(["a", "b"]);
    clock.advance(1_001);
    await buffer.put("c");
    const producer = make({ deadLetters });
    await producer.flush();
    assertEquals(target.records, ["c"]);
    const letters = (await deadLetters.emit()).records;
    assertEquals(letters.map(({ record, sequence, error, attempts }) => [record, sequence, error, attempts]), [
      ["a", 1, "older than maxRecordAgeMs", 0],
      ["b", 2, "older than maxRecordAgeMs", 0],
    ]);
    const batchId = target.calls[0].batchId;
    assertEquals(events.find(({ type }) => type === "records-expired"), {
      type: "records-expired",
      batchId,
      sequences: [1, 2],
      records: 2,
    });
    const { expiredRecords, deadLetters: put, deliveredRecords, committedRecords } = producer.stats();
    assertEquals([expiredRecords, put, deliveredRecords, committedRecords], [2, 2, 1, 3]);
  },
);

benchTest(
  "what has expired is left out and counted where there is no buffer of dead letters",
  LIMITED,
  async (bench) => {
    const { clock, buffer, target, make } = bench;
    await buffer.putMany(["a", "b"]);
    clock.advance(1_001);
    const producer = make();
    await producer.flush();
    const { expiredRecords, state, committedBatches } = producer.stats();
    assertEquals([target.records, expiredRecords, state, committedBatches], [[], 2, "running", 1]);
    assertEquals(buffer.stats().pendingRecords, 0);
  },
);

benchTest("what expires while the target is away isn't sent again", LIMITED, async (bench) => {
  const { clock, target, make } = bench;
  const producer = make({ retry: { firstDelayMs: 600, maxDelayMs: 600 } });
  target.will(away, away);
  await producer.putMany(["a", "b"]);
  clock.advance(90);
  await producer.putMany(["c", "d"]);
  await settle();
  assertEquals(target.records, ["abcd"]);
  await pass(clock, 600);
  await pass(clock, 600);
  assertEquals(target.records, ["abcd", "abcd"]);
  assertEquals([producer.stats().expiredRecords, producer.stats().state], [4, "running"]);
  await producer.put("e");
  await pass(clock, 600);
  assertEquals(target.records.at(-1), "e");
});

benchTest(
  "a batch that expires while it tries an ill target hands that on",
  { ...LIMITED, maxRecords: 1 },
  async (bench) => {
    const { clock, target, events, make } = bench;
    const producer = make({ maxInFlight: 3, retry: { firstDelayMs: 400, maxDelayMs: 400 } });
    target.will(away, away, away, away);
    await producer.put("a");
    for (let i = 0; i < 7; i++) await pass(clock, 100);
    await producer.put("b");
    await producer.put("c");
    for (let i = 0; i < 15; i++) await pass(clock, 100);
    // At 1,200 ms "a" has expired, and "b" is in time.
    assertEquals(target.records, ["a", "a", "a", "b", "b", "c"]);
    const { expiredRecords, deliveredRecords, blockedSince } = producer.stats();
    assertEquals([expiredRecords, deliveredRecords, blockedSince], [1, 2, undefined]);
    assertEquals(events.filter(({ type }) => type === "blocked").length, 1);
  },
);

benchTest(
  "what is left of a batch that has arrived comes again, when its answer is lost and a record has expired, with its batch's id",
  LIMITED,
  async (bench) => {
    const { clock, buffer, target, make } = bench;
    target.will(fails());
    await buffer.put("a");
    clock.advance(500);
    await buffer.putMany(["b", "c", "d"]);
    make({ retry: { firstDelayMs: 600, maxDelayMs: 600 } });
    await settle();
    await pass(clock, 600);
    const [first, second] = target.calls;
    assertEquals(target.records, ["abcd", "bcd"]);
    assertEquals([second.id, second.batchId, second.redelivered], [`${first.id}.2-4`, first.batchId, true]);
    assertEquals([first.sequences, second.sequences], [[1, 2, 3, 4], [2, 3, 4]]);
  },
);

test("a delivery has the put time of each of its records, also where it is a part of a batch", async () => {
  const clock = new ManualClock();
  const buffer = await MemoryBuffer.open<string>({ clock });
  const start = clock.now();
  for (const record of ["a", "b", "c"]) {
    await buffer.put(record);
    clock.advance(5);
  }
  const whole = new BatchPart(await buffer.emit());
  assertEquals(whole.putTimes, [start, start + 5, start + 10]);
  assertEquals(whole.pick([0, 2]).putTimes, [start, start + 10]);
  await buffer.close();
});
