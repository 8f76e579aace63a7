/**
 * A producer with the HTTP sink, in front of servers that are ill: nothing is lost, no record becomes a dead letter because of it, and
 * the server is asked rarely. Time moves by hand: pauses pass as soon as they begin, timeouts when a server is seen to be silent.
 */

import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { test } from "node:test";
import { setImmediate } from "node:timers";
import { assert, assertEquals } from "@std/assert";
import {
  type DeadLetter,
  deadLetterCodec,
  MemoryBuffer,
  Producer,
  type ProducerEvent,
  type ProducerStats,
} from "../../mod.ts";
import { httpSink, type HttpSinkOptions } from "../../src/sinks/http.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { type RawServer, response, withRawServer } from "./raw_server.ts";

interface Run {
  readonly stats: ProducerStats;
  readonly events: readonly ProducerEvent[];
  readonly letters: readonly DeadLetter<number>[];
  /** Heads of requests that have come. */
  readonly requests: number;
  readonly connections: number;
}

interface Fault extends Partial<HttpSinkOptions<number>> {
  readonly records?: number;
  /** Whether there is no buffer for dead letters, so that what is undeliverable stops the producer. */
  readonly stops?: boolean;
  /** Whether each pause is ended by `retryNow()` instead of time. */
  readonly isImpatient?: boolean;
  readonly clock?: ManualClock;
}

/** Delivers numbers, 100 in a batch, to a server; what came of it when all are delivered, or are letters. */
async function deliver(
  server: RawServer,
  { records = 700, stops = false, isImpatient = false, clock = new ManualClock(), ...options }: Fault,
): Promise<Run> {
  let run: Run | undefined;
  await withRawServer(server, async ({ url, requests, connections }) => {
    const buffer = await MemoryBuffer.open<number>({ maxRecords: 100, clock });
    const codec = deadLetterCodec(buffer.codec);
    const deadLetters = await MemoryBuffer.open({ codec, maxRecords: 1_000, maxBytes: 2 ** 25, clock });
    const events: ProducerEvent[] = [];
    const producer = new Producer<number>({
      buffer,
      send: httpSink(url, options),
      clock,
      ...(stops ? {} : { deadLetters }),
      onEvent(event) {
        events.push(event);
        if (event.type !== "backoff-started") return;
        setImmediate(() => isImpatient ? producer.retryNow() : clock.advance(event.delayMs));
      },
    });
    for (let n = 0; n < records; n += 100) {
      await producer.putMany(Array.from({ length: Math.min(100, records - n) }, (_, i) => n + i));
    }
    try {
      await producer.flush({ signal: AbortSignal.timeout(20_000) });
    } finally {
      await producer.close({ signal: AbortSignal.abort() });
    }
    const letters = deadLetters.stats().pendingRecords === 0 ? [] : (await deadLetters.emit()).records;
    run = { stats: producer.stats(), events, letters, requests: requests.length, connections: connections() };
    await buffer.close();
    await deadLetters.close();
  });
  return run!;
}

const STORED = response(204, ["Connection: close"]);
const answer = (status: number, ...fields: string[]): Uint8Array =>
  response(status, ["Connection: close", "Content-Length: 0", ...fields]);
const count = ({ events }: Run, type: ProducerEvent["type"]): number =>
  events.filter((event) => event.type === type).length;

/** Answers this for three seconds of the clock. */
function illFor3s(clock: ManualClock, ill: Uint8Array): RawServer {
  const wellAt = clock.now() + 3_000;
  return { onRequest: (socket) => void socket.write(clock.now() < wellAt ? ill : STORED) };
}

/** What a server says that takes nothing until somebody acts. */
const BLOCKED: Readonly<Record<string, Uint8Array>> = {
  "401": answer(401),
  "403": answer(403),
  "404": answer(404),
  "407": answer(407),
  "410": answer(410),
  "507": answer(507),
  "a redirect to a login": answer(301, "Location: /login"),
  "a captive portal's page": response(200, ["Connection: close", "Content-Type: text/html", "Content-Length: 1"], "x"),
};

for (const [what, ill] of Object.entries(BLOCKED)) {
  test(`httpSink(): three seconds of ${what} make no dead letter and cost one request`, async () => {
    for (const stops of [false, true]) {
      const clock = new ManualClock();
      const run = await deliver(illFor3s(clock, ill), { clock, stops, expect: { status: 204 } });
      assertEquals([run.letters.length, run.stats.deliveredRecords, run.requests], [0, 700, 8]);
      assertEquals([count(run, "blocked"), count(run, "unblocked"), count(run, "stopped")], [1, 1, 0]);
    }
  });
}

