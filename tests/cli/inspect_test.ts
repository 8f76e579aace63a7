/**
 * `inspect` on whole and on damaged logs; and what all commands print at 40 columns, and while it takes long. Every file system
 * here refuses changes, and every file is compared byte for byte afterwards.
 */

import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { hitFrame, hitHeader, makeBase } from "../support/damaged_logs.ts";
import { HEADER_BYTES } from "../support/frames.ts";
import { copyOf, CURSOR_PATH, type Files } from "../support/logs.ts";
import { linesOf, makeJsonLog, type ReadingOptions, readUnchanged } from "./reading.ts";

const base = await makeBase(1);
const { path, bytes } = base;
const jsonLog = await makeJsonLog();
/** A minute after the last put. */
const laterClock = new ManualClock();
laterClock.advance(65_000);

function on(files: Files, args: readonly string[], options?: ReadingOptions): ReturnType<typeof readUnchanged> {
  return readUnchanged(copyOf(base.fileSystem, files), args, options);
}

test("inspect shows what a buffer holds", async () => {
  const { code, output, errors } = await readUnchanged(jsonLog, ["inspect", "/buffer"], { clock: laterClock });
  const shown = output.replace(/[0-9a-f-]{36}/, "UUID").replace(/process \d+/, "process PID");
  assertEquals(
    shown,
    `\
log         /buffer
buffer      UUID
format      2, codec version 0, JSON
segments    1, 355 B, sequences 1 to 5
committed   up to sequence 2
in flight   2 records, 7 B in 1 batch
pending     3 records, 23 B
oldest      sequence 3, put 1 min 3 s ago (2026-01-01 00:00:02.000Z)
newest      sequence 5, put 1 min 1 s ago (2026-01-01 00:00:04.000Z)
owner       memory process PID opened it at 2026-01-01T00:00:00.000Z; whether it still runs is not
            known
cursor      ok
quarantine  empty
disk use    12.8 KiB
damage      none known (the last segment was read, verify reads all)
`,
  );
  assertEquals([code, errors], [0, ""]);
});

test("inspect --json gives all of it", async () => {
  const { code, output } = await readUnchanged(jsonLog, ["inspect", "/buffer", "--json"], { clock: laterClock });
  const { uuid: _uuid, owner: _owner, ...rest } = JSON.parse(output);
  assertEquals(rest, {
    path: "/buffer",
    formatVersion: 2,
    codecVersion: 0,
    isJson: true,
    segments: 1,
    firstSequence: 1,
    lastSequence: 5,
    committedSequence: 2,
    inFlight: { records: 2, payloadBytes: 7, batches: 1 },
    pending: { records: 3, payloadBytes: 23 },
    oldestPending: { sequence: 3, putTime: 1767225602000, ageMs: 63000 },
    newest: { sequence: 5, putTime: 1767225604000, ageMs: 61000 },
    cursorState: "ok",
    quarantine: [],
    diskBytes: { segments: 355, cursor: 12800, quarantine: 0 },
    findings: [],
  });
  assertEquals(code, 0);
});

test("inspect counts as stats() does, whatever is committed, in flight or dropped", async () => {
  for (
    const [commits, emits, drops] of [[0, 0, false], [3, 0, false], [2, 2, false], [0, 3, true], [
      24,
      0,
      false,
    ]] as const
  ) {
    const fileSystem = new MemoryFileSystem();
    const buffer = await FileBuffer.open<number>({
      path: "/buffer",
      fileSystem,
      segmentBytes: 300,
      maxRecords: 1,
      maxBacklogBytes: drops ? 500 : 10_000,
      whenFull: "drop-oldest",
    });
    for (let i = 0; i < 3; i++) await buffer.put(i);
    for (let i = 0; i < emits; i++) await buffer.emit();
    for (let i = 3; i < 24; i++) await buffer.put(i);
    for (let i = 0; i < commits; i++) await buffer.commit(await buffer.emit());
    const { pendingRecords, pendingBytes, inFlightRecords } = buffer.stats();
    const left = copyOf(fileSystem);
    const { output, code } = await readUnchanged(left, ["inspect", "/buffer", "--json"]);
    const { pending, inFlight } = JSON.parse(output);
    assertEquals(pending, { records: pendingRecords, payloadBytes: pendingBytes }, `${commits}, ${emits}, ${drops}`);
    assertEquals(inFlight.records, inFlightRecords);
    assertEquals(buffer.stats().dropped > 0, drops);
    assertEquals(code, 0);
    const verified = await readUnchanged(left, ["verify", "/buffer"]);
    assertEquals(verified.code, 0, verified.output);
    const dumped = await readUnchanged(left, ["dump", "/buffer"]);
    assertEquals(linesOf(dumped.output).length, pendingRecords, `${commits}, ${emits}, ${drops}`);
    await buffer.close();
  }
});

