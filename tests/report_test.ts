/**
 * `report` without a browser: what it counts is what a buffer would deliver and recover, whatever is in the directory
 * stays text, page and memory are bounded, and a page is written whole, over nothing else, or not at all.
 */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path/join";
import { EXIT_OK, EXIT_UNSOUND, UsageError } from "../src/cli/command.ts";
import { reportCommand } from "../src/cli/report.ts";
import type { ReportData, Stretch } from "../src/cli/report_data.ts";
import { MAX_BINS } from "../src/cli/report_histograms.ts";
import { layOut, MIN_WIDTH, niceCeiling } from "../src/cli/report_layout.ts";
import { renderReport } from "../src/cli/report_page.ts";
import { recoverySteps } from "../src/cli/report_recovery.ts";
import { MAX_ROWS, MAX_STRETCHES, ReportRows } from "../src/cli/report_rows.ts";
import { MAX_REGIONS, ReportTally } from "../src/cli/report_tally.ts";
import { escapeHtml } from "../src/cli/report_words.ts";
import type { DirectoryPicture, ScanItem } from "../src/cli/scan.ts";
import { FileSystemError, PermissionError } from "../src/errors.ts";
import { MemoryFileSystem } from "../src/fs/memory.ts";
import { ManualClock } from "../src/manual_clock.ts";
import { segmentName } from "../src/wal/format.ts";
import { damagedLog, healthyLog, reportDataOf } from "./cli/report_logs.ts";
import {
  assertSameBytes,
  copyOf,
  DIRECTORY,
  drainCopy,
  headerOf,
  makeLog,
  openLog,
  seededRandom,
  snapshot,
} from "./log_tools.ts";

const PAGE_BYTES = 300_000;
const NOW = Date.UTC(2026, 0, 2);

function dataOf(fileSystem: MemoryFileSystem, now = NOW): ReportData {
  return reportDataOf(fileSystem, now);
}

/** What people read: tags away, and numbers without the spaces in them. */
function textOf(page: string): string {
  const body = page.slice(page.indexOf("<body>"), page.indexOf("<script>"));
  return body.replaceAll(/<title>[^]*?<\/title>/g, "").replaceAll(/<[^>]*>/g, " ")
    .replaceAll("\u202f", "").replaceAll("\xa0", " ").replaceAll(/\s+/g, " ");
}

/** Runs the command; standard output, errors and exit code. */
async function run(
  fileSystem: MemoryFileSystem,
  options: Record<string, string | boolean>,
  path = DIRECTORY,
): Promise<{ code: number; output: string }> {
  const chunks: Uint8Array[] = [];
  const code = await reportCommand.run({ positionals: [path], options }, {
    fileSystem,
    clock: new ManualClock(NOW),
    input: (async function* () {})(),
    output: {
      columns: undefined,
      write: (data) =>
        Promise.resolve(void chunks.push(typeof data === "string" ? new TextEncoder().encode(data) : data)),
    },
    errors: { columns: undefined, write: () => Promise.resolve() },
    signal: new AbortController().signal,
  });
  return { code, output: chunks.map((chunk) => new TextDecoder().decode(chunk)).join("") };
}

// ------------------------------------------------------------------------------------------------ what the numbers say

