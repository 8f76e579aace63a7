/**
 * `natsSink()`: nothing twice and nothing in another order, when messages are refused, lost, late or sent again long after
 * the server has forgotten their ids. On a stream in memory, which fails as the test says; the last one on a real server.
 */

import { test } from "node:test";
import { assertEquals, assertLess, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { DeliveryError } from "../../mod.ts";
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
  assertEquals([stream.texts, retryable], [texts(1, 3), false]);
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
  await send(sink, batchOf([1, 10], number), 2);
  assertEquals(stream.texts, texts(1, 10));
});

test("natsSink() and messages of a process that is gone store each record once, whatever is sent before theirs", async () => {
  for (const allowsAtomic of [false, true]) {
    const stream = new FakeStream();
    stream.fateOf = () => "late";
    await refusalOf(natsSink<number>(stream, OPTIONS), batchOf([3, 10], number));
    stream.fateOf = () => "stored";
    stream.allowsAtomic = allowsAtomic;
    const sink = natsSink<number>(stream, { ...OPTIONS, connection: stream.connect() });
    await send(sink, batchOf([1, 2], number, { redelivered: true }));
    // Between the look at the stream and the publishing. Those of 3 and 4 find their places taken.
    stream.fateOf = () => {
      stream.letLateArrive();
      return "stored";
    };
    await send(sink, batchOf([3, 10], number, { redelivered: true }));
    assertEquals(stream.texts, [...texts(1, 2), ...texts(5, 10), ...texts(3, 4)]);
  }
});

test("natsSink() finds a part of a batch behind which others were stored", async () => {
  const stream = new FakeStream();
  const sink = natsSink<number>(stream, OPTIONS);
  stream.fateOf = (id) => id.endsWith(":3") ? "refused" : "stored";
  await refusalOf(sink, batchOf([1, 500], number));
  for (let first = 501; first < 7001; first += 500) await send(sink, batchOf([first, first + 499], number));
  stream.endWindow();
  stream.fateOf = () => "stored";
  await send(natsSink(stream, OPTIONS), batchOf([1, 500], number, { redelivered: true }));
  assertEquals(stream.texts, [...texts(1, 2), ...texts(501, 7000), ...texts(3, 500)]);
});

test("natsSink() doesn't take other records with the same sequences for duplicates", async () => {
  const stream = new FakeStream();
  await send(natsSink(stream, OPTIONS), batchOf([1, 10], number));
  // After a power cut, or of a buffer that was deleted and made again.
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
  // It takes the place of 3, so that 4 finds its own free.
  await send(sink, batchOf([3, 4], number));
  assertEquals(stream.texts, ["1", "2", "hello", "4", "3"]);
  // From then on the sink knows that it isn't alone, and sends one after the other.
  let published = 0;
  stream.fateOf = () => {
    if (published++ % 2 === 0) stream.publishAsStranger("hello");
    return "stored";
  };
  await send(sink, batchOf([5, 9], number));
  assertEquals(stream.texts.filter((text) => text !== "hello").slice(4), texts(5, 9));
});

test("natsSink() keeps the order on a stream that allows atomic batches, in spite of others", async () => {
  const stream = new FakeStream();
  stream.allowsAtomic = true;
  const sink = natsSink<number>(stream, { ...OPTIONS, connection: stream.connect() });
  await send(sink, batchOf([1, 2], number));
  stream.publishAsStranger("hello");
  await send(sink, batchOf([3, 40], number));
  let sent = 0;
  stream.fateOf = () => {
    // Quicker than any batch of more than a few.
    if (++sent % 5 === 0) stream.publishAsStranger("hello");
    return "stored";
  };
  await send(sink, batchOf([41, 80], number));
  assertEquals(stream.texts.filter((text) => text !== "hello"), texts(1, 80));
});

test("natsSink() finds the record that an atomic batch is refused for", async () => {
  const stream = new FakeStream();
  stream.allowsAtomic = true;
  const sink = natsSink<number>(stream, { ...OPTIONS, connection: stream.connect() });
  await send(sink, batchOf([1, 2], number));
  // The limit was lowered since the sink has read it.
  stream.maxMessageBytes = 300;
  const large = batchOf([3, 6], (n) => n === 5 ? "x".repeat(300) as never : n);
  await refusalOf(sink, large);
  const { scope, failed } = await refusalOf(sink, large, 2);
  assertEquals([scope, failed?.map(({ index, retryable }) => [index, retryable])], ["record", [[2, false], [3, true]]]);
  assertEquals(stream.texts, texts(1, 4));
});

test("natsSink() sends by itself what is too large for an atomic batch only", async () => {
  const counts: number[] = [];
  for (let bytes = 300; bytes < 1_000; bytes += 10) {
    const stream = new FakeStream();
    stream.allowsAtomic = true;
    stream.maxMessageBytes = 1_000;
    const sink = natsSink<number>(stream, { ...OPTIONS, connection: stream.connect() });
    const batch = batchOf([1, 5], (n) => n === 3 ? "x".repeat(bytes) as never : n);
    const scope = await send(sink, batch).then(() => "none", (error: DeliveryError) => error.scope);
    counts.push(stream.texts.length);
    assertEquals(scope, stream.texts.length === 5 ? "none" : "record", `${bytes} bytes`);
  }
  // Those that fit come first, then those that don't.
  assertEquals(counts, counts.toSorted((a, b) => b - a));
  assertEquals([counts[0], counts.at(-1)], [5, 2]);
});

test("natsSink() goes on without atomic batches when the stream doesn't allow them any more", async () => {
  const stream = new FakeStream();
  stream.allowsAtomic = true;
  const sink = natsSink<number>(stream, { ...OPTIONS, connection: stream.connect() });
  await send(sink, batchOf([1, 2], number));
  stream.allowsAtomic = false;
  await send(sink, batchOf([3, 6], number));
  assertEquals(stream.texts, texts(1, 6));
});

