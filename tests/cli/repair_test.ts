/**
 * `repair`: what it says is what it does; afterwards nothing is left to do, everything that can be read is delivered,
 * also with `onDamage: "fail"`, and no byte is gone. Interrupted anywhere and made again, it ends in the same state.
 */

import { test } from "node:test";
import { crc32 } from "node:zlib";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { Cursor } from "../../src/wal/cursor.ts";
import {
  assertSameBytes,
  concat,
  cut,
  duplicateBlock,
  flipBit,
  garbage,
  overwrite,
  removeRange,
  swapBlocks,
  zeroRange,
} from "../support/bytes.ts";
import { type Base, hitFrame, hitHeader, makeBase, makeForeign, SMALL } from "../support/damaged_logs.ts";
import { InstrumentedDisk, trackHandles } from "../support/disk.ts";
import { framesOf } from "../support/frames.ts";
import {
  commitBatches,
  copyOf,
  CURSOR_PATH,
  DIRECTORY,
  drainCopy,
  drainLog,
  type Files,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  snapshot,
  texts,
} from "../support/logs.ts";
import { readOnly } from "./reading.ts";
import { runCli, runUntil } from "./tools.ts";

interface Case {
  readonly name: string;
  readonly log: MemoryFileSystem;
  /** Whether there is nothing to do. */
  readonly isSound?: boolean;
}

/** Each kind of damage, in the first, a middle and the last segment where that makes a difference. */
function casesOf(base: Base, foreign: Base): Case[] {
  const log = (name: string, files: Files, isSound = false): Case => {
    return { name, log: copyOf(base.fileSystem, files), isSound };
  };
  const { path, bytes, cursor } = base;
  const last = bytes(-1);
  const frames = framesOf(bytes(1));
  const [one, two, three] = frames as [typeof frames[0], typeof frames[0], typeof frames[0]];
  const stray = foreign.bytes(0);
  return [
    log("nothing", {}, true),
    log("space set aside", { [path(-1)]: concat(last, new Uint8Array(500)) }, true),
    log("a torn tail", { [path(-1)]: concat(last, garbage(60, 1)) }),
    ...[0, 2, -1].flatMap((i) => [
      log(`a frame of segment ${i}`, { [path(i)]: hitFrame(bytes(i), 1) }),
      log(`the last frame of segment ${i}`, { [path(i)]: hitFrame(bytes(i), -1) }),
      log(`the header of segment ${i}`, { [path(i)]: hitHeader(bytes(i)) }),
      log(`a foreign segment for segment ${i}`, { [path(i)]: stray }),
      log(`segment ${i} is gone`, { [path(i)]: undefined }),
      log(`garbage behind segment ${i}`, { [path(i)]: concat(bytes(i), garbage(90, 2)) }),
      log(`segment ${i} is cut in the middle`, { [path(i)]: cut(bytes(i), 250) }),
    ]),
    log("a block is zero", { [path(1)]: zeroRange(bytes(1), one.offset + 5, two.offset + 9) }),
    log("frames change places", { [path(1)]: swapBlocks(bytes(1), one.offset, two.offset, three.offset) }),
    log("a frame comes twice", { [path(1)]: duplicateBlock(bytes(1), one.offset, two.offset) }),
    log("a frame is taken out", { [path(1)]: removeRange(bytes(1), one.offset, two.offset) }),
    log("a foreign segment strays in at the end", { [segmentPath(900)]: stray }),
    log("a segment that was never begun", { [segmentPath(25)]: cut(last, 70) }),
    log("half a header in the middle", { [path(1)]: cut(bytes(1), 79) }),
    log("a segment of zeros", { [segmentPath(25)]: new Uint8Array(300) }),
    log("no cursor", { [CURSOR_PATH]: undefined }),
    log("a damaged cursor", { [CURSOR_PATH]: garbage(cursor.length, 3) }),
    log("a foreign cursor", { [CURSOR_PATH]: foreign.cursor }),
    log("no cursor, and no header of the first segment", { [CURSOR_PATH]: undefined, [path(0)]: hitHeader(bytes(0)) }),
    log("no segment", Object.fromEntries(base.firsts.map((first) => [segmentPath(first), undefined]))),
    log("no header", Object.fromEntries(base.firsts.map((_, i) => [path(i), hitHeader(bytes(i))]))),
    log("many at once", {
      [path(0)]: hitFrame(bytes(0), 2),
      [path(1)]: hitHeader(bytes(1)),
      [path(2)]: overwrite(bytes(2), 200, garbage(50, 4)),
      [path(-1)]: concat(hitFrame(last, 0), garbage(33, 5)),
    }),
  ];
}

