/**
 * Producer: a target that is ill, whatever is sent to it. It is asked once after each pause, nothing becomes a dead letter because of
 * it, and everything goes on as soon as it takes something.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  BufferFullError,
  type Codec,
  type DeadLetter,
  DeliveryError,
  type DeliveryErrorData,
  type FailedRecord,
  ProducerClosedError,
  type ProducerEvent,
  ProducerStoppedError,
  type RecordBuffer,
  textCodec,
} from "../../mod.ts";
import { settle } from "../support/event_loop.ts";
import { seededRandom } from "../support/random.ts";
import { type Answer, benchTest, fails, hangs, Held, ignoresSignal, left, pass, typesOf, useBench } from "./tools.ts";

const NEVER_OLD = { maxAgeMs: 2 ** 31 - 1, codec: textCodec() };
const THREE = { ...NEVER_OLD, maxRecords: 3 };
const ONE = { ...NEVER_OLD, maxRecords: 1 };

/** An answer of a target that is ill until somebody acts. */
const ill = (data: Partial<DeliveryErrorData> = {}): Answer =>
  fails(new DeliveryError({ reason: "wrong password", scope: "target", ...data }));
/** An answer of a target that is away. */
const away = (data: Partial<DeliveryErrorData> = {}): Answer =>
  ill({ reason: "no connection", retryable: true, ...data });
/** An answer about the records. */
const refused = (data: Partial<DeliveryErrorData> = {}): Answer =>
  fails(new DeliveryError({ reason: "status 400", retryable: false, ...data }));
const some = (...failed: FailedRecord[]): Partial<DeliveryErrorData> => ({ failed });
const bad = (index: number): FailedRecord => ({ index, retryable: false, reason: "bad" });

function times(count: number, answer: Answer): Answer[] {
  return Array.from({ length: count }, () => answer);
}

/** One of three records is bad, and the others are to come one by one. */
const tooManyAndOneBad = new DeliveryError({
  reason: "too many",
  tooLarge: true,
  failed: [bad(0), { index: 1, retryable: true, reason: "too many" }, {
    index: 2,
    retryable: true,
    reason: "too many",
  }],
});

const isGateEvent = ({ type }: ProducerEvent): boolean => type === "blocked" || type === "unblocked";

benchTest("a target's fault waits as long as may be, for ever, and makes no dead letter", THREE, async (bench) => {
  const { clock, buffer, target, deadLetters, events, make } = bench;
  const producer = make({ deadLetters });
  const error = new DeliveryError({ reason: "wrong password", scope: "target", ...some(bad(0), bad(1), bad(2)) });
  target.will(...times(40, fails(error)));
  await producer.putMany(["a", "b", "c"]);
  await settle();
  const startedAt = clock.now();
  const [{ id, batchId }] = target.calls;
  assertEquals(events.filter(isGateEvent), [
    { type: "blocked", id, batchId, error, reason: "target-fault", until: startedAt + 30_000 },
  ]);
  assertEquals(producer.stats().backoffUntil, startedAt + 30_000);
  // Exactly the longest pause, whatever chance says and however often it fails.
  for (let calls = 1; calls < 40; calls++) {
    await pass(clock, 29_999);
    assertEquals(target.calls.length, calls);
    await pass(clock, 1);
    assertEquals(target.calls.length, calls + 1);
  }
  const { state, blockedSince, blocks, targetFaults, deadLetters: letters } = producer.stats();
  assertEquals([state, blockedSince, blocks, targetFaults, letters], ["running", startedAt, 1, 40, 0]);
  await pass(clock, 30_000);
  assertEquals(events.filter(isGateEvent).at(-1), { type: "unblocked", batchId, blockedMs: 40 * 30_000 });
  assertEquals([target.records.at(-1), buffer.stats().pendingRecords], ["abc", 0]);
  assertEquals([producer.stats().blockedSince, producer.stats().blocks], [undefined, 1]);
  assertEquals(deadLetters.stats().puts, 0);
});

