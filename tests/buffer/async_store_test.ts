/**
 * A buffer whose log is elsewhere: what only such a one meets. The suite of all buffers is in `record_buffer_test.ts`.
 */

import { test } from "node:test";
import { assert, assertEquals, assertFalse, assertRejects, assertStrictEquals } from "@std/assert";
import { BufferEmptyError, type BufferOptions, textCodec } from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { isPending, settle } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";
import { AsyncBuffer, type RemoteLog, remoteLogFor } from "./async_store.ts";

const codec = textCodec();

/** A log with records that an earlier buffer has left. */
async function logWith(records: readonly string[], options: BufferOptions<string>): Promise<RemoteLog> {
  const log = remoteLogFor(codec);
  const buffer = await AsyncBuffer.open<string>({ codec, ...options }, log);
  for (const record of records) await buffer.put(record);
  await buffer.close();
  return log;
}

test("AsyncBuffer.shouldEmit() takes no record for old before the log has said how old it is", async () => {
  const clock = new ManualClock();
  const options = { codec, clock, maxAgeMs: 50 };
  const log = await logWith(["a"], options);
  clock.advance(20);
  const young = AsyncBuffer.over<string>(options, log);
  assertFalse(young.shouldEmit());
  const due = young.waitUntilDue();
  assert(await isPending(due));
  assertEquals(young.stats().oldestAgeMs, 20);
  clock.advance(30);
  assert(await due);
  await young.close();

  // Now it is old: who waits learns it from the answer, not from a timer.
  const old = AsyncBuffer.over<string>(options, log);
  assertFalse(old.shouldEmit());
  assert(await old.waitUntilDue());
  assertEquals((await old.emit()).records, ["a"]);
  await old.close();
});

test("AsyncBuffer knows the first put, whatever the log says later of the time before", async () => {
  const clock = new ManualClock();
  const options = { codec, clock, maxAgeMs: 50 };
  const buffer = AsyncBuffer.over<string>(options, await logWith([], options));
  clock.advance(10);
  // The log was asked for the first record, when there was none, and its answer comes behind the put.
  await buffer.put("a");
  await settle();
  clock.advance(49);
  assertFalse(buffer.shouldEmit());
  clock.advance(1);
  assert(buffer.shouldEmit());
  await buffer.close();
});

test("AsyncBuffer.put() that the log refuses leaves nothing behind, for emit() nor clear()", async () => {
  const refusal = new Error("no quorum");
  for (const first of ["emit", "clear"] as const) {
    const log = await logWith(["a"], {});
    const buffer = await AsyncBuffer.open<string>({ codec }, log);
    log.refusal = refusal;
    const puts = [buffer.put("b"), buffer.putMany(["c", "d"])];
    const call = buffer[first]();
    for (const put of puts) assertStrictEquals(await assertRejects(() => put), refusal);
    await call;
    if (first === "emit") await buffer.commit();
    await assertRejects(() => buffer.emit(), BufferEmptyError);
    assertEquals([buffer.stats().rejected, buffer.stats().pendingRecords, buffer.stats().backlogBytes], [2, 0, 0]);
    log.refusal = undefined;
    assertEquals(await buffer.put("e"), 2);
    assertEquals(await drain(buffer), ["e"]);
    await buffer.close();
  }
});

test("AsyncBuffer.put() that waits for space gets in when the log refuses those before", async () => {
  const log = remoteLogFor(codec);
  const buffer = await AsyncBuffer.open<string>({ codec, maxBacklogBytes: 10, whenFull: "block" }, log);
  log.refusal = new Error("no quorum");
  const refused = assertRejects(() => buffer.put("abcdef"), "no quorum");
  const waiting = buffer.put("ghijkl");
  await refused;
  log.refusal = undefined;
  assertEquals(await waiting, 1);
  assertEquals(await drain(buffer), ["ghijkl"]);
  await buffer.close();
});