test("inspect reads no segment but the last and the one of the oldest record", async () => {
  const opened = new Set<string>();
  const fileSystem = copyOf(base.fileSystem);
  const watched = fileSystem.kill({
    onOperation: ({ operation, path, length = 0 }) => {
      if (operation === "read" && length > HEADER_BYTES && path.endsWith(".wal")) opened.add(path);
    },
  });
  await readUnchanged(watched, ["inspect", "/buffer"]);
  // Of the others headers at most.
  assertEquals([...opened].sort(), [path(0), path(-1)]);
});

test("inspect of a buffer that was never put to", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open({ path: "/buffer", fileSystem });
  for (const args of [["inspect", "/buffer"], ["verify", "/buffer"], ["dump", "/buffer"]]) {
    const { code, errors } = await readUnchanged(fileSystem, args);
    assertEquals([code, errors], [0, ""], args[0]);
  }
  await buffer.close();
});

test("inspect knows the damage of the last segment, and says so by its exit code", async () => {
  const { code, output } = await on({ [path(-1)]: hitFrame(bytes(-1), 1) }, ["inspect", "/buffer"]);
  assertEquals(code, 1);
  assertStringIncludes(output, "damage      yes\n");
  assertStringIncludes(output, "00000000000000000021.wal     208    42 B  22         damaged bytes\n");
});

test("inspect takes a lost cursor for what it is: everything comes again", async () => {
  const { code, output } = await on({ [CURSOR_PATH]: undefined }, ["inspect", "/buffer", "--json"]);
  const { pending, cursorState, committedSequence, oldestPending } = JSON.parse(output);
  assertEquals([code, pending.records, cursorState, committedSequence], [1, 19, "missing", 5]);
  assertEquals(oldestPending.sequence, 6);
});

test("no line of inspect, verify or help is wider than 40 columns, but for what can't be broken", async () => {
  const files = { [path(1)]: hitFrame(bytes(1), 1), [path(-1)]: hitHeader(bytes(-1)) };
  for (
    const args of [["inspect", "/buffer"], ["verify", "/buffer"], ["--help"], ["dump", "--help"], ["verify", "-h"]]
  ) {
    const { output } = await on(files, args, { columns: 40 });
    const wide = linesOf(output).filter((line) => line.length > 40 && !/^(\s*\S+| {2}sluice .*)$/.test(line));
    assertEquals(wide, [], args.join(" "));
  }
});

test("findings at 40 columns are a paragraph each", async () => {
  const { output } = await on({ [path(1)]: hitFrame(bytes(1), 1) }, ["verify", "/buffer"], { columns: 40 });
  assertStringIncludes(
    output,
    `
segment: 00000000000000000011.wal
offset: 205
length: 46 B
sequences: 12
what: damaged bytes
`,
  );
});

test("a progress bar is drawn on a terminal only, when it takes longer than a second, and is gone in the end", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem });
  for (let i = 0; i < 200; i++) await buffer.put("x".repeat(100_000));
  await buffer.close();
  const slow = (stepMs: number): ManualClock => {
    const clock = new ManualClock();
    return Object.assign(clock, {
      monotonic: () => {
        clock.advance(stepMs);
        return ManualClock.prototype.monotonic.call(clock);
      },
    });
  };
  const shown = async (stepMs: number, columns?: number) =>
    (await readUnchanged(fileSystem, ["verify", "/buffer"], { clock: slow(stepMs), columns })).errors;
  assertEquals(await shown(10, 80), "");
  assertEquals(await shown(600), "");
  const bar = await shown(600, 80);
  assertStringIncludes(bar, "\rverify  41 % [#");
  assert(bar.endsWith("\r\x1b[K"), bar);
  for (const line of (await shown(600, 40)).split(/\r/)) assert(line.replace("\x1b[K", "").length < 40, line);
});