benchTest(
  "a target's fault that passes by itself is tried again soon, then less and less often",
  ONE,
  async (bench) => {
    const { clock, target, make } = bench;
    make({ retry: { firstDelayMs: 100, maxDelayMs: 350 } });
    target.will(...times(4, away()));
    await bench.buffer.put("a");
    for (const [i, delayMs] of [100, 200, 350, 350].entries()) {
      await pass(clock, delayMs - 1);
      assertEquals(target.calls.length, i + 1);
      await pass(clock, 1);
      assertEquals(target.calls.length, i + 2);
    }
    assertEquals(target.calls.map(({ attempt, redelivered }) => [attempt, redelivered]), [
      [1, false],
      [2, true],
      [3, true],
      [4, true],
      [5, true],
    ]);
  },
);

test("thousands of faults of every kind make no dead letter, and everything arrives in order", () =>
  useBench("MemoryBuffer", { ...NEVER_OLD, maxRecords: 5 }, async (bench) => {
    const { clock, buffer, deadLetters, make } = bench;
    const random = seededRandom(15);
    const got: string[] = [];
    let faults = 0;
    const producer = make({
      deadLetters,
      retry: { firstDelayMs: 10, maxDelayMs: 1_000 },
      timeoutMs: 500,
      send({ records }, { signal }) {
        if (faults === 3_000) return void got.push(...records);
        faults++;
        if (random(20) === 0) {
          return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
        }
        const taken = random(10) === 0 ? random(records.length) : 0;
        got.push(...records.slice(0, taken));
        const failed = records.slice(taken).map((_, i) => ({ ...bad(taken + i), retryable: random(2) === 0 }));
        throw new DeliveryError({
          reason: "ill",
          scope: "target",
          retryable: random(2) === 0,
          split: random(2) === 0,
          tooLarge: random(3) === 0,
          failed: taken > 0 || random(2) === 0 ? failed : undefined,
          retryAfterMs: random(5) === 0 ? random(3_000) : undefined,
        });
      },
    });
    const records = Array.from({ length: 5_000 }, (_, i) => `${i}`);
    await producer.putMany(records);
    while (faults < 3_000) await pass(clock, 3_000);
    assertEquals([producer.stats().targetFaults, deadLetters.stats().puts], [3_000, 0]);
    await pass(clock, 5_000);
    await producer.flush();
    assertEquals(got, records);
    assertEquals([buffer.stats().pendingRecords, deadLetters.stats().puts], [0, 0]);
  }));

benchTest("one batch of many in flight tries an ill target; the others wait for it to be well", ONE, async (bench) => {
  const { clock, buffer, target, events, make } = bench;
  const producer = make({ maxInFlight: 16 });
  const held = Array.from({ length: 16 }, () => new Held());
  target.will(...held.map(({ answer }) => answer));
  const records = Array.from({ length: 20 }, (_, i) => `${i} `);
  await producer.putMany(records);
  await settle();
  assertEquals(target.calls.length, 16);
  // The third is the first that fails, and so it is the one that tries.
  for (const i of [2, ...records.keys()].filter((i) => i < 16)) {
    held[i].refuse(new DeliveryError({ reason: "wrong password", scope: "target" }));
    await settle();
  }
  target.will(...times(9, ill()));
  for (let i = 0; i < 10; i++) await pass(clock, 30_000);
  assertEquals(target.records.slice(16, 26), Array(10).fill("2 "));
  assertEquals(producer.stats().targetFaults, 16 + 9);
  assertEquals(typesOf(events.filter(isGateEvent)), ["blocked", "unblocked"]);
  assertEquals(buffer.stats().pendingRecords, 0);
  assertEquals(target.records.slice(26), records.filter((record) => record !== "2 "));
});

benchTest("what was sent before the gate closed, and is taken, opens it", ONE, async (bench) => {
  const { clock, target, events, make } = bench;
  const producer = make({ maxInFlight: 3 });
  const held = Array.from({ length: 3 }, () => new Held());
  target.will(...held.map(({ answer }) => answer));
  await producer.putMany(["a", "b", "c"]);
  await settle();
  for (const i of [0, 2]) held[i].refuse(new DeliveryError({ reason: "wrong password", scope: "target" }));
  await settle();
  assertEquals(typesOf(events.filter(isGateEvent)), ["blocked"]);
  held[1].take();
  await settle();
  assertEquals(typesOf(events.filter(isGateEvent)), ["blocked", "unblocked"]);
  // "c" waited for that, "a" has its pause.
  assertEquals(target.records, ["a", "b", "c", "c"]);
  await pass(clock, 30_000);
  assertEquals(target.records, ["a", "b", "c", "c", "a"]);
});

