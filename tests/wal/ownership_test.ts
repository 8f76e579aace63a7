/**
 * One owner per buffer, when the lock doesn't hold: what a former owner notices, what it leaves alone, and what becomes of
 * the records of both. The lock of the file systems here is none at all.
 */

import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  BufferFailedError,
  FileBuffer,
  type FileSystem,
  type Fsync,
  NoSpaceError,
  OwnershipLostError,
  textCodec,
} from "../../mod.ts";
import { MemoryFileSystem, type MemoryOperation } from "../../src/testing/mod.ts";
import { Ownership } from "../../src/wal/ownership.ts";
import { settle } from "../support/event_loop.ts";
import {
  CURSOR_PATH,
  DIRECTORY,
  drain,
  drainLog,
  openLog,
  segmentsOf,
  snapshot,
  type TextBufferOptions,
} from "../support/logs.ts";

/** The same files without a lock: as POSIX leaves it when somebody in the process has closed the lock's file. */
function withoutLock(fileSystem: MemoryFileSystem): FileSystem {
  return new Proxy(fileSystem, {
    get(target, name) {
      if (name === "lock") return () => ({ release() {} });
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function open(fileSystem: MemoryFileSystem, options: TextBufferOptions = {}): Promise<FileBuffer<string>> {
  return (await openLog(withoutLock(fileSystem), options)).buffer;
}

function openAt(fileSystem: MemoryFileSystem, path: string): Promise<FileBuffer<string>> {
  return FileBuffer.open<string>({ path, fileSystem: withoutLock(fileSystem), codec: textCodec(), maxRecords: 100 });
}

async function putAll(buffer: FileBuffer<string>, values: readonly string[]): Promise<void> {
  for (const value of values) await buffer.put(value);
}

/** What a former owner can be asked for, and has to refuse. */
const CALLS: Readonly<Record<string, (buffer: FileBuffer<string>) => Promise<unknown>>> = {
  emit: (buffer) => buffer.emit(),
  flush: (buffer) => buffer.flush(),
  clear: (buffer) => buffer.clear(),
  "put into a new segment": (buffer) => buffer.put("x".repeat(2000)),
  close: (buffer) => buffer.close(),
};

for (const fsync of ["always", 1000, "never"] as const satisfies readonly Fsync[]) {
  for (const [name, call] of Object.entries(CALLS)) {
    test(`FileBuffer, fsync ${fsync}: ${name} fails once another owner has come, and changes nothing of his`, async () => {
      const fileSystem = new MemoryFileSystem();
      const first = await open(fileSystem, { fsync, segmentBytes: 1024 });
      await putAll(first, ["a", "b"]);
      const second = await open(fileSystem, { fsync, segmentBytes: 1024 });
      await putAll(second, ["c", "d"]);
      const before = snapshot(fileSystem);
      const error = await assertRejects(() => call(first), OwnershipLostError);
      // Without a sync between a put and its answer the first owner can't know that the second has seen these.
      const unconfirmed = fsync === "always" ? undefined : { first: 1, last: 2 };
      assertEquals([error.code, error.unconfirmed], ["OWNERSHIP_LOST", unconfirmed]);
      assertEquals(snapshot(fileSystem), before);
      // It stays so, for every call, and nothing is acknowledged any more.
      for (const again of [() => first.put("e"), () => first.emit(), () => first.flush()]) {
        await assertRejects(again, name === "close" ? Error : OwnershipLostError);
      }
      await first.close().catch(() => {});
      assertEquals(snapshot(fileSystem), before);
      await second.close();
      assertEquals((await drainLog(fileSystem)).records.map(({ value }) => value), ["a", "b", "c", "d"]);
    });
  }

  test(`FileBuffer, fsync ${fsync}: commit of a batch that was handed over before another owner came fails`, async () => {
    const fileSystem = new MemoryFileSystem();
    const first = await open(fileSystem, { fsync });
    await putAll(first, ["a", "b"]);
    const batch = await first.emit();
    const second = await open(fileSystem, { fsync });
    await assertRejects(() => first.commit(batch), OwnershipLostError);
    const again = await second.emit();
    assertEquals([again.id, again.redelivered, again.records], [batch.id, true, ["a", "b"]]);
    await second.commit(again);
    await first.close().catch(() => {});
    await second.close();
    assertEquals((await drainLog(fileSystem)).records, []);
  });
}

test("FileBuffer.put() with always is never acknowledged once another owner has come", async () => {
  const fileSystem = new MemoryFileSystem();
  const first = await open(fileSystem, { fsync: "always" });
  await first.put("a");
  const second = await open(fileSystem, { fsync: "always" });
  await second.put("b");
  const error = await assertRejects(() => first.put("lost"), OwnershipLostError);
  assertEquals(error.unconfirmed, undefined);
  await second.put("c");
  await Promise.allSettled([first.close(), second.close()]);
  assertEquals((await drainLog(fileSystem)).records.map(({ value }) => value), ["a", "b", "c"]);
});

test("FileBuffer says which records another owner may have overlooked, and he sets aside and reports their bytes", async () => {
  const fileSystem = new MemoryFileSystem();
  const { buffer: first, events, clock } = await openLog(withoutLock(fileSystem), { fsync: 1000 });
  await putAll(first, ["a", "b"]);
  const { buffer: second, events: seen } = await openLog(withoutLock(fileSystem), { fsync: 1000, segmentBytes: 256 });
  // Acknowledged without a look, because the last one is not long ago.
  await putAll(first, ["overlooked 3", "overlooked 4"]);
  clock.advance(1000);
  await settle();
  const failed = events.find((event) => event.type === "failed");
  assertInstanceOf(failed?.error, OwnershipLostError);
  assertEquals(failed.error.unconfirmed, { first: 1, last: 4 });
  await first.close().catch(() => {});

  await putAll(second, ["c".repeat(150), "d".repeat(150)]);
  await drain(second);
  await second.flush();
  await settle();
  const damage = seen.flatMap((event) => event.type === "damage-found" ? [event.region] : []);
  assertEquals(damage.map(({ missing, quarantined }) => [missing, quarantined]), [[undefined, true]]);
  const [copy] = fileSystem.paths().filter((path) => path.includes("/quarantine/"));
  const text = new TextDecoder("latin1").decode(fileSystem.readFile(copy!));
  assert(text.includes("overlooked 3") && text.includes("overlooked 4"));
  await second.close();
});

test("FileBuffer removes an old segment only after what a former owner wrote behind its end is set aside", async () => {
  const fileSystem = new MemoryFileSystem();
  const first = await open(fileSystem, { fsync: "never", segmentBytes: 256 });
  await first.put("a");
  const { buffer: second, events } = await openLog(withoutLock(fileSystem), { fsync: "never", segmentBytes: 256 });
  const batch = await second.emit();
  await second.put("b".repeat(150));
  await first.put("overlooked");
  await second.commit(batch);
  await second.flush();
  await settle();
  assertEquals(segmentsOf(fileSystem).length, 1);
  assertEquals(events.filter((event) => event.type === "damage-found").length, 1);
  assert(fileSystem.paths().some((path) => path.includes("/quarantine/")));
  await Promise.allSettled([first.close(), second.close()]);
});

for (const makes of ["nothing", "a directory", "another buffer", "a copy of it"] as const) {
  test(`FileBuffer leaves alone what it finds under its name when its directory was moved and ${makes} is there`, async () => {
    for (const fsync of ["always", 1000, "never"] as const) {
      const fileSystem = new MemoryFileSystem();
      const buffer = await open(fileSystem, { fsync, segmentBytes: 256 });
      await putAll(buffer, ["a".repeat(100), "b".repeat(100), "c".repeat(100)]);
      const batch = await buffer.emit();
      fileSystem.rename(DIRECTORY, "/moved");
      if (makes !== "nothing") fileSystem.makeDirectory(DIRECTORY);
      if (makes === "another buffer") {
        const other = await open(fileSystem);
        await putAll(other, ["x", "y"]);
        await other.close();
      }
      if (makes === "a copy of it") {
        // By hard links: even the token has its name there.
        for (const path of fileSystem.paths()) fileSystem.link(path, path.replace("/moved", DIRECTORY));
      }
      const before = snapshot(fileSystem);
      const names = fileSystem.paths();
      for (const call of [() => buffer.commit(batch), () => buffer.put("d".repeat(200)), () => buffer.flush()]) {
        await assertRejects(call, OwnershipLostError, "moved, removed or replaced");
      }
      await buffer.close().catch(() => {});
      assertEquals(snapshot(fileSystem), before);
      assertEquals(fileSystem.paths(), names);
      const moved = await openAt(fileSystem, "/moved");
      assertEquals((await moved.emit()).id, batch.id);
      await moved.close();
    }
  });
}

test("FileBuffer.put() fails in time when nothing else is asked for, with an interval and without", async () => {
  for (const fsync of [50, 1000, "never"] as const) {
    const fileSystem = new MemoryFileSystem();
    const { buffer, clock } = await openLog(withoutLock(fileSystem), { fsync });
    await buffer.put("a");
    fileSystem.rename(DIRECTORY, "/moved");
    fileSystem.makeDirectory(DIRECTORY);
    await buffer.put("b");
    clock.advance(fsync === "never" ? 1000 : fsync);
    await assertRejects(() => buffer.put("c"), BufferFailedError);
    await buffer.close().catch(() => {});
    assertEquals(fileSystem.list(DIRECTORY), []);
  }
});

test("FileBuffer notices another owner however often it commits within one turn of the event loop", async () => {
  const fileSystem = new MemoryFileSystem();
  const first = await open(fileSystem, { fsync: "never", maxRecords: 1 });
  for (let n = 0; n < 200; n++) await first.put(`${n}`);
  for (let n = 0; n < 100; n++) await first.commit(await first.emit());
  const second = await open(fileSystem, { fsync: "never" });
  await assertRejects(() => first.emit(), OwnershipLostError);
  await Promise.allSettled([first.close(), second.close()]);
});

test("FileBuffer.open() doesn't write into the segment that another owner has just begun", async () => {
  const fileSystem = new MemoryFileSystem();
  let isWatching = false;
  // The other owner comes between the creation of a segment and the look after it.
  const racing = fileSystem.kill({
    onOperation({ operation, path, position }: MemoryOperation) {
      if (!isWatching || operation !== "write" || position !== 0 || !path.endsWith(".wal")) return;
      isWatching = false;
      racing.remove(`${DIRECTORY}/owner.json`);
    },
  });
  const first = await open(racing, { fsync: "always" });
  isWatching = true;
  await assertRejects(() => first.put("a"), OwnershipLostError);
  assertEquals(segmentsOf(racing).length, 1);
  const second = await open(racing, { fsync: "always" });
  assertEquals(await second.put("b"), 1);
  await Promise.allSettled([first.close(), second.close()]);
  assertEquals((await drainLog(racing)).records.map(({ value }) => value), ["b"]);
});

test("FileBuffer begins a segment although a former owner came too late and left one of that name without a record", async () => {
  const fileSystem = new MemoryFileSystem();
  const former = await open(fileSystem, { fsync: "always" });
  await former.put("a");
  const buffer = await open(fileSystem, { fsync: "always" });
  const [segment] = segmentsOf(fileSystem);
  const header = fileSystem.readFile(`${DIRECTORY}/${segment}`).slice(0, 160);
  for (const content of [header.slice(0, 40), new Uint8Array(0)]) {
    fileSystem.writeFile(`${DIRECTORY}/${segment!.replace("1.wal", "2.wal")}`, content);
    if (content.length === 0) continue;
    assertEquals(await buffer.put("b"), 2);
  }
  await Promise.allSettled([former.close(), buffer.close()]);
});

// ----------------------------------------------------------------------------------------------------------- the cursor

/** A copy of the buffer's directory made of hard links. */
function linkDirectory(fileSystem: MemoryFileSystem, from: string, to: string): void {
  fileSystem.makeDirectory(to);
  for (const path of fileSystem.paths().filter((path) => path.startsWith(`${from}/`))) {
    fileSystem.link(path, to + path.slice(from.length));
  }
}

for (const state of ["closed", "open", "killed"] as const) {
  test(`a copy of hard links, made of a buffer that is ${state}, is drained without the original losing a record`, async () => {
    let fileSystem = new MemoryFileSystem();
    const original = await open(fileSystem, { fsync: "always", maxRecords: 2 });
    await putAll(original, ["a", "b", "c", "d", "e"]);
    await original.commit(await original.emit());
    if (state === "closed") await original.close();
    if (state === "killed") fileSystem = fileSystem.kill();
    linkDirectory(fileSystem, DIRECTORY, "/copy");
    const copy = await openAt(fileSystem, "/copy");
    assertEquals(copy.recovery.cursorProblem, "shared");
    await drain(copy);
    await copy.put("only in the copy");
    await copy.close();
    if (state === "open") {
      await original.put("f");
      assertEquals((await original.emit()).records, ["c", "d"]);
      await original.close();
    }
    const left = (await drainLog(fileSystem)).records.map(({ value }) => value);
    assertEquals(left, ["c", "d", "e", ...(state === "open" ? ["f"] : [])]);
  });
}

test("FileBuffer.open() cuts a torn tail in a copy of hard links, and not in the original", async () => {
  let fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, { fsync: "never" });
  await putAll(buffer, ["a", "b"]);
  fileSystem = fileSystem.kill();
  const [name] = segmentsOf(fileSystem);
  const bytes = fileSystem.readFile(`${DIRECTORY}/${name}`);
  const torn = new Uint8Array([...bytes, ...bytes.slice(160, 180)]);
  fileSystem.writeFile(`${DIRECTORY}/${name}`, torn);
  linkDirectory(fileSystem, DIRECTORY, "/copy");
  const copy = await openAt(fileSystem, "/copy");
  assertEquals(copy.recovery.truncatedBytes, 20);
  assertEquals(fileSystem.readFile(`${DIRECTORY}/${name}`), torn);
  assertEquals(fileSystem.readFile(`/copy/${name}`), bytes);
  assertEquals((await copy.emit()).records, ["a", "b"]);
  await copy.close();
});

test("FileBuffer.open() doesn't believe a cursor that was copied back from a copy that had gone on", async () => {
  const fileSystem = new MemoryFileSystem();
  const original = await open(fileSystem, { fsync: "always" });
  await putAll(original, ["a", "b", "c"]);
  await original.close();
  for (const path of fileSystem.paths()) {
    fileSystem.writeFile(path.replace(DIRECTORY, "/copy"), fileSystem.readFile(path));
  }
  const copy = await openAt(fileSystem, "/copy");
  assertEquals(copy.recovery.cursorProblem, undefined, "a copy that is opened the first time is sound");
  await copy.commit(await copy.emit());
  await copy.close();

  fileSystem.writeFile(CURSOR_PATH, fileSystem.readFile("/copy/cursor"));
  const again = await open(fileSystem);
  assertEquals([again.recovery.cursorProblem, again.recovery.cursorLost], ["foreign", true]);
  assertEquals((await again.emit()).records, ["a", "b", "c"]);
  await again.close();
  const third = await open(fileSystem);
  assertEquals(third.recovery.cursorProblem, undefined, "it has been replaced");
  await third.close();
});

test("FileBuffer.open() says that the cursor is older than its last owner left it, and delivers again", async () => {
  const fileSystem = new MemoryFileSystem();
  const first = await open(fileSystem, { fsync: "always", maxRecords: 2 });
  await putAll(first, ["a", "b", "c"]);
  await first.close();
  const backup = fileSystem.readFile(CURSOR_PATH);
  const second = await open(fileSystem, { fsync: "always", maxRecords: 2 });
  await second.commit(await second.emit());
  await second.close();
  fileSystem.writeFile(CURSOR_PATH, backup);
  const third = await open(fileSystem);
  assertEquals([third.recovery.cursorProblem, third.recovery.cursorLost], ["older", false]);
  assertEquals((await third.emit()).records, ["a", "b", "c"]);
  await third.close();
});

test("FileBuffer.open() finds nothing wrong with a directory that was moved, copied whole, or whose owner.json is gone", async () => {
  const fileSystem = new MemoryFileSystem();
  const first = await open(fileSystem, { fsync: "always", maxRecords: 2 });
  await putAll(first, ["a", "b", "c"]);
  await first.commit(await first.emit());
  await first.close();
  fileSystem.rename(DIRECTORY, "/moved");
  for (const path of fileSystem.paths()) {
    fileSystem.writeFile(path.replace("/moved", "/copy"), fileSystem.readFile(path));
  }
  fileSystem.remove("/moved/owner.json");
  for (const path of ["/moved", "/copy", "/moved", "/copy"]) {
    const buffer = await openAt(fileSystem, path);
    assertEquals([buffer.recovery.cursorProblem, buffer.recovery.cursorLost], [undefined, false], path);
    assertEquals((await buffer.emit()).records, ["c"], path);
    await buffer.close();
  }
});

// ------------------------------------------------------------------------------------------------------------ the limits

test("Ownership rests on the lock alone where the file system can't tell files apart", async () => {
  const memory = new MemoryFileSystem();
  memory.makeDirectory(DIRECTORY);
  const hidden = ["identify", "resolve"];
  const fileSystem = new Proxy(withoutLock(memory), {
    get: (target, name) => hidden.includes(String(name)) ? undefined : Reflect.get(target, name),
  });
  const first = await Ownership.acquire({ fileSystem, directory: DIRECTORY, openedAt: 0 });
  const second = await Ownership.acquire({ fileSystem, directory: DIRECTORY, openedAt: 0 });
  first.verify();
  second.verify();
  first.release();
  second.release();
});

test("FileBuffer.open() takes the buffer over on a full disk, too", async () => {
  const fileSystem = new MemoryFileSystem();
  const first = await open(fileSystem, { fsync: "always" });
  await first.put("a");
  fileSystem.capacityBytes = fileSystem.usedBytes;
  const second = await open(fileSystem, { fsync: "always" });
  await assertRejects(() => first.emit(), OwnershipLostError);
  const batch = await second.emit();
  assertEquals(batch.records, ["a"]);
  await second.commit(batch);
  await assertRejects(() => second.put("x".repeat(5000)), NoSpaceError);
  await Promise.allSettled([first.close(), second.close()]);
  fileSystem.capacityBytes = Infinity;
  assertEquals((await drainLog(fileSystem)).records, []);
});