for (const [name, make] of [["healthy", healthyLog], ["damaged", damagedLog]] as const) {
  test(`the report of a ${name} log counts what a buffer delivers and recovers`, async () => {
    const { fileSystem } = await make();
    const { counts, isSound, regions, sizes, times } = dataOf(fileSystem);
    const drained = await drainCopy(fileSystem);
    assertEquals(counts.pendingRecords, drained.records.length);
    assertEquals(counts.pendingBytes, drained.records.reduce((sum, { value }) => sum + value.length, 0));
    assertEquals(counts.tornBytes + counts.freeBytes, drained.report.truncatedBytes);
    assertEquals(counts.lastSequence, drained.nextSequence - 1);
    const missing = drained.regions.flatMap((region) => region.missing ?? []);
    assertEquals(counts.missingRecords, missing.reduce((sum, { first, last }) => sum + last - first + 1, 0));
    const places = (list: readonly { segment?: string | undefined; offset: number; length: number }[]) =>
      list.filter(({ length }) => length > 0).map(({ segment, offset, length }) => `${segment} ${offset} ${length}`)
        .sort();
    assertEquals(places(regions.filter(({ kind }) => kind !== "torn")), places(drained.regions));
    assertEquals(isSound, drained.regions.length === 0);
    // One way or the other, each record is counted once.
    const records = counts.pendingRecords + counts.committedRecords;
    assertEquals(sizes.reduce((sum, bucket) => sum + bucket.records, 0), records);
    assertEquals(times.bins.reduce((sum, bin) => sum + bin.records, 0), records);
  });

  test(`the report of a ${name} log has the numbers of its buffer on the page`, async () => {
    const { fileSystem, clock } = await make();
    const { buffer } = await openLog(copyOf(fileSystem), { clock });
    const { pendingRecords } = buffer.stats();
    await buffer.close();
    const data = dataOf(fileSystem, clock.now());
    const text = textOf(renderReport(data));
    // What is missing in earlier segments open() doesn't know yet.
    if (name === "healthy") assertStringIncludes(text, `Pending ${pendingRecords} `);
    assertStringIncludes(text, "In flight 300 in 2 batches");
    assertStringIncludes(text, "Committed 450 last sequence");
    assertStringIncludes(text, "Oldest pending 3 h 8 min put 2026-01-01 10:20:46");
    assertStringIncludes(
      text,
      name === "healthy" ? "Sound. Every frame" : "Not sound. 1 unusable file (24 KiB), 2 damaged",
    );
  });
}

const v1 = fileURLToPath(new URL("testdata/v1/", import.meta.url));
for (const name of readdirSync(v1).filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5)).sort()) {
  const expected = JSON.parse(readFileSync(join(v1, `${name}.json`), "utf8"));
  if (expected.refusal?.code === "UNSUPPORTED_VERSION") continue;

  test(`the report of the log ${name} of version 1 says what opening it did`, () => {
    const data = dataOf(load(join(v1, name)));
    const delivered = expected.batches.flatMap(({ records }: { records: unknown[] }) => records).length;
    assertEquals(data.counts.pendingRecords, delivered);
    assertEquals(data.counts.tornBytes + data.counts.freeBytes, expected.recovery.truncatedBytes);
    const damaged = [...expected.recovery.damaged, ...expected.damage].filter(({ length }) => length > 0);
    assertEquals(data.regions.filter(({ kind }) => kind === "damaged" || kind === "unusable").length, damaged.length);
    assertEquals(data.isSound, expected.recovery.damaged.length + expected.damage.length === 0 && data.cursor === "ok");
    const page = renderReport(data);
    assertLess(page.length, PAGE_BYTES);
    assertStringIncludes(page, data.isSound ? "<strong>Sound.</strong>" : "<strong>Not sound.</strong>");
  });
}

/** A directory of the disk, in memory. */
function load(directory: string): MemoryFileSystem {
  const fileSystem = new MemoryFileSystem();
  for (const name of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    const path = join(directory, name);
    if (statSync(path).isFile()) fileSystem.writeFile(`${DIRECTORY}/${name}`, readFileSync(path));
  }
  return fileSystem;
}

test("the report of a buffer without a record says so", async () => {
  const { fileSystem } = await makeLog([], { ends: "closed" });
  const data = dataOf(fileSystem);
  assertEquals([data.isSound, data.counts.pendingRecords, data.sizes, data.times.bins], [true, 0, [], []]);
  const text = textOf(renderReport(data));
  assertStringIncludes(text, "Oldest pending none everything is committed");
  assertStringIncludes(text, "Nothing is left to deliver.");
});

