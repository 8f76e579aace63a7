/**
 * How `ship` takes its input and its command line apart: lines, what is one and what isn't, quantities, options.
 */

import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { ShipError, UsageError } from "../../src/cli/shared/command.ts";
import { parseBytes, parseCount, parseDuration } from "../../src/cli/shared/quantities.ts";
import { checkLine, lineCodec } from "../../src/cli/ship/line_formats.ts";
import { LineIngester, type LineIngesterDeps } from "../../src/cli/ship/line_ingester.ts";
import { LineSplitter } from "../../src/cli/ship/line_splitter.ts";
import { seededRandom } from "../support/random.ts";
import { bytesOf, Feed, inputOf, ship } from "./ship_tools.ts";

const latin1 = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const fromLatin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** The lines of an input that comes in these chunks; `+N` for one that is too long and has N bytes. */
function split(chunks: readonly Uint8Array[], maxBytes = 10): string[] {
  const splitter = new LineSplitter(maxBytes);
  const lines = [...chunks.flatMap((chunk) => splitter.push(chunk)), splitter.end()].filter((line) =>
    line !== undefined
  );
  assertEquals(lines.map(({ number }) => number), lines.map((_, i) => i + 1));
  for (const { bytes, length } of lines) assertEquals(bytes?.length ?? length, length);
  return lines.map(({ bytes, length }) => bytes === undefined ? `+${length}` : latin1(bytes));
}

/** The bytes in chunks whose lengths chance decides, empty ones among them. */
function inChunks(bytes: Uint8Array, random: (below: number) => number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = random(5);
    chunks.push(bytes.slice(at, at + length));
    at += length;
  }
  return chunks;
}

// Inputs are bytes, written as Latin-1.
const SPLITS: readonly { readonly what: string; readonly input: string; readonly lines: readonly string[] }[] = [
  { what: "nothing is no line", input: "", lines: [] },
  { what: "a last line needs no line break", input: "a\nb", lines: ["a", "b"] },
  { what: "behind the last line break there is no line", input: "a\nb\n", lines: ["a", "b"] },
  { what: "a line may be empty", input: "\n\na\n\n", lines: ["", "", "a", ""] },
  { what: "CRLF ends a line like LF", input: "a\r\nb\n\r\nc\r\n", lines: ["a", "b", "", "c"] },
  { what: "a CR before the end of the input is a part of the line", input: "a\r", lines: ["a\r"] },
  { what: "a lone CR is a line before the end of the input", input: "a\n\r", lines: ["a", "\r"] },
  { what: "CRs before the end of the input are a line", input: "\r\n\r\r", lines: ["", "\r\r"] },
  { what: "a CR before the end of the input counts", input: "012345678\r", lines: ["012345678\r"] },
  { what: "a CR before the end of the input may be too much", input: "0123456789\r", lines: ["+11"] },
  { what: "one that is far too long counts it, too", input: `${"x".repeat(99)}\r`, lines: ["+100"] },
  { what: "a CR elsewhere is a part of the line", input: "a\rb\n\rc\r\r\n", lines: ["a\rb", "\rc\r"] },
  { what: "NUL is a byte like others", input: "\0\na\0b\n", lines: ["\0", "a\0b"] },
  { what: "bytes that are no UTF-8 stay as they are", input: "\xff\xfe\n\xc3\n", lines: ["\xff\xfe", "\xc3"] },
  { what: "no other character ends a line", input: "a\x0b\x0c\x85b\n", lines: ["a\x0b\x0c\x85b"] },
  { what: "a line may be as long as the limit", input: "0123456789\n", lines: ["0123456789"] },
  { what: "a line break doesn't count", input: "0123456789\r\n", lines: ["0123456789"] },
  { what: "one byte more is too long", input: "0123456789a\nb\n", lines: ["+11", "b"] },
  { what: "a CR in front of another counts", input: "0123456789\r\r\n", lines: ["+11"] },
  { what: "one that is far too long is counted to its end", input: `${"x".repeat(99)}\r\nb`, lines: ["+99", "b"] },
  { what: "the last one may be too long", input: "a\n0123456789ab", lines: ["a", "+12"] },
];

for (const { what, input, lines } of SPLITS) {
  test(`LineSplitter: ${what}, in whatever chunks it comes`, () => {
    const bytes = fromLatin1(input);
    assertEquals(split([bytes]), lines);
    assertEquals(split(Array.from(bytes, (byte) => Uint8Array.of(byte))), lines);
    const random = seededRandom(7);
    for (let i = 0; i < 20; i++) assertEquals(split(inChunks(bytes, random)), lines);
  });
}

