/**
 * `replaceFile()` and its callers: whatever fails, and whatever fails in cleaning up after it, the caller hears of the
 * first failure, the old file or the new one is there, whole, and the next attempt works.
 */

import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FileSystemError } from "../../src/errors/mod.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { createFile, replaceFile, writeNewFile } from "../../src/fs/replace_file.ts";
import { DeliveryJournal, readJournal } from "../../src/sinks/file_journal.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { Cursor } from "../../src/wal/cursor.ts";
import { segmentName } from "../../src/wal/names.ts";
import { createOwnerFile } from "../../src/wal/owner_file.ts";
import { LOG_START } from "../../src/wal/position.ts";
import { cutTail } from "../../src/wal/recovery/cut_tail.ts";
import { KnownLosses } from "../../src/wal/recovery/known_losses.ts";
import { Quarantine } from "../../src/wal/recovery/quarantine.ts";
import { interruptedCase, runCli, runUntil } from "../cli/tools.ts";
import { bytesOf, cut, garbage } from "../support/bytes.ts";
import { InstrumentedDisk, trackHandles } from "../support/disk.ts";
import { CURSOR_PATH, DIRECTORY, openLog, segmentPath } from "../support/logs.ts";

const QUARANTINE = `${DIRECTORY}/quarantine`;
const OLD = bytesOf("the old content");
const NEW = bytesOf("the new content, which is longer");
const BYTES = garbage(300_000, 1);

/** An operation that comes between the file that is written first and the one that is there in the end. */
type Step = "write" | "sync" | "rename" | "syncDirectory";

/** A caller. */
interface Caller {
  readonly name: string;
  /** The file that is written first, by the end of its path. */
  readonly newPath: string;
  /** The operations that it makes, in order. */
  readonly steps: readonly Step[];
  /** The file in the end. */
  readonly path: string;
  /** The directory whose names are synced; by default that of the file. */
  readonly directory?: string;
  /** What is there after a failure of `syncDirectory`, if it isn't the new file. */
  readonly isUndone?: true;
  /** Whether what could not be removed is in the way of another attempt. */
  readonly isExclusive?: true;
  /** A disk before the first attempt. */
  make(): MemoryFileSystem | Promise<MemoryFileSystem>;
  /** An attempt: rejects with what has failed. */
  attempt(fileSystem: FileSystem): Promise<unknown>;
}

function diskWith(files: Readonly<Record<string, Uint8Array>>): MemoryFileSystem {
  const fileSystem = new MemoryFileSystem();
  fileSystem.makeDirectory(QUARANTINE);
  for (const [path, bytes] of Object.entries(files)) fileSystem.writeFile(path, bytes);
  return fileSystem;
}

const OWNER = { uuid: "01234567-89ab-4cde-8f01-23456789abcd", place: 1, isSynced: true };
const POSITIONS = { lastSequence: 5, committed: LOG_START, resume: LOG_START, boundaries: [] };
const SEGMENT = { name: segmentName(1), firstSequence: 1 };
const SCRATCH = `/page.html.${process.pid}.tmp`;

/** Ends as a command does whose exit code says that something has failed. */
async function restore(fileSystem: FileSystem): Promise<void> {
  const { code, errors } = await runCli(fileSystem, ["restore", DIRECTORY]);
  if (code !== 0) throw new Error(errors.trimEnd());
}