test("a frame that is committed in part is drawn and counted record by record", async () => {
  const { fileSystem } = await makeLog([["a", "bb", "ccc", "dddd", "eeeee"]], {
    maxRecords: 2,
    finish: async (buffer) => {
      await buffer.commit(await buffer.emit());
      await buffer.emit();
    },
  });
  const { rows, counts } = dataOf(fileSystem);
  const drawn = rows[0]!.stretches.filter(({ kind }) => kind !== "free")
    .map(({ kind, offset, length, sequences }) => [kind, offset, length, sequences?.first, sequences?.last]);
  assertEquals(drawn, [
    // Header of segment and frame: 160 and 28 bytes; 4 bytes before each payload.
    ["committed", 160, 28 + 4 + 1 + 4 + 2, 1, 2],
    ["inFlight", 199, 4 + 3 + 4 + 4, 3, 4],
    ["pending", 214, 4 + 5, 5, 5],
  ]);
  assertEquals([counts.committedRecords, counts.inFlightRecords, counts.pendingRecords], [2, 2, 3]);
  assertEquals(counts.pendingBytes, 3 + 4 + 5);
});

test("records that were dropped while others are in flight are neither pending nor committed", () => {
  const position = (nextSequence: number) => ({ nextSequence, payloadBytes: 0, logBytes: 0 });
  const cursor = {
    generation: 1,
    uuid: headerOf().uuid,
    lastSequence: 40,
    committed: position(11),
    resume: position(31),
    boundaries: [position(21)],
  };
  const { counts } = tallied([segment(1, 10_000), ...frames(1, 40, 100)], { cursor, cursorState: "ok" });
  assertEquals([counts.committedRecords, counts.inFlightRecords, counts.droppedRecords], [10, 10, 10]);
  assertEquals(counts.pendingRecords, 20);
});

test("nobody misses what is committed", () => {
  const position = { nextSequence: 11, payloadBytes: 0, logBytes: 0 };
  const cursor = {
    generation: 1,
    uuid: headerOf().uuid,
    lastSequence: 40,
    committed: position,
    resume: position,
    boundaries: [],
  };
  const damaged = {
    kind: "damaged",
    segment: segmentName(1),
    offset: 160,
    length: 99,
    missing: { first: 5, last: 14 },
  };
  const { counts } = tallied([segment(1, 10_000), damaged as ScanItem], { cursor, cursorState: "ok" });
  assertEquals([counts.missingRecords, counts.damagedRegions, counts.damagedBytes], [4, 1, 99]);
});

test("steps name what would be cut, set aside, moved and reported", async () => {
  const { fileSystem, clock } = await damagedLog();
  const steps = recoverySteps(dataOf(fileSystem, clock.now())).map((step) =>
    step.replaceAll("\u202f", "").replaceAll("\xa0", " ")
  );
  const patterns = [
    /^Set aside 75 damaged bytes in 0{17}888\.wal at offset \d+, and report sequence 893 as missing\.$/,
    /^Set aside \d+ damaged bytes in 0{17}888\.wal at offset \d+, and report sequences 928 to 929 as missing\.$/,
    /^Move 0{16}1046\.wal \(24 KiB\) to the quarantine: its header can't be read\.$/,
    /^Report sequences 1046 to 1185 as missing; there is nothing left to set aside\.$/,
    /^Report sequences 1383 to 1530 as missing; there is nothing left to set aside\.$/,
    /^Cut 700 torn bytes in 0{16}1657\.wal at offset \d+, an unfinished write, after copying them to the quarantine\.$/,
    /^Deliver 1059 records \(115 KiB\), 300 of them again, as the same 2 batches; the oldest was put 3 h 8 min ago\.$/,
  ];
  assertEquals(steps.length, patterns.length);
  steps.forEach((step, i) => assert(patterns[i]!.test(step), `${step} is not ${patterns[i]}`));
});

