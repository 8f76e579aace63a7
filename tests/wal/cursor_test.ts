/**
 * `Cursor`: the state before survives whatever happens to a write, and one bad bit never leaves none.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { FileSystemError, NoSpaceError, UnsupportedVersionError } from "../../src/errors/mod.ts";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { Cursor } from "../../src/wal/cursor.ts";
import type { CursorOwner, CursorPositions, LogPosition } from "../../src/wal/position.ts";
import { cut, flipBit, garbage, overwrite, uint32 } from "../support/bytes.ts";
import { InstrumentedDisk, watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { UUID_A, UUID_B } from "../support/frames.ts";
import { copyOf, CURSOR_PATH, DIRECTORY } from "../support/logs.ts";

const OWNER_A: CursorOwner = { uuid: UUID_A, place: 4_503_599_627_370_497, isSynced: true };
const OWNER_B: CursorOwner = { uuid: UUID_B, place: 7, isSynced: false };
const SLOT_BYTES = 512;
const STRIDE = 4096;

function position(n: number): LogPosition {
  return { nextSequence: n + 1, payloadBytes: 10 * n, logBytes: 42 * n };
}

/** State number `n`; odd ones have a batch in flight. */
function stateOf(n: number): CursorPositions {
  const boundaries = n % 2 === 1 ? [position(n + 1)] : [];
  const resume = boundaries[0] ?? position(n);
  return { lastSequence: n + 5, committed: position(n), resume, boundaries };
}

function diskOf(base?: MemoryFileSystem): InstrumentedDisk {
  const disk = new InstrumentedDisk(base);
  disk.fileSystem.makeDirectory(DIRECTORY);
  return disk;
}

/** A cursor file in which the states 1 to `count` were written, and synced. */
async function cursorWith(count: number): Promise<{ disk: InstrumentedDisk; cursor: Cursor }> {
  const disk = diskOf();
  const cursor = Cursor.open(disk.fileSystem, DIRECTORY, OWNER_A);
  for (let n = 1; n <= count; n++) cursor.write(stateOf(n));
  await cursor.sync();
  await disk.fileSystem.syncDirectory("/");
  await disk.fileSystem.syncDirectory(DIRECTORY);
  return { disk, cursor };
}

/** The number of the state that the file tells, 0 if it tells none. */
function numberIn(fileSystem: MemoryFileSystem): number {
  const state = Cursor.read(fileSystem, DIRECTORY);
  if (state === undefined) return 0;
  const n = state.lastSequence - 5;
  const { generation: _, ...rest } = state;
  assertEquals(rest, { ...OWNER_A, ...stateOf(n) }, "a state that was never written");
  return n;
}

test("Cursor.read() gives nothing where there is no file, or no state in it, and creates none", () => {
  const { fileSystem } = diskOf();
  assertEquals(Cursor.read(fileSystem, DIRECTORY), undefined);
  assertEquals(fileSystem.paths(), []);
  const contents = [new Uint8Array(0), new Uint8Array(8704), garbage(8704, 1), garbage(100, 2)];
  for (const content of contents) {
    fileSystem.writeFile(CURSOR_PATH, content);
    assertEquals(Cursor.read(fileSystem, DIRECTORY), undefined);
    assertEquals(fileSystem.readFile(CURSOR_PATH), content);
  }
});

test("Cursor.open() gives the file its full length, so that a write needs no space on a full disk", async () => {
  for (
    const content of [undefined, new Uint8Array(0), new Uint8Array(1000), new Uint8Array(8704), new Uint8Array(12800)]
  ) {
    const disk = diskOf();
    if (content !== undefined) disk.fileSystem.writeFile(CURSOR_PATH, content);
    const cursor = Cursor.open(disk.fileSystem, DIRECTORY, OWNER_A);
    assertEquals(disk.fileSystem.readFile(CURSOR_PATH).length, 3 * STRIDE + SLOT_BYTES);
    disk.fileSystem.capacityBytes = 0;
    for (let n = 1; n <= 4; n++) {
      cursor.write({ ...stateOf(n), boundaries: Array.from({ length: 16 }, (_, i) => position(n + i)) });
      await cursor.sync();
    }
    assertEquals(Cursor.read(disk.fileSystem, DIRECTORY)?.boundaries.length, 16);
  }
});

test("Cursor.open() leaves no open file behind when it fails", () => {
  for (const operation of ["read", "size", "write"] as const) {
    const disk = diskOf();
    disk.fail({ operation });
    assertThrows(() => Cursor.open(disk.fileSystem, DIRECTORY, OWNER_A), FileSystemError, "EIO");
    assertEquals(disk.list("open", "close").at(-1), "close cursor", operation);
    Cursor.open(disk.fileSystem, DIRECTORY, OWNER_A).write(stateOf(1));
    assertEquals(numberIn(disk.fileSystem), 1);
  }
});

