/**
 * `SegmentWriter`: all of a write or nothing of it, and a sync that covers what was written before it.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FileSystemError, NoSpaceError } from "../../src/errors/mod.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { syncFile } from "../../src/fs/sync_file.ts";
import { encodeSegmentHeader } from "../../src/wal/format.ts";
import { segmentName } from "../../src/wal/names.ts";
import { SegmentWriter } from "../../src/wal/segment_writer.ts";
import { bytesOf, concat } from "../support/bytes.ts";
import { InstrumentedDisk, watch } from "../support/disk.ts";
import { HEADER_BYTES, headerOf } from "../support/frames.ts";
import { DIRECTORY, segmentPath } from "../support/logs.ts";

const HEADER = headerOf({ firstSequence: 7 });
const PATH = segmentPath(7);

/** A disk with the directory on it. */
function diskOf(): InstrumentedDisk {
  const disk = new InstrumentedDisk();
  disk.fileSystem.makeDirectory(DIRECTORY);
  return disk;
}

function createOn(disk: InstrumentedDisk, mayExist = false, preallocateUpTo = 0): SegmentWriter {
  return SegmentWriter.create(disk.fileSystem, DIRECTORY, HEADER, { mayExist, preallocateUpTo });
}

function create(): { disk: InstrumentedDisk; writer: SegmentWriter } {
  const disk = diskOf();
  return { disk, writer: createOn(disk) };
}

/** What is behind the header. */
function framesText(fileSystem: MemoryFileSystem, path = PATH): string {
  return new TextDecoder().decode(fileSystem.readFile(path).subarray(HEADER_BYTES));
}

/** What is behind the header after power cuts with different seeds, each outcome once. */
async function afterPowerCuts(disk: InstrumentedDisk): Promise<string[]> {
  await disk.fileSystem.syncDirectory("/");
  await disk.fileSystem.syncDirectory(DIRECTORY);
  const outcomes = new Set<string>();
  for (let seed = 0; seed < 100; seed++) outcomes.add(framesText(disk.fileSystem.crash({ seed })));
  return [...outcomes].sort();
}

test("SegmentWriter.create() makes a file with a header, named after its first sequence", () => {
  const { disk, writer } = create();
  assertEquals(disk.fileSystem.paths(), [PATH]);
  assertEquals(disk.fileSystem.readFile(PATH), encodeSegmentHeader(HEADER));
  const { name, position, isDirty, isBroken } = writer;
  const expected = { name: segmentName(7), position: HEADER_BYTES, isDirty: true, isBroken: false };
  assertEquals({ name, position, isDirty, isBroken }, expected);
});

test("SegmentWriter.create() leaves nothing behind when it fails", () => {
  for (const kind of ["open", "write"] as const) {
    const disk = diskOf();
    disk.fail({ operation: kind });
    assertThrows(() => createOn(disk), FileSystemError, "EIO");
    assertEquals(disk.fileSystem.paths(), [], kind);
    createOn(disk);
  }
  const full = diskOf();
  full.fileSystem.capacityBytes = 100;
  assertThrows(() => createOn(full), NoSpaceError);
  assertEquals([full.fileSystem.paths(), full.fileSystem.usedBytes], [[], 0]);
  const taken = create().disk;
  assertThrows(() => createOn(taken), FileSystemError, "EEXIST");
  assertEquals(taken.fileSystem.readFile(PATH), encodeSegmentHeader(HEADER), "the other's file");
});

test("SegmentWriter.create() reports the first cause when nothing can be cleaned up either", () => {
  const disk = diskOf();
  disk.fail({ operation: "write" }, "ENOSPC");
  disk.fail({ operation: "close" });
  disk.fail({ operation: "remove" });
  assertThrows(() => createOn(disk), NoSpaceError);
  assertEquals(disk.plannedFaults, 0);
});

test("SegmentWriter.write() appends, and keeps the position by itself", () => {
  const { disk, writer } = create();
  writer.write(bytesOf("one,"));
  writer.write(bytesOf("two,"));
  assertEquals(framesText(disk.fileSystem), "one,two,");
  assertEquals(writer.position, HEADER_BYTES + 8);
  // Whatever somebody else appends, our place stays.
  const other = disk.fileSystem.open(PATH, "write");
  other.write(bytesOf("xxxxxxxx"), HEADER_BYTES + 8);
  writer.write(bytesOf("three,"));
  assertEquals(framesText(disk.fileSystem), "one,two,three,xx");
});

const MIB = 1024 * 1024;

