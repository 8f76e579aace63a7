/**
 * `Quarantine`: a copy is whole and durable before it counts as made, is made once, and never fails a caller.
 */

import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { FileHandle, FileSystem } from "../../src/fs/file_system.ts";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { MAX_QUARANTINE_BYTES, Quarantine } from "../../src/wal/recovery/quarantine.ts";
import { InstrumentedDisk } from "../support/instrumented_disk.ts";
import { assertSameBytes, DIRECTORY, garbage } from "../support/log_tools.ts";

const SEGMENT = "00000000000000000001.wal";
const PATH = `${DIRECTORY}/${SEGMENT}`;
const REGION = { segment: SEGMENT, offset: 100, length: 5000 };
const COPY = `${DIRECTORY}/quarantine/${SEGMENT}-100-5000.bad`;
const BYTES = garbage(300_000, 1);

function diskOf(base?: MemoryFileSystem): { disk: InstrumentedDisk; quarantine: Quarantine } {
  const disk = new InstrumentedDisk(base);
  disk.fileSystem.writeFile(PATH, BYTES);
  return { disk, quarantine: new Quarantine(disk.fileSystem, DIRECTORY) };
}

function copiesIn(fileSystem: MemoryFileSystem): string[] {
  return fileSystem.paths().filter((path) => path.includes("/quarantine/"));
}

test("Quarantine creates nothing before it is needed", () => {
  const { disk } = diskOf();
  assertEquals(disk.operations, []);
  assertEquals(disk.fileSystem.paths(), [PATH]);
});

test("Quarantine.copy() makes a copy that no power cut takes away", async () => {
  const regions = [REGION, { ...REGION, offset: 0, length: 300_000 }, { ...REGION, offset: 299_999, length: 1 }];
  for (const region of regions) {
    const { disk, quarantine } = diskOf();
    assertEquals(await quarantine.copy(region), true);
    assertEquals(quarantine.copiedBytes, region.length);
    for (let seed = 0; seed < 30; seed++) {
      const crashed = disk.fileSystem.crash({ seed });
      const [copy] = copiesIn(crashed);
      assertEquals(copy, `${DIRECTORY}/quarantine/${SEGMENT}-${region.offset}-${region.length}.bad`);
      const expected = BYTES.subarray(region.offset, region.offset + region.length);
      assertSameBytes(crashed.readFile(copy!), expected, `seed ${seed}`);
    }
    assertSameBytes(disk.fileSystem.readFile(PATH), BYTES, "the segment");
  }
});

test("Quarantine.copy() copies a region once, however often it is met", async () => {
  const { disk, quarantine } = diskOf();
  await quarantine.copy(REGION);
  disk.forget();
  assertEquals(await quarantine.copy(REGION), true);
  assertEquals([disk.list("write"), quarantine.copiedBytes], [[], 5000]);
  const next = diskOf(disk.fileSystem);
  assertEquals(await next.quarantine.copy(REGION), true);
  assertEquals([next.disk.list("write"), next.quarantine.copiedBytes], [[], 0]);
  assertEquals(await next.quarantine.copy({ ...REGION, length: 4999 }), true, "another region");
  assertEquals(copiesIn(next.disk.fileSystem).length, 2);
});

test("Quarantine.copy() that fails at any operation says so, and leaves no half copy that would count", async () => {
  for (let index = 0;; index++) {
    const { disk, quarantine } = diskOf();
    disk.fail({ index });
    const isCopied = await quarantine.copy(REGION);
    if (disk.plannedFaults > 0) {
      assertEquals(isCopied, true);
      assert(index > 8, `only ${index} operations`);
      return;
    }
    const failed = disk.operations[index]!.operation;
    assertEquals(isCopied, failed === "close", `operation ${index}, ${failed}`);
    // Another try, in this process and in the next one, ends well.
    assertEquals(await quarantine.copy(REGION), true, `operation ${index}, ${failed}`);
    assertSameBytes(disk.fileSystem.readFile(COPY), BYTES.subarray(100, 5100));
    assertEquals(await diskOf(disk.fileSystem).quarantine.copy(REGION), true, `operation ${index}, ${failed}`);
  }
});

test("Quarantine.copy() replaces a copy that a crash left unfinished", async () => {
  const { disk, quarantine } = diskOf();
  disk.fileSystem.writeFile(COPY, BYTES.subarray(100, 3000));
  assertEquals(await quarantine.copy(REGION), true);
  assertSameBytes(disk.fileSystem.readFile(COPY), BYTES.subarray(100, 5100));
});

