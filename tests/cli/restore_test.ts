/**
 * `restore`: every sound record that was lost comes back, once, whatever happens meanwhile; and none that was delivered,
 * is still in the log, is a part of something, or is somebody else's.
 */

import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join, relative, sep } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { bytesCodec, jsonCodec, textCodec } from "../../src/base/codec.ts";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { decodeSegmentHeader, encodeSegmentHeader } from "../../src/wal/format.ts";
import { assertSameBytes, concat, duplicateBlock, flipBit, garbage, swapBlocks, zeroRange } from "../support/bytes.ts";
import { runChild } from "../support/children.ts";
import { frameBytes, hitFrame, hitHeader, makeBase, makeForeign, SMALL } from "../support/damaged_logs.ts";
import { framesOf } from "../support/frames.ts";
import {
  commitBatches,
  copyOf,
  DIRECTORY,
  drain,
  drainLog,
  type Files,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  snapshot,
  texts,
} from "../support/logs.ts";
import { interruptedCase, repair, restoreJson, runCli, type Said, valuesIn } from "./tools.ts";

async function valuesOf(fileSystem: MemoryFileSystem): Promise<string[]> {
  return (await drainLog(fileSystem, { ...SMALL, onDamage: "fail" })).records.map(({ value }) => value);
}

const reasonsOf = ({ files }: Said): string[] =>
  files.flatMap(({ left }) => left.map(({ reason, records }) => `${records} ${reason}`));

const PATHS = ["quarantined while open", "repaired"] as const;

/** The log after its damage was dealt with, in one of two ways; and what was delivered meanwhile. */
async function dealtWith(log: MemoryFileSystem, how: typeof PATHS[number]): Promise<string[]> {
  if (how === "repaired") {
    await repair(log);
    return [];
  }
  const { buffer } = await openLog(log, SMALL);
  const delivered = await drain(buffer);
  await buffer.close();
  await repair(log);
  return delivered;
}

test("restore brings all records of a segment back whose two headers are lost", async () => {
  for (const commits of [0, 1]) {
    const base = await makeBase(commits);
    for (const i of [0, 1, -1]) {
      for (const how of PATHS) {
        const note = `segment ${i}, ${commits} batches committed, ${how}`;
        const log = copyOf(base.fileSystem, { [base.path(i)]: hitHeader(base.bytes(i)) });
        const delivered = await dealtWith(log, how);
        const foreseen = await restoreJson(log, "--dry-run");
        assertEquals(foreseen.files[0]?.salt, "frames", note);
        const said = await restoreJson(log);
        assertEquals(said.restoreRecords, foreseen.restoreRecords, note);
        const values = [...delivered, ...await valuesOf(log)].filter((value) => value !== "one more").sort();
        assertEquals(values, valuesIn(base, commits * 5 + 1), note);
      }
    }
    const headless = Object.fromEntries(base.firsts.map((_, i) => [base.path(i), hitHeader(base.bytes(i))]));
    const log = copyOf(base.fileSystem, headless);
    await repair(log);
    await restoreJson(log);
    assertEquals((await valuesOf(log)).sort(), valuesIn(base, commits * 5 + 1), "no header at all");
  }
});

test("restore reads a headless segment up to what is damaged in it, and behind", async () => {
  const base = await makeBase();
  const log = copyOf(base.fileSystem, { [base.path(1)]: hitHeader(hitFrame(base.bytes(1), 1)) });
  await repair(log);
  assertEquals((await restoreJson(log)).restoreRecords, 4);
  assertEquals((await valuesOf(log)).sort(), valuesIn(base).filter((value) => !value.startsWith("record 7 ")));
});

test("restore finds a frame that stands in the wrong place", async () => {
  const base = await makeBase();
  const [one, two, three] = framesOf(base.bytes(1));
  const swapped = swapBlocks(base.bytes(1), one!.offset, two!.offset, three!.offset);
  const log = copyOf(base.fileSystem, { [base.path(1)]: swapped });
  await repair(log);
  const said = await restoreJson(log);
  assertEquals([said.restoreRecords, said.files[0]!.salt], [1, "header"]);
  assertEquals((await valuesOf(log)).sort(), valuesIn(base));
});

/** Something in the quarantine that is not to come back by itself. */
interface LeftRow {
  readonly name: string;
  readonly files: Files;
  /** What is said of it; none if there is no sound record. */
  readonly left: readonly string[];
  /** How many come back with `--all`. */
  readonly withAll: number;
}