benchTest("a prober that fails because of its own record hands its role on", ONE, async (bench) => {
  const { clock, buffer, target, deadLetters, events, make } = bench;
  const producer = make({ maxInFlight: 3, deadLetters, retry: { firstDelayMs: 7_000 } });
  const held = Array.from({ length: 3 }, () => new Held());
  target.will(...held.map(({ answer }) => answer));
  await producer.putMany(["a", "b", "c"]);
  await settle();
  for (const one of held) one.refuse(new DeliveryError({ reason: "no table", scope: "target" }));
  // "a" is a bad record, "b" fails for a reason that isn't known, "c" is the target's fault again.
  target.will(refused(), fails(), ill());
  await pass(clock, 30_000);
  assertEquals(target.records.slice(3), ["a", "b", "c"]);
  assertEquals(typesOf(events.filter(isGateEvent)), ["blocked"]);
  // The backoff of "b" is over, and it waits for "c".
  await pass(clock, 29_999);
  assertEquals(target.records.slice(6), []);
  await pass(clock, 1);
  assertEquals(target.records.slice(6), ["c", "b"]);
  assertEquals(typesOf(events.filter(isGateEvent)), ["blocked", "unblocked"]);
  assertEquals((await left(deadLetters)).map(({ record, attempts }) => [record, attempts]), [["a", 2]]);
  assertEquals(buffer.stats().pendingRecords, 0);
});

for (
  const [what, limits, own] of [
    ["expire", { maxRecordAgeMs: 1_000, maxAgeMs: 100 }, [away(), away()]],
    ["are bad, of too many at once", {}, [fails(tooManyAndOneBad)]],
  ] as const
) {
  benchTest(
    `a prober whose dead letters find no room keeps no other batch from being tried: its records ${what}`,
    { ...THREE, ...limits },
    async (bench) => {
      const { clock, target, make } = bench;
      const noRoom = new BufferFullError({ neededBytes: 1, backlogBytes: 1, maxBacklogBytes: 1 });
      let isFull = true;
      const put = (): Promise<number> => isFull ? Promise.reject(noRoom) : Promise.resolve(1);
      const deadLetters = { put } as unknown as RecordBuffer<DeadLetter<string>>;
      const producer = make({ deadLetters, maxInFlight: 2, retry: { firstDelayMs: 400, maxDelayMs: 400 } });
      target.will(away(), ...own);
      await producer.putMany(["a", "b", "c"]);
      for (let i = 0; i < 3; i++) await pass(clock, 100);
      await producer.putMany(["d", "e", "f"]);
      for (let i = 0; i < 10; i++) await pass(clock, 100);
      assertEquals(target.records.at(-1), "def");
      isFull = false;
      for (let i = 0; i < 9; i++) await pass(clock, 100);
      assertEquals([producer.stats().committedRecords, producer.stats().blockedSince], [6, undefined]);
    },
  );
}

benchTest(
  "a target that takes some records and then fails keeps the rest, and is at the start of its faults",
  THREE,
  async (
    bench,
  ) => {
    const { clock, target, deadLetters, events, make } = bench;
    const producer = make({ deadLetters, retry: { firstDelayMs: 100, maxAttempts: 3 } });
    target.will(away(), away(), away(some(bad(1), bad(2))), away(), away(some(bad(1))));
    await producer.putMany(["a", "b", "c"]);
    await settle();
    for (const delayMs of [100, 200, 100, 200, 100]) {
      const { length } = target.calls;
      await pass(clock, delayMs - 1);
      assertEquals(target.calls.length, length);
      await pass(clock, 1);
      assertEquals(target.calls.length, length + 1);
    }
    assertEquals(target.records, ["abc", "abc", "abc", "bc", "bc", "c"]);
    assertEquals(typesOf(events.filter(isGateEvent)), ["blocked", "unblocked"]);
    assertEquals([producer.stats().deliveredRecords, deadLetters.stats().puts], [3, 0]);
  },
);