test("without a cursor everything is pending, and the report says that it comes again", async () => {
  const { fileSystem } = await healthyLog();
  fileSystem.remove(`${DIRECTORY}/cursor`);
  const data = dataOf(fileSystem);
  assertEquals([data.counts.pendingRecords, data.counts.committedThrough, data.isSound], [1800, undefined, false]);
  assertStringIncludes(recoverySteps(data).join("\n"), "Write a new cursor, because there is none");
  assertStringIncludes(textOf(renderReport(data)), "Not sound. the cursor is missing.");
});

// ------------------------------------------------------------------------------------------------------------- bounds

const PICTURE: DirectoryPicture = {
  path: DIRECTORY,
  isSingleFile: false,
  uuid: headerOf().uuid,
  cursor: undefined,
  cursorState: "missing",
  owner: undefined,
  segments: [],
  quarantine: [],
};

function tallied(items: Iterable<ScanItem>, picture: Partial<DirectoryPicture> = {}): ReportData {
  const tally = new ReportTally({ ...PICTURE, ...picture });
  for (const item of items) tally.add(item);
  return tally.finish(NOW);
}

function segment(firstSequence: number, bytes: number): ScanItem {
  const header = headerOf({ firstSequence });
  return { kind: "segment", segment: segmentName(firstSequence), bytes, header, isLast: false };
}

/** Frames of one record each, one behind the other. */
function frames(first: number, count: number, length: number, putTime = NOW): ScanItem[] {
  const payload = new Uint8Array(length - 32);
  return Array.from({ length: count }, (_, i) => ({
    kind: "frame",
    segment: "",
    offset: 160 + i * length,
    length,
    firstSequence: first + i,
    count: 1,
    putTime,
    payloads: () => [payload],
    codecVersion: 0,
    isJson: false,
  }));
}

/** As bad as it gets: every other frame of thousands of segments damaged, all numbers and names long. */
function* horribleLog(segments: number): Generator<ScanItem> {
  let first = 2 ** 52;
  for (let i = 0; i < segments; i++) {
    const name = segmentName(first);
    yield segment(first, 100_000);
    for (let k = 0; k < 40; k++) {
      const [one] = frames(first, 1, 1000, NOW - (segments - i) * 86_400_000);
      yield { ...one!, offset: 160 + k * 2000 } as ScanItem;
      const missing = { first: first + 1, last: first + 3 };
      yield { kind: "damaged", segment: name, offset: 1160 + k * 2000, length: 1000, missing };
      first += 4;
    }
    yield { kind: "missing", missing: { first, last: first + 9 } };
    first += 10;
  }
}

test("a page stays small however large and bad the log is, and says what is drawn as one", () => {
  const quarantine = Array.from({ length: 1000 }, (_, i) => ({ name: `${i}`.padEnd(255, `"`), bytes: 1 }));
  const owner = { pid: 2 ** 31, runtime: "<".repeat(400), openedAt: "x".repeat(400) };
  const data = tallied(horribleLog(3000), { quarantine, owner, path: `/${"'".repeat(4000)}` });
  assertEquals(data.counts.damagedRegions, 120_000);
  assertEquals(data.counts.missingRecords, 120_000 * 3 + 3000 * 10);
  assertEquals(data.counts.pendingRecords, 120_000);
  assertEquals([data.regions.length, data.regionsInAll], [MAX_REGIONS, 123_000]);
  assertEquals(data.rows.reduce((sum, { segments }) => sum + segments, 0), 3000);
  assertEquals(data.rows.reduce((sum, { bytes }) => sum + bytes, 0), 300_000_000);
  const page = renderReport(data);
  assertLess(new TextEncoder().encode(page).length, PAGE_BYTES);
  assertStringIncludes(page, `A bar is up to ${data.segmentsPerRow} segments`);
  assertStringIncludes(page, "some neighbours are drawn as one");
  assertStringIncludes(textOf(page), "And 980 more.");
  assertStringIncludes(textOf(page), "And 122940 more of these.");
});