test("restore leaves what was delivered, is in the log, is a part, or another buffer's", async () => {
  const base = await makeBase(1);
  const foreign = await makeForeign();
  const segment = base.bytes(0);
  const [one, two] = framesOf(segment);
  const group = await makeLog(["a", texts(9000, "b"), "c"], { ends: "closed" });
  const groupBytes = group.fileSystem.readFile(segmentPath(1));
  const rows: readonly (LeftRow & { log?: MemoryFileSystem })[] = [
    { name: "a damaged frame", files: { [base.path(0)]: hitFrame(segment, 1) }, left: [], withAll: 0 },
    { name: "a torn tail", files: { [base.path(-1)]: concat(base.bytes(-1), garbage(60, 1)) }, left: [], withAll: 0 },
    {
      name: "a frame that comes twice",
      files: { [base.path(0)]: duplicateBlock(segment, one!.offset, two!.offset) },
      left: ["1 in-log"],
      withAll: 0,
    },
    {
      name: "another buffer's segment",
      files: { [segmentPath(900)]: foreign.bytes(0) },
      left: ["5 foreign"],
      withAll: 5,
    },
    {
      name: "a putMany with a bad frame",
      log: group.fileSystem,
      files: { [segmentPath(1)]: flipBit(groupBytes, framesOf(groupBytes)[2]!.offset + 400) },
      left: [`${9000 - framesOf(groupBytes)[2]!.count} unfinished`],
      withAll: 9000 - framesOf(groupBytes)[2]!.count,
    },
    {
      name: "a segment that is committed, put there by hand",
      files: { [`${DIRECTORY}/quarantine/00000000000000000001.wal`]: (await makeBase()).bytes(0) },
      left: ["5 foreign"],
      withAll: 5,
    },
  ];
  for (const { name, log: whole = base.fileSystem, files, left, withAll } of rows) {
    const log = copyOf(whole, files);
    await repair(log);
    const before = snapshot(log);
    const said = await restoreJson(log);
    assertEquals([said.restoreRecords, reasonsOf(said)], [0, left], name);
    assertEquals(Object.keys(snapshot(log)), Object.keys(before), name);
    assertEquals((await restoreJson(log, "--all")).restoreRecords, withAll, `${name}, --all`);
    assertEquals((await restoreJson(log, "--all")).restoreRecords, 0, `${name}, --all again`);
  }
});

test("restore brings back of a segment what is not committed, and with --all the rest", async () => {
  const base = await makeLog(texts(20), {
    segmentBytes: 2000,
    maxRecords: 3,
    ends: "closed",
    finish: (buffer) => commitBatches(buffer, 2),
  });
  const path = segmentPath(1);
  const log = copyOf(base.fileSystem, { [path]: hitHeader(base.fileSystem.readFile(path)) });
  await repair(log);
  const copy = copyOf(log);
  const said = await restoreJson(log);
  assertEquals([said.restoreRecords, reasonsOf(said)], [14, ["6 committed"]]);
  assertEquals((await valuesOf(log)).sort(), valuesIn(base, 7));
  assertEquals((await restoreJson(copy, "--all")).restoreRecords, 20);
  assertEquals((await valuesOf(copy)).sort(), valuesIn(base));
});

test("restore cuts through a frame, and never through a putMany that stays whole", async () => {
  const base = await makeLog([texts(9000, "b"), texts(4, "c")], {
    maxRecords: 1000,
    ends: "closed",
    finish: (buffer) => commitBatches(buffer, 1),
  });
  const log = copyOf(base.fileSystem, { [segmentPath(1)]: hitHeader(base.fileSystem.readFile(segmentPath(1))) });
  await repair(log);
  assertEquals((await restoreJson(log)).restoreRecords, 8004);
  assertEquals((await valuesOf(log)).sort(), valuesIn(base, 1001));
});

test("restore goes on behind a segment without a record, and behind space set aside", async () => {
  const base = await makeBase();
  const result = decodeSegmentHeader(base.bytes(-1));
  assert(result.kind === "header");
  const frames = framesOf(base.bytes(-1));
  const { payloadBytesBefore, logBytesBefore } = result.header;
  const header = {
    ...result.header,
    firstSequence: 25,
    payloadBytesBefore: payloadBytesBefore + frames.reduce((sum, { length }) => sum + length - 32, 0),
    logBytesBefore: logBytesBefore + frames.reduce((sum, { length }) => sum + length, 0),
  };
  for (const last of [encodeSegmentHeader(header), concat(encodeSegmentHeader(header), new Uint8Array(300))]) {
    const log = copyOf(base.fileSystem, { [base.path(1)]: hitHeader(base.bytes(1)), [segmentPath(25)]: last });
    await repair(log);
    assertEquals((await restoreJson(log)).files[0]!.restored?.firstSequence, 25);
    assertEquals((await valuesOf(log)).sort(), valuesIn(base));
  }
});