benchTest("a target at fault that wants less at once gets halves; a single record waits", THREE, async (bench) => {
  const { clock, target, deadLetters, events, make } = bench;
  const producer = make({ deadLetters });
  target.will(
    away({ tooLarge: true }),
    away({ tooLarge: true }),
    away({ tooLarge: true, split: true }),
    ill({ split: true }),
  );
  await producer.putMany(["a", "b", "c"]);
  await settle();
  assertEquals(target.records, ["abc", "ab", "a"]);
  await pass(clock, 100);
  assertEquals(target.records, ["abc", "ab", "a", "a"]);
  await pass(clock, 30_000);
  assertEquals(target.records, ["abc", "ab", "a", "a", "a", "b", "c"]);
  assertEquals([producer.stats().halved, deadLetters.stats().puts], [2, 0]);
  assertEquals(typesOf(events.filter(isGateEvent)), ["blocked", "unblocked"]);
});

benchTest(
  "an attempt that takes too long is the target's fault, whether it answers its signal or not",
  ONE,
  async (bench) => {
    const { clock, buffer, target, deadLetters, make } = bench;
    const producer = make({ deadLetters, timeoutMs: 1_000 });
    target.will(hangs, ignoresSignal, hangs);
    await producer.put("a");
    for (const ms of [1_000, 100, 2_000, 200, 1_000, 400]) await pass(clock, ms);
    const { timeouts, targetFaults, blocks } = producer.stats();
    assertEquals([timeouts, targetFaults, blocks], [3, 3, 1]);
    assertEquals([buffer.stats().pendingRecords, deadLetters.stats().puts], [0, 0]);
  },
);

for (const bound of [{ maxAttempts: 3 }, { maxElapsedMs: 60_000 }]) {
  const what = JSON.stringify(bound);
  benchTest(
    `the producer stops when the target fails for longer than retry allows, without letters: ${what}`,
    ONE,
    async (bench) => {
      const { clock, buffer, target, deadLetters, make } = bench;
      const producer = make({ deadLetters, retry: bound, maxInFlight: 2 });
      target.will(...times(4, ill()));
      await producer.putMany(["a", "b"]);
      const flushed = assertRejects(() => producer.flush(), ProducerStoppedError);
      for (let i = 0; i < 2; i++) await pass(clock, 30_000);
      const error = await flushed;
      assertStringIncludes(
        error.message,
        "retry allows no further attempt: Cannot deliver: wrong password; resume() goes on",
      );
      assertEquals([error.batchId, error.sequences], [target.calls[0].batchId, []]);
      assert(error.cause instanceof DeliveryError);
      assertEquals(producer.stats().blockedSince, undefined);
      assertEquals([buffer.stats().pendingRecords, deadLetters.stats().puts], [2, 0]);
      target.will();
      producer.resume();
      await pass(clock, 30_000);
      await producer.flush();
      assertEquals(buffer.stats().pendingRecords, 0);
    },
  );
}

for (const [bound, failures] of [[{ maxAttempts: 3 }, 3], [{ maxElapsedMs: 60_000 }, 8]] as const) {
  const what = JSON.stringify(bound);
  benchTest(`the target's faults use up no record's attempts or time: ${what}`, ONE, async (bench) => {
    const { clock, target, deadLetters, make } = bench;
    const retry = { firstDelayMs: 1_000, maxDelayMs: 20_000, ...bound };
    const producer = make({ deadLetters, retry, timeoutMs: 10_000 });
    // The record's own pauses are 1, 2, 4, 8, 16, 20 and, for want of time, 9 seconds. With the target's it is four minutes.
    target.will(...times(failures, fails()).flatMap((answer) => [ill({ failed: [bad(0)] }), hangs, answer]));
    await producer.put("a");
    for (let seconds = 0; producer.stats().deadLetters === 0; seconds++) {
      assert(seconds < 600 && producer.stats().state === "running", `${seconds} s`);
      await pass(clock, 1_000);
    }
    assertEquals([target.calls.length, producer.stats().targetFaults], [3 * failures, 2 * failures]);
    assertEquals((await left(deadLetters)).map(({ attempts, error }) => [attempts, error]), [
      [3 * failures, "the target is away"],
    ]);
  });
}

