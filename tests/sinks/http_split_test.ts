/**
 * Deliveries that a server refuses because of some records, or cuts off because of their size: the others arrive, and no server is
 * asked without end.
 */

import type { Socket } from "node:net";
import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type DeadLetter, deadLetterCodec, MemoryBuffer, Producer } from "../../mod.ts";
import { DeliveryError } from "../../src/errors/mod.ts";
import { httpSink, type HttpSinkOptions } from "../../src/sinks/http.ts";
import { CutPolicy, MAX_CUTS } from "../../src/sinks/http_split.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { seededRandom } from "../support/random.ts";
import { type RawRequest, response, withRawServer } from "./raw_server.ts";

interface Click {
  readonly n: number;
}

/** What a server made of records from 0 to `count`. */
interface Outcome {
  readonly requests: number;
  /** Those that the server has taken, in order of arrival. */
  readonly taken: readonly number[];
  /** Those that are dead letters. */
  readonly dead: readonly DeadLetter<Click>[];
}

/** Delivers records in batches of `maxRecords` to a server that answers with the status of `statusOf`. */
async function deliver(
  { count, maxRecords = 1000, ...options }: { count: number; maxRecords?: number } & Partial<HttpSinkOptions<Click>>,
  statusOf: (records: readonly number[], request: number) => number,
): Promise<Outcome> {
  const taken: number[] = [];
  let requests = 0;
  const send = httpSink<Click>("http://example.com", {
    fetch(_url, { body }) {
      const lines = new TextDecoder().decode(body as Uint8Array<ArrayBuffer>).trimEnd().split("\n");
      const records = lines.map((line) => (JSON.parse(line) as Click).n);
      const status = statusOf(records, ++requests);
      if (status < 300) taken.push(...records);
      return Promise.resolve(new Response(`because of ${status}`, { status }));
    },
    ...options,
  });
  const buffer = await MemoryBuffer.open<Click>({ maxRecords });
  const deadLetters = await MemoryBuffer.open<DeadLetter<Click>>({
    codec: deadLetterCodec(),
    maxRecords: 10_000,
    maxBytes: 2 ** 25,
  });
  // Pauses between refusals are the producer's affair, and tested there.
  const producer = new Producer<Click>({ buffer, send, deadLetters, retry: { firstDelayMs: 1, maxDelayMs: 1 } });
  for (let n = 0; n < count; n += maxRecords) {
    await producer.putMany(Array.from({ length: Math.min(maxRecords, count - n) }, (_, i) => ({ n: n + i })));
  }
  try {
    await producer.flush({ signal: AbortSignal.timeout(15_000) });
  } finally {
    await producer.close({ signal: AbortSignal.abort() });
  }
  const dead = deadLetters.stats().pendingRecords === 0 ? [] : (await deadLetters.emit()).records;
  await buffer.close();
  await deadLetters.close();
  return { requests, taken, dead };
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
const without = (count: number, bad: readonly number[]): number[] => numbers(count).filter((n) => !bad.includes(n));
const refusing = (status: number, ...bad: readonly number[]) => (records: readonly number[]) =>
  records.some((n) => bad.includes(n)) ? status : 200;

for (const status of [400, 422]) {
  test(`httpSink() loses one record of a thousand that the server answers ${status} to, in a few requests`, async () => {
    for (const bad of [0, 616, 999]) {
      const { requests, taken, dead } = await deliver({ count: 1000 }, refusing(status, bad));
      assertEquals(taken, without(1000, [bad]));
      assertEquals(dead.map(({ record, error }) => [record?.n, error]), [
        [bad, `Cannot deliver: the server answered ${status}: because of ${status}`],
      ]);
      assert(requests <= 21, `${requests} requests`);
    }
  });
}

test("httpSink() finds all bad records, wherever they are", async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const random = seededRandom(seed);
    const bad = [...new Set(Array.from({ length: 1 + random(20) }, () => random(1000)))].sort((a, b) => a - b);
    const { taken, dead } = await deliver({ count: 1000 }, refusing(400, ...bad));
    assertEquals(taken, without(1000, bad), `seed ${seed}`);
    assertEquals(dead.map(({ record }) => record!.n), bad, `seed ${seed}`);
  }
});

test("httpSink() finds forty bad records side by side, each of which the producer has refused twice", async () => {
  const bad = numbers(340).slice(300);
  const { taken, dead } = await deliver({ count: 1000 }, refusing(400, ...bad));
  assertEquals(taken, without(1000, bad));
  assertEquals(dead.map(({ record }) => record!.n), bad);
});

test("httpSink() asks a server that refuses everything at most three times for each record", async () => {
  const { requests, taken, dead } = await deliver({ count: 300, maxRecords: 100 }, () => 400);
  assertEquals([taken.length, dead.length], [0, 300]);
  // Once with half of the records that are left on average, and twice alone: then the producer believes it.
  assert(requests <= 900, `${requests} requests`);
});

test("httpSink() finds all bad records, however many there are in a row", async () => {
  const bad = [...numbers(250), 2500];
  const { taken, dead } = await deliver({ count: 3000 }, refusing(400, ...bad));
  assertEquals(taken, without(3000, bad));
  assertEquals(dead.map(({ record }) => record!.n), bad);
});

test("httpSink() does not split what one record can't be the reason for", async () => {
  for (const status of [401, 403, 404, 405, 410, 415, 301]) {
    const send = httpSink<Click>("http://example.com", {
      fetch: () => Promise.resolve(new Response(null, { status })),
    });
    const attempt = async () => await send(deliveryOf([{ n: 1 }, { n: 2 }]), contextOf());
    const { split, scope } = await assertRejects(attempt, DeliveryError);
    assertEquals([split, scope], [false, "target"]);
  }
});

