/**
 * `ship` in this process: what arrives, how it ends, what is left, and what it says; on a file system in memory that is
 * killed at every operation, and with a real HTTP server on loopback.
 */

import { Buffer } from "node:buffer";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Writable } from "node:stream";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type DeadLetter, deadLetterCodec, DeliveryError, FileBuffer, jsonCodec, textCodec } from "../../mod.ts";
import { main } from "../../src/cli/main.ts";
import { outputTo } from "../../src/cli/shared/terminal.ts";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { FRAME_HEADER_BYTES, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from "../../src/wal/format.ts";
import { watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";
import { bytesOf, delivered, Feed, inputOf, newDisk, Recorder, Run, ship, TO_FILE } from "./ship_tools.ts";

/** What is left in the buffer at `/wal`. */
async function leftIn(fileSystem: MemoryFileSystem): Promise<string[]> {
  const buffer = await FileBuffer.open<string>({ path: "/wal", fileSystem, codec: textCodec() });
  const records = await drain(buffer);
  await buffer.close();
  return records;
}

/** The dead letters at `/dead`. */
async function lettersIn(fileSystem: MemoryFileSystem): Promise<DeadLetter<unknown>[]> {
  const buffer = await FileBuffer.open({ path: "/dead", fileSystem, codec: deadLetterCodec() });
  const letters = await drain(buffer);
  await buffer.close();
  return letters;
}

test("ship delivers lines into a file: the bytes that came, each line ended by LF", async () => {
  const fileSystem = newDisk();
  const input = inputOf("one\n\ntwo\r\n", Uint8Array.of(0, 0xff, 0x0a), "a\rb\nhalf", " a line");
  const run = await ship([...TO_FILE, "--json"], { fileSystem, input });
  assertEquals(run.code, 0);
  assertEquals(
    Array.from(fileSystem.readFile("/out/lines")),
    [...Buffer.from("one\n\ntwo\n"), 0, 0xff, 0x0a, ...Buffer.from("a\rb\nhalf a line\n")],
  );
  const { durationMs, ...summary } = run.summary;
  assertEquals(summary, {
    event: "summary",
    ended: "done",
    lines: 6,
    records: 6,
    resumed: 0,
    blank: 0,
    skipped: 0,
    delivered: 6,
    deadLetters: 0,
    retries: 0,
    dropped: 0,
    left: 0,
    lastSequence: 6,
  });
  assert(durationMs >= 0);
});

for (const [input, lines] of [["a\r", "a\r\n"], ["a\n\r", "a\n\r\n"], ["a\r\n\r\r", "a\n\r\r\n"]] as const) {
  test(`ship delivers ${JSON.stringify(input)} with the CR at the end of the input`, async () => {
    const run = await ship(TO_FILE, { input: inputOf(input), fileSystem: newDisk() });
    assertEquals([run.code, delivered(run.fileSystem)], [0, lines]);
  });
}

test("ship delivers NDJSON as it was written, without blank lines", async () => {
  const fileSystem = newDisk();
  const input = inputOf('{"a": 1.0}\r\n\n  [ "\\u00e9" ]\t\n \t\nnull');
  const { code } = await ship([...TO_FILE, "--format", "ndjson"], { fileSystem, input });
  assertEquals([code, delivered(fileSystem)], [0, '{"a": 1.0}\n  [ "\\u00e9" ]\t\nnull\n']);
});

test("ship ends at a bad line, names it, and delivers what is before it", async () => {
  const fileSystem = newDisk();
  const input = inputOf("1\n2\n{3\n4\n");
  const { code, errors } = await ship([...TO_FILE, "--format", "ndjson"], { fileSystem, input });
  assertEquals([code, delivered(fileSystem)], [3, "1\n2\n"]);
  assertMatch(errors.text, /sluice: Cannot ship line 3 of the input: it is no JSON: /);
  assertStringIncludes(errors.text, "ship: 2 lines, 2 delivered, 0 left");
});

test("ship skips bad lines if it is told to, says so, and counts them", async () => {
  const fileSystem = newDisk();
  const input = inputOf(`1\n{2\n"${"x".repeat(30)}"\n4\n`);
  const args = [...TO_FILE, "--format", "ndjson", "--on-bad-line", "skip", "--max-bytes", "20", "--json"];
  const run = await ship(args, { fileSystem, input });
  assertEquals([run.code, delivered(fileSystem)], [0, "1\n4\n"]);
  assertEquals([run.summary.lines, run.summary.records, run.summary.skipped], [4, 2, 2]);
  assertEquals(run.events.filter(({ event }) => event === "bad-line").map(({ line }) => line), [2]);
});

test("ship names the line that is longer than a delivery may be", async () => {
  const { code, errors } = await ship([...TO_FILE, "--max-bytes", "10"], {
    fileSystem: newDisk(),
    input: inputOf("0123456789\n", "x".repeat(70_000), "\n"),
  });
  assertEquals(code, 3);
  assertStringIncludes(
    errors.text,
    "Cannot ship line 2 of the input: it has 70000 bytes, and may have 10 (--max-bytes)",
  );
});

test("ship's buffer is one that programs open with their codecs, and the other way round", async () => {
  const fileSystem = newDisk();
  const buffer = await FileBuffer.open<unknown>({ path: "/wal", fileSystem });
  await buffer.putMany([{ by: "a program" }, "text"]);
  await buffer.close();
  const feed = new Feed().push('{"by":"ship"}\n');
  const run = new Run([...TO_FILE, "--format", "ndjson", "--max-records", "2", "--max-age", "1h", "--grace", "0"], {
    fileSystem,
    input: feed,
  });
  await run.pass();
  run.interrupt("SIGTERM");
  await run.end();
  assertEquals(delivered(fileSystem), '{"by":"a program"}\n"text"\n');
  const after = await FileBuffer.open<unknown>({ path: "/wal", fileSystem, codec: jsonCodec() });
  assertEquals(await drain(after), [{ by: "ship" }]);
  await after.close();
});

test("ship delivers when a batch is full, and when it is old", async () => {
  const fileSystem = newDisk();
  const feed = new Feed().push("1\n2\n3\n");
  const run = new Run([...TO_FILE, "--max-records", "2", "--max-age", "2s"], { fileSystem, input: feed });
  await run.pass(1_999);
  assertEquals(delivered(fileSystem), "1\n2\n");
  await run.pass(1);
  assertEquals(delivered(fileSystem), "1\n2\n3\n");
  feed.end();
  assertEquals(await run.end(), 0);
});

test("ship stops reading while the backlog is full, and reads on when there is room", async () => {
  const output = new Recorder();
  let take: () => void = () => {};
  output.answers.push(() => new Promise<void>((resolve) => take = resolve));
  const feed = new Feed();
  const line = "x".repeat(99) + "\n";
  for (let i = 0; i < 100; i++) feed.push(line);
  feed.end();
  const run = new Run(["/wal", "--to", "-", "--max-records", "2", "--max-backlog", "1kB"], { input: feed, output });
  await run.pass(60_000);
  assert(feed.asked < 15, `${feed.asked} chunks were read`);
  assertEquals(output.text, "");
  take();
  assertEquals(await run.end(), 0);
  assertEquals(output.text, line.repeat(100));
  assertStringIncludes(run.errors.text, "the backlog is full: reading waits for the target");
});

test("ship with --when-full reject ends when the backlog is full; all that was read before is there", async () => {
  const output = new Recorder();
  output.answers.push(() => new Promise(() => {}));
  const run = new Run(["/wal", "--to", "-", "--when-full", "reject", "--max-backlog", "1kB", "--json"], {
    input: inputOf(...Array.from({ length: 100 }, (_, i) => `${i}`.padStart(99, "x") + "\n")),
    output,
  });
  assertEquals(await run.end(), 3);
  const { records, left } = run.summary;
  assertEquals(records, left);
  assertStringIncludes(run.errors.text, '"code":"BUFFER_FULL"');
  assertEquals((await leftIn(run.fileSystem.kill())).length, records);
});

test("ship with --when-full drop-oldest drops, says so, and counts", async () => {
  const output = new Recorder();
  let take: () => void = () => {};
  output.answers.push(() => new Promise<void>((resolve) => take = resolve));
  const args = [
    "/wal",
    "--to",
    "-",
    "--when-full",
    "drop-oldest",
    "--max-backlog",
    "1kB",
    "--max-records",
    "2",
    "--json",
  ];
  const run = new Run(args, {
    input: inputOf(...Array.from({ length: 50 }, (_, i) => `${i}`.padStart(99, "x") + "\n")),
    output,
  });
  await run.pass(5_000);
  take();
  assertEquals(await run.end(), 0);
  const { records, delivered, dropped } = run.summary;
  assertEquals([records, delivered + dropped], [50, 50]);
  assert(dropped > 30, `${dropped} were dropped`);
  assert(output.text.trimEnd().endsWith("49"), "the newest isn't there");
  assert(run.events.some(({ event, kind }) => event === "warning" && kind === "drop"));
});

test("ship waits for space on a full disk", async () => {
  const fileSystem = newDisk();
  const feed = new Feed().push("fits\n");
  const run = new Run(TO_FILE, { fileSystem, input: feed });
  await run.pass(1_000);
  fileSystem.capacityBytes = fileSystem.usedBytes;
  feed.push("does not\n".repeat(1_000)).end();
  await run.pass(30_000);
  assertStringIncludes(run.errors.text, "ENOSPC; reading waits for space");
  assertEquals(run.code, undefined);
  fileSystem.capacityBytes = Infinity;
  assertEquals(await run.end(), 0);
  assertEquals(delivered(fileSystem), "fits\n" + "does not\n".repeat(1_000));
});

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  test(`ship ended by ${signal} delivers what it can in the grace time, and keeps the rest`, async () => {
    const fileSystem = newDisk();
    const feed = new Feed().push("1\n2\n3\nhalf a li");
    const run = new Run([...TO_FILE, "--max-age", "1h", "--grace", "3s", "--json"], { fileSystem, input: feed });
    await run.pass();
    assertEquals(delivered(fileSystem), "");
    run.interrupt(signal);
    assertEquals(await run.end(), code);
    assertEquals([delivered(fileSystem), feed.isLeft], ["1\n2\n3\n", true]);
    assertEquals([run.summary.ended, run.summary.lines, run.summary.left], ["interrupted", 3, 0]);
  });
}

test("ship ended by a signal persists and delivers all lines that were read, also those that wait for room", async () => {
  const output = new Recorder();
  let take: () => void = () => {};
  output.answers.push(() => new Promise<void>((resolve) => take = resolve));
  const chunk = Array.from({ length: 30 }, (_, i) => `${i}`.padStart(99, "x") + "\n").join("");
  const feed = new Feed().push(chunk);
  const args = ["/wal", "--to", "-", "--max-records", "2", "--max-age", "1h", "--max-backlog", "1kB", "--json"];
  const run = new Run(args, { input: feed, output });
  await run.pass(1_000);
  feed.push("not read any more\n");
  run.interrupt("SIGTERM");
  await run.pass(1_000);
  take();
  assertEquals(await run.end(), 143);
  assertEquals(output.text, chunk);
  assertEquals([run.summary.lines, run.summary.delivered, run.summary.left], [30, 30, 0]);
});

test("ship with a target that never answers keeps what was put, and counts no line that was not", async () => {
  const output = new Recorder();
  output.answers.push(() => new Promise(() => {}));
  const feed = new Feed().push(Array.from({ length: 30 }, (_, i) => `${i}`.padStart(99, "x") + "\n").join(""));
  const args = ["/wal", "--to", "-", "--max-records", "2", "--max-backlog", "1kB", "--json"];
  const run = new Run(args, { input: feed, output });
  await run.pass(1_000);
  run.interrupt("SIGTERM");
  assertEquals(await run.end(), 143);
  const { lines, left, lastSequence } = run.summary;
  assert(lines > 0 && lines < 30, `${lines} lines`);
  assertEquals([left, lastSequence, (await leftIn(run.fileSystem.kill())).length], [lines, lines, lines]);
});

test("ship doesn't wait longer than the grace time for a target that doesn't answer", async () => {
  const output = new Recorder();
  output.answers.push(() => new Promise(() => {}));
  const run = new Run(["/wal", "--to", "-", "--max-records", "1", "--grace", "3s", "--json"], {
    input: new Feed().push("1\n2\n"),
    output,
  });
  await run.pass();
  run.interrupt("SIGTERM");
  await run.pass(2_999);
  assertEquals(run.code, undefined);
  // Then the attempt is told to end, and left alone a second later.
  await run.pass(1);
  await run.pass(1_000);
  assertEquals(run.code, 143);
  assertEquals([run.summary.left, run.summary.delivered], [2, 0]);
  assertEquals(await leftIn(run.fileSystem.kill()), ["1", "2"]);
});

test("ship delivers what is there when there is no input, or an empty one", async () => {
  for (const extra of [["--no-input"], []]) {
    const fileSystem = newDisk();
    const run = new Run([...TO_FILE, "--max-age", "1h", "--grace", "0"], {
      fileSystem,
      input: new Feed().push("1\n2\n"),
    });
    await run.pass();
    fileSystem.kill();
    const left = fileSystem.kill();
    run.interrupt("SIGTERM");
    await run.end();
    const feed = extra.length > 0 ? new Feed() : inputOf();
    const { code, errors } = await ship([...TO_FILE, ...extra], { fileSystem: left, input: feed });
    assertEquals([code, delivered(left)], [0, "1\n2\n"]);
    assertStringIncludes(errors.text, "to /out/lines, 2 records waiting\n");
    if (extra.length > 0) assertEquals(feed.asked, 0);
  }
});

test("ship --no-input doesn't make a buffer where there is none", async () => {
  const fileSystem = newDisk();
  const { code, errors } = await ship([...TO_FILE, "--no-input"], { fileSystem });
  assertEquals([code, fileSystem.paths().filter((path) => path.startsWith("/wal"))], [3, []]);
  assertStringIncludes(errors.text, 'Cannot ship what is in "/wal": there is no buffer');
});

test("ship --resume goes on exactly behind what is in the log", async () => {
  const fileSystem = newDisk();
  const text = Array.from({ length: 100 }, (_, i) => `${i}\n`).join("");
  const first = new Run([...TO_FILE, "--grace", "0"], { fileSystem, input: new Feed().push(text.slice(0, 101)) });
  await first.pass();
  const left = fileSystem.kill();
  first.interrupt("SIGTERM");
  await first.end();
  const run = await ship([...TO_FILE, "--resume", "--json"], { fileSystem: left, input: inputOf(text) });
  assertEquals([run.code, delivered(left)], [0, text]);
  assertEquals([run.summary.lines, run.summary.resumed, run.summary.records], [100, 37, 63]);
  const again = await ship([...TO_FILE, "--resume"], { fileSystem: left, input: inputOf(text) });
  assertEquals([again.code, delivered(left)], [0, text]);
  const other = await ship([...TO_FILE, "--resume"], { fileSystem: left, input: inputOf("something else\n") });
  assertEquals([other.code, delivered(left)], [3, text]);
  assertStringIncludes(other.errors.text, "Cannot resume: 100 records are in the log, and the input ends at line 1");
});

test("ship --resume leaves half a line, and takes it when it is whole", async () => {
  const fileSystem = newDisk();
  const half = await ship([...TO_FILE, "--resume"], { fileSystem, input: inputOf("1\n2\nthr") });
  assertEquals([half.code, delivered(fileSystem)], [0, "1\n2\n"]);
  assertStringIncludes(half.errors.text, "line 3 has no end and is left: --last-line put takes it");
  await ship([...TO_FILE, "--resume"], { fileSystem, input: inputOf("1\n2\nthree\n4") });
  assertEquals(delivered(fileSystem), "1\n2\nthree\n");
  await ship([...TO_FILE, "--resume", "--last-line", "put"], { fileSystem, input: inputOf("1\n2\nthree\n4") });
  assertEquals(delivered(fileSystem), "1\n2\nthree\n4\n");
});

test("ship, killed before any of its file operations and resumed, delivers each line once, in order", async () => {
  const text = Array.from({ length: 12 }, (_, i) => (i % 3 === 0 ? "" : `line ${i}`) + "\n").join("");
  const args = [...TO_FILE, "--max-records", "5", "--grace", "0", "--fsync", "never", "--resume"];
  let moment = 0;
  for (;; moment++) {
    let left: MemoryFileSystem | undefined;
    const fileSystem: MemoryFileSystem = newDisk().kill({
      onOperation({ index }) {
        if (index !== moment) return;
        left = fileSystem.kill();
        run.interrupt("SIGTERM");
      },
    });
    // Four chunks, which end where lines don't.
    const chunks = [text.slice(0, 20), text.slice(20, 33), text.slice(33, 70), text.slice(70)];
    const run: Run = new Run(args, { fileSystem, input: inputOf(...chunks) });
    await run.end();
    if (left === undefined) break;
    const next = await ship(args, { fileSystem: left, input: inputOf(...chunks) });
    assertEquals([next.code, delivered(left)], [0, text], `moment ${moment}: ${next.errors.text}`);
  }
  assert(moment > 60, `only ${moment} moments`);
});

test("ship says at once that the target fails, then every ten seconds, and when it is back", async () => {
  const output = new Recorder();
  for (let i = 0; i < 60; i++) output.answers.push(() => Promise.reject(new Error("the pipe is on fire")));
  const run = await ship(
    ["/wal", "--to", "-", "--retry-delay", "1s", "--max-retry-delay", "1s", "--json"],
    { input: inputOf("1\n"), output },
  );
  assertEquals([run.code, output.text], [0, "1\n"]);
  const failing = run.events.filter(({ event }) => event === "failing");
  assertEquals(failing[0], { event: "failing", attempt: 1, error: "the pipe is on fire", unsaid: 0 });
  // The delays are chance: 60 of half a second on average, and none longer than one.
  assert(failing.length >= 2 && failing.length <= 7, `${failing.length} lines`);
  const told = failing.reduce((sum, { unsaid }) => sum + 1 + Number(unsaid), 0);
  assert(told > 2 * failing.length && told <= 60, `${told} of 60 failures are told`);
  const recovered = run.events.find(({ event }) => event === "recovered");
  assertEquals(recovered?.["failedAttempts"], 60);
  assertEquals(run.summary.retries, 60);
});

test("ship says once that the target takes nothing, and why, and makes no dead letter of that", async () => {
  const output = new Recorder();
  const ill = new DeliveryError({ reason: "no space on the device", scope: "target" });
  for (let i = 0; i < 30; i++) output.answers.push(() => Promise.reject(ill));
  const args = ["/wal", "--to", "-", "--max-retry-delay", "1s", "--dead-letters", "/dead", "--json"];
  const run = await ship(args, { input: inputOf("1\n"), output });
  assertEquals([run.code, output.text, run.summary.deadLetters], [0, "1\n", 0]);
  const [blocked, ...more] = run.events.filter(({ event }) => event === "blocked");
  assertEquals([blocked, more], [{ event: "blocked", reason: "target-fault", error: ill.message, unsaid: 0 }, []]);
  assertEquals(run.events.find(({ event }) => event === "recovered")?.["forMs"], 30_000);

  for (let i = 0; i < 30; i++) output.answers.push(() => Promise.reject(ill));
  const bounded = await ship(["/wal", "--to", "-", "--max-attempts", "3"], { input: inputOf("1\n"), output });
  assertEquals([bounded.code, await leftIn(bounded.fileSystem)], [3, ["1"]]);
  assertStringIncludes(bounded.errors.text, "ship: the target takes nothing, whatever is sent: everything waits until");
  assertStringIncludes(bounded.errors.text, "retry allows no further attempt: Cannot deliver: no space on the device");
});

test("ship waits for what it writes to standard output, also when it is to end: written twice would be worse", async () => {
  let take: () => void = () => {};
  const stream = new Writable({ write: (_chunk, _encoding, done) => void (take = done) });
  const stop = new AbortController();
  const output = outputTo(stream, stop.signal);
  const written = watch(output.write("a line\n", { untilTaken: true }));
  stop.abort(new Error("enough"));
  await settle();
  assertEquals(written.state, "pending");
  take();
  await settle();
  assertEquals(written.state, "resolved");
});

test("ship ends when nobody reads standard output any more, and keeps what isn't written", async () => {
  const output = new Recorder();
  const feed = new Feed().push("1\n2\n");
  const run = new Run(["/wal", "--to", "-", "--max-records", "2", "--dead-letters", "/dead"], { input: feed, output });
  await run.pass();
  assertEquals(output.text, "1\n2\n");
  output.isClosed = true;
  feed.push("3\n4\n5\n");
  assertEquals(await run.end(), 141);
  assertStringIncludes(run.errors.text, "nobody reads standard output any more");
  assertStringIncludes(run.errors.text, "2 delivered, 3 left");
  assertEquals(await leftIn(run.fileSystem), ["3", "4", "5"]);
});

test("ship goes on when nobody reads standard error any more", async () => {
  const errors = new Recorder();
  errors.isClosed = true;
  const fileSystem = newDisk();
  const { code } = await ship(TO_FILE, { fileSystem, errors, input: inputOf("1\n") });
  assertEquals([code, delivered(fileSystem)], [0, "1\n"]);
});

test("ship --quiet says nothing but why it ended", async () => {
  const good = await ship([...TO_FILE, "--quiet"], { fileSystem: newDisk(), input: inputOf("1\n") });
  assertEquals([good.code, good.errors.text], [0, ""]);
  const bad = await ship([...TO_FILE, "--quiet", "--max-bytes", "1"], {
    fileSystem: newDisk(),
    input: inputOf("12\n"),
  });
  assertEquals(bad.code, 3);
  assertEquals(
    bad.errors.text,
    "sluice: Cannot ship line 1 of the input: it has 2 bytes, and may have 1 (--max-bytes)\n",
  );
});

test("ship shows on a terminal how far it is, in one line that fits", async () => {
  const errors = new Recorder();
  errors.columns = 40;
  const feed = new Feed().push("1\n2\n");
  const run = new Run([...TO_FILE, "--max-age", "1h"], { fileSystem: newDisk(), input: feed, errors });
  await run.pass(1_000);
  await run.pass(1_000);
  feed.end();
  await run.end();
  const shown = errors.text.split("\r\x1b[K").slice(1);
  assertEquals(shown[0], "ship: 2 lines, 0 delivered, 2 waiting");
  assertMatch(shown[1]!, /^ship: 2 lines, 2 delivered, 0 left in /);
});

test("ship delivers what is around damage, and says what is set aside", async () => {
  const fileSystem = newDisk();
  const feed = new Feed();
  const run = new Run([...TO_FILE, "--max-age", "1h", "--grace", "0"], { fileSystem, input: feed });
  for (const line of ["one\n", "two\n", "three\n"]) {
    feed.push(line);
    await run.pass();
  }
  const left = fileSystem.kill();
  run.interrupt("SIGTERM");
  await run.end();
  const segment = "/wal/00000000000000000001.wal";
  const bytes = left.readFile(segment);
  bytes[SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES]! ^= 1;
  left.writeFile(segment, bytes);
  const next = await ship([...TO_FILE, "--no-input", "--json"], { fileSystem: left });
  assertEquals([next.code, delivered(left)], [0, "two\nthree\n"]);
  assertEquals(next.events[0]!["event"], "start");
  const warnings = next.events.filter(({ kind }) => kind === "damage");
  assertEquals(warnings.map(({ message }) => message), [
    `${FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 3} bytes at offset ${SEGMENT_HEADER_BYTES} of ` +
    "00000000000000000001.wal are damaged and set aside",
  ]);
});

test("ship says who has the buffer, and touches nothing", async () => {
  const fileSystem = newDisk();
  const buffer = await FileBuffer.open<string>({ path: "/wal", fileSystem });
  const feed = inputOf("1\n");
  const { code, errors } = await ship(TO_FILE, { fileSystem, input: feed });
  assertEquals([code, feed.asked, fileSystem.paths().includes("/out/lines")], [3, 0, false]);
  assertMatch(errors.text, /Cannot open buffer "\/wal": it is locked by memory process/);
  await buffer.close();
});

test("ship refuses a directory that is none of a buffer, and a file that can't be written", async () => {
  const fileSystem = newDisk();
  fileSystem.writeFile("/home/letter", new Uint8Array(3));
  const foreign = await ship(["/home", "--to", "/out/lines"], { fileSystem, input: inputOf("1\n") });
  assertEquals(foreign.code, 3);
  assertStringIncludes(foreign.errors.text, 'Cannot open buffer "/home": the directory holds other files (letter)');
  const feed = inputOf("1\n");
  const nowhere = await ship(["/wal", "--to", "/nowhere/lines"], { fileSystem, input: feed });
  assertEquals([nowhere.code, feed.asked], [3, 0]);
  assertMatch(nowhere.errors.text, /"\/nowhere\/lines.*ENOENT/);
});

/** The clock that is moved by hand runs ahead of a real server. */
const NO_TIMEOUT: readonly string[] = ["--timeout", "20d"];

interface Seen {
  readonly key: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Runs a server that answers by `answer` until `use` has ended. */
async function withServer(
  answer: (seen: Seen, response: ServerResponse) => void,
  use: (url: string, seen: readonly Seen[]) => Promise<void>,
): Promise<void> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk) => chunks.push(chunk)).on("end", () => {
      const key = String(request.headers["idempotency-key"]);
      seen.push({ key, headers: request.headers, body: Buffer.concat(chunks) });
      // One connection a request, so that none is left over when the test ends.
      response.setHeader("connection", "close");
      answer(seen.at(-1)!, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/ingest`, seen);
  } finally {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }
}

test("ship posts lines with a key, the headers it is given, and the right type", async () => {
  await withServer((_seen, response) => response.writeHead(202).end(), async (url, seen) => {
    const args = ["/wal", ...NO_TIMEOUT, "--to", url, "--header", "Authorization: Bearer a:b", "--header", "x-two:2"];
    assertEquals((await ship(args, { input: inputOf("1\n\n2\n") })).code, 0);
    const zipped = await ship([...args, "--gzip", "--format", "ndjson"], { input: inputOf("[1]\n\n2\n") });
    assertEquals(zipped.code, 0);
    const [text, json] = seen as [Seen, Seen];
    assertEquals([text.body.toString(), text.headers["content-type"]], ["1\n\n2\n", "text/plain"]);
    assertEquals([text.headers["authorization"], text.headers["x-two"]], ["Bearer a:b", "2"]);
    assertMatch(text.key, /^"[0-9a-f-]+-1-3"$/);
    assertEquals(gunzipSync(json.body).toString(), "[1]\n2\n");
    assertEquals(json.headers["content-type"], "application/x-ndjson");
    assert(!zipped.errors.text.includes("Bearer"));
  });
});

test("ship sends again, with the same key, what an HTTP server doesn't take", async () => {
  let answers = 0;
  await withServer((_seen, response) => response.writeHead(++answers < 4 ? 503 : 200).end(), async (url, seen) => {
    const run = await ship(["/wal", ...NO_TIMEOUT, "--to", `${url}?token=secret`, "--json"], {
      input: inputOf("1\n2\n"),
    });
    assertEquals([run.code, seen.length, new Set(seen.map(({ key }) => key)).size], [0, 4, 1]);
    assertEquals([run.summary.delivered, run.summary.retries], [2, 3]);
    assert(!run.errors.text.includes("secret"));
  });
});

test("ship ends when a server refuses for good, and says what it said; everything is kept", async () => {
  await withServer((_seen, response) => response.writeHead(422).end("what is this?"), async (url) => {
    const feed = new Feed().push("1\n2\n");
    const run = new Run(["/wal", ...NO_TIMEOUT, "--to", url, "--max-records", "2"], { input: feed });
    assertEquals(await run.end(), 3);
    assertMatch(run.errors.text, /sluice: Cannot go on delivering: .*the server answered 422: what is this\?/);
    assertStringIncludes(run.errors.text, "2 left");
    assertEquals(await leftIn(run.fileSystem), ["1", "2"]);
  });
});

test("ship waits while a server says that it isn't allowed to, and goes on when it is", async () => {
  let requests = 0;
  await withServer((_seen, response) => response.writeHead(++requests < 4 ? 401 : 200).end("who?"), async (url) => {
    const args = ["/wal", ...NO_TIMEOUT, "--to", url, "--dead-letters", "/dead", "--json"];
    const run = await ship(args, { input: inputOf("1\n2\n") });
    const { delivered, deadLetters, left } = run.summary;
    assertEquals([run.code, requests, delivered, deadLetters, left], [0, 4, 2, 0, 0]);
  });
});

for (const when of [[], ["--when-undeliverable", "dead-letter"], ["--when-undeliverable", "stop"]]) {
  const stops = when[1] === "stop";
  test(`ship --dead-letters ${when.join(" ")} ${stops ? "ends" : "goes on"} at what a server refuses for good`, async () => {
    await withServer((_seen, response) => void response.writeHead(422).end(), async (url) => {
      const args = ["/wal", ...NO_TIMEOUT, "--to", url, "--dead-letters", "/dead", ...when, "--json"];
      const run = await ship(args, { input: inputOf("1\n") });
      const { deadLetters, left } = run.summary;
      assertEquals([run.code, deadLetters, left], stops ? [3, 0, 1] : [0, 1, 0]);
    });
  });
}

test("ship --dead-letters puts aside what a server refuses for good, and goes on", async () => {
  const answer = ({ body }: Seen, response: ServerResponse): void => {
    response.writeHead(body.toString().includes("bad") ? 422 : 200).end();
  };
  await withServer(answer, async (url, seen) => {
    const args = [
      "/wal",
      ...NO_TIMEOUT,
      "--to",
      url,
      "--max-records",
      "1",
      "--dead-letters",
      "/dead",
      "--format",
      "ndjson",
      "--json",
    ];
    const run = await ship(args, { input: inputOf('1\n{"bad": true}\n3\n') });
    assertEquals([run.code, seen.map(({ body }) => body.toString())], [0, ["1\n", '{"bad": true}\n', "3\n"]]);
    assertEquals([run.summary.delivered, run.summary.deadLetters, run.summary.left], [2, 1, 0]);
    const letters = await lettersIn(run.fileSystem);
    assertEquals(letters.map(({ record, sequence }) => [record, sequence]), [[{ bad: true }, 2]]);
  });
});

const REFUSING = (_seen: Seen, response: ServerResponse): void => void response.writeHead(422).end();
const TO_LETTERS: readonly string[] = [...NO_TIMEOUT, "--dead-letters", "/dead", "--json"];

/** Lines that are refused, and the options that they need. */
const REFUSED_LINES: readonly { what: string; args: string[]; lines: (string | Uint8Array)[] }[] = [
  { what: "a line as long as the default limit", args: [], lines: ["x".repeat(1_000_000), "y".repeat(999_990)] },
  { what: "a line of almost 5 MB", args: ["--max-bytes", "5MB"], lines: ["x".repeat(4_999_990)] },
  { what: "the shortest limit", args: ["--max-bytes", "1"], lines: ["x", ""] },
  { what: "the largest limit", args: ["--max-bytes", "1GiB"], lines: ["x"] },
  { what: "any bytes", args: [], lines: ["", "\t", "a\tb", Uint8Array.of(0xff, 0, 9, 0xc3), '{"key":1}\t'] },
  { what: "NDJSON", args: ["--format", "ndjson"], lines: ['{ "b": -0.0, "1": 1e400 }', '"\\ud800"', " 1.0\t"] },
  { what: "limits below a letter's", args: ["--max-backlog", "500", "--max-bytes", "100"], lines: ["x".repeat(100)] },
];

for (const { what, args, lines } of REFUSED_LINES) {
  test(`ship --dead-letters keeps the very bytes: ${what}`, async () => {
    await withServer(REFUSING, async (url) => {
      const input = inputOf(...lines.flatMap((line) => [line, "\n"]));
      const first = await ship(["/wal", "--to", url, ...TO_LETTERS, ...args], { input });
      assertEquals([first.code, first.summary.deadLetters, first.summary.left], [0, lines.length, 0]);
      // Also at the next start.
      const { fileSystem } = first;
      const next = await ship(["/wal", "--to", url, ...TO_LETTERS, ...args], { fileSystem, input: inputOf() });
      assertEquals([next.code, next.summary.deadLetters], [0, 0]);
      const letters = await lettersIn(fileSystem);
      assertEquals(letters.map(({ payload }) => payload), lines.map(bytesOf));
    });
  });
}

test("ship --dead-letters keeps a line that came when --max-bytes was larger", async () => {
  await withServer(REFUSING, async (url) => {
    const line = "x".repeat(3_000_000);
    const args = ["/wal", "--to", url, ...NO_TIMEOUT, "--json"];
    const first = await ship([...args, "--max-bytes", "3MB"], { input: inputOf(line, "\n") });
    assertEquals([first.code, first.summary.left], [3, 1]);
    const { fileSystem } = first;
    const next = await ship([...args, "--dead-letters", "/dead", "--no-input"], { fileSystem });
    assertEquals([next.code, next.summary.deadLetters, next.summary.left], [0, 1, 0]);
    assertEquals((await lettersIn(fileSystem)).map(({ payload }) => payload.length), [3_000_000]);
  });
});

test("dump --format=text writes dead letters as lines, which cut takes apart, and ship takes back", async () => {
  await withServer(REFUSING, async (url) => {
    const lines = ["a\tb", "", "{}\t", "é"];
    const { fileSystem, clock } = await ship(["/wal", "--to", url, ...TO_LETTERS], {
      input: inputOf(`${lines.join("\n")}\n`),
    });
    const [output, errors] = [new Recorder(), new Recorder()];
    const { signal } = new AbortController();
    const context = { fileSystem, clock, input: inputOf(), output, errors, signal };
    assertEquals([await main(["dump", "/dead", "--format=text"], context), errors.text], [0, ""]);
    const cut = output.text.trimEnd().split("\n").map((line) => line.slice(line.indexOf("\t") + 1));
    assertEquals(cut, lines);
    fileSystem.makeDirectory("/out");
    const back = await ship(["/again", "--to", "/out/lines"], { fileSystem, input: inputOf(`${cut.join("\n")}\n`) });
    assertEquals([back.code, delivered(fileSystem)], [0, `${lines.join("\n")}\n`]);
  });
});