test("SegmentWriter.write() sets space aside a piece at a time, as far as it may, and trim() gives it back", () => {
  const disk = diskOf();
  const writer = createOn(disk, false, 2.5 * MIB);
  const size = () => disk.fileSystem.readFile(PATH).length;
  const truncates = () => disk.list("truncate").length;
  writer.write(bytesOf("one,"));
  assertEquals([size(), truncates()], [HEADER_BYTES + 4 + MIB, 1]);
  writer.write(new Uint8Array(MIB).fill(1));
  assertEquals([size(), truncates()], [HEADER_BYTES + 4 + MIB, 1], "it was there already");
  writer.write(bytesOf("two,"));
  assertEquals([size(), truncates()], [HEADER_BYTES + 8 + 2 * MIB, 2]);
  writer.write(new Uint8Array(MIB).fill(1));
  writer.write(bytesOf("three,"));
  assertEquals([size(), truncates()], [2.5 * MIB, 3]);
  writer.write(new Uint8Array(MIB).fill(1));
  assertEquals([size(), truncates()], [writer.position, 3], "no further");
  const small = createOn(diskOf(), false, MIB);
  small.write(bytesOf("one,"));
  small.trim();
  small.trim();
  assertEquals(small.position, HEADER_BYTES + 4);
});

test("SegmentWriter.trim() leaves what is written", () => {
  const disk = diskOf();
  const writer = createOn(disk, false, MIB);
  writer.write(bytesOf("one,"));
  writer.trim();
  assertEquals(framesText(disk.fileSystem), "one,");
  assertEquals(disk.fileSystem.readFile(PATH).length, HEADER_BYTES + 4);
});

test("SegmentWriter.trim() gives back space that was set aside although the system said that it wasn't", () => {
  const disk = diskOf();
  const writer = createOn(disk, false, MIB);
  disk.fail({ operation: "truncate" }, { kind: "after", errno: "ENOSPC" });
  writer.write(bytesOf("one,"));
  assertEquals(disk.fileSystem.readFile(PATH).length, MIB);
  writer.trim();
  assertEquals(disk.fileSystem.readFile(PATH).length, HEADER_BYTES + 4);
});

test("SegmentWriter.write() does without space set aside where files are limited, and fails where the disk does", () => {
  const disk = diskOf();
  const writer = createOn(disk, false, MIB);
  disk.fail({ operation: "truncate" }, "EFBIG");
  writer.write(bytesOf("one,"));
  writer.write(bytesOf("two,"));
  assertEquals([framesText(disk.fileSystem), disk.list("truncate").length], ["one,two,", 1]);

  const broken = diskOf();
  const other = createOn(broken, false, MIB);
  broken.fail({ operation: "truncate" }, "EIO");
  assertThrows(() => other.write(bytesOf("gone")), FileSystemError, "EIO");
  assertEquals([other.position, other.isBroken], [HEADER_BYTES, false]);
  broken.fail({ operation: "write" }, { kind: "torn", errno: "EIO", bytes: 2 });
  assertThrows(() => other.write(bytesOf("gone")), FileSystemError, "EIO");
  assertEquals(broken.fileSystem.readFile(PATH).length, HEADER_BYTES, "cut, with what was set aside");
  other.write(bytesOf("one,"));
  assertEquals(broken.fileSystem.readFile(PATH).length, MIB);
});

test("SegmentWriter.write() that fails is cut off, and the next one takes its place", () => {
  for (const fault of ["fail", "torn", "after", "full"] as const) {
    const { disk, writer } = create();
    writer.write(bytesOf("one,"));
    if (fault === "full") disk.fileSystem.capacityBytes = HEADER_BYTES + 6;
    else {disk.fail(
        { operation: "write" },
        fault === "torn" ? { kind: fault, errno: "EIO", bytes: 2 } : { kind: fault, errno: "EIO" },
      );}
    assertThrows(() => writer.write(bytesOf("gone")), FileSystemError, fault === "full" ? "ENOSPC" : "EIO");
    assertEquals(framesText(disk.fileSystem), "one,", fault);
    assertEquals([writer.position, writer.isBroken], [HEADER_BYTES + 4, false], fault);
    disk.fileSystem.capacityBytes = Infinity;
    writer.write(bytesOf("two,"));
    assertEquals(framesText(disk.fileSystem), "one,two,", fault);
  }
});

test("SegmentWriter.isBroken is true when a failed write could not be cut off", () => {
  const { disk, writer } = create();
  disk.fail({ operation: "write" }, { kind: "torn", errno: "ENOSPC", bytes: 2 });
  disk.fail({ operation: "truncate" });
  assertThrows(() => writer.write(bytesOf("gone")), NoSpaceError);
  assertEquals([writer.position, writer.isBroken, framesText(disk.fileSystem)], [HEADER_BYTES, true, "go"]);
});

test("SegmentWriter.sync() covers what was written before it, and no more", async () => {
  const { disk, writer } = create();
  writer.write(bytesOf("one,"));
  disk.hold();
  const first = watch(writer.sync());
  writer.write(bytesOf("two,"));
  await disk.release();
  assertEquals([first.state, writer.isDirty], ["resolved", true]);
  const outcomes = await (disk.letGo(), afterPowerCuts(disk));
  assert(outcomes.every((text) => text.startsWith("one,")), outcomes.join(" "));
  assert(outcomes.includes("one,") && outcomes.includes("one,two,"), outcomes.join(" "));
  await writer.sync();
  assertEquals(writer.isDirty, false);
  assertEquals(await afterPowerCuts(disk), ["one,two,"]);
});