const JSON_LINES: readonly { readonly line: string; readonly verdict: RegExp }[] = [
  { line: '{"a": [1, 2.50, "\\u00e9"]}', verdict: /^record$/ },
  { line: "null", verdict: /^record$/ },
  { line: ' "white space around it"\t', verdict: /^record$/ },
  { line: "", verdict: /^blank$/ },
  { line: " \t\r ", verdict: /^blank$/ },
  { line: "{", verdict: /no JSON/ },
  { line: "1 2", verdict: /no JSON/ },
  { line: "1,2", verdict: /no JSON/ },
  { line: "{'a': 1}", verdict: /no JSON/ },
  { line: "\0", verdict: /no JSON/ },
  { line: '"\x01"', verdict: /no JSON/ },
  { line: "\xef\xbb\xbf{}", verdict: /no JSON/ },
  { line: '"\xff"', verdict: /no UTF-8/ },
  { line: '"\xed\xa0\x80"', verdict: /no UTF-8/ },
];

for (const { line, verdict } of JSON_LINES) {
  test(`checkLine() of NDJSON says ${verdict.source} for ${JSON.stringify(line)}`, () => {
    const found = checkLine("ndjson", fromLatin1(line));
    assertMatch(typeof found === "string" ? found : found.reason, verdict);
    assertEquals(checkLine("lines", fromLatin1(line)), "record");
  });
}

test("lineCodec() keeps bytes as they are, and decodes what can be decoded", () => {
  const bytes = bytesOf('{"a": 1.0}');
  assertEquals(lineCodec("lines").encode(bytes), bytes);
  assertEquals(lineCodec("lines").decode(bytes, 0), '{"a": 1.0}');
  assertEquals(lineCodec("ndjson").decode(bytes, 0), { a: 1 });
  assertThrows(() => lineCodec("lines").decode(Uint8Array.of(0xff), 0), TypeError);
});

interface Taken {
  readonly units: string[][];
  readonly skipped: [number, string][];
  readonly left: number[];
  readonly intake: LineIngester;
}

function newIntake(options: Partial<LineIngesterDeps> = {}): Taken {
  const units: string[][] = [];
  const skipped: [number, string][] = [];
  const left: number[] = [];
  const intake = new LineIngester({
    format: "lines",
    onBadLine: "fail",
    lastLine: "put",
    maxLineBytes: 100,
    maxBacklogBytes: 1_000,
    skipRecords: 0,
    put: (lines) => Promise.resolve(units.push(lines.map(latin1))),
    onSkipped: (line, reason) => skipped.push([line, reason]),
    onLeft: (line) => left.push(line),
    ...options,
  });
  return { units, skipped, left, intake };
}

const NEVER = new AbortController().signal;

test("LineIngester puts the lines of a chunk together, in units that the backlog has room for", async () => {
  const { units, intake } = newIntake({ maxBacklogBytes: 40 });
  await intake.run(inputOf("a\nb\nc", "c\n", "0123456789\n0\n", "x".repeat(30) + "\ny\n"), NEVER);
  assertEquals(units, [["a", "b"], ["cc"], ["0123456789"], ["0"], ["x".repeat(30)], ["y"]]);
  assertEquals(intake.counts, { lines: 7, records: 7, resumed: 0, blank: 0, bad: 0 });
});

test("LineIngester asks for no chunk before the lines of the one before are persisted", async () => {
  const feed = new Feed().push("a\nb\n").push("c\n").end();
  let persist: () => void = () => {};
  const put = () => new Promise<void>((resolve) => persist = resolve);
  const running = newIntake({ put }).intake.run(feed, NEVER);
  for (const asked of [1, 2, 3]) {
    for (let i = 0; i < 20; i++) await undefined;
    assertEquals(feed.asked, asked);
    persist();
  }
  await running;
});

test("LineIngester stops at a bad line: what is before it is put, what is behind it isn't", async () => {
  const { units, intake } = newIntake({ format: "ndjson" });
  const feed = inputOf('1\n\n{"a":1}\noops\n2\n', "3\n");
  const error = await assertRejects(() => intake.run(feed, NEVER), ShipError);
  assertMatch(error.message, /^Cannot ship line 4 of the input: it is no JSON: /);
  assertEquals(units, [["1", '{"a":1}']]);
  assertEquals(intake.counts, { lines: 3, records: 2, resumed: 0, blank: 1, bad: 0 });
  assert(feed.isLeft, "the writer doesn't learn of it");
});

