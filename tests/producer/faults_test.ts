/**
 * Producer: targets that throw, hang, lie and go away, buffers that fail. Each has a defined outcome, nothing is lost,
 * and nothing gets stuck.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import {
  BufferFullError,
  type Codec,
  type DeadLetter,
  deadLetterCodec,
  DeliveryError,
  type FailedRecord,
  FileBuffer,
  MemoryBuffer,
  Producer,
  ProducerStoppedError,
  type RecordBuffer,
  RecordTooLargeError,
  textCodec,
} from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fault } from "../../src/testing/memory_process.ts";
import { isPending, settle } from "../support/event_loop.ts";
import {
  type Answer,
  benchTest,
  fails,
  finish,
  hangs,
  Held,
  ignoresSignal,
  left,
  LONG_REASON,
  ONE_LETTER,
  pass,
  typesOf,
  useBench,
} from "./tools.ts";

const NEVER_OLD = { maxAgeMs: 2 ** 31 - 1, codec: textCodec() };
const THREE = { ...NEVER_OLD, maxRecords: 3 };
const ONE = { ...NEVER_OLD, maxRecords: 1 };

const failed = (...records: unknown[]) =>
  fails(new DeliveryError({ reason: "some", failed: records as readonly FailedRecord[] }));
const busy = (index: number) => ({ index, retryable: true, reason: "busy" });

/** Answers after which all of a delivery is sent again, whatever else they say. */
const FAILURES: readonly (readonly [string, Answer])[] = [
  ["throws", () => {
    throw new Error("at once");
  }],
  ["throws undefined", () => {
    throw undefined;
  }],
  ["rejects with text", fails("text")],
  ["rejects with undefined", fails(undefined)],
  ["rejects with a symbol", fails(Symbol("s"))],
  ["rejects with an object without a prototype", fails(Object.create(null))],
  ["returns a thenable that rejects", () => ({ then: (_: unknown, reject: (error: unknown) => void) => reject(7) })],
  ["returns a thenable that throws", () => ({
    then() {
      throw new Error("from then()");
    },
  })],
  ["rejects and then resolves", () => ({
    then(resolve: () => void, reject: (error: unknown) => void) {
      reject(new Error("first"));
      resolve();
    },
  })],
  ["reports no failed records", failed()],
  ["reports a record that isn't there", failed(busy(3))],
  ["reports a record before the first", failed(busy(-1))],
  ["reports a record twice", failed(busy(1), busy(1))],
  ["reports half a record", failed(busy(0.5))],
  ["reports no number", failed(busy(Number.NaN))],
  ["reports nothing", failed(null)],
  ["reports more records than it got", failed(busy(0), busy(1), busy(2), busy(2))],
];

for (const [what, answer] of FAILURES) {
  benchTest(`Producer sends all of it again when the target ${what}`, THREE, async (bench) => {
    const { clock, buffer, target, make } = bench;
    const producer = make();
    target.will(answer);
    await producer.putMany(["a", "b", "c"]);
    await pass(clock, 99);
    assertEquals(target.records, ["abc"]);
    assertEquals(buffer.stats().pendingRecords, 3);
    await pass(clock, 1);
    assertEquals(target.records, ["abc", "abc"]);
    assertEquals(new Set(target.calls.map(({ id }) => id)).size, 1);
    assertEquals(buffer.stats().pendingRecords, 0);
    assert(producer.stats().lastError !== undefined);
  });
}

/** Answers that say that all was taken. */
const SUCCESSES: readonly (readonly [string, Answer])[] = [
  ["returns nothing", () => {}],
  ["returns something that is no promise", () => 7],
  ["returns false", () => false],
  ["returns a thenable", () => ({ then: (resolve: () => void) => resolve() })],
  ["resolves twice", () => ({
    then(resolve: () => void) {
      resolve();
      resolve();
    },
  })],
  ["resolves and then rejects", () => ({
    then(resolve: () => void, reject: (error: unknown) => void) {
      resolve();
      reject(new Error("second"));
    },
  })],
];