test("Quarantine.copy() that a power cut interrupts leaves nothing that counts as a copy and isn't one", async () => {
  // What is written and not synced may be there by its length, and not by its content.
  for (const operation of ["write", "sync", "rename", "syncDirectory"]) {
    for (let seed = 0; seed < 60; seed++) {
      let left: MemoryFileSystem | undefined;
      const { disk } = diskOf();
      const dying: MemoryFileSystem = disk.fileSystem.kill({
        onOperation(one) {
          if (left !== undefined || one.operation !== operation || !one.path.includes("/quarantine")) return;
          left = dying.crash({ seed });
          dying.kill();
        },
      });
      await new Quarantine(dying, DIRECTORY).copy(REGION);
      const note = `power cut at ${operation}, seed ${seed}`;
      assertEquals(await new Quarantine(left!, DIRECTORY).copy(REGION), true, note);
      assertSameBytes(left!.crash({ seed }).readFile(COPY), BYTES.subarray(100, 5100), note);
    }
  }
});

test("Quarantine.copy() counts a copy whose records were restored", async () => {
  const { disk, quarantine } = diskOf();
  disk.fileSystem.writeFile(`${COPY}.restored`, BYTES.subarray(100, 5100));
  assertEquals(await quarantine.copy(REGION), true);
  assertEquals(copiesIn(disk.fileSystem), [`${COPY}.restored`]);
});

test("Quarantine.copy() on a full disk says so and gives the space back", async () => {
  const { disk, quarantine } = diskOf();
  const { fileSystem } = disk;
  fileSystem.capacityBytes = fileSystem.usedBytes + 4999;
  assertEquals(await quarantine.copy(REGION), false);
  assertEquals([copiesIn(fileSystem), quarantine.copiedBytes], [[], 0]);
  assertEquals(fileSystem.usedBytes, BYTES.length);
  fileSystem.capacityBytes++;
  assertEquals(await quarantine.copy(REGION), true);
});

/** Lets the files in the quarantine look longer than they are. */
function withLongFiles(fileSystem: FileSystem, bytes: number): FileSystem {
  return {
    name: "long",
    open(path, mode): FileHandle {
      const handle = fileSystem.open(path, mode);
      return {
        size: () => path.includes("old.bad") ? bytes : handle.size(),
        read: (into, position) => handle.read(into, position),
        write: (from, position) => handle.write(from, position),
        truncate: (size) => handle.truncate(size),
        sync: () => handle.sync(),
        close: () => handle.close(),
      };
    },
    list: (path) => fileSystem.list(path),
    makeDirectory: (path) => fileSystem.makeDirectory(path),
    rename: (from, to) => fileSystem.rename(from, to),
    remove: (path) => fileSystem.remove(path),
    syncDirectory: (path) => fileSystem.syncDirectory(path),
    lock: (path) => fileSystem.lock(path),
  };
}

test("Quarantine.copy() never lets the directory grow past 64 MiB", async () => {
  assertEquals(MAX_QUARANTINE_BYTES, 64 * 2 ** 20);
  const { disk } = diskOf();
  disk.fileSystem.writeFile(`${DIRECTORY}/quarantine/old.bad`, new Uint8Array(1));
  const fileSystem = withLongFiles(disk.fileSystem, MAX_QUARANTINE_BYTES - 9_999);
  const quarantine = new Quarantine(fileSystem, DIRECTORY);
  const copies = [];
  for (const offset of [0, 5_000, 10_000]) copies.push(await quarantine.copy({ ...REGION, offset }));
  assertEquals(copies, [true, false, false]);
  assertEquals(await quarantine.copy({ ...REGION, length: 4_999 }), true, "what still fits");
  assertEquals(await quarantine.copy({ ...REGION, offset: 0 }), true, "what is there already");
});

test("Quarantine.copy() lets out what is not an error of the file system", async () => {
  const { disk } = diskOf();
  const broken: FileSystem = {
    ...withLongFiles(disk.fileSystem, 0),
    makeDirectory() {
      throw new TypeError("a mistake");
    },
  };
  await assertRejects(() => new Quarantine(broken, DIRECTORY).copy(REGION), TypeError, "a mistake");
});