test("LineIngester skips bad lines if it is told to, and says which and why", async () => {
  const { units, skipped, intake } = newIntake({ format: "ndjson", onBadLine: "skip", maxLineBytes: 5 });
  await intake.run(inputOf("1\noops\n2\n123456\n3"), NEVER);
  assertEquals(units, [["1"], ["2"], ["3"]]);
  assertEquals(skipped.map(([line]) => line), [2, 4]);
  assertEquals(skipped[1]![1], "it has 6 bytes, and may have 5 (--max-bytes)");
  assertEquals(intake.counts, { lines: 5, records: 3, resumed: 0, blank: 0, bad: 2 });
});

test("LineIngester goes on behind the records that are in the log, whatever lines are between them", async () => {
  const input = "1\n\noops\n2\n3\n\n4\n5\n";
  for (let skipRecords = 0; skipRecords <= 5; skipRecords++) {
    const { units, intake } = newIntake({ format: "ndjson", onBadLine: "skip", skipRecords });
    await intake.run(inputOf(input), NEVER);
    assertEquals(units.flat(), ["1", "2", "3", "4", "5"].slice(skipRecords));
    assertEquals(intake.counts, { lines: 8, records: 5 - skipRecords, resumed: skipRecords, blank: 2, bad: 1 });
  }
});

test("LineIngester leaves a last line that has no end if it is told to, and says which", async () => {
  for (const [input, units, left] of [["a\nb", ["a"], [2]], ["a\nb\n", ["a", "b"], []], ["", [], []]] as const) {
    const taken = newIntake({ lastLine: "leave" });
    await taken.intake.run(inputOf(input), NEVER);
    assertEquals([taken.units.flat(), taken.left], [[...units], [...left]]);
    assertEquals(taken.intake.counts.lines, units.length);
  }
});

// What the input has behind its last LF, and what becomes of it in each format.
const ENDS: readonly { readonly end: string; readonly lines: string[]; readonly ndjson: string[] }[] = [
  { end: "1\r", lines: ["1\r"], ndjson: ["1\r"] },
  { end: "\r", lines: ["\r"], ndjson: [] },
  { end: "\r\r", lines: ["\r\r"], ndjson: [] },
  { end: " \r", lines: [" \r"], ndjson: [] },
  { end: "1\r\n", lines: ["1"], ndjson: ["1"] },
  { end: "\r\n", lines: [""], ndjson: [] },
];

for (const { end, ...records } of ENDS) {
  test(`LineIngester keeps every byte of ${JSON.stringify(end)} at the end of the input, wherever a chunk ends`, async () => {
    for (const format of ["lines", "ndjson"] as const) {
      for (let at = 0; at <= end.length; at++) {
        const { units, intake } = newIntake({ format });
        await intake.run(inputOf(`0\n${end.slice(0, at)}`, "", end.slice(at)), NEVER);
        assertEquals(units.flat(), ["0", ...records[format]], `${format}, ${at}`);
        const left = newIntake({ format, lastLine: "leave" });
        await left.intake.run(inputOf(`0\n${end.slice(0, at)}`, end.slice(at)), NEVER);
        const isWhole = end.endsWith("\n");
        assertEquals([left.units.flat(), left.left], isWhole ? [["0", ...records[format]], []] : [["0"], [2]]);
      }
    }
  });
}

test("LineIngester refuses to go on with an input that has less than the log", async () => {
  const { intake } = newIntake({ skipRecords: 3 });
  const error = await assertRejects(() => intake.run(inputOf("1\n2\n"), NEVER), ShipError);
  assertEquals(
    error.message,
    "Cannot resume: 3 records are in the log, and the input ends at line 2, so it is not what was read before",
  );
});

test("LineIngester ends when it is told to, though a read is under way, and leaves half a line where it is", async () => {
  const { units, intake } = newIntake();
  const feed = new Feed().push("whole\nhal");
  const stop = new AbortController();
  const running = intake.run(feed, stop.signal);
  for (let i = 0; i < 20; i++) await undefined;
  stop.abort(new Error("enough"));
  await assertRejects(() => running, Error, "enough");
  assertEquals([units, feed.isLeft], [[["whole"]], true]);
});

test("LineIngester says that the input can't be read", async () => {
  const running = newIntake().intake.run(new Feed().push("a\n").fail(new Error("EIO")), NEVER);
  await assertRejects(() => running, ShipError, "Cannot read standard input: EIO");
});