test("Cursor.write() spares the state before and the one that was synced, and what was written last counts", async () => {
  const { disk, cursor } = await cursorWith(1);
  let open = cursor;
  let newest: number | undefined;
  let synced: number | undefined;
  for (let n = 2; n <= 20; n++) {
    disk.forget();
    open.write(stateOf(n));
    const [write] = disk.operations.filter(({ operation }) => operation === "write");
    assert([0, STRIDE, 2 * STRIDE, 3 * STRIDE].includes(write.position!), `state ${n} at ${write.position}`);
    assert(write.position !== newest && write.position !== synced, `state ${n} at ${write.position}`);
    assertEquals(numberIn(disk.fileSystem), n);
    newest = write.position;
    if (n % 5 === 0) {
      await open.sync();
      synced = newest;
    }
    if (n % 7 !== 0) continue;
    open.close();
    open = Cursor.open(disk.fileSystem, DIRECTORY, OWNER_A);
    await open.sync();
    synced = newest;
  }
});

test("Cursor.write() leaves the synced state when the power goes, however often it was called since", async () => {
  const { disk, cursor } = await cursorWith(4);
  for (const n of [5, 6, 7, 8]) cursor.write(stateOf(n));
  const seen = new Set<number>();
  for (let seed = 0; seed < 2000; seed++) {
    const n = numberIn(disk.fileSystem.crash({ seed }));
    assert(n >= 4, `seed ${seed}: ${n}`);
    seen.add(n);
  }
  assert(seen.size > 2, `only ${[...seen]}`);
});

test("Cursor.write() that fails leaves the state before, and is made good by the next one in the same slot", async () => {
  for (let bytes = 0; bytes <= 132; bytes++) {
    const { disk, cursor } = await cursorWith(4);
    disk.fail({ operation: "write" }, { kind: "torn", errno: "EIO", bytes });
    disk.forget();
    assertThrows(() => cursor.write(stateOf(5)), FileSystemError, "EIO");
    const before = numberIn(disk.fileSystem);
    // State 5 has one boundary, so 132 bytes count; the last 7 of them are zeros in the slot as it was, too.
    assertEquals(before, bytes < 125 ? 4 : 5, `${bytes} bytes`);
    cursor.write(stateOf(6));
    assertEquals(numberIn(disk.fileSystem), 6, `${bytes} bytes`);
    const [failed, next] = disk.operations.filter(({ operation }) => operation === "write");
    assertEquals(failed?.position, next?.position);
  }
});

test("Cursor.read() takes the older state when the newer slot has a bad bit, and none when both have", async () => {
  for (const count of [1, 2, 5, 6]) {
    const { disk } = await cursorWith(count);
    const bytes = disk.fileSystem.readFile(CURSOR_PATH);
    const outcomes = new Set<number>();
    for (const slot of [0, STRIDE]) {
      for (let bit = 0; bit < 96 * 8; bit++) {
        const copy = copyOf(disk.fileSystem, { [CURSOR_PATH]: flipBit(bytes, slot + (bit >> 3), bit & 7) });
        outcomes.add(numberIn(copy));
      }
    }
    assertEquals([...outcomes].sort(), count === 1 ? [1] : [count - 1, count], `${count} states`);
    const none = copyOf(disk.fileSystem, { [CURSOR_PATH]: flipBit(flipBit(bytes, 20), STRIDE + 50) });
    assertEquals(numberIn(none), 0);
    // A new state makes both slots good again.
    Cursor.open(none, DIRECTORY, OWNER_A).write(stateOf(7));
    const healed = none.readFile(CURSOR_PATH);
    for (const slot of [0, STRIDE]) {
      assertEquals(numberIn(copyOf(none, { [CURSOR_PATH]: flipBit(healed, slot + 60) })), 7);
    }
  }
});

test("Cursor.read() takes a file that is cut for what is left of it", async () => {
  const { disk } = await cursorWith(6);
  const bytes = disk.fileSystem.readFile(CURSOR_PATH);
  const seen = new Set<number>();
  for (let length = 0; length <= bytes.length; length += length > 300 && length < 4000 ? 500 : 1) {
    seen.add(numberIn(copyOf(disk.fileSystem, { [CURSOR_PATH]: cut(bytes, length) })));
  }
  assert(seen.has(0) && seen.has(6) && [...seen].every((n) => n === 0 || n >= 5), [...seen].join(" "));
});

test("Cursor survives a power cut at any point: the state that was synced, or a later one", async () => {
  for (let seed = 0; seed < 300; seed++) {
    const { disk, cursor } = await cursorWith(4);
    cursor.write(stateOf(5));
    const n = numberIn(disk.fileSystem.crash({ seed }));
    assert(n === 4 || n === 5, `seed ${seed}: ${n}`);
  }
});