const CALLERS: readonly Caller[] = [
  {
    name: "replaceFile()",
    newPath: "/file.new",
    steps: ["write", "sync", "rename", "syncDirectory"],
    path: "/file",
    make: () => diskWith({ "/file": OLD }),
    attempt: (fileSystem) => replaceFile(fileSystem, "/file", (handle) => handle.write(NEW, 0)),
  },
  {
    name: "createFile()",
    newPath: "/file",
    steps: ["write", "sync"],
    path: "/file",
    isExclusive: true,
    make: () => diskWith({}),
    attempt: (fileSystem) => createFile(fileSystem, "/file", (handle) => handle.write(NEW, 0)),
  },
  {
    name: "writeNewFile() of a file that is not there",
    newPath: SCRATCH,
    steps: ["write", "sync", "rename", "syncDirectory"],
    path: "/page.html",
    isExclusive: true,
    make: () => diskWith({}),
    attempt: (fileSystem) => writeNewFile(fileSystem, "/page.html", NEW, false),
  },
  {
    name: "writeNewFile() over a file",
    newPath: SCRATCH,
    steps: ["write", "sync", "rename", "syncDirectory"],
    path: "/page.html",
    isExclusive: true,
    make: () => diskWith({ "/page.html": OLD }),
    attempt: (fileSystem) => writeNewFile(fileSystem, "/page.html", NEW, true),
  },
  {
    name: "Cursor.replace()",
    newPath: "/cursor.new",
    steps: ["write", "sync", "rename"],
    path: CURSOR_PATH,
    async make() {
      const fileSystem = diskWith({});
      const cursor = Cursor.open(fileSystem, DIRECTORY, OWNER);
      cursor.write(POSITIONS);
      await cursor.sync();
      cursor.close();
      return fileSystem;
    },
    attempt: async (fileSystem) =>
      (await Cursor.replace(fileSystem, DIRECTORY, OWNER, { ...POSITIONS, lastSequence: 9 })).close(),
  },
  {
    name: "createOwner()",
    newPath: "/owner.json.new",
    steps: ["rename"],
    path: `${DIRECTORY}/owner.json`,
    make: () => diskWith({ [`${DIRECTORY}/owner.json`]: OLD }),
    attempt: async (fileSystem) => (await createOwnerFile(fileSystem, DIRECTORY))!.handle.close(),
  },
  {
    name: "KnownLosses.save()",
    newPath: "/losses.json.new",
    steps: ["write", "sync", "rename", "syncDirectory"],
    path: `${QUARANTINE}/losses.json`,
    make: () => diskWith({ [`${QUARANTINE}/losses.json`]: OLD }),
    attempt: (fileSystem) => new KnownLosses({ lost: [{ first: 3, last: 4 }] }).save(fileSystem, QUARANTINE),
  },
  {
    name: "cutTail() of a file that a copy of the directory shares",
    newPath: ".wal.new",
    steps: ["write", "sync", "rename"],
    path: segmentPath(1),
    make() {
      const fileSystem = diskWith({ [segmentPath(1)]: BYTES });
      fileSystem.link(segmentPath(1), "/copy");
      return fileSystem;
    },
    attempt: (fileSystem) =>
      cutTail({ fileSystem, directory: DIRECTORY }, SEGMENT, { position: 270_000, size: BYTES.length }),
  },
  {
    name: "Quarantine.copy()",
    newPath: ".bad.new",
    steps: ["write", "sync", "rename", "syncDirectory"],
    path: `${QUARANTINE}/${segmentName(1)}-100-280000.bad`,
    isUndone: true,
    make: () => diskWith({ [segmentPath(1)]: BYTES }),
    async attempt(fileSystem) {
      const quarantine = new Quarantine(fileSystem, DIRECTORY);
      if (!await quarantine.copy({ segment: segmentName(1), offset: 100, length: 280_000 })) throw quarantine.failure;
    },
  },
  {
    name: "DeliveryJournal.replace()",
    newPath: "/out.deliveries.new",
    steps: ["write", "sync", "rename", "syncDirectory"],
    path: "/out.deliveries",
    async make() {
      const fileSystem = diskWith({});
      (await DeliveryJournal.replace(fileSystem, "/out.deliveries", { size: 1, ids: ["a"] })).close();
      return fileSystem;
    },
    async attempt(fileSystem) {
      (await DeliveryJournal.replace(fileSystem, "/out.deliveries", { size: 3, ids: ["a", "b"] })).close();
      assertEquals(readJournal(fileSystem, "/out.deliveries"), { size: 3, ids: ["a", "b"] });
    },
  },
  {
    name: "restore of a quarantined file",
    newPath: ".restoring",
    steps: ["write", "sync"],
    path: segmentPath(25),
    make: async () => (await interruptedCase()).log,
    attempt: restore,
  },
  {
    name: "restore that was interrupted before a program has put more",
    newPath: ".restoring.new",
    steps: ["write", "sync", "rename"],
    path: segmentPath(26),
    async make() {
      const { log } = await interruptedCase();
      let isPublished = false;
      for (let at = 0; !isPublished; at++) {
        const { left } = await runUntil(log, ["restore", DIRECTORY], at, (dying, operation) => {
          isPublished = operation === "rename" && dying.paths().some((path) => path.endsWith(".restored"));
          return dying.kill();
        });
        if (!isPublished) continue;
        const { buffer } = await openLog(left);
        await buffer.put("one more");
        await buffer.close();
        return left;
      }
      throw new Error("never published");
    },
    attempt: restore,
  },
];

/** What fails after the step, in cleaning up. */
const CLEAN_UPS = ["nothing", "remove", "close"] as const;

function contentOf(fileSystem: MemoryFileSystem, path: string): Uint8Array | undefined {
  return fileSystem.paths().includes(path) ? fileSystem.readFile(path) : undefined;
}

function isLeft(fileSystem: MemoryFileSystem, { newPath }: Caller): boolean {
  return fileSystem.paths().some((path) => path.endsWith(newPath));
}