test("SegmentWriter.sync() covers the cut of a failed write, too", async () => {
  const { disk, writer } = create();
  writer.write(bytesOf("one,"));
  await writer.sync();
  disk.fail({ operation: "write" }, { kind: "after", errno: "EIO" });
  assertThrows(() => writer.write(bytesOf("gone")));
  assertEquals(writer.isDirty, true);
  await writer.sync();
  assertEquals([writer.isDirty, await afterPowerCuts(disk)], [false, ["one,"]]);
});

test("SegmentWriter.sync() that fails leaves it dirty", async () => {
  const { disk, writer } = create();
  writer.write(bytesOf("one,"));
  disk.fail({ operation: "sync" }, { kind: "lost", errno: "EIO" });
  await assertRejects(() => writer.sync(), FileSystemError, "EIO");
  assertEquals([writer.isDirty, framesText(disk.fileSystem)], [true, "one,"]);
});

test("SegmentWriter.truncateUnacknowledged() takes back what was not acknowledged, synced or not", async () => {
  const { disk, writer } = create();
  writer.write(bytesOf("one,"));
  await writer.sync();
  writer.acknowledge(writer.position);
  writer.write(bytesOf("two,"));
  await writer.sync();
  writer.write(bytesOf("three,"));
  writer.truncateUnacknowledged();
  assertEquals(framesText(disk.fileSystem), "one,");
});

test("SegmentWriter.truncateUnacknowledged() leaves what was acknowledged, and no file if nothing was", async () => {
  const { disk, writer } = create();
  writer.write(bytesOf("one,"));
  writer.truncateUnacknowledged();
  assertEquals(disk.fileSystem.paths(), []);
  const broken = create();
  broken.writer.write(bytesOf("one,"));
  await broken.writer.sync();
  broken.writer.acknowledge(broken.writer.position);
  broken.disk.fail({ operation: "write" }, { kind: "torn", errno: "EIO", bytes: 2 });
  broken.disk.fail({ operation: "truncate" });
  assertThrows(() => broken.writer.write(bytesOf("gone")));
  broken.writer.truncateUnacknowledged();
  assertEquals(framesText(broken.disk.fileSystem), "one,");
});

test("SegmentWriter.sync() after close() opens the file again, and needs none that is gone", async () => {
  const { disk, writer } = create();
  writer.write(bytesOf("one,"));
  writer.close();
  writer.close();
  disk.forget();
  await writer.sync();
  // Twice, for a sync within the call meanwhile.
  const calls = ["open 7.wal", "open 7.wal", "sync 7.wal", "close 7.wal", "close 7.wal"];
  assertEquals(disk.list("open", "sync", "close"), calls);
  assertEquals([writer.isDirty, await afterPowerCuts(disk)], [false, ["one,"]]);
  disk.fail({ operation: "sync" });
  disk.forget();
  await assertRejects(() => writer.sync(), FileSystemError, "EIO");
  assertEquals(disk.list("open", "sync", "close").at(-1), "close 7.wal", "closed after a failure, too");
  disk.fail({ operation: "open" }, "EIO");
  await assertRejects(() => writer.sync(), FileSystemError, "EIO");
  disk.fileSystem.remove(PATH);
  await writer.sync();
});

test("syncFile() syncs what an earlier process wrote, and does nothing without a file", async () => {
  const { disk, writer } = create();
  writer.write(bytesOf("one,"));
  await syncFile(disk.fileSystem, PATH);
  assertEquals(await afterPowerCuts(disk), ["one,"]);
  await syncFile(disk.fileSystem, segmentPath(8));
});

test("SegmentWriter.create() writes over a segment without a record, if there may be one", () => {
  for (
    const left of [new Uint8Array(0), new Uint8Array(70), encodeSegmentHeader(headerOf({ firstSequence: 7, salt: 1 }))]
  ) {
    const disk = diskOf();
    disk.fileSystem.writeFile(PATH, left);
    assertThrows(() => createOn(disk), FileSystemError, "EEXIST");
    createOn(disk, true).write(bytesOf("one,"));
    assertEquals(disk.fileSystem.readFile(PATH), concat(encodeSegmentHeader(HEADER), bytesOf("one,")));
  }
  const disk = diskOf();
  createOn(disk, true);
  assertEquals(disk.fileSystem.readFile(PATH), encodeSegmentHeader(HEADER), "none was there");
});

test("SegmentWriter.close() doesn't let an error of the close out", async () => {
  const { disk, writer } = create();
  disk.fail({ operation: "close" });
  writer.close();
  assertEquals(disk.plannedFaults, 0);
  await writer.sync();
  assertEquals(writer.isDirty, false);
});

test("SegmentWriter.close() waits for a sync that is under way", async () => {
  let release = () => {};
  const fileSystem = new MemoryFileSystem({
    whileSyncing: () => new Promise<void>((resolve) => release = resolve),
  });
  fileSystem.makeDirectory(DIRECTORY);
  const writer = SegmentWriter.create(fileSystem, DIRECTORY, HEADER, { mayExist: false, preallocateUpTo: 0 });
  writer.write(bytesOf("one,"));
  const sync = writer.sync();
  writer.close();
  release();
  await sync;
  assertEquals(writer.isDirty, false);
  assertThrows(() => writer.write(bytesOf("two,")), TypeError);
});