test("httpSink() leaves the choice to `verdict`: whole, or in parts, whatever the status", async () => {
  const whole = await deliver(
    { count: 100, verdict: ({ status }) => status === 400 ? "refuse" : undefined },
    refusing(400, 7),
  );
  assertEquals([whole.requests, whole.taken.length, whole.dead.length], [1, 0, 100]);
  const parts = await deliver(
    { count: 100, verdict: ({ status }) => status === 500 ? "split" : undefined },
    refusing(500, 7),
  );
  assertEquals([parts.taken, parts.dead.length], [without(100, [7]), 1]);
});

test("httpSink() says of a delivery that is to be split that it was refused, and of a single record that it is lost", async () => {
  const send = httpSink<Click>("http://example.com", {
    fetch: () => Promise.resolve(new Response("no", { status: 400 })),
  });
  const errors: DeliveryError[] = [];
  for (const clicks of [[{ n: 1 }, { n: 2 }], [{ n: 1 }]]) {
    await Promise.resolve(send(deliveryOf(clicks), contextOf())).catch((error) => errors.push(error));
  }
  assertEquals(errors.map(({ retryable, tooLarge, split }) => [retryable, tooLarge, split]), [
    [false, false, true],
    [false, false, false],
  ]);
});

/** Answers a body over `maxBytes` as a server does that doesn't read it, with an answer that the reset cuts off. */
function cutting(
  maxBytes: number,
): { onHead(socket: Socket, request: RawRequest): void; onRequest(socket: Socket): void } {
  return {
    onHead(socket, { length }) {
      if (length <= maxBytes) return;
      socket.write("HTTP/1.1 413 Content Too La");
      socket.resetAndDestroy();
    },
    onRequest: (socket) => socket.write(response(200, ["Connection: close", "Content-Length: 0"])),
  };
}

test("httpSink() sends a long body in parts whose connection is cut again and again before an answer", async () => {
  const text = "x".repeat(500_000);
  await withRawServer(cutting(2_500_000), async ({ url, requests }) => {
    const buffer = await MemoryBuffer.open<string>({ maxRecords: 16, maxBytes: 2 ** 24 });
    const producer = new Producer<string>({ buffer, send: httpSink(url), retry: { firstDelayMs: 1, maxDelayMs: 1 } });
    await producer.putMany(Array.from({ length: 16 }, () => text));
    try {
      await producer.flush({ signal: AbortSignal.timeout(15_000) });
    } finally {
      await producer.close({ signal: AbortSignal.abort() });
    }
    const lengths = requests.map(({ length }) => length);
    assertEquals(lengths.filter((length) => length > 8_000_000).length, MAX_CUTS);
    assertEquals(lengths.filter((length) => length <= 2_500_000).length, 4);
    assertEquals(producer.stats().deliveredRecords, 16);
    await buffer.close();
  });
});

test("httpSink() goes on with a single record that is too long for the server, and says what the reason may be", async () => {
  await withRawServer(cutting(100_000), async ({ url }) => {
    const send = httpSink<string>(url);
    const delivery = deliveryOf(["x".repeat(1_000_000)]);
    const errors: DeliveryError[] = [];
    for (let attempt = 1; attempt <= MAX_CUTS; attempt++) {
      await Promise.resolve(send(delivery, contextOf({ attempt }))).catch((error) => errors.push(error));
    }
    assertEquals(errors.map(({ retryable, split }) => [retryable, split]), Array(MAX_CUTS).fill([true, false]));
    assertStringIncludes(errors.at(-1)!.message, "perhaps 1000003 bytes are too many for the server");
  });
});

const cut = Object.assign(new TypeError("fetch failed"), {
  cause: Object.assign(new Error("write"), { code: "EPIPE" }),
});
const refused = new TypeError("fetch failed", {
  cause: Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:80"), { code: "ECONNREFUSED" }),
});
const unreachable = new TypeError("fetch failed", {
  cause: Object.assign(new Error("connect ECONNRESET 127.0.0.1:80"), { code: "ECONNRESET" }),
});

const six = (error: unknown): unknown[] => Array(MAX_CUTS).fill(error);

/** Errors of attempts at one delivery, one after the other, and whether the last one has it split. */
const CUTS: readonly (readonly [what: string, errors: readonly unknown[], bodyBytes: number, isSplit: boolean])[] = [
  ["six cuts", six(cut), 100_000, true],
  ["five cuts", six(cut).slice(1), 100_000, false],
  ["six cuts of a short body", six(cut), 1_000, false],
  ["six connections that can't be made", [...six(refused).slice(1), unreachable], 100_000, false],
  ["six cuts, and an answer in between", [cut, cut, undefined, ...six(cut).slice(2)], 100_000, false],
  ["six cuts, and an outage in between", [cut, refused, cut, unreachable, ...six(cut).slice(2)], 100_000, false],
];

for (const [what, errors, bodyBytes, isSplit] of CUTS) {
  test(`CutPolicy ${isSplit ? "splits" : "doesn't split"} a delivery after ${what}`, () => {
    const cuts = new CutPolicy();
    let last: DeliveryError | undefined;
    for (const error of errors) {
      const toError = cuts.begin(deliveryOf([1, 2]), bodyBytes);
      cuts.begin(deliveryOf([3, 4], { id: "another" }), bodyBytes);
      if (error !== undefined) last = toError(error);
    }
    assertEquals([last!.split, last!.retryable], [isSplit, true]);
  });
}