for (const [what, answer] of SUCCESSES) {
  benchTest(`Producer takes it for delivered, once, when the target ${what}`, THREE, async (bench) => {
    const { target, make } = bench;
    const producer = make();
    target.will(answer);
    await producer.putMany(["a", "b", "c", "d"]);
    await producer.flush();
    assertEquals(target.records, ["abc", "d"]);
    assertEquals(producer.stats().committedBatches, 2);
  });
}

benchTest("Producer ends an attempt by its signal when it takes too long, and tries again", ONE, async (bench) => {
  const { clock, target, events, make } = bench;
  const producer = make({ timeoutMs: 1_000 });
  target.will(hangs);
  await producer.put("a");
  await pass(clock, 999);
  assert(!target.calls[0].signal.aborted);
  await pass(clock, 1);
  assert(target.calls[0].signal.aborted);
  assert(target.calls[0].signal.reason instanceof DeliveryError);
  await pass(clock, 100);
  assertEquals(target.records, ["a", "a"]);
  assertEquals([producer.stats().timeouts, producer.stats().abandoned], [1, 0]);
  assertEquals(producer.stats().lastError?.message, "Cannot deliver: no answer within 1000 ms");
  assert(!typesOf(events).includes("stopped"));
});

benchTest("Producer never runs two attempts at a delivery at once while it may answer", ONE, async (bench) => {
  const { clock, target, make } = bench;
  const producer = make({ timeoutMs: 1_000 });
  const held = new Held();
  target.will(held.answer);
  await producer.put("a");
  await pass(clock, 1_999);
  assert(target.calls[0].signal.aborted);
  assertEquals(target.calls.length, 1);
  // It has arrived after all, and isn't sent again.
  held.take();
  await producer.flush();
  assertEquals(target.records, ["a"]);
  assertEquals(producer.stats().failedAttempts, 0);
});

benchTest("Producer believes what a target says after its time", { ...THREE, maxRecords: 2 }, async (bench) => {
  const { clock, target, events, make } = bench;
  const producer = make({ timeoutMs: 1_000 });
  const held = new Held();
  target.will(held.answer);
  await producer.putMany(["a", "b"]);
  await pass(clock, 1_500);
  held.refuse(new DeliveryError({ reason: "half", failed: [busy(1)] }));
  await pass(clock, 100);
  assertEquals(target.records, ["ab", "b"]);
  assertEquals(events.flatMap((event) => "durationMs" in event ? [event.durationMs] : []), [1_500, 0]);
});

benchTest("Producer leaves an attempt alone that ignores its signal, and what becomes of it", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ timeoutMs: 1_000 });
  const first = new Held();
  const second = new Held();
  target.will(first.answer, second.answer);
  await producer.put("a");
  await pass(clock, 2_000);
  assertEquals(producer.stats().abandoned, 1);
  await pass(clock, 100);
  assertEquals(target.records, ["a", "a"]);
  // Nobody listens any more, and nobody is told that it isn't handled.
  first.refuse(new DeliveryError({ reason: "too late", retryable: false }));
  await settle();
  assertEquals(buffer.stats().pendingRecords, 1);
  second.take();
  await producer.flush();
  assertEquals([producer.stats().timeouts, producer.stats().deadLetters], [1, 0]);
});

benchTest("Producer takes no late success of an abandoned attempt for that of another one", ONE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  const producer = make({ timeoutMs: 1_000 });
  const first = new Held();
  target.will(first.answer, fails(), ignoresSignal);
  await producer.put("a");
  await pass(clock, 2_000);
  await pass(clock, 100);
  first.take();
  await settle();
  assertEquals(buffer.stats().pendingRecords, 1);
  await pass(clock, 200);
  assertEquals(target.calls.length, 3);
  await pass(clock, 2_000);
  await pass(clock, 400);
  assertEquals(target.calls.length, 4);
  assertEquals(buffer.stats().pendingRecords, 0);
  assertEquals(producer.stats().deliveredRecords, 1);
});