test("natsSink() never sends a record that is too large, so that those behind it keep their places", async () => {
  for (const connection of [undefined, new FakeStream().connect()]) {
    const stream = new FakeStream();
    stream.maxMessageBytes = 1_000;
    const options = { ...OPTIONS, connection: connection && stream.connect() };
    const large = (n: number) => n === 3 ? "x".repeat(1_000) as never : n;
    // All of it is on the way when the process dies.
    stream.fateOf = () => "late";
    await refusalOf(natsSink<number>(stream, options), batchOf([1, 5], large));
    stream.fateOf = () => "stored";
    const sink = natsSink<number>(stream, options);
    const { failed } = await refusalOf(sink, batchOf([1, 5], large, { redelivered: true }));
    assertEquals(failed?.map(({ index, retryable }) => [index, retryable]), [[2, false], [3, true], [4, true]]);
    let sent = 0;
    stream.fateOf = () => {
      if (sent++ === 1) stream.letLateArrive();
      return "stored";
    };
    await send(sink, batchOf([1, 5], number, { sequences: [4, 5], redelivered: true }));
    stream.letLateArrive();
    assertEquals(stream.texts, ["1", "2", "4", "5"]);
  }
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
  await send(sink, batchOf([6, 8], number));
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

for (const code of [10023, 10028, 10039, 10047, 10059, 10060, 10076, 10077, 10109, 10008, 10071, 10074, 10158]) {
  const retryable = [10008, 10071, 10074, 10158].includes(code);
  test(`natsSink() says of error ${code} that the target ${retryable ? "is away" : "needs somebody to act"}`, async () => {
    const stream = new FakeStream();
    stream.publish = () => Promise.reject(new StreamError(code, "no"));
    const { scope, retryable: found, failed, final } = await refusalOf(
      natsSink<number>(stream, OPTIONS),
      batchOf([1, 2], number),
    );
    assertEquals([scope, found, failed, final], ["target", retryable, undefined, false]);
  });
}

for (
  const [name, retryable, final] of [
    ["ClosedConnectionError", false, true],
    ["DrainingConnectionError", false, true],
    ["AuthorizationError", false, false],
    ["PermissionViolationError", false, false],
    ["TimeoutError", true, false],
  ] as const
) {
  test(`natsSink() says of the client's ${name} that it is ${final ? "final" : "the target's"}`, async () => {
    const stream = new FakeStream();
    stream.publish = () => Promise.reject(Object.assign(new Error("no"), { name }));
    const refusal = await refusalOf(natsSink<number>(stream, OPTIONS), batchOf([1, 2], number));
    assertEquals([refusal.scope, refusal.retryable, refusal.final], ["target", retryable, final]);
    if (final) assertStringIncludes(refusal.message, "the client was closed by its owner");
  });
}

test("natsSink() doesn't believe a duplicate without a place that has been read", async () => {
  const stream = new FakeStream();
  const resending = natsSink<number>(stream, { ...OPTIONS, whenUnknown: "resend" });
  stream.remembersRefused = true;
  stream.looksForIdFirst = false;
  await send(resending, batchOf([1, 2], number));
  stream.fateOf = () => {
    stream.publishAsStranger("hello");
    return "stored";
  };
  // Each is refused, because of a stranger, and then answered as a duplicate that is nowhere.
  stream.looksForIdFirst = true;
  await refusalOf(resending, batchOf([3, 5], number));
  assertEquals(stream.texts.filter((text) => text !== "hello"), texts(1, 2));
  stream.fateOf = () => "stored";
  stream.endWindow();
  await send(resending, batchOf([3, 5], number), 2);
  assertEquals(stream.texts.filter((text) => text !== "hello"), texts(1, 5));
});

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
  const hasConnection = random(3) > 0;
  stream.allowsAtomic = hasConnection && random(2) === 0;
  const open = () => natsSink<number>(stream, hasConnection ? { ...OPTIONS, connection: stream.connect() } : OPTIONS);
  let late = 0;
  stream.fateOf = () => {
    // Also in the middle of an attempt: between the look at the stream and the publishing, and between two rounds of it.
    if (random(20) === 0) stream.letLateArrive();
    if (random(20) === 0) stream.endWindow();
    if (hasStrangers && random(60) === 0) stream.publishAsStranger("stranger");
    // A connection that is slow is so for several messages.
    if (late > 0) {
      late--;
      return "late";
    }
    const fate = (["refused", "unanswered", "late"] as const)[random(40)] ?? "stored";
    if (fate === "late") late = random(8);
    return fate;
  };
  let sink = open();
  const inFlight: { batch: [number, number]; attempts: number; redelivered: boolean; isDone: boolean }[] = [];
  const maxInFlight = 1 + random(16);
  const hasStrangers = random(2) === 0;
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
    if (hasStrangers && random(30) === 0) stream.publishAsStranger("stranger");
    if (random(20) === 0) {
      sink = open();
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
  // With one batch in flight all is in order, but for a record whose place a stranger takes, unless batches are atomic.
  const numbers = stream.texts.filter((text) => text !== "stranger").map(Number);
  if (maxInFlight === 1 && (!hasStrangers || stream.allowsAtomic)) {
    assertEquals(
      numbers,
      numbers.toSorted((a, b) => a - b),
      `seed ${seed}: in order`,
    );
  }
}

test("natsSink() stores each record once, whatever 200 seeds do to 16 batches in flight", async () => {
  for (let seed = 1; seed <= 200; seed++) await deliverWithTrouble(seed);
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