/** An attempt of which a step fails, and then something in cleaning up. */
async function assertFails(caller: Caller, step: Step, cleanUp: typeof CLEAN_UPS[number]): Promise<InstrumentedDisk> {
  const note = `${caller.name}: ${step}, then ${cleanUp} fails`;
  const disk = new InstrumentedDisk(await caller.make());
  const { fileSystem } = disk;
  const old = contentOf(fileSystem, caller.path);
  const isNamed = step === "syncDirectory";
  const made = isNamed && caller.isUndone ? caller.path : caller.newPath;
  let isDue = false;
  const failing = disk.fileSystem.kill({
    onOperation({ operation, path, to }) {
      if (operation === step && (isNamed ? isDue : path.endsWith(caller.newPath))) {
        isDue = false;
        return { kind: "fail", errno: "EIO" };
      }
      // The name that is synced is the one that was renamed before.
      if (operation === "rename" && to === caller.path) isDue = true;
      const isCleanUp = operation === cleanUp && path.endsWith(cleanUp === "close" ? caller.newPath : made);
      return isCleanUp ? { kind: "fail", errno: "EBUSY" } : undefined;
    },
  });
  const tracked = trackHandles(failing);
  const error = await assertRejects(() => caller.attempt(tracked.fileSystem), Error, undefined, note);
  assert(error.message.endsWith("EIO"), `${note}: ${error.message}`);
  if (error instanceof FileSystemError) assertEquals([error.errno, error.operation], ["EIO", step], note);
  assertEquals(tracked.openPaths(), [], `${note}: open files`);
  // A file that could not be removed is left, and nothing else.
  const isKept = cleanUp === "remove" && (!isNamed || caller.isUndone === true);
  assertEquals(isLeft(failing, caller), isKept && made === caller.newPath, `${note}: the unfinished file`);
  const now = contentOf(failing, caller.path);
  if (!isNamed && caller.path !== caller.newPath) assertEquals(now, old, note);
  if (isNamed) assertEquals(now === undefined, caller.isUndone === true && !isKept, note);
  return new InstrumentedDisk(failing);
}

for (const caller of CALLERS) {
  test(`${caller.name} reports the failure of a ${caller.steps.join(", ")}, whatever cleaning up does`, async () => {
    const whole = await caller.make();
    await caller.attempt(whole);
    const done = contentOf(whole, caller.path);
    assert(done !== undefined, caller.name);
    if (caller.path !== caller.newPath) assertEquals(isLeft(whole, caller), false, caller.name);
    for (const step of caller.steps) {
      for (const cleanUp of CLEAN_UPS) {
        const { fileSystem } = await assertFails(caller, step, cleanUp);
        if (cleanUp === "remove" && caller.isExclusive) continue;
        // Of what is random (a salt), the length.
        if (step !== "syncDirectory" || caller.isUndone) await caller.attempt(fileSystem);
        assertEquals(contentOf(fileSystem, caller.path)?.length, done.length, `${caller.name}: ${step}, ${cleanUp}`);
        if (caller.path !== caller.newPath) assertEquals(isLeft(fileSystem, caller), false, `${caller.name}: ${step}`);
      }
    }
  });
}

test("replaceFile() leaves the old file or the new one, whole, whenever the power goes", async () => {
  for (const sync of ["content", "name"] as const) {
    for (let at = 0, isDone = false; !isDone; at++) {
      isDone = true;
      const left: MemoryFileSystem[] = [];
      const base = diskWith({ "/file": OLD });
      await base.syncDirectory("/");
      const dying: MemoryFileSystem = base.kill({
        onOperation({ index }) {
          if (index !== at) return;
          isDone = false;
          for (let seed = 0; seed < 40; seed++) left.push(dying.crash({ seed }));
        },
      });
      await replaceFile(dying, "/file", (handle) => handle.write(NEW, 0), { sync });
      if (isDone) { for (let seed = 0; seed < 40; seed++) left.push(dying.crash({ seed })); }
      for (const one of left) {
        const text = new TextDecoder().decode(one.readFile("/file"));
        const isNew = text === new TextDecoder().decode(NEW);
        assert(isNew || text === new TextDecoder().decode(OLD), `operation ${at}: "${text}"`);
        if (isDone && sync === "name") assert(isNew, "the name was synced");
      }
    }
  }
});

test("replaceFile() removes what a process that was killed has left", async () => {
  const fileSystem = diskWith({ "/file": OLD, "/file.new": cut(NEW, 5) });
  assertEquals(await replaceFile(fileSystem, "/file", (handle) => (handle.write(NEW, 0), "result")), "result");
  assertEquals(fileSystem.readFile("/file"), NEW);
  assertEquals(fileSystem.paths(), ["/file"]);
});

test("replaceFile() keeps the file open if that is asked for, and not after a failure", async () => {
  const { fileSystem, openPaths } = trackHandles(diskWith({ "/file": OLD }));
  const options = { isKeptOpen: true, sync: "nothing" } as const;
  const handle = await replaceFile(fileSystem, "/file", (handle) => handle, options);
  assertEquals(openPaths(), ["/file.new"]);
  handle.write(NEW, 0);
  handle.close();
  const failing = new MemoryFileSystem({ onOperation: ({ operation }) => failOf(operation) });
  const tracked = trackHandles(failing);
  await assertRejects(() => replaceFile(tracked.fileSystem, "/file", (handle) => handle, { isKeptOpen: true }));
  assertEquals(tracked.openPaths(), []);
});

function failOf(operation: string): { kind: "fail"; errno: string } | undefined {
  return operation === "syncDirectory" ? { kind: "fail", errno: "EIO" } : undefined;
}