benchTest("a client that its owner has closed stops the producer, and resume() goes on", THREE, async (bench) => {
  const { buffer, target, deadLetters, make } = bench;
  const producer = make({ deadLetters });
  const data = { reason: "the client is closed", retryable: false, final: true, ...some(bad(0)) } as const;
  for (const scope of ["target", "record"] as const) {
    target.will(fails(new DeliveryError({ ...data, scope })));
    if (scope === "target") await producer.putMany(["a", "b", "c"]);
    const error = await assertRejects(() => producer.flush(), ProducerStoppedError);
    assertEquals(
      error.message,
      "Cannot go on delivering: the client was closed by its owner: Cannot deliver: the client is closed; " +
        "once it is open again, resume() goes on",
    );
    assertEquals([buffer.stats().pendingRecords, deadLetters.stats().puts], [3, 0]);
    producer.resume();
  }
  await producer.flush();
  assertEquals(target.records, ["abc", "abc", "abc"]);
});

for (const end of ["close", "stop", "abort"] as const) {
  benchTest(`all that wait for an ill target are let go at the end: ${end}`, ONE, async (bench) => {
    const { clock, buffer, target, events, make } = bench;
    const producer = make({ maxInFlight: 4, retry: { maxAttempts: end === "stop" ? 2 : Infinity } });
    target.will(...times(9, ill()));
    await producer.putMany(["a", "b", "c", "d"]);
    const flushed = producer.flush().catch((error) => error);
    await settle();
    assertEquals(producer.stats().inFlightBatches, 4);
    assertEquals(producer.stats().blockedSince, clock.now());
    if (end === "stop") await pass(clock, 30_000);
    else await producer.close(end === "abort" ? { signal: AbortSignal.abort() } : {});
    assert(await flushed instanceof (end === "stop" ? ProducerStoppedError : ProducerClosedError));
    assertEquals(producer.stats().blockedSince, undefined);
    assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), []);
    assertEquals(typesOf(events.filter(isGateEvent)), ["blocked"]);
    assertEquals(await left(buffer), ["a", "b", "c", "d"]);
  });
}

benchTest("the pause that a target asks for counts, up to a limit", ONE, async (bench) => {
  const { clock, target, make } = bench;
  make({ retry: { maxDelayMs: 1_000, firstDelayMs: 10, maxRetryAfterMs: 60_000 } });
  target.will(ill({ retryAfterMs: 5_000 }), ill({ retryAfterMs: 10 }), away({ retryAfterMs: 86_400_000 }));
  await bench.buffer.put("a");
  for (const [i, delayMs] of [5_000, 1_000, 60_040].entries()) {
    await pass(clock, delayMs - 1);
    assertEquals(target.calls.length, i + 1);
    await pass(clock, 1);
    assertEquals(target.calls.length, i + 2);
  }
});

benchTest("the pause that was asked for in answer to another batch counts as well", ONE, async (bench) => {
  const { clock, target, make } = bench;
  const producer = make({ maxInFlight: 2 });
  const held = [new Held(), new Held()];
  target.will(...held.map(({ answer }) => answer));
  await producer.putMany(["a", "b"]);
  await settle();
  const data = { reason: "slow down", scope: "target", retryable: true } as const;
  held[0].refuse(new DeliveryError(data));
  held[1].refuse(new DeliveryError({ ...data, retryAfterMs: 60_000 }));
  await pass(clock, 59_999);
  assertEquals(target.calls.length, 2);
  await pass(clock, 1);
  assertEquals(target.records, ["a", "b", "a", "b"]);
});

benchTest("Producer.retryNow() ends the pauses there are, once", ONE, async (bench) => {
  const { clock, target, events, make } = bench;
  const producer = make({ maxInFlight: 2 });
  assertEquals(producer.retryNow(), false);
  target.will(away({ retryAfterMs: 86_400_000 }), () => {}, fails());
  await producer.putMany(["a", "b"]);
  await settle();
  assertEquals(producer.retryNow(), true);
  assertEquals(producer.retryNow(), false, "it has ended");
  await settle();
  assertEquals(target.records, ["a", "a", "b"]);
  // That of a record.
  assertEquals(producer.retryNow(), true);
  await settle();
  assertEquals(target.records, ["a", "a", "b", "b"]);
  assertEquals(producer.retryNow(), false);
  assertEquals(events.filter(({ type }) => type === "retry-requested").length, 2);
  assertEquals(clock.timers.filter(({ keepAlive }) => keepAlive), []);
  await producer.close();
  assertEquals(producer.retryNow(), false);
});