benchTest("Producer delivers all, in order, after the target was away for an hour", THREE, async (bench) => {
  const { clock, buffer, target, make } = bench;
  let isAway = true;
  let sent = 0;
  const got: string[] = [];
  const producer = make({
    send(delivery) {
      sent++;
      if (isAway) throw new Error("away");
      got.push(...delivery.records);
    },
    random: () => 0.5,
  });
  const records = Array.from({ length: 3_600 }, (_, i) => `${i} `);
  for (const record of records) {
    await producer.put(record);
    clock.advance(1_000);
    // As often as the backoff needs it, not more: an hour has to pass.
    if (clock.timers.some(({ delayMs }) => delayMs <= 1_000)) await settle();
  }
  assert(sent > 100 && sent < 400, `${sent} attempts`);
  assertEquals(buffer.stats().pendingRecords, 3_600);
  isAway = false;
  await pass(clock, 30_000);
  await producer.flush();
  assertEquals(got, records);
  assertEquals(buffer.stats().pendingRecords, 0);
  assertEquals(target.calls, []);
});

/** Codec of payloads of which some don't decode. */
const fussy: Codec<string> = {
  encode: textCodec().encode,
  decode(payload, version) {
    const text = textCodec().decode(payload, version);
    if (text.startsWith("bad")) throw new Error("no such text");
    return text;
  },
};

benchTest(
  "Producer puts aside a payload that doesn't decode, and sends the others",
  { ...NEVER_OLD, maxRecords: 4, codec: fussy },
  async ({ target, deadLetters, make }) => {
    const producer = make({ deadLetters });
    await producer.putMany(["a", "bad", "b", "bad too"]);
    await settle();
    // The first time it is the target's code that fails, before anything is sent.
    assertEquals(target.records, ["ab"]);
    assertEquals(target.calls[0].id, `${target.calls[0].batchId}.1+3`);
    const letters = (await deadLetters.emit()).records;
    assertEquals(letters.map(({ sequence, payload }) => [sequence, new TextDecoder().decode(payload)]), [
      [2, "bad"],
      [4, "bad too"],
    ]);
    assert(letters.every((letter) => !("record" in letter)));
    assertEquals(letters[0].error, "Cannot decode the payload of sequence 2: no such text");
    await producer.flush();
  },
);

const hopeless = (reason = "no") => fails(new DeliveryError({ reason, retryable: false }));

for (const whenFull of ["reject", "block"] as const) {
  benchTest(
    `Producer waits for a full dead-letter buffer to have room (${whenFull})`,
    { ...THREE, ...ONE_LETTER, forDeadLetters: { ...ONE_LETTER.forDeadLetters, maxRecords: 1, whenFull } },
    async (bench) => {
      const { clock, buffer, target, deadLetters, make } = bench;
      const producer = make({ deadLetters, timeoutMs: 1_000 });
      target.will(hopeless(LONG_REASON));
      await producer.putMany(["a", "b", "c", "d", "e", "f"]);
      // It goes round for an hour, and nothing is lost or committed.
      for (let i = 0; i < 36; i++) await pass(clock, 100_000);
      assertEquals(target.records, ["abc"]);
      assertEquals(buffer.stats().pendingRecords, 6);
      assertEquals(producer.stats().state, "running");
      const letters: DeadLetter<string>[] = [];
      for (let i = 0; i < 200 && buffer.stats().pendingRecords > 0; i++) {
        if (deadLetters.stats().pendingRecords > 0) {
          letters.push(...(await deadLetters.emit()).records);
          await deadLetters.commit();
        }
        await pass(clock, 30_000);
      }
      letters.push(...await left(deadLetters));
      assertEquals(letters.map(({ record }) => record), ["a", "b", "c"]);
      assertEquals(target.records, ["abc", "def"]);
      assertEquals(producer.stats().deadLetters, 3);
    },
  );
}