test("rows keep the order and the worst of everything, whatever is joined (seed 11)", () => {
  const random = seededRandom(11);
  const kinds = ["committed", "pending", "inFlight", "damaged", "torn", "missing"] as const;
  const severity = ["free", "committed", "dropped", "pending", "inFlight", "torn", "missing", "damaged", "unusable"];
  for (let round = 0; round < 60; round++) {
    const rows = new ReportRows();
    const added: { kind: typeof kinds[number]; at: number; length: number }[] = [];
    let base = 0;
    const segments = 1 + random(200);
    for (let i = 0; i < segments; i++) {
      const bytes = 160 + random(5000);
      rows.beginSegment(segmentName(i + 1), bytes);
      for (let offset = 160; offset < bytes && random(10) > 0;) {
        const kind = kinds[random(kinds.length)]!;
        const length = kind === "missing" ? 0 : Math.min(bytes - offset, 1 + random(900));
        rows.add({ kind, offset, length, sequences: undefined });
        added.push({ kind, at: base + offset, length });
        offset += length;
      }
      base += bytes;
    }
    const finished = rows.finish();
    const note = `round ${round}`;
    assert(finished.length <= MAX_ROWS, note);
    const drawn: Stretch[] = [];
    let start = 0;
    for (const row of finished) {
      assert(row.stretches.length <= MAX_STRETCHES, note);
      let end = 0;
      for (const stretch of row.stretches) {
        assert(stretch.at >= end && stretch.at + stretch.length <= row.bytes, note);
        end = stretch.at + stretch.length;
        drawn.push({ ...stretch, at: start + stretch.at });
      }
      start += row.bytes;
    }
    assertEquals(start, base, note);
    for (const { kind, at, length } of added) {
      const over = drawn.find((stretch) =>
        stretch.at <= at && at + length <= stretch.at + stretch.length &&
        severity.indexOf(stretch.kind) >= severity.indexOf(kind)
      );
      assert(over !== undefined, `${note}: ${kind} at ${at}, ${length} bytes, is not drawn`);
    }
  }
});

test("times of any range fit the chart", () => {
  for (const [from, step] of [[0, 1], [NOW, 7], [NOW, 86_400_000], [0, 2 ** 40], [NOW, -1000]] as const) {
    const items = Array.from({ length: 200 }, (_, i) => frames(i + 1, 1, 100, Math.abs(from + i * step))[0]!);
    const { times } = tallied([segment(1, 1e6), ...items]);
    const all = times.bins.reduce((sum, { records }) => sum + records, 0);
    const span = (times.bins.at(-1)!.from - times.bins[0]!.from) / times.widthMs;
    assertEquals(all, 200);
    assert(span < MAX_BINS && times.bins.length > 1, `${step}: ${span}`);
  }
});

test("layOut() is to scale, widens what is narrow, and never overlaps", () => {
  const wide = layOut([{ at: 0, length: 500 }, { at: 500, length: 500 }], 1000, 50);
  assertEquals(wide, [{ x: 0, width: 25 }, { x: 25, width: 25 }]);
  const random = seededRandom(3);
  for (let round = 0; round < 200; round++) {
    const stretches: { at: number; length: number }[] = [];
    let at = 0;
    for (let i = random(MAX_STRETCHES + 1); i > 0; i--) {
      at += random(3) * random(1000);
      const length = random(3) === 0 ? 0 : random(2) * 1e6 + random(1000);
      stretches.push({ at, length });
      at += length;
    }
    const bytes = at + random(1000);
    const rowWidth = 1 + random(100);
    const spans = layOut(stretches, bytes, rowWidth);
    let end = 0;
    for (const { x, width } of spans) {
      assert(x >= end - 1e-9 && width >= MIN_WIDTH - 1e-9, `round ${round}`);
      end = x + width;
    }
    assert(end <= Math.max(rowWidth, spans.length * MIN_WIDTH) + 1e-9, `round ${round}: ${end} of ${rowWidth}`);
  }
});