test("Quarantine.move() moves a file, durably, without needing space", async () => {
  const { disk, quarantine } = diskOf();
  disk.fileSystem.capacityBytes = disk.fileSystem.usedBytes;
  assertEquals(await quarantine.move(SEGMENT), true);
  for (let seed = 0; seed < 30; seed++) {
    const crashed = disk.fileSystem.crash({ seed });
    const paths = crashed.paths();
    assertEquals(paths.length, 1, `seed ${seed}`);
    assertSameBytes(crashed.readFile(paths[0]!), BYTES, `seed ${seed}`);
    assert(paths[0]!.startsWith(`${DIRECTORY}/quarantine/`), `seed ${seed}: ${paths[0]}`);
  }
});

test("Quarantine.move() that fails says so, and the file is in one place or the other", async () => {
  for (let index = 0;; index++) {
    const { disk, quarantine } = diskOf();
    disk.fail({ index });
    const isMoved = await quarantine.move(SEGMENT);
    assertEquals(disk.fileSystem.paths().length, 1);
    if (disk.plannedFaults > 0) {
      assert(isMoved && index > 3);
      return;
    }
    assertEquals(isMoved, false, `operation ${index}`);
  }
});

test("Quarantine.move() replaces nothing", async () => {
  const { disk, quarantine } = diskOf();
  const there = `${DIRECTORY}/quarantine/${SEGMENT}`;
  disk.fileSystem.writeFile(there, garbage(10, 2));
  disk.fileSystem.writeFile(`${there}-2`, garbage(10, 3));
  assertEquals(await quarantine.move(SEGMENT), true);
  assertEquals(copiesIn(disk.fileSystem), [there, `${there}-2`, `${there}-3`]);
  assertSameBytes(disk.fileSystem.readFile(`${there}-3`), BYTES);
});

/** A place where sequences are missing without a trace. */
function lost(first: number, last: number): Parameters<Quarantine["recordRegions"]>[0][0] {
  return { segment: SEGMENT, offset: 160, length: 0, missing: { first, last } };
}

test("Quarantine.noteLost() is durable, never fails a caller, and writes nothing that is known", async () => {
  const { disk, quarantine } = diskOf();
  await quarantine.recordRegions([lost(5, 7), lost(1, 2)]);
  for (let seed = 0; seed < 10; seed++) {
    const after = new Quarantine(disk.fileSystem.crash({ seed }), DIRECTORY);
    assertEquals(after.losses.lost, [{ first: 1, last: 2 }, { first: 5, last: 7 }], `seed ${seed}`);
  }
  disk.forget();
  await quarantine.recordRegions([lost(6, 7)]);
  await new Quarantine(disk.fileSystem, DIRECTORY).recordRegions([lost(1, 1)]);
  assertEquals(disk.list("write", "rename"), []);
  for (let index = 0, isDone = false; !isDone; index++) {
    const failing = diskOf();
    failing.disk.fail({ index });
    await failing.quarantine.recordRegions([lost(1, 2)]);
    isDone = failing.disk.plannedFaults > 0;
    if (isDone) assert(index > 8, `only ${index} operations`);
    failing.disk.heal();
    await failing.quarantine.recordRegions([lost(1, 2)]);
    assertEquals(new Quarantine(failing.disk.fileSystem, DIRECTORY).losses.lost, [{ first: 1, last: 2 }], `${index}`);
  }
});

test("Quarantine.noteLost() accepts what is unproven, also if it can't be written down", async () => {
  const unproven = { ...lost(5, 7), length: 99, unproven: true } as const;
  const { disk, quarantine } = diskOf();
  await quarantine.recordRegions([unproven, lost(9, 9)]);
  const failing = diskOf();
  failing.disk.fail({ operation: "write" }, "ENOSPC", Infinity);
  await failing.quarantine.recordRegions([unproven, lost(9, 9)]);
  for (const { losses } of [quarantine, new Quarantine(disk.fileSystem, DIRECTORY), failing.quarantine]) {
    assertEquals(losses.lost, [{ first: 5, last: 7 }, { first: 9, last: 9 }]);
    assertEquals([losses.isAccepted(unproven), losses.isAccepted(lost(6, 7))], [true, true]);
    assertEquals([losses.isUnproven({ first: 6, last: 7 }), losses.isUnproven({ first: 6, last: 8 })], [true, false]);
    assertEquals([losses.isAccepted(lost(9, 9)), losses.isUnproven({ first: 9, last: 9 })], [false, false]);
    assertEquals(losses.isUnproven(undefined), false);
  }
});