benchTest(
  "Producer stops when the dead-letter buffer is closed, or never takes the letter",
  THREE,
  async (bench) => {
    const { buffer, target, make } = bench;
    const closed = await MemoryBuffer.open({ codec: deadLetterCodec<string>() });
    // Buffers that say nothing of their limits.
    const refusing = (error: Error): RecordBuffer<DeadLetter<string>> =>
      ({ put: () => Promise.reject(error) }) as unknown as RecordBuffer<DeadLetter<string>>;
    const tiny = refusing(new RecordTooLargeError({ payloadBytes: 11, limitBytes: 10, index: undefined }));
    const small = refusing(new BufferFullError({ neededBytes: 11, backlogBytes: 0, maxBacklogBytes: 10 }));
    await buffer.putMany(["a", "b", "c"]);
    const never = [[closed, "BUFFER_CLOSED"], [tiny, "RECORD_TOO_LARGE"], [small, "BUFFER_FULL"]] as const;
    for (const [deadLetters, code] of never) {
      target.will(hopeless());
      const producer = make({ deadLetters });
      // Later on; one that is closed already is refused when the producer is made.
      if (deadLetters === closed) await closed.close();
      const error = await assertRejects(() => producer.flush(), ProducerStoppedError);
      assertEquals((error.cause as { code: string }).code, code);
      assertEquals([error.batchId, error.sequences], [target.calls[0].batchId, [1, 2, 3]]);
      await producer.close();
    }
    assertEquals(await left(buffer), ["a", "b", "c"]);
  },
);

benchTest("Producer puts only those letters again that were refused", THREE, async (bench) => {
  const { clock, target, make } = bench;
  const letters: string[] = [];
  let isMoody = true;
  // Somebody else's buffer, which fails with errors of its own.
  const deadLetters = {
    put(letter: DeadLetter<string>): Promise<number> {
      if (isMoody && letter.record === "b") return Promise.reject(new Error("in a mood"));
      letters.push(letter.key);
      return Promise.resolve(letters.length);
    },
  } as unknown as RecordBuffer<DeadLetter<string>>;
  const producer = make({ deadLetters });
  target.will(hopeless());
  await producer.putMany(["a", "b", "c"]);
  await pass(clock, 100);
  const { batchId } = target.calls[0];
  assertEquals(letters, [`${batchId}.1`, `${batchId}.3`]);
  isMoody = false;
  await pass(clock, 200);
  assertEquals(letters, [`${batchId}.1`, `${batchId}.3`, `${batchId}.2`]);
  assertEquals(producer.stats().committedRecords, 3);
});

benchTest("Producer puts thousands of dead letters, in order", { ...NEVER_OLD, maxRecords: 2_500 }, async (bench) => {
  const { target, deadLetters, make } = bench;
  const producer = make({ deadLetters });
  target.will(hopeless());
  const records = Array.from({ length: 2_500 }, (_, i) => `${i}`);
  await producer.putMany(records);
  await producer.flush();
  assertEquals((await left(deadLetters)).map(({ record }) => record), records);
});

/** A FileBuffer on a disk that fails as long as `fails` says so, a producer on it, and what it has sent. */
interface Disk {
  fails: ((operation: string, path: string) => boolean) | undefined;
  readonly fileSystem: MemoryFileSystem;
  readonly clock: ManualClock;
  readonly buffer: FileBuffer<string>;
  readonly sent: string[];
  /** Is called by `send`. */
  onSend: () => void;
  readonly make: () => Producer<string>;
}

function diskTest(title: string, body: (disk: Disk) => Promise<void>): void {
  test(title, async () => {
    const faults: Pick<Disk, "fails" | "onSend"> = { fails: undefined, onSend() {} };
    const fileSystem = new MemoryFileSystem({
      onOperation: ({ operation, path }): Fault | undefined =>
        faults.fails?.(operation, path) === true ? { kind: "fail", errno: "EIO" } : undefined,
    });
    const clock = new ManualClock();
    const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem, clock, fsync: "always", ...ONE });
    const sent: string[] = [];
    const producers: Producer<string>[] = [];
    const make = (): Producer<string> => {
      const send = ({ records }: { records: readonly string[] }): void => {
        sent.push(...records);
        faults.onSend();
      };
      const producer = new Producer<string>({ buffer, clock, random: () => 1, send });
      producers.push(producer);
      return producer;
    };
    await body(Object.assign(faults, { fileSystem, clock, buffer, sent, make }));
    for (const producer of producers) await finish(producer, clock);
    await buffer.close().catch(() => {});
    assertEquals(clock.timers, []);
  });
}