let made: Promise<Case[]> | undefined;

/** All cases, each with a log of its own. */
async function makeCases(): Promise<Case[]> {
  made ??= makeOnce();
  return (await made).map(({ log, ...rest }) => ({ ...rest, log: copyOf(log) }));
}

async function makeOnce(): Promise<Case[]> {
  const foreign = await makeForeign();
  const cases: Case[] = [];
  for (const commits of [0, 1]) {
    for (const one of casesOf(await makeBase(commits), foreign)) {
      cases.push({ ...one, name: `${one.name}, ${commits} batches committed` });
    }
  }
  const groups = await makeLog(["a", texts(9000, "b"), "c"], {
    ends: "closed",
    finish: async (buffer) => {
      await commitBatches(buffer, 1);
      await buffer.emit();
    },
  });
  const bytes = groups.fileSystem.readFile(segmentPath(1));
  cases.push({
    name: "a putMany, with a batch of it in flight",
    log: copyOf(groups.fileSystem, { [segmentPath(1)]: flipBit(bytes, framesOf(bytes)[2]!.offset + 400) }),
  });
  return cases;
}

/** What the command says, as `--json`. */
async function repairJson(fileSystem: MemoryFileSystem, ...flags: string[]): Promise<Record<string, unknown>> {
  const { code, output, errors } = await runCli(
    flags.includes("--dry-run") ? readOnly(fileSystem) : fileSystem,
    ["repair", DIRECTORY, "--json", ...flags],
  );
  assertEquals(errors, "");
  const { dryRun, ...said } = JSON.parse(output);
  assertEquals(dryRun, flags.includes("--dry-run"));
  assertEquals(code, dryRun && said.nothingToDo === false ? 1 : 0, output);
  return said;
}

/** Every file but the owner's, a line each; the cursor as what it says, without how often it was written. */
function stateOf(fileSystem: MemoryFileSystem): string[] {
  const { [CURSOR_PATH]: cursor, ...files } = snapshot(fileSystem);
  const state = cursor && Cursor.read(copyOf(fileSystem), DIRECTORY);
  const lines = Object.entries(files).map(([path, bytes]) =>
    `${path} ${
      path.endsWith(".json")
        ? new TextDecoder().decode(bytes).replace(/"generation":\d+\} */, "")
        : `${bytes.length} ${crc32(bytes)}`
    }`
  );
  return [...lines, JSON.stringify({ ...state, generation: 0 })];
}

test("repair --dry-run says what repair then does, and changes nothing", async () => {
  for (const { name, log, isSound } of await makeCases()) {
    const before = snapshot(log);
    const paths = log.paths();
    const said = await repairJson(log, "--dry-run");
    assertEquals(said["nothingToDo"], isSound ?? false, name);
    assertEquals(log.paths(), paths, name);
    for (const [path, bytes] of Object.entries(before)) assertSameBytes(log.readFile(path), bytes, `${name}: ${path}`);
    assertEquals(await repairJson(log), said, name);
  }
});

test("after repair there is nothing to do, and another repair changes nothing", async () => {
  for (const { name, log } of await makeCases()) {
    await repairJson(log);
    const state = snapshot(log);
    const said = await repairJson(log, "--dry-run");
    assertEquals([said["nothingToDo"], said["cut"]], [true, null], `${name}: ${JSON.stringify(said)}`);
    await repairJson(log);
    const after = snapshot(log);
    assertEquals(Object.keys(after), Object.keys(state), name);
    for (const [path, bytes] of Object.entries(after)) assertSameBytes(bytes, state[path]!, `${name}: ${path}`);
  }
});

test('after repair a buffer with onDamage "fail" delivers what one with "quarantine" would have', async () => {
  for (const { name, log } of await makeCases()) {
    const expected = await drainCopy(log, SMALL);
    await repairJson(log);
    const drained = await drainLog(log, { ...SMALL, onDamage: "fail" });
    assertEquals(drained.records, expected.records, name);
    assertEquals(drained.nextSequence, expected.nextSequence, name);
  }
});