test("niceCeiling() is not below what is to be shown, and its half is whole", () => {
  for (const max of [0, 1, 2, 3, 9, 10, 11, 99, 101, 1099, 12_345, 999_999, 2 ** 40]) {
    const ceiling = niceCeiling(max);
    assert(
      ceiling >= max && ceiling <= Math.max(2, 1.4 * max) && (ceiling === 1 || ceiling % 2 === 0),
      `${max} ${ceiling}`,
    );
  }
});

// ------------------------------------------------------------------------------------------------------ what isn't ours

test("whatever a name is made of, it is text", () => {
  const evil = `</title></style><script>alert(1)</script>"'><img src=x onerror=alert(1)>\u202etxt.\x07\ud800`;
  const owner = { pid: 1, runtime: evil, openedAt: evil };
  const page = renderReport(tallied([], { path: `/${evil}`, quarantine: [{ name: evil, bytes: 1 }], owner }));
  assertEquals(page.match(/<script/g)?.length, 1);
  assertEquals(page.match(/<img/g), null);
  assertEquals(page.match(/<\/title>/g)?.length, 1);
  assert(!page.includes("\u202e") && !page.includes("\x07") && page.isWellFormed());
  assertEquals(escapeHtml(`a<b>&"c"'d'`), "a&lt;b&gt;&amp;&quot;c&quot;&#39;d&#39;");
});

test("the page allows its own style and script and nothing else, and refers to nothing", async () => {
  const { fileSystem } = await damagedLog();
  const page = renderReport(dataOf(fileSystem));
  const policy = /Content-Security-Policy" content="([^"]*)"/.exec(page)![1]!;
  const hashes = await Promise.all([/<style>([^]*?)<\/style>/, /<script>([^]*?)<\/script>/].map(async (pattern) => {
    const bytes = new TextEncoder().encode(pattern.exec(page)![1]);
    return btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))));
  }));
  assertEquals(
    policy,
    `default-src 'none'; style-src 'sha256-${hashes[0]}'; script-src 'sha256-${hashes[1]}'; ` +
      "base-uri 'none'; form-action 'none'",
  );
  assertEquals(page.match(/\b(src|href|style|on\w+)=|https?:|@import/g), null);
  assertEquals([...page.matchAll(/url\(([^)]*)\)/g)].map(([, url]) => url!).filter((url) => !url.startsWith("#")), []);
});

// --------------------------------------------------------------------------------------------------------- the command

test("report writes the page, changes nothing else, and is the same every time", async () => {
  const { fileSystem } = await damagedLog();
  const before = snapshot(fileSystem);
  const { code, output } = await run(fileSystem, { out: "/page.html" });
  assertEquals(code, EXIT_UNSOUND);
  assertStringIncludes(output, "/page.html: ");
  assertStringIncludes(output, "11 segments, not sound: 1 unusable file (24 KiB), 2 damaged regions (237 B)");
  const page = new TextDecoder().decode(fileSystem.readFile("/page.html"));
  assertEquals((await run(fileSystem, { out: "-" })).output, page);
  const { "/page.html": _, ...after } = snapshot(fileSystem);
  assertEquals(Object.keys(after), Object.keys(before));
  for (const [path, bytes] of Object.entries(before)) assertSameBytes(after[path]!, bytes, path);
  assertEquals((await run((await healthyLog()).fileSystem, { out: "/page.html" })).code, EXIT_OK);
});

test("report --json prints what the page is drawn from", async () => {
  const { fileSystem } = await damagedLog();
  const { output } = await run(fileSystem, { json: true });
  assertEquals(JSON.parse(output), JSON.parse(JSON.stringify(dataOf(fileSystem))));
});