test("quantities are read as people write them", () => {
  const any = { least: 0, most: 2 ** 40 };
  for (const [text, ms] of [["0", 0], ["250", 250], ["500ms", 500], ["2s", 2_000], ["1.5 s", 1_500], ["5m", 300_000]]) {
    assertEquals(parseDuration("t", String(text), any), ms);
  }
  for (
    const [text, bytes] of [["500000", 500_000], ["500kB", 500_000], ["1MB", 1e6], ["1KiB", 1_024], ["2GiB", 2 ** 31]]
  ) {
    assertEquals(parseBytes("b", String(text), any), bytes);
  }
  assertEquals(parseCount("n", "17", any), 17);
  for (const text of ["", "x", "-1", "1e3", "1.5", "0x10", " 1", "1 "]) {
    assertThrows(() => parseCount("n", text, any), UsageError, `Cannot use --n=${text}: it must be a whole number`);
  }
  for (const text of ["", "s", "1x", "1constructor", "2s2s", "-1s", "Infinity"]) {
    assertThrows(() => parseDuration("t", text, any), UsageError, "it must be a time such as 500ms, 2s or 5m");
  }
  assertThrows(
    () => parseDuration("t", "2m", { least: 1, most: 1_000 }),
    UsageError,
    "Cannot use --t=2m: it must be a time such as 500ms, 2s or 5m from 1 to 1000",
  );
});

const WRONG: readonly { readonly args: readonly string[]; readonly message: RegExp }[] = [
  { args: [], message: /no PATH is given/ },
  { args: ["/a", "/b", "--to", "-"], message: /one PATH/ },
  { args: ["/a"], message: /no --to is given/ },
  { args: ["/a", "--to", ""], message: /--to=: it must not be empty/ },
  { args: ["/a", "--to", "ftp://host/x"], message: /http or https/ },
  { args: ["/a", "--to", "http:/host"], message: /it is no URL/ },
  { args: ["/a", "--to", "https://"], message: /it is no URL/ },
  { args: ["/a", "--to", "http://host:99999/"], message: /it is no URL/ },
  { args: ["/a", "--to", "http://host:6000/"], message: /it must not have port 6000, which fetch blocks/ },
  { args: ["/a", "--to", "https://user:secret@host/"], message: /must not hold a name or a password/ },
  { args: ["/a", "--to", "/a/out"], message: /must not be in a buffer's directory/ },
  { args: ["./a", "--to", "a/out"], message: /must not be in a buffer's directory/ },
  { args: ["/a", "--to", "-", "--max-records", "0"], message: /from 1 to 1000000/ },
  { args: ["/a", "--to", "-", "--max-age", "soon"], message: /--max-age=soon/ },
  { args: ["/a", "--to", "-", "--max-in-flight", "17"], message: /from 1 to 16/ },
  { args: ["/a", "--to", "-", "--fsync", "sometimes"], message: /always, never/ },
  { args: ["/a", "--to", "-", "--format", "csv"], message: /lines, ndjson/ },
  { args: ["/a", "--to", "-", "--when-full", "wait"], message: /block, reject, drop-oldest/ },
  { args: ["/a", "--to", "-", "--resume", "--no-input"], message: /--resume/ },
  { args: ["/a", "--to", "-", "--dead-letters", "/a/."], message: /a directory of its own/ },
  { args: ["/a", "--to", "-", "--when-undeliverable", "skip"], message: /one of stop, dead-letter/ },
  {
    args: ["/a", "--to", "-", "--when-undeliverable", "dead-letter"],
    message: /=dead-letter: no --dead-letters is given/,
  },
  { args: ["/a", "--to", "-", "--header", "a: b"], message: /for an HTTP server/ },
  { args: ["/a", "--to", "-", "--gzip"], message: /for an HTTP server/ },
  { args: ["/a", "--to", "http://host", "--header", "secret"], message: /--header="\.\.\.": it must be "Name: value"/ },
  { args: ["/a", "--to", "http://host", "--header", "a: b", "--header", "a b: secret"], message: /="a b\.\.\."/ },
];

for (const { args, message } of WRONG) {
  test(`ship ${args.join(" ")} is refused, and nothing is done`, async () => {
    const { code, errors, fileSystem } = await ship(args);
    assertEquals(code, 2);
    assertMatch(errors.text, message);
    assert(!errors.text.includes("secret"), errors.text);
    assertEquals(fileSystem.paths(), []);
  });
}