test("repair loses no byte: what isn't in its place any more is in the quarantine", async () => {
  for (const { name, log } of await makeCases()) {
    const before = snapshot(log);
    await repairJson(log);
    const after = snapshot(log);
    for (const [path, bytes] of Object.entries(before)) {
      const segment = path.slice(DIRECTORY.length + 1);
      if (!segment.endsWith(".wal") || bytes.length === 70 || bytes.every((byte) => byte === 0)) continue;
      const moved = after[`${DIRECTORY}/quarantine/${segment}`];
      const left = moved ?? after[path]!;
      assertSameBytes(left, bytes.subarray(0, left.length), `${name}: ${path}`);
      const rest = bytes.subarray(left.length);
      if (rest.every((byte) => byte === 0)) continue;
      const copy = after[`${DIRECTORY}/quarantine/${segment}-${left.length}-${rest.length}.bad`];
      assert(copy !== undefined, `${name}: ${rest.length} bytes of ${segment} are gone`);
      assertSameBytes(copy, rest, `${name}: ${segment}`);
    }
  }
});

/** Those of the cases that together need each of the steps; the first one needs most of them. */
async function crashCases(): Promise<Case[]> {
  const wanted = ["many at once, 1", "no header, 0", "no cursor, and no header of the first segment, 0"];
  const cases = await makeCases();
  return wanted.map((part) => cases.find(({ name }) => name.startsWith(part))!);
}

test("repair that is killed at any of its operations ends the next time as if it had not been", async () => {
  for (const { name, log } of (await crashCases()).slice(0, 2)) {
    const done = copyOf(log);
    await repairJson(done);
    const reference = stateOf(done);
    for (let at = 0, isDone = false; !isDone; at++) {
      const died = await runUntil(log, ["repair", DIRECTORY], at, (dying) => dying.kill());
      isDone = died.isDone;
      if (isDone) assert(at > 20 && died.code === 0, `${name}: only ${at} operations`);
      await repairJson(died.left);
      assertEquals(stateOf(died.left), reference, `${name}, killed at operation ${at}`);
    }
  }
});

test("repair that loses the power at any of its operations ends the next time as if it had not", async () => {
  for (const { name, log } of (await crashCases()).slice(0, 1)) {
    const done = copyOf(log);
    await repairJson(done);
    const reference = stateOf(done);
    for (let at = 0, isDone = false; !isDone; at++) {
      const died = await runUntil(log, ["repair", DIRECTORY], at, (dying) => dying.crash({ seed: at }));
      isDone = died.isDone;
      // When it has ended, all of it is durable.
      if (isDone) assertEquals(stateOf(died.left), reference, `${name}, power cut behind the end`);
      await repairJson(died.left);
      assertEquals(stateOf(died.left), reference, `${name}, power cut at operation ${at}`);
    }
  }
});

test("repair that fails at any of its operations says so, gives everything back, and ends well the next time", async () => {
  for (const { name, log } of (await crashCases()).slice(0, 1)) {
    const done = copyOf(log);
    await repairJson(done);
    const reference = stateOf(done);
    for (let at = 0, isDone = false; !isDone; at++) {
      const disk = new InstrumentedDisk(copyOf(log));
      const { fileSystem, openPaths } = trackHandles(disk.fileSystem);
      disk.fail({ index: at }, "EIO");
      const { code, output, errors } = await runCli(fileSystem, ["repair", DIRECTORY]);
      isDone = disk.plannedFaults > 0;
      disk.heal();
      const note = `${name}, EIO at operation ${at} (${disk.operations[at]?.operation} ${disk.operations[at]?.path})`;
      assertEquals(openPaths(), [], `${note}: still open`);
      if (code !== 0) {
        assertEquals([code, output], [3, ""], note);
        assert(/^sluice: .*EIO\n$/.test(errors), `${note}: ${errors}`);
      }
      await repairJson(disk.fileSystem);
      assertEquals(stateOf(disk.fileSystem), reference, note);
    }
  }
});

test("repair changes nothing when a copy has no room", async () => {
  const { fileSystem: base } = await makeBase();
  const path = `${DIRECTORY}/${segmentsOf(base).at(-1)}`;
  const log = copyOf(base, {
    [path]: concat(base.readFile(path), garbage(5000, 1)),
    [`${DIRECTORY}/owner.json`]: garbage(200, 1),
  });
  log.capacityBytes = log.usedBytes;
  const { code, errors } = await runCli(log, ["repair", DIRECTORY]);
  assertEquals(code, 3);
  assertStringIncludes(errors, "ENOSPC");
  assertEquals(log.readFile(path).length, base.readFile(path).length + 5000);
});

