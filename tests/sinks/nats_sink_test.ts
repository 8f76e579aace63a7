/**
 * `natsSink()`: nothing twice and nothing in another order, when messages are refused, lost, late or sent again long after
 * the server has forgotten their ids. On a stream in memory that does what it is told; the last ones on a real server.
 */

import { test } from "node:test";
import { assertEquals, assertLess, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { natsSink } from "../../src/sinks/nats.ts";
import { loadJetStream, loadNats } from "../engines/clients.ts";
import { UUID } from "../support/deliveries.ts";
import { seededRandom } from "../support/random.ts";
import { FakeStream, StreamError } from "./fake_stream.ts";
import { batchOf, refusalOf, send, testWithServer } from "./tools.ts";

const OPTIONS = { stream: "NUMBERS", subject: "numbers" };
const number = (sequence: number) => sequence;

/** The records of sequences from `first` to `last`, as the stream has them. */
function texts(first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => String(first + i));
}

test("natsSink() stores nothing twice when a delivery comes again after the duplicate window", async () => {
  const stream = new FakeStream();
  const results: unknown[] = [];
  const options = { ...OPTIONS, onDelivered: (result: unknown) => results.push(result) };
  await send(natsSink(stream, options), batchOf([1, 10], number));
  stream.endWindow();
  await send(natsSink(stream, options), batchOf([1, 10], number, { redelivered: true }));
  assertEquals(stream.texts, texts(1, 10));
  assertEquals(results, [{ stored: 10, duplicates: 0 }, { stored: 0, duplicates: 10 }]);
});

test("natsSink() stores no record when the one before it is refused", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>(stream, OPTIONS);
  stream.fateOf = (id) => id.endsWith(":4") ? "refused" : "stored";
  const { retryable } = await refusalOf(sink, batchOf([1, 10], number));
  assertEquals([stream.texts, retryable], [texts(1, 3), true]);
  stream.fateOf = () => "stored";
  await send(sink, batchOf([1, 10], number), 2);
  assertEquals(stream.texts, texts(1, 10));
});

test("natsSink() goes on where a process that is gone has stopped", async () => {
  for (let stored = 0; stored <= 5; stored++) {
    const stream = new FakeStream();
    await send(natsSink(stream, OPTIONS), batchOf([1, 7], number));
    stream.fateOf = (id) => Number(id.split(":")[1]) > 7 + stored ? "refused" : "stored";
    await (stored < 5 ? refusalOf : send)(natsSink<number>(stream, OPTIONS), batchOf([8, 12], number));
    stream.endWindow();
    stream.fateOf = () => "stored";
    await send(natsSink(stream, OPTIONS), batchOf([8, 12], number, { redelivered: true }));
    assertEquals(stream.texts, texts(1, 12), `${stored} stored before`);
  }
});

test("natsSink() finds records whose acknowledgement was lost", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>(stream, OPTIONS);
  stream.fateOf = () => "unanswered";
  await refusalOf(sink, batchOf([1, 10], number));
  stream.endWindow();
  stream.fateOf = () => "stored";
  await send(sink, batchOf([1, 10], number), 2);
  assertEquals(stream.texts, texts(1, 10));
});

test("natsSink() and messages that arrive during the next attempt store each record once", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>(stream, OPTIONS);
  stream.fateOf = () => "late";
  await refusalOf(sink, batchOf([1, 10], number));
  let published = 0;
  stream.fateOf = () => {
    // Between the look at the stream and the publishing.
    if (published++ === 0) stream.letLateArrive();
    stream.endWindow();
    return "stored";
  };
  await refusalOf(sink, batchOf([1, 10], number), 2);
  await send(sink, batchOf([1, 10], number), 3);
  assertEquals(stream.texts, texts(1, 10));
});

test("natsSink() finds a part of a batch behind which others were stored, without reading all of them", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>(stream, OPTIONS);
  stream.fateOf = (id) => id.endsWith(":3") ? "refused" : "stored";
  await refusalOf(sink, batchOf([1, 500], number));
  for (let first = 501; first < 7001; first += 500) await send(sink, batchOf([first, first + 499], number));
  stream.endWindow();
  stream.fateOf = () => "stored";
  stream.reads = 0;
  await send(natsSink(stream, OPTIONS), batchOf([1, 500], number, { redelivered: true }));
  assertEquals(stream.texts, [...texts(1, 2), ...texts(501, 7000), ...texts(3, 500)]);
  assertLess(stream.reads, 50);
});

test("natsSink() doesn't take other records with the same sequences for duplicates", async () => {
  const stream = new FakeStream();
  await send(natsSink(stream, OPTIONS), batchOf([1, 10], number));
  // After a power cut, or of a buffer that was begun anew.
  const again = { redelivered: true, checksum: "0badcafe" };
  await send(natsSink(stream, OPTIONS), batchOf([1, 10], number, again));
  const other = { redelivered: true, uuid: UUID.replace("5", "6") };
  await send(natsSink(stream, OPTIONS), batchOf([1, 10], number, other));
  assertEquals(stream.texts, [...texts(1, 10), ...texts(1, 10), ...texts(1, 10)]);
});