const onCursor = (operation: string, path: string) => operation === "write" && path.endsWith("/cursor");
const onRead = (operation: string, path: string) => operation === "read" && path.endsWith(".wal");
const onSync = (operation: string, path: string) => operation === "sync" && path.endsWith(".wal");

for (const [what, where] of [["a batch's end can't be saved", onCursor], ["a batch can't be read", onRead]] as const) {
  diskTest(`Producer waits, and sends nothing, while ${what}`, async (disk) => {
    const { clock, buffer, sent } = disk;
    await buffer.put("a");
    // One that was handed over is read again.
    if (where === onRead) await buffer.emit();
    disk.fails = where;
    const producer = disk.make();
    for (let i = 0; i < 100; i++) await pass(clock, 30_000);
    assertEquals([sent, producer.stats().state], [[], "running"]);
    assert(producer.stats().lastError!.message.includes("EIO"));
    disk.fails = undefined;
    await pass(clock, 30_000);
    await producer.flush();
    assertEquals(sent, ["a"]);
  });
}

diskTest("Producer commits when the disk is back, without sending again", async (disk) => {
  const { clock, buffer, sent } = disk;
  const producer = disk.make();
  disk.onSend = () => disk.fails = onCursor;
  await buffer.put("a");
  for (let i = 0; i < 100; i++) await pass(clock, 30_000);
  assertEquals([sent, buffer.stats().pendingRecords], [["a"], 1]);
  disk.fails = undefined;
  disk.onSend = () => {};
  await pass(clock, 30_000);
  assertEquals([sent, buffer.stats().pendingRecords], [["a"], 0]);
  await producer.put("b");
  await producer.flush();
  assertEquals(sent, ["a", "b"]);
});

diskTest("Producer stops when its buffer fails, and another one goes on where it was", async (disk) => {
  const { clock, fileSystem, sent } = disk;
  const producer = disk.make();
  await producer.put("a");
  await producer.flush();
  disk.fails = onSync;
  await assertRejects(() => producer.put("b"));
  disk.fails = undefined;
  await settle();
  const error = await assertRejects(() => producer.flush(), ProducerStoppedError);
  assertEquals((error.cause as { code: string }).code, "BUFFER_FAILED");
  assertStrictEquals(await assertRejects(() => producer.put("c")), error);
  assertEquals(producer.stats().state, "stopped");
  await producer.close();
  await disk.buffer.close().catch(() => {});
  const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem, clock, ...ONE });
  const next = new Producer<string>({ buffer, send: ({ records }) => void sent.push(...records) });
  await next.put("d");
  await next.flush();
  assertEquals(sent.filter((record) => record !== "b"), ["a", "d"]);
  await next.close();
  await buffer.close();
});

benchTest("Producer stops when its buffer is closed", ONE, async ({ buffer, target, make }) => {
  const producer = make();
  const held = new Held();
  target.will(held.answer);
  await producer.putMany(["a", "b"]);
  const flushed = producer.flush();
  await settle();
  await buffer.close();
  assert(await isPending(flushed));
  held.take();
  const error = await assertRejects(() => flushed, ProducerStoppedError);
  assertEquals((error.cause as { code: string }).code, "BUFFER_CLOSED");
  assertStrictEquals(await assertRejects(() => producer.put("c")), error);
});

test("Producer stops when its idle buffer is closed", () =>
  useBench("MemoryBuffer", ONE, async ({ buffer, make }) => {
    const producer = make();
    await settle();
    await buffer.close();
    await settle();
    assertEquals(producer.stats().state, "stopped");
    await assertRejects(() => producer.flush(), ProducerStoppedError, "the buffer is closed");
  }));