test("Cursor.read() and open() refuse a newer version, unless a slot of ours is there", async () => {
  const newer = (bytes: Uint8Array, slot: number) => overwrite(bytes, slot + 8, uint32(3));
  const { disk } = await cursorWith(6);
  const bytes = disk.fileSystem.readFile(CURSOR_PATH);
  const both = copyOf(disk.fileSystem, { [CURSOR_PATH]: newer(newer(bytes, 0), STRIDE) });
  for (const attempt of [() => Cursor.read(both, DIRECTORY), () => Cursor.open(both, DIRECTORY, OWNER_A)]) {
    const error = assertThrows(attempt, UnsupportedVersionError);
    assertEquals([error.path, error.version, error.supported], [CURSOR_PATH, 3, 2]);
  }
  for (const slot of [0, STRIDE]) {
    assert(
      numberIn(copyOf(disk.fileSystem, { [CURSOR_PATH]: newer(bytes, slot) })) >= 5,
      "one bad bit looks like that",
    );
  }
});

test("Cursor.write() keeps the uuid it was opened with", () => {
  const { fileSystem } = diskOf();
  Cursor.open(fileSystem, DIRECTORY, OWNER_A).write(stateOf(2));
  Cursor.open(fileSystem, DIRECTORY, OWNER_B).write(stateOf(4));
  const { uuid, generation } = Cursor.read(fileSystem, DIRECTORY)!;
  assertEquals(uuid, UUID_B);
  assert(generation >= 2);
});

test("Cursor.sync() ends with what was there when it was asked for, however often the cursor is written meanwhile", async () => {
  const { disk, cursor } = await cursorWith(2);
  disk.hold();
  cursor.write(stateOf(3));
  const syncing = watch(cursor.sync());
  for (let n = 4; n <= 40; n++) {
    cursor.write(stateOf(n));
    await settle();
  }
  await disk.release(1);
  assertEquals([syncing.state, disk.held.length, cursor.isDirty], ["resolved", 0, true]);
  for (let seed = 0; seed < 500; seed++) {
    const n = numberIn(disk.fileSystem.crash({ seed }));
    assert(n >= 3, `seed ${seed}: state ${n} is left, 3 was synced`);
  }
  for (let n = 41; n <= 50; n++) cursor.write(stateOf(n));
  for (let seed = 0; seed < 500; seed++) assert(numberIn(disk.fileSystem.crash({ seed })) >= 3, `seed ${seed}, later`);
});

test("Cursor.sync() waits for two syncs at most: the one under way and its own", async () => {
  const { disk, cursor } = await cursorWith(2);
  disk.hold();
  cursor.write(stateOf(3));
  void cursor.sync();
  cursor.write(stateOf(4));
  const asked = watch(cursor.sync());
  for (let syncs = 1; syncs <= 2; syncs++) {
    assertEquals(asked.state, "pending", `before sync ${syncs}`);
    cursor.write(stateOf(4 + syncs));
    await disk.release(1);
  }
  assertEquals(asked.state, "resolved");
  for (let seed = 0; seed < 200; seed++) assert(numberIn(disk.fileSystem.crash({ seed })) >= 4, `seed ${seed}`);
});

test("Cursor.replace() makes a file of its own: a former owner, or a hard link, changes nothing in it", async () => {
  const { disk, cursor } = await cursorWith(4);
  const { fileSystem } = disk;
  fileSystem.link(CURSOR_PATH, "/elsewhere");
  const generation = Cursor.read(fileSystem, DIRECTORY)!.generation;
  const next = await Cursor.replace(fileSystem, DIRECTORY, OWNER_A, stateOf(6));
  await fileSystem.syncDirectory(DIRECTORY);
  for (let n = 10; n <= 20; n++) cursor.write(stateOf(n));
  await cursor.sync();
  assertEquals(numberIn(fileSystem), 6);
  assert(Cursor.read(fileSystem, DIRECTORY)!.generation > generation);
  assertEquals([fileSystem.identify(CURSOR_PATH).links, fileSystem.paths().length], [1, 2]);
  for (let seed = 0; seed < 100; seed++) assertEquals(numberIn(fileSystem.crash({ seed })), 6);
  next.write(stateOf(7));
  assertEquals(numberIn(fileSystem), 7);
});

