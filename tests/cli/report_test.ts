/**
 * `report`: what it counts is what a buffer would deliver and recover, it judges as `verify` does, and the page is written
 * whole, over nothing else, or not at all.
 */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path/join";
import { reportCommand } from "../../src/cli/report.ts";
import { renderReport } from "../../src/cli/report/page.ts";
import { recoverySteps } from "../../src/cli/report/recovery_steps.ts";
import { type CommandContext, EXIT_OK, EXIT_UNSOUND, UsageError } from "../../src/cli/shared/command.ts";
import { verifyCommand } from "../../src/cli/verify.ts";
import { FileSystemError, PermissionError, UnsupportedVersionError } from "../../src/errors/mod.ts";
import type { ScanItem } from "../../src/maintenance/scan_items.ts";
import { NoBufferError } from "../../src/maintenance/snapshot.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { segmentName } from "../../src/wal/names.ts";
import { assertSameBytes, overwrite, uint32 } from "../support/bytes.ts";
import { hitFrame } from "../support/damaged_logs.ts";
import { headerOf } from "../support/frames.ts";
import { copyOf, DIRECTORY, drainCopy, makeLog, openLog, segmentPath, snapshot } from "../support/logs.ts";
import { readUnchanged } from "./reading.ts";
import {
  damagedLog,
  frames,
  healthyLog,
  NOW,
  PAGE_BYTES,
  reportDataOf as dataOf,
  segment,
  tallied,
  textOf,
} from "./report_logs.ts";

/** What a command works with; what it prints goes to `chunks`. */
function contextOf(fileSystem: MemoryFileSystem, chunks: string[] = []): CommandContext {
  return {
    fileSystem,
    clock: new ManualClock(NOW),
    input: (async function* () {})(),
    output: {
      columns: undefined,
      write: (data) =>
        Promise.resolve(void chunks.push(typeof data === "string" ? data : new TextDecoder().decode(data))),
    },
    errors: { columns: undefined, write: () => Promise.resolve() },
    signal: new AbortController().signal,
  };
}

/** Runs the command; exit code and standard output. */
async function run(
  fileSystem: MemoryFileSystem,
  options: Record<string, string | boolean>,
  path = DIRECTORY,
): Promise<{ code: number; output: string }> {
  const chunks: string[] = [];
  const code = await reportCommand.run({ positionals: [path], options }, contextOf(fileSystem, chunks));
  return { code, output: chunks.join("") };
}

// ------------------------------------------------------------------------------------------------ what the numbers say