test("natsSink() goes on when somebody else has published to the stream", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>(stream, OPTIONS);
  await send(sink, batchOf([1, 2], number));
  stream.publishAsStranger("hello");
  const { retryable } = await refusalOf(sink, batchOf([3, 4], number));
  await send(sink, batchOf([3, 4], number), 2);
  assertEquals([retryable, stream.texts], [true, ["1", "2", "hello", "3", "4"]]);
});

test("natsSink() says so when the end of the stream is gone, and resends if it was told to", async () => {
  const stream = new FakeStream();
  await send(natsSink(stream, OPTIONS), batchOf([1, 5], number));
  stream.purge();
  stream.endWindow();
  const { retryable, message } = await refusalOf(
    natsSink<number>(stream, OPTIONS),
    batchOf([1, 5], number, { redelivered: true }),
  );
  assertEquals(retryable, false);
  assertStringIncludes(message, "the end of stream NUMBERS is gone");
  await send(natsSink(stream, OPTIONS), batchOf([6, 7], number));
  stream.purge();
  const resending = natsSink<number>(stream, { ...OPTIONS, whenUnknown: "resend" });
  await send(resending, batchOf([8, 9], number, { redelivered: true }));
  assertEquals(stream.texts, ["8", "9"]);
});

test("natsSink() delivers to a stream that comes back empty", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>(stream, OPTIONS);
  await send(sink, batchOf([1, 5], number));
  stream.recreate();
  await refusalOf(sink, batchOf([6, 8], number));
  await send(sink, batchOf([6, 8], number), 2);
  assertEquals(stream.texts, texts(6, 8));
});

test("natsSink() reports a record that is refused for good, and sends what is behind it without it", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>(stream, {
    ...OPTIONS,
    subject(record) {
      if (record === 3) throw new Error("no subject for 3");
      return "numbers";
    },
  });
  const { failed } = await refusalOf(sink, batchOf([1, 5], number));
  assertEquals(failed?.map(({ index, retryable }) => [index, retryable]), [[2, false], [3, true], [4, true]]);
  await send(sink, batchOf([1, 5], number, { sequences: [1, 2, 4, 5], redelivered: true }));
  assertEquals(stream.texts, ["1", "2", "4", "5"]);
});

test("natsSink() gives up the wait when the signal is aborted", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>({
    ...stream,
    publish: () => new Promise(() => {}),
    jetstreamManager: () => stream.jetstreamManager(),
  }, OPTIONS);
  const stop = new AbortController();
  const sending = sink(batchOf([1, 5], number), { attempt: 1, signal: stop.signal });
  const waiting = sink(batchOf([6, 9], number), { attempt: 1, signal: stop.signal });
  stop.abort(new Error("enough"));
  await assertRejects(async () => await sending, Error, "enough");
  await assertRejects(async () => await waiting, Error, "enough");
});

for (
  const [code, retryable] of [[10059, false], [10060, false], [10077, true], [10008, true], [10023, true]] as const
) {
  test(`natsSink() says of error ${code} that trying again ${retryable ? "may help" : "won't help"}`, async () => {
    const stream = new FakeStream();
    stream.publish = () => Promise.reject(new StreamError(code, "no"));
    const refusal = await refusalOf(natsSink<number>(stream, OPTIONS), batchOf([1, 2], number));
    assertEquals([refusal.retryable, refusal.failed], [retryable, undefined]);
  });
}

test("natsSink() checks its options", () => {
  const stream = new FakeStream();
  assertThrows(() => natsSink(stream, { stream: "", subject: "a" }), TypeError, "stream");
  assertThrows(() => natsSink(stream, { stream: "A", subject: 1 as never }), TypeError, "subject");
  assertThrows(() => natsSink(stream, { ...OPTIONS, whenUnknown: "ask" as never }), TypeError, "whenUnknown");
});