for (
  const [what, answer] of [
    ["that the target has asked for", away({ retryAfterMs: 86_400_000 })],
    ["after a failure of no known reason", fails()],
  ] as const
) {
  benchTest(`Producer.retryNow() of a listener that is told of a pause ends it: ${what}`, ONE, async (bench) => {
    const { clock, target, events, make } = bench;
    const producer = make();
    const seen: unknown[] = [];
    producer.subscribe(({ type }) => {
      if (type !== "backoff-started") return;
      const { backoffUntil } = producer.stats();
      seen.push(backoffUntil! > clock.now(), producer.retryNow(), producer.retryNow());
    });
    target.will(answer);
    await producer.put("a");
    await settle();
    assertEquals([target.records, seen], [["a", "a"], [true, true, false]]);
    assertEquals(events.filter(({ type }) => type === "retry-requested").length, 1);
  });
}

/** A producer in front of a target that refuses everything, watched for `ms` milliseconds. */
const WATCHED_MS = 3_000;

for (
  const [what, data] of [
    ["413 to everything", { reason: "status 413", tooLarge: true, retryable: false }],
    ["400 to everything", { reason: "status 400", retryable: false }],
    ["some record is bad, whatever the records", { reason: "status 422", split: true, retryable: false }],
    ["all records are bad", { reason: "all", failed: Array.from({ length: 16 }, (_, i) => bad(i)) }],
  ] as const
) {
  for (const maxInFlight of [1, 4]) {
    test(`a target that says ${what} is asked less and less often, ${maxInFlight} in flight`, () =>
      useBench("MemoryBuffer", { ...NEVER_OLD, maxRecords: 16 }, async (bench) => {
        const { clock, target, deadLetters, events, make } = bench;
        let calls = 0;
        let isWell = false;
        const producer = make({
          maxInFlight,
          deadLetters,
          send(delivery, context) {
            calls++;
            if (isWell) return target.send(delivery, context);
            if (!("failed" in data)) throw new DeliveryError(data);
            throw new DeliveryError({ ...data, failed: data.failed.slice(0, delivery.length) });
          },
        });
        await producer.putMany(Array.from({ length: 16 * 200 }, (_, i) => `${i}`));
        for (let ms = 0; ms < WATCHED_MS; ms += 100) await pass(clock, 100);
        // Five pauses of 100 to 1,600 ms, at most two requests for each, and what there was before.
        assert(calls <= 45, `${calls} requests`);
        const letters = producer.stats().deadLetters;
        const perDelivery = "tooLarge" in data || "split" in data ? 1 : 16;
        assert(letters <= (4 + 4 + 2 * maxInFlight) * perDelivery, `${letters} letters`);
        assertEquals(typesOf(events.filter(isGateEvent)), ["blocked"]);
        const blocked = events.find((event) => event.type === "blocked")!;
        assertEquals([blocked.reason, blocked.until], ["refusals", producer.stats().blockedSince! + 100]);
        isWell = true;
        await pass(clock, 30_000);
        await producer.flush();
        assertEquals(typesOf(events.filter(isGateEvent)), ["blocked", "unblocked"]);
        assertEquals((await left(deadLetters)).length, letters);
      }));
  }
}

benchTest("a refusal is believed at once four times in a row, then when it is repeated", ONE, async (bench) => {
  const { clock, target, deadLetters, events, make } = bench;
  const producer = make({ deadLetters, retry: { firstDelayMs: 1_000 } });
  target.will(...times(9, refused()));
  await producer.putMany([..."abcdefghi"]);
  await settle();
  assertEquals(target.records, [..."abcde"]);
  assertEquals(producer.stats().deadLetters, 4);
  await pass(clock, 999);
  assertEquals(target.records.length, 5);
  await pass(clock, 1);
  assertEquals(target.records, [..."abcdeef"], "the next is refused as well");
  assertEquals(producer.stats().deadLetters, 5);
  await pass(clock, 1_999);
  assertEquals(target.records.length, 7);
  await pass(clock, 1);
  // It is believed of "f" and asked of "g", and "g" is taken when it is asked again.
  assertEquals(target.records, [..."abcdeeffg"]);
  await pass(clock, 4_000);
  assertEquals(target.records, [..."abcdeeffgghi"]);
  assertEquals((await left(deadLetters)).map(({ record, attempts }) => `${record}${attempts}`), [
    ...["a1", "b1", "c1", "d1", "e2", "f2"],
  ]);
  assertEquals(typesOf(events.filter(isGateEvent)), ["blocked", "unblocked"]);
});