for (const [name, make] of [["healthy", healthyLog], ["damaged", damagedLog]] as const) {
  test(`the report of a ${name} log counts what a buffer delivers and recovers`, async () => {
    const { fileSystem } = await make();
    const { counts, isSound, regions, sizes, times } = await dataOf(fileSystem);
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
    const data = await dataOf(fileSystem, clock.now());
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

const v1 = fileURLToPath(new URL("../testdata/v1/", import.meta.url));
for (const name of readdirSync(v1).filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5)).sort()) {
  const expected = JSON.parse(readFileSync(join(v1, `${name}.json`), "utf8"));
  if (expected.refusal?.code === "UNSUPPORTED_VERSION") continue;

  test(`the report of the log ${name} of version 1 says what opening it did`, async () => {
    const fileSystem = load(join(v1, name));
    const data = await dataOf(fileSystem);
    const delivered = expected.batches.flatMap(({ records }: { records: unknown[] }) => records).length;
    assertEquals(data.counts.pendingRecords, delivered);
    assertEquals(data.counts.tornBytes + data.counts.freeBytes, expected.recovery.truncatedBytes);
    const damaged = [...expected.recovery.damaged, ...expected.damage].filter(({ length }) => length > 0);
    assertEquals(data.regions.filter(({ kind }) => kind === "damaged" || kind === "unusable").length, damaged.length);
    assertEquals(data.isSound, expected.recovery.damaged.length + expected.damage.length === 0 && data.cursor === "ok");
    const code = await verifyCommand.run({ positionals: [DIRECTORY], options: {} }, contextOf(fileSystem));
    assertEquals(data.isSound, code === EXIT_OK, "as verify judges");
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
  const data = await dataOf(fileSystem);
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
  const { rows, counts } = await dataOf(fileSystem);
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
    place: 1,
    isSynced: false,
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
    place: 1,
    isSynced: false,
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
  const past = { ...damaged, offset: 500, missing: { first: 1, last: 2 } };
  const items = [segment(1, 10_000), past, damaged] as ScanItem[];
  const { counts, regions, ...data } = tallied(items, { cursor, cursorState: "ok" });
  assertEquals([counts.missingRecords, counts.damagedRegions, counts.damagedBytes], [4, 2, 198]);
  assertEquals(regions.map(({ missing, isPast }) => [missing, isPast]), [
    [undefined, true],
    [{ first: 11, last: 14 }, false],
  ]);
  assertEquals(recoverySteps({ ...data, counts, regions }), [
    "Leave 99 damaged bytes in 00000000000000000001.wal at offset 500 alone: the records there are done with.",
    "Nothing is left to deliver.",
  ]);
});

test("damage among records that are committed is no business of recovery, and makes the log unsound", async () => {
  const { fileSystem } = await healthyLog();
  const path = `${DIRECTORY}/${segmentName(1)}`;
  fileSystem.writeFile(path, hitFrame(fileSystem.readFile(path), 3));
  const data = await dataOf(fileSystem);
  assertEquals((await drainCopy(fileSystem)).regions, []);
  assertEquals([data.isSound, data.counts.damagedRegions, data.counts.missingRecords], [false, 1, 0]);
  assertEquals(recoverySteps(data).filter((step) => !step.startsWith("Deliver ")).length, 1);
  assertStringIncludes(recoverySteps(data)[0]!, "alone: the records there are done with.");
});

test("steps name what would be cut, set aside, moved and reported", async () => {
  const { fileSystem, clock } = await damagedLog();
  const steps = recoverySteps(await dataOf(fileSystem, clock.now())).map((step) =>
    step.replaceAll("\u202f", "").replaceAll("\xa0", " ")
  );
  const patterns = [
    /^Cut off: 700 B of 0{16}1657\.wal at \d+: an unfinished write, or damage at the very end; copied to the quarantine first\.$/,
    /^Set aside: a copy of 75 B of 0{17}888\.wal at \d+: damaged\.$/,
    /^Set aside: a copy of \d+ B of 0{17}888\.wal at \d+: damaged\.$/,
    /^Moved: 0{16}1046\.wal to the quarantine, 24 KiB: its header can't be read\.$/,
    /^Lost: sequence 893\.$/,
    /^Lost: sequences 928 to 929, 2 records at most\.$/,
    /^Lost: sequences 1046 to 1185, 140 records at most\.$/,
    /^Lost: sequences 1383 to 1530, 148 records at most\.$/,
    /^Deliver 1059 records \(115 KiB\), 300 of them again, as the same 2 batches; the oldest was put 3 h 8 min ago\.$/,
  ];
  assertEquals(steps.length, patterns.length);
  steps.forEach((step, i) => assert(patterns[i]!.test(step), `${step} is not ${patterns[i]}`));
});

test("without a cursor everything is pending, and the report says that it comes again", async () => {
  const { fileSystem } = await healthyLog();
  fileSystem.remove(`${DIRECTORY}/cursor`);
  const data = await dataOf(fileSystem);
  assertEquals([data.counts.pendingRecords, data.counts.committedThrough, data.isSound], [1800, undefined, false]);
  assertStringIncludes(
    recoverySteps(data).join("\n"),
    "Rewritten: the cursor: it is missing, damaged or another buffer's; everything in the log is delivered again.",
  );
  assertStringIncludes(textOf(renderReport(data)), "Not sound. the cursor is missing.");
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

test("report --out=- needs no permission to write, and ends quietly when nobody reads", async () => {
  const { fileSystem } = await damagedLog();
  const args = ["report", DIRECTORY, "--out=-"];
  const { code, output, errors } = await readUnchanged(fileSystem, args, { clock: new ManualClock(NOW) });
  assertEquals([code, output, errors], [EXIT_UNSOUND, renderReport(await dataOf(fileSystem)), ""]);
  const closed = await readUnchanged(fileSystem, args, { closesAfter: 0 });
  assertEquals([closed.code, closed.output, closed.errors], [141, "", ""]);
});

test("report --json prints what the page is drawn from", async () => {
  const { fileSystem } = await damagedLog();
  const { output } = await run(fileSystem, { json: true });
  assertEquals(JSON.parse(output), JSON.parse(JSON.stringify(await dataOf(fileSystem))));
});

test("report of what is no buffer, or of a newer version, says so and writes nothing", async () => {
  const fileSystem = load(join(v1, "one_segment"));
  const path = segmentPath(1);
  fileSystem.writeFile(path, overwrite(overwrite(fileSystem.readFile(path), 8, uint32(9)), 88, uint32(9)));
  fileSystem.writeFile("/other/notes.txt", new Uint8Array(3));
  for (const path of ["/nothing", "/other", "/other/notes.txt"]) {
    await assertRejects(() => run(fileSystem, { out: "/page.html" }, path), NoBufferError, path);
  }
  await assertRejects(() => run(fileSystem, { out: "/page.html" }), UnsupportedVersionError);
  assertEquals(fileSystem.paths().filter((path) => path.startsWith("/page")), []);
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