/** Batches of a buffer, up to 16 in flight, on a stream where anything may go wrong; the process may end at any time. */
async function deliverWithTrouble(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const stream = new FakeStream();
  stream.looksForIdFirst = random(2) === 0;
  let late = 0;
  stream.fateOf = () => {
    // Also in the middle of an attempt: between the look at the stream and the publishing, and between two rounds of it.
    if (random(20) === 0) stream.letLateArrive();
    if (random(20) === 0) stream.endWindow();
    // A connection that is slow is so for several messages.
    if (late > 0) {
      late--;
      return "late";
    }
    const fate = (["refused", "unanswered", "late"] as const)[random(40)] ?? "stored";
    if (fate === "late") late = random(8);
    return fate;
  };
  let sink = natsSink<number>(stream, OPTIONS);
  const inFlight: { batch: [number, number]; attempts: number; redelivered: boolean; isDone: boolean }[] = [];
  const maxInFlight = 1 + random(16);
  let next = 1;
  for (let step = 0; step < 120 || inFlight.length > 0; step++) {
    assertLess(step, 10_000, `seed ${seed}: it gets nowhere`);
    if (step < 120 && inFlight.length < maxInFlight && random(2) === 0) {
      const last = next + random(8);
      inFlight.push({ batch: [next, last], attempts: 0, redelivered: false, isDone: false });
      next = last + 1;
    }
    if (random(5) === 0) stream.letLateArrive();
    if (random(5) === 0) stream.endWindow();
    if (random(30) === 0) stream.publishAsStranger("stranger");
    if (random(20) === 0) {
      sink = natsSink<number>(stream, OPTIONS);
      for (const one of inFlight) Object.assign(one, { attempts: 0, redelivered: true, isDone: false });
    }
    const lane = inFlight[random(inFlight.length + 1)];
    if (lane !== undefined && !lane.isDone) {
      const delivery = batchOf(lane.batch, number, { redelivered: lane.redelivered });
      lane.isDone = await send(sink, delivery, ++lane.attempts).then(() => true, () => false);
    }
    while (inFlight[0]?.isDone) inFlight.shift();
  }
  stream.letLateArrive();
  const found = stream.texts.filter((text) => text !== "stranger").toSorted((a, b) => Number(a) - Number(b));
  assertEquals(found, texts(1, next - 1), `seed ${seed}: each once`);
  // The parts of a batch are in order, and with one batch in flight all is.
  const numbers = stream.texts.filter((text) => text !== "stranger").map(Number);
  if (maxInFlight === 1) assertEquals(numbers, numbers.toSorted((a, b) => a - b), `seed ${seed}: in order`);
}

test("natsSink() stores each record once, whatever 300 seeds do to 16 batches in flight", async () => {
  for (let seed = 1; seed <= 300; seed++) await deliverWithTrouble(seed);
});

testWithServer("nats", "natsSink() and a real server agree on refusals, windows and what is stored", async (server) => {
  const [{ connect }, { jetstream }] = [await loadNats(), await loadJetStream()];
  const connection = await connect({ servers: `127.0.0.1:${server.port}` });
  try {
    const client = jetstream(connection);
    const { streams } = await client.jetstreamManager();
    await streams.add({
      name: "NUMBERS",
      subjects: ["numbers", "more.>"],
      duplicate_window: 100_000_000,
      max_msg_size: 1_000,
    });
    await streams.add({ name: "OTHERS", subjects: ["others"] });
    const stored = async () => {
      const { state } = await streams.info("NUMBERS");
      const all = Array.from({ length: state.last_seq }, (_, i) => streams.getMessage("NUMBERS", { seq: i + 1 }));
      return (await Promise.all(all)).map((message) => message!.string());
    };
    const sink = natsSink<number | string>(client, OPTIONS);
    // As the window counts: two full ones of the stream's own, whatever the server remembers of them.
    await send(sink, batchOf([1, 2500], number));
    await send(natsSink(client, OPTIONS), batchOf([1, 2500], number, { redelivered: true }));
    assertEquals(await stored(), texts(1, 2500));

    const { failed } = await refusalOf(sink, batchOf([2501, 2504], (n) => n === 2502 ? "x".repeat(2_000) : n));
    assertEquals(failed?.map(({ index, retryable }) => [index, retryable]), [[1, false], [2, true], [3, true]]);
    const rest = { sequences: [2503, 2504], redelivered: true };
    await send(sink, batchOf([2501, 2504], number, rest));
    const huge = await refusalOf(sink, batchOf([2505, 2506], (n) => n === 2505 ? "x".repeat(2 ** 20 + 1) : n));
    assertEquals(huge.failed?.map(({ index, retryable }) => [index, retryable]), [[0, false], [1, true]]);
    assertEquals((await stored()).slice(2500), ["2501", "2503", "2504"]);

    const missing = natsSink<number>(client, { stream: "MISSING", subject: "numbers" });
    assertEquals((await refusalOf(missing, batchOf([1, 2], number))).retryable, false);
    const mixedUp = natsSink<number>(client, { stream: "NUMBERS", subject: "others" });
    assertEquals((await refusalOf(mixedUp, batchOf([1, 2], number))).retryable, false);
    const nowhere = natsSink<number>(client, { stream: "NUMBERS", subject: "nowhere" });
    assertEquals((await refusalOf(nowhere, batchOf([1, 2], number))).retryable, true);

    await streams.purge("NUMBERS");
    const gone = await refusalOf(natsSink<number>(client, OPTIONS), batchOf([1, 2], number, { redelivered: true }));
    assertEquals(gone.retryable, false);
  } finally {
    await connection.close();
  }
});