benchTest(
  "each of several deliveries that were refused at once has its pause before it is believed",
  ONE,
  async (bench) => {
    const { clock, target, deadLetters, make } = bench;
    const producer = make({ deadLetters, maxInFlight: 4 });
    const held = Array.from({ length: 8 }, () => new Held());
    target.will(...held.map(({ answer }) => answer), ...times(4, refused()));
    await producer.putMany([..."abcdefgh"]);
    for (const one of held) {
      await settle();
      one.refuse(new DeliveryError({ reason: "status 400", retryable: false }));
    }
    await settle();
    assertEquals([target.records, producer.stats().deadLetters], [[..."abcdefgh"], 4]);
    // That of "e" was due after the fifth refusal, those of the others after eight.
    for (const [i, delayMs] of [100, 800, 800, 800].entries()) {
      await pass(clock, delayMs - 1);
      assertEquals(target.calls.length, 8 + i);
      await pass(clock, 1);
      assertEquals([target.records.at(-1), producer.stats().deadLetters], ["efgh"[i], 5 + i]);
    }
  },
);

benchTest("anything that is taken begins the count of refusals again", THREE, async (bench) => {
  const { buffer, target, deadLetters, events, make } = bench;
  const producer = make({ deadLetters });
  // In turns: four deliveries that are refused, and one of which a record is taken.
  for (let i = 0; i < 5; i++) target.will(...times(4, refused()), refused(some(bad(0), bad(1))));
  await producer.putMany(Array.from({ length: 75 }, (_, i) => `${i} `));
  await settle();
  assertEquals([buffer.stats().pendingRecords, producer.stats().deadLetters], [0, 70]);
  assertEquals(events.filter(isGateEvent), []);
});

benchTest("deliveries that are given up count as refused", ONE, async (bench) => {
  const { clock, target, deadLetters, make } = bench;
  const producer = make({ deadLetters, retry: { maxAttempts: 1 } });
  target.will(...times(7, fails()));
  await producer.putMany([..."abcdefg"]);
  await settle();
  assertEquals(target.records, [..."abcde"]);
  await pass(clock, 100);
  assertEquals(target.records, [..."abcdeef"]);
  await pass(clock, 200);
  assertEquals(target.records, [..."abcdeeffg"]);
  assertEquals((await left(deadLetters)).map(({ record }) => record), [..."abcde"]);
});

const undecodable: Codec<string> = {
  encode: textCodec().encode,
  decode() {
    throw new Error("no such text");
  },
};

benchTest("payloads that don't decode are no refusals", { ...ONE, codec: undecodable }, async (bench) => {
  const { buffer, events, deadLetters, make } = bench;
  const producer = make({ deadLetters });
  await producer.putMany(Array.from({ length: 50 }, (_, i) => `${i}`));
  await settle();
  assertEquals([buffer.stats().pendingRecords, producer.stats().deadLetters], [0, 50]);
  assertEquals(events.filter(isGateEvent), []);
});

benchTest("refusals and faults of the target share one gate", ONE, async (bench) => {
  const { clock, target, deadLetters, events, make } = bench;
  const producer = make({ deadLetters, maxInFlight: 2 });
  target.will(...times(5, refused()), ill(), refused(), ill(), () => {});
  await producer.putMany([..."abcdefg"]);
  await settle();
  await pass(clock, 100);
  for (let i = 0; i < 8; i++) await pass(clock, 30_000);
  await producer.flush();
  assertEquals(typesOf(events.filter(isGateEvent)), ["blocked", "unblocked"]);
  const letters = (await left(deadLetters)).map(({ record }) => record);
  assertEquals(letters, [..."abcd", target.calls[4].records[0]], "one was refused, and again after pauses");
});