test("repair is refused while the buffer is open, and says who has it; --dry-run isn't", async () => {
  const { fileSystem } = await makeBase();
  const { buffer } = await openLog(fileSystem, SMALL);
  const { code, output, errors } = await runCli(fileSystem, ["repair", DIRECTORY]);
  assertEquals([code, output], [3, ""]);
  assert(/^sluice: Cannot open buffer "\/buffer": it is locked by memory process \d+ since .*\n$/.test(errors), errors);
  assertEquals((await runCli(fileSystem, ["repair", DIRECTORY, "--dry-run"])).code, 0);
  await buffer.close();
  assertEquals((await runCli(fileSystem, ["repair", DIRECTORY])).code, 0);
});

test("repair --dry-run believes only what it finds twice: a writer may rotate while it looks", async () => {
  const { fileSystem: before } = await makeBase();
  const { fileSystem: after } = await makeLog(texts(10, "later"), {
    ...SMALL,
    fileSystem: copyOf(before),
    ends: "closed",
  });
  let looks = 0;
  const live: MemoryFileSystem = copyOf(before).kill({
    onOperation({ operation, path }) {
      // The segments are listed, the cursor is about to be read for the plan: by now there are more.
      if (operation !== "open" || path !== CURSOR_PATH || ++looks !== 2) return;
      for (const path of after.paths()) live.writeFile(path, after.readFile(path));
    },
  });
  const { code, output } = await runCli(live, ["repair", DIRECTORY, "--dry-run"]);
  assertEquals([code, output], [0, "Nothing to repair.\n"]);
  assert(looks > 4, `only ${looks} looks at the cursor`);
});

test("repair touches nothing that is no buffer, or of a newer version", async () => {
  const base = await makeBase();
  const newer = (bytes: Uint8Array): Uint8Array => flipBit(flipBit(bytes, 8, 0), 88, 0);
  const rows: { name: string; files: Files; path?: string; says: string }[] = [
    { name: "nothing there", files: {}, path: "/nowhere", says: "there is no such directory" },
    { name: "other files", files: { "/other/a.txt": garbage(5, 1) }, path: "/other", says: "a.txt" },
    { name: "a file", files: { "/other/a.txt": garbage(5, 1) }, path: "/other/a.txt", says: "it is not a directory" },
    { name: "a segment", files: {}, path: base.path(0), says: "it is a segment of a buffer" },
    {
      name: "the newest segment is newer",
      files: { [base.path(-1)]: newer(base.bytes(-1)) },
      says: "format version 3",
    },
    { name: "a segment is newer", files: { [base.path(1)]: newer(base.bytes(1)) }, says: "format version 3" },
  ];
  for (const { name, files, path = DIRECTORY, says } of rows) {
    for (const flags of [[], ["--dry-run"]]) {
      const log = copyOf(base.fileSystem, files);
      const before = snapshot(log);
      const { code, output, errors } = await runCli(log, ["repair", path, ...flags]);
      assertEquals([code, output], [3, ""], name);
      assertStringIncludes(errors, says, name);
      assertEquals(snapshot(log), before, name);
    }
  }
});

test("repair shows a table that fits the terminal", async () => {
  const many = (await makeCases()).find(({ name }) => name.startsWith("many at once"))!;
  const wide = await runCli(many.log, ["repair", DIRECTORY, "--dry-run"], { columns: 120 });
  assertEquals(wide.code, 1);
  assertStringIncludes(wide.output, "Would be done (nothing was changed):\n\ncut off");
  const narrow = await runCli(many.log, ["repair", DIRECTORY, "--dry-run"], { columns: 40 });
  for (const line of narrow.output.split("\n")) assert(line.length <= 40, line);
  const done = await runCli(many.log, ["repair", DIRECTORY], { columns: 120 });
  assertEquals(done.output, wide.output.replace("Would be done (nothing was changed):", "Done:"));
  assertEquals((await runCli(many.log, ["repair", DIRECTORY])).output, "Nothing to repair.\n");
});

test("repair makes a log sound: verify tells what was accepted, and dump goes past it", async () => {
  let accepted = 0;
  for (const { name, log } of await makeCases()) {
    const before = (await runCli(log, ["verify", DIRECTORY])).code;
    assertEquals((await runCli(log, ["repair", DIRECTORY])).code, 0, name);
    const { code, output } = await runCli(log, ["verify", DIRECTORY]);
    assertEquals(code, 0, `${name}: ${output}`);
    const dumped = await runCli(log, ["dump", DIRECTORY, "--format=text"]);
    assertEquals(dumped.code, 0, `${name}: ${dumped.errors}`);
    if (before === 0 || !output.includes("accepted by repair")) continue;
    accepted++;
    assertStringIncludes(dumped.errors, "accepted by repair", name);
  }
  assert(accepted > 5, `${accepted} cases`);
});