test("restore restores a file once", async () => {
  const base = await makeBase();
  const log = copyOf(base.fileSystem, { [base.path(1)]: hitHeader(base.bytes(1)) });
  await repair(log);
  const name = segmentsOf(base.fileSystem)[1]!;
  const file = `${DIRECTORY}/quarantine/${name}`;
  assertEquals((await restoreJson(log)).restoreRecords, 5);
  assertSameBytes(log.readFile(`${file}.restored`), hitHeader(base.bytes(1)));
  assertEquals((await restoreJson(log)).files, []);
  // The same bytes come into the quarantine a second time, whole or in part.
  log.writeFile(file, hitHeader(base.bytes(1)));
  const part = frameBytes(base.bytes(1), 0);
  log.writeFile(`${DIRECTORY}/quarantine/${name}-160-${part.length}.bad`, part);
  const again = await restoreJson(log, "--all");
  assertEquals([again.restoreRecords, reasonsOf(again)], [0, ["5 restored", "1 restored"]]);
  assertEquals((await valuesOf(log)).sort(), valuesIn(base));
});

test("restore keeps put times, the codec's version and the mark of JSON", async () => {
  const clock = new ManualClock();
  const { fileSystem } = await makeLog([]);
  const shared = { path: DIRECTORY, clock, fsync: "never" as const };
  for (const version of [3, 4]) {
    const codec = jsonCodec<unknown>({ version });
    const buffer = await FileBuffer.open({ ...shared, fileSystem, codec });
    for (let i = 0; i < 3; i++) await buffer.put({ version, i });
    await buffer.close();
    clock.advance(1000);
  }
  for (const hit of [hitHeader, (bytes: Uint8Array) => zeroRange(bytes, 0, 160)]) {
    const log = copyOf(fileSystem, { [segmentPath(1)]: hit(fileSystem.readFile(segmentPath(1))) });
    await repair(log);
    assertEquals((await restoreJson(log)).restoreRecords, 3);
    // Offset 16 of each frame: when it was put.
    const times = [segmentPath(1), segmentPath(7)].map((path, i) => {
      const bytes = i === 0 ? fileSystem.readFile(path) : log.readFile(path);
      return framesOf(bytes).map(({ offset }) => bytes.slice(offset + 16, offset + 22).join());
    });
    assertEquals(times[1], times[0]);
    const header = decodeSegmentHeader(log.readFile(segmentPath(7)));
    const facts = header.kind === "header" ? [header.header.codecVersion, header.header.isJson] : [];
    // Where nothing is left of a header, the version of the newest segment is taken, and no mark.
    assertEquals(facts, hit === hitHeader ? [3, true] : [4, false]);
    const versions: number[] = [];
    const codec = { ...bytesCodec(), decode: (_: Uint8Array, version: number) => (versions.push(version), _) };
    const buffer = await FileBuffer.open({ ...shared, fileSystem: log, codec });
    for await (const batch of buffer.batches({ flush: true })) {
      assertEquals(batch.records.length, batch.length);
      await buffer.commit(batch);
    }
    await buffer.close();
    assertEquals(versions, [4, 4, 4, ...(hit === hitHeader ? [3, 3, 3] : [4, 4, 4])]);
  }
});

test("restore takes only the files that are asked for, by name or by path", async () => {
  const base = await makeBase();
  const files = { [base.path(1)]: hitHeader(base.bytes(1)), [base.path(2)]: hitHeader(base.bytes(2)) };
  const log = copyOf(base.fileSystem, files);
  await repair(log);
  const [, one, two] = segmentsOf(base.fileSystem) as [string, string, string];
  const missing = await runCli(log, ["restore", DIRECTORY, "--from", one, "--from", "none.wal"]);
  assertEquals([missing.code, missing.output], [2, ""]);
  assertStringIncludes(missing.errors, "Cannot restore none.wal: no such file");
  assertEquals((await restoreJson(log, "--from", `${DIRECTORY}/quarantine/${two}`)).restoreRecords, 5);
  assertEquals((await restoreJson(log, "--from", one, "--from", one)).restoreRecords, 5);
  const values = await valuesOf(log);
  assertEquals([values.length, values.at(-1)!.split(" ")[1]], [24, "10"]);
});