test("httpSink(): three seconds of 429, 500 and 503 make no dead letter and cost a few requests", async () => {
  for (const status of [429, 500, 503]) {
    const clock = new ManualClock();
    const run = await deliver(illFor3s(clock, answer(status)), { clock, stops: true });
    assertEquals([run.letters.length, run.stats.deliveredRecords], [0, 700]);
    assert(run.requests < 7 + 30, `${run.requests} requests`);
  }
});

test("httpSink(): a Retry-After of a day is capped, and retryNow() doesn't wait at all", async () => {
  for (const isImpatient of [false, true]) {
    const clock = new ManualClock();
    const startedAt = clock.now();
    let requests = 0;
    const server: RawServer = {
      onRequest: (socket) => void socket.write(++requests === 1 ? answer(503, "Retry-After: 86400") : STORED),
    };
    const run = await deliver(server, { clock, isImpatient, records: 100 });
    assertEquals([run.requests, run.stats.deliveredRecords], [2, 100]);
    // Five minutes, and a random bit of the usual pause.
    assertEquals(Math.floor((clock.now() - startedAt) / 1_000), isImpatient ? 0 : 300);
  }
});

test("httpSink(): a server that says 413 to everything for a while gets few requests, and no hot loop", async () => {
  const clock = new ManualClock();
  const wellAt = clock.now() + 30_000;
  let whileIll = 0;
  const run = await deliver({
    onRequest(socket) {
      const isIll = clock.now() < wellAt;
      if (isIll) whileIll++;
      socket.write(isIll ? answer(413) : STORED);
    },
  }, { clock });
  assert(whileIll < 40, `${whileIll} requests`);
  // A few refusals of single records are believed at once, and one after each pause.
  assert(run.letters.length <= 15, `${run.letters.length} letters`);
  assertEquals(run.stats.deliveredRecords + run.letters.length, 700);
});

test("httpSink(): a connection that is silently dead costs one attempt", async () => {
  const clock = new ManualClock();
  const dead = new Set<Socket>();
  const run = await deliver({
    onRequest(socket) {
      // As a proxy that swallows everything from some time on: no answer, and no end.
      if (dead.has(socket)) return clock.advance(30_000);
      dead.add(socket);
      socket.write(response(200, ["Content-Length: 0"]));
    },
  }, { clock, records: 400 });
  assertEquals([run.stats.deliveredRecords, run.letters.length], [400, 0]);
  const failed = run.events.filter((event) => event.type === "attempt-failed");
  assert(failed.length > 0);
  // Batches find the connection of one before, dead, and none finds a dead one twice.
  assertEquals(failed.filter(({ timedOut, attempt }) => !timedOut || attempt > 1), []);
});

/** Answers with a body that doesn't end, as fast as it is read; what has been written so far. */
function endless(head: string, written: { bytes: number }): (socket: Socket) => void {
  const chunk = Buffer.from(`10000\r\n${"x".repeat(0x10000)}\r\n`);
  return (socket) => {
    const pour = (): void => {
      do written.bytes += chunk.length; while (!socket.destroyed && socket.write(chunk));
    };
    socket.on("drain", pour);
    socket.write(`HTTP/1.1 ${head}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    pour();
  };
}

/** More than the buffers of a connection hold, and less than a hundredth of a second's flow. */
const MAX_ENDLESS_BYTES: number = 24 * 2 ** 20;

test("httpSink(): an endless body of a success isn't read to its end, and the delivery is done", async () => {
  const written = { bytes: 0 };
  const run = await deliver({ onRequest: endless("200 OK", written) }, { records: 100 });
  assertEquals([run.requests, run.stats.deliveredRecords], [1, 100]);
  assert(written.bytes < MAX_ENDLESS_BYTES, `${written.bytes} bytes`);
});

test("httpSink(): an endless body that is needed, or a failure's, is cut off, and the delivery comes again", async () => {
  for (const [head, options] of [["200 OK", { failures: readAll }], ["503 Busy", {}]] as const) {
    const written = { bytes: 0 };
    const pour = endless(head, written);
    let requests = 0;
    const run = await deliver({
      onRequest: (socket) => ++requests > 3 ? void socket.write(STORED) : pour(socket),
    }, { records: 100, ...options });
    assertEquals([run.requests, run.stats.deliveredRecords, run.letters.length], [4, 100, 0]);
    assert(written.bytes < 3 * MAX_ENDLESS_BYTES, `${written.bytes} bytes`);
  }
});

function readAll({ body }: { readonly body: string }): [] {
  assert(body.length < 2 ** 24);
  return [];
}