test("Cursor.replace() leaves the old state or the new one, whatever fails and whenever the power goes", async () => {
  for (let index = 0;; index++) {
    const { disk } = await cursorWith(4);
    const started = disk.operations.length;
    disk.fail({ index: started + index });
    const outcome = watch(Cursor.replace(disk.fileSystem, DIRECTORY, OWNER_A, stateOf(6)));
    await settle();
    for (let seed = 0; seed < 20; seed++) {
      const left = numberIn(disk.fileSystem.crash({ seed }));
      assert(left === 4 || left === 6, `operation ${index}, seed ${seed}: ${left}`);
    }
    if (disk.plannedFaults === 1) break;
    // A close that fails has closed the file all the same.
    const isClose = disk.operations[started + index]?.operation === "close";
    assertEquals(outcome.state, isClose ? "resolved" : "rejected", `operation ${index}`);
    assertEquals(disk.fileSystem.paths().filter((path) => path.endsWith(".new")), [], `operation ${index}`);
  }
});

test("Cursor.replace() goes on with the old file where a new one has no room, unless others share it", async () => {
  for (const isShared of [false, true]) {
    const { disk, cursor } = await cursorWith(4);
    const { fileSystem } = disk;
    if (isShared) fileSystem.link(CURSOR_PATH, "/elsewhere");
    fileSystem.capacityBytes = fileSystem.usedBytes;
    const replacing = Cursor.replace(fileSystem, DIRECTORY, OWNER_A, stateOf(6));
    if (isShared) {
      await assertRejects(() => replacing, NoSpaceError);
      assertEquals(numberIn(fileSystem), 4);
      continue;
    }
    const next = await replacing;
    for (let seed = 0; seed < 50; seed++) assertEquals(numberIn(fileSystem.crash({ seed })), 6);
    // The former owner still has the file: what it writes is older, whenever it is.
    next.write(stateOf(7));
    cursor.write(stateOf(20));
    assertEquals(numberIn(fileSystem), 7);
  }
});

test("Cursor goes on with three slots in a file of version 1 on a full disk, and keeps what is synced", async () => {
  const { disk } = await cursorWith(4);
  const { fileSystem } = disk;
  fileSystem.writeFile(CURSOR_PATH, cut(fileSystem.readFile(CURSOR_PATH), 2 * STRIDE + SLOT_BYTES));
  fileSystem.capacityBytes = fileSystem.usedBytes;
  const cursor = Cursor.open(fileSystem, DIRECTORY, OWNER_A);
  await cursor.sync();
  cursor.write(stateOf(5));
  disk.hold();
  const syncing = watch(cursor.sync());
  for (let n = 6; n <= 12; n++) {
    cursor.write(stateOf(n));
    assertEquals(numberIn(fileSystem), n);
  }
  await disk.letGo();
  assertEquals(syncing.state, "resolved");
  for (let seed = 0; seed < 300; seed++) assert(numberIn(fileSystem.crash({ seed })) >= 5, `seed ${seed}`);
});

test("Cursor.sync() is made once for all who wait, and again for what was written meanwhile", async () => {
  const { disk, cursor } = await cursorWith(2);
  disk.forget();
  await cursor.sync();
  assertEquals([cursor.isDirty, disk.list("sync")], [false, []], "nothing to do");
  cursor.write(stateOf(3));
  assertEquals(cursor.isDirty, true);
  disk.hold();
  const first = watch(cursor.sync());
  const second = watch(cursor.sync());
  await settle();
  assertEquals(disk.held.length, 1);
  cursor.write(stateOf(4));
  const third = watch(cursor.sync());
  await disk.release();
  assertEquals([disk.held.length, third.state, cursor.isDirty], [1, "pending", true]);
  await disk.release();
  assertEquals([first.state, second.state, third.state, cursor.isDirty], ["resolved", "resolved", "resolved", false]);
  assertEquals(disk.list("sync").length, 2);
  for (let seed = 0; seed < 20; seed++) assertEquals(numberIn(disk.fileSystem.crash({ seed })), 4);
});

test("Cursor.sync() is made by the first who asks after an open: nobody knows whether the process before did", async () => {
  const { disk, cursor } = await cursorWith(2);
  cursor.write(stateOf(3));
  const next = diskOf(disk.fileSystem);
  const reopened = Cursor.open(next.fileSystem, DIRECTORY, OWNER_A);
  await reopened.sync();
  for (let seed = 0; seed < 50; seed++) assertEquals(numberIn(next.fileSystem.crash({ seed })), 3);
});

test("Cursor.sync() tells a failure to all who wait", async () => {
  const { disk, cursor } = await cursorWith(2);
  cursor.write(stateOf(3));
  disk.hold();
  disk.fail({ operation: "sync" }, { kind: "lost", errno: "EIO" });
  const waiting = [cursor.sync(), cursor.sync(), cursor.sync()].map(watch);
  await disk.letGo();
  assertEquals(waiting.map(({ state }) => state), ["rejected", "rejected", "rejected"]);
  assertEquals(cursor.isDirty, true);
  await assertRejects(() => {
    disk.fail({ operation: "sync" });
    return cursor.sync();
  }, FileSystemError);
});