test("restore takes a file by its path, however that is written", async () => {
  const fileSystem = await detectFileSystem();
  const top = mkdtempSync(join(tmpdir(), "sluice-restore-"));
  const directory = join(top, "w");
  try {
    const buffer = await FileBuffer.open<string>({ path: directory });
    for (const record of ["a", "b", "c"]) await buffer.put(record);
    await buffer.close();
    const name = "00000000000000000001.wal";
    const quarantine = join(directory, "quarantine");
    mkdirSync(quarantine);
    mkdirSync(join(top, "quarantine"));
    for (const path of [join(quarantine, name), join(top, "quarantine", name)]) {
      copyFileSync(join(directory, name), path);
    }
    const near = join(relative(process.cwd(), quarantine), name);
    const paths = [
      name,
      near,
      join(quarantine, name),
      `${top}/./w/quarantine//${name}`,
      `${top}/w/../w/quarantine/${name}`,
    ];
    // On another drive of Windows there is no relative path.
    if (!isAbsolute(near)) paths.push(`.${sep}${near}`);
    if (process.platform !== "win32") {
      symlinkSync(directory, join(top, "link"));
      paths.push(join(top, "link", "quarantine", name));
    }
    const given = [directory, relative(process.cwd(), directory)];
    for (const [path, from] of given.flatMap((path) => paths.map((from) => [path, from] as const))) {
      const { code, errors } = await runCli(fileSystem, ["restore", path, "--dry-run", "--from", from]);
      assertEquals([code, errors], [0, ""], `${path} ${from}`);
    }
    // The same name elsewhere is another file.
    const other = join(top, "quarantine", name);
    const { code, errors } = await runCli(fileSystem, ["restore", directory, "--dry-run", "--from", other]);
    assertEquals(code, 2);
    assertStringIncludes(errors, "no such file with records");
  } finally {
    rmSync(top, { recursive: true });
  }
});

test("restore refuses a log that is to be repaired, one that is open, and what is no buffer", async () => {
  const base = await makeBase();
  const damaged = copyOf(base.fileSystem, { [base.path(1)]: hitFrame(base.bytes(1), 1) });
  const before = snapshot(damaged);
  for (const flags of [[], ["--dry-run"]]) {
    const { code, output, errors } = await runCli(damaged, ["restore", DIRECTORY, ...flags]);
    assertEquals([code, output], [3, ""]);
    assertStringIncludes(errors, "the log has to be repaired first");
  }
  assertEquals(snapshot(damaged), before);
  const { buffer } = await openLog(base.fileSystem, SMALL);
  const locked = await runCli(base.fileSystem, ["restore", DIRECTORY]);
  assertEquals(locked.code, 3);
  assertStringIncludes(locked.errors, "it is locked by memory process");
  await buffer.close();
  assertEquals((await runCli(base.fileSystem, ["restore", "/nowhere"])).code, 3);
});

test("restore says of each file what becomes of it, also in 40 columns", async () => {
  const { log } = await interruptedCase();
  log.writeFile(`${DIRECTORY}/quarantine/00000000000000000099.wal`, garbage(500, 1));
  const wide = await runCli(log, ["restore", DIRECTORY, "--dry-run"], { columns: 120 });
  assertEquals(
    wide.output,
    `00000000000000000006.wal
  holds       380 B, 5 sound records in 5 frames, 6 to 10
  header      lost; what the checksums start from was computed from the frames
  to restore  5 records, 6 to 10

00000000000000000016.wal
  holds       385 B, 5 sound records in 5 frames, 16 to 20
  header      lost; what the checksums start from was computed from the frames
  to restore  5 records, 16 to 20

00000000000000000099.wal
  holds   500 B, no sound record
  header  lost, and no two frames in a row are left to compute what their checksums start from

10 records would be restored.
`,
  );
  const narrow = await runCli(log, ["restore", DIRECTORY], { columns: 40 });
  for (const line of narrow.output.split("\n")) assert(line.length <= 40, line);
  assertStringIncludes(narrow.output, "10 records restored.");
  assertEquals((await runCli(copyOf(log), ["restore", DIRECTORY, "--all"])).code, 0);
});

test("repair and restore work as a program, on a real disk, with the permissions for its directory only", async () => {
  const path = mkdtempSync(join(tmpdir(), "sluice-restore-"));
  try {
    const buffer = await FileBuffer.open<string>({ path, codec: textCodec(), fsync: "never" });
    await buffer.putMany(texts(2000));
    await buffer.close();
    const segment = join(path, readdirSync(path).find((name) => name.endsWith(".wal"))!);
    writeFileSync(segment, hitHeader(readFileSync(segment)));
    const cli = (...args: string[]) =>
      runChild("src/cli/sluice.ts", args, { permissions: [`--allow-read=${path}`, `--allow-write=${path}`] });
    assertEquals((await cli("repair", path, "--dry-run")).code, 1);
    assertEquals(await cli("repair", path).then(({ code, stderr }) => [code, stderr]), [0, ""]);
    const { code, stdout, stderr } = await cli("restore", path, "--json");
    assertEquals([code, stderr, JSON.parse(stdout).restoreRecords], [0, "", 2000]);
    const restored = await FileBuffer.open<string>({ path, codec: textCodec(), maxRecords: 5000, onDamage: "fail" });
    assertEquals((await restored.emit()).records, texts(2000));
    await restored.close();
  } finally {
    rmSync(path, { recursive: true });
  }
});