test("report replaces a file only when it is told to", async () => {
  const { fileSystem } = await healthyLog();
  const old = new TextEncoder().encode("mine");
  fileSystem.writeFile("/page.html", old);
  const error = await assertRejects(() => run(fileSystem, { out: "/page.html" }), UsageError);
  assertStringIncludes(error.message, `Cannot write "/page.html": it is there already, --force replaces it`);
  assertSameBytes(fileSystem.readFile("/page.html"), old);
  await run(fileSystem, { out: "/page.html", force: true });
  assertStringIncludes(new TextDecoder().decode(fileSystem.readFile("/page.html")), "<!doctype html>");
});

test("report doesn't replace a file that appears while it works", async () => {
  const { fileSystem } = await healthyLog();
  const theirs = new TextEncoder().encode("theirs");
  const raced: MemoryFileSystem = fileSystem.kill({
    onOperation({ operation, path }) {
      if (operation === "write" && path.endsWith(".tmp")) raced.writeFile("/page.html", theirs);
    },
  });
  const error = await assertRejects(() => run(raced, { out: "/page.html" }), FileSystemError);
  assertEquals(error.message, `Cannot open "/page.html": EEXIST`);
  assertSameBytes(raced.readFile("/page.html"), theirs);
  assertEquals(raced.paths().filter((path) => path.endsWith(".tmp")), []);
});

test("report refuses a name that a buffer could have, and a command line without a place for the page", async () => {
  const { fileSystem } = await healthyLog();
  for (const out of [`${DIRECTORY}/cursor`, `${DIRECTORY}/${segmentName(9)}`, "/page", ""]) {
    await assertRejects(() => run(fileSystem, { out, force: true }), UsageError);
  }
  await assertRejects(() => run(fileSystem, {}), UsageError, "--out=FILE.html");
  await assertRejects(() => run(fileSystem, { out: "-", json: true }), UsageError);
});

test("a page is there as a whole or not at all, whatever fails and whenever the process ends", async () => {
  const { fileSystem: log } = await healthyLog();
  await run(log, { out: "/page.html" });
  const whole = log.readFile("/page.html");
  log.remove("/page.html");
  for (const way of ["fails", "dies"] as const) {
    let met: MemoryFileSystem | undefined = log;
    for (let moment = 0; met !== undefined; moment++) {
      met = undefined;
      let seen = 0;
      const fileSystem: MemoryFileSystem = copyOf(log).kill({
        onOperation({ path, operation }) {
          if (met !== undefined || !(path.startsWith("/page") || operation === "syncDirectory")) return;
          if (seen++ < moment) return;
          met = way === "dies" ? fileSystem.kill() : fileSystem;
          return { kind: "fail", errno: "EIO" };
        },
      });
      const isWritten = await run(fileSystem, { out: "/page.html" }).then(() => true, (error) => {
        assert(error instanceof FileSystemError, `${way} at ${moment}: ${error}`);
        return false;
      });
      const disk: MemoryFileSystem = met ?? fileSystem;
      const paths = disk.paths().filter((path) => path.startsWith("/page"));
      const note = `${way} at operation ${moment}: ${paths}`;
      const [page] = paths.filter((path) => path === "/page.html").map((path) => disk.readFile(path));
      // Killed between taking the name and the rename, there is an empty file.
      if (page !== undefined && (way === "fails" || page.length > 0)) assertSameBytes(page, whole, note);
      if (isWritten) assert(page !== undefined, note);
      if (way === "fails") assertEquals(paths.filter((path) => path.endsWith(".tmp")), [], note);
    }
  }
});

test("a missing permission of Deno is named for the directory of the page", async () => {
  const { fileSystem } = await healthyLog();
  const denied = fileSystem.kill({
    onOperation({ path }) {
      if (path.endsWith(".tmp")) {
        throw new PermissionError({ errno: "EACCES", operation: "open", path, flag: `--allow-write=${path}` });
      }
    },
  });
  const error = await assertRejects(() => run(denied, { out: "/page.html" }), PermissionError);
  assertEquals(error.message, `Cannot open "/page.html": EACCES, run again with --allow-write=/`);
});
