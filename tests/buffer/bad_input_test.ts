/**
 * What is refused, and how: each mistake has an error of its own, with what it knows in fields; nothing is lost, changed
 * or left open by it.
 */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path/join";
import {
  BatchMismatchError,
  type BufferEvent,
  BufferFailedError,
  BufferLockedError,
  DamagedLogError,
  DeliveryError,
  FileBuffer,
  type FileBufferOptions,
  FileSystemError,
  jsonCodec,
  MemoryBuffer,
  NoSpaceError,
  NotABufferError,
  PermissionError,
  Producer,
  type SluiceError,
  type SluiceErrorCode,
  systemClock,
  textCodec,
  UnsupportedVersionError,
} from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fault, MemoryOperation } from "../../src/testing/memory_process.ts";
import { CURSOR_SLOT_STRIDE } from "../../src/wal/cursor_format.ts";
import { FRAME_HEADER_BYTES, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from "../../src/wal/format.ts";
import { drain } from "../support/logs.ts";

const PATH = "/buffer";
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function open(
  fileSystem: MemoryFileSystem,
  options: Partial<FileBufferOptions<string>> = {},
): Promise<FileBuffer<string>> {
  return FileBuffer.open<string>({ path: PATH, fileSystem, codec: textCodec(), clock: new ManualClock(), ...options });
}

/** The content of every file. */
function contentOf(fileSystem: MemoryFileSystem): Record<string, string> {
  return Object.fromEntries(fileSystem.paths().map((path) => [path, fileSystem.readFile(path).join()]));
}

// Options

const { encode, decode } = jsonCodec();
const noFloat = [1.5, Number.NaN, Infinity, -Infinity];
const noNumber = ["10", null, true, 10n, {}, [1]];

/** What is wrong: the option, the wrong values, the error. */
const WRONG_SHARED: readonly (readonly [string, readonly unknown[], typeof TypeError | typeof RangeError])[] = [
  ["maxRecords", noNumber, TypeError],
  ["maxRecords", [...noFloat, 0, -1, 1_000_001], RangeError],
  ["maxBytes", noNumber, TypeError],
  ["maxBytes", [...noFloat, 0, -1, 2 ** 30 + 1], RangeError],
  ["maxAgeMs", noNumber, TypeError],
  ["maxAgeMs", [...noFloat, -1, 2 ** 31], RangeError],
  ["maxRecordBytes", noNumber, TypeError],
  ["maxRecordBytes", [...noFloat, 0, -1, 2 ** 30 + 1], RangeError],
  ["maxBacklogBytes", noNumber, TypeError],
  ["maxBacklogBytes", [...noFloat, 0, -1, 2 ** 53], RangeError],
  ["whenFull", ["wait", "", "REJECT", null, 1, true, ["reject"]], TypeError],
  [
    "codec",
    [null, "json", {}, { encode }, { decode }, { encode, decode, encodeInto: 1 }, { encode, decode: 1 }],
    TypeError,
  ],
  ["codec.version", ["1", null].map((version) => ({ encode, decode, version })), TypeError],
  ["codec.version", [-1, 0.5, 2 ** 32, Number.NaN].map((version) => ({ encode, decode, version })), RangeError],
  ["clock", [null, 1, {}, Date, { ...systemClock, setTimer: undefined }], TypeError],
  ["onEvent", [null, "log", {}, 1], TypeError],
  ["maxRecord", [1, undefined], TypeError],
  ["tell", [() => {}], TypeError],
  ["toString", [() => ""], TypeError],
  ["constructor", [undefined], TypeError],
];

const WRONG_OWN: typeof WRONG_SHARED = [
  ["path", [undefined, null, "", 5, true, new URL("https://example.com/x"), ["x"], "with\0zero"], TypeError],
  ["fsync", ["sometimes", "", null, true, 10n, {}, ["always"]], TypeError],
  ["fsync", [...noFloat, 0, -1, 2 ** 31], RangeError],
  ["segmentBytes", noNumber, TypeError],
  ["segmentBytes", [...noFloat, 0, 255, 2 ** 30 + 1], RangeError],
  ["statusMs", [...noNumber, "never"], TypeError],
  ["statusMs", [...noFloat, -1, 2 ** 31], RangeError],
  ["onDamage", ["ignore", "", null, true], TypeError],
  ["fileSystem", [null, "node", {}, { ...methodsOf(new MemoryFileSystem()), lock: undefined }], TypeError],
  ["fileSystem", [{ ...methodsOf(new MemoryFileSystem()), syncDirectory: true }], TypeError],
];

function methodsOf(fileSystem: MemoryFileSystem): Record<string, unknown> {
  const names = ["open", "list", "makeDirectory", "rename", "remove", "syncDirectory", "lock"] as const;
  return Object.fromEntries(names.map((name) => [name, fileSystem[name]]));
}

/** An object with one option in it, nested for `codec.version`. */
function withOption(name: string, value: unknown): Record<string, unknown> {
  return { [name.split(".")[0]]: value };
}

for (const [name, values, errorClass] of WRONG_SHARED) {
  test(`MemoryBuffer.open() rejects with ${errorClass.name} when ${name} is wrong`, async () => {
    for (const value of values) {
      const error = await assertRejects(() => MemoryBuffer.open(withOption(name, value)), errorClass, name);
      assertMatch(error.message, /^Cannot open buffer: .*[^.]$/);
    }
  });
}

for (const [name, values, errorClass] of [...WRONG_SHARED, ...WRONG_OWN]) {
  test(`FileBuffer.open() rejects with ${errorClass.name}, having touched nothing, when ${name} is wrong`, async () => {
    const operations: MemoryOperation[] = [];
    const fileSystem = new MemoryFileSystem({ onOperation: (operation) => void operations.push(operation) });
    for (const value of values) {
      const options = { path: PATH, fileSystem, ...withOption(name, value) } as unknown as FileBufferOptions<unknown>;
      const error = await assertRejects(() => FileBuffer.open(options), errorClass, name);
      assertMatch(error.message, /^Cannot open buffer: .*[^.]$/);
    }
    assertEquals(operations, []);
  });
}

test("FileBuffer.open() and MemoryBuffer.open() reject with TypeError when options are no object", async () => {
  for (const wrong of [null, 1, "path", true]) {
    await assertRejects(() => MemoryBuffer.open(wrong as unknown as object), TypeError, "options");
    await assertRejects(() => FileBuffer.open(wrong as unknown as { path: string }), TypeError, "options");
  }
  await assertRejects(() => FileBuffer.open(undefined as unknown as { path: string }), TypeError, "options");
  await assertRejects(() => MemoryBuffer.open({ path: "x" } as object), TypeError, "path");
});

test("FileBuffer.open() takes the smallest and the largest value of each option", async () => {
  const edges: Record<string, readonly unknown[]> = {
    maxRecords: [1, 1_000_000],
    maxBytes: [1, 2 ** 30],
    maxAgeMs: [0, 2 ** 31 - 1],
    maxRecordBytes: [1, 2 ** 30],
    maxBacklogBytes: [1, Number.MAX_SAFE_INTEGER],
    fsync: [1, 2 ** 31 - 1, "always", "never"],
    segmentBytes: [256, 2 ** 30],
    statusMs: [0, 1, 2 ** 31 - 1],
    codec: [{ encode, decode, version: 0 }, { encode, decode, version: 2 ** 32 - 1 }],
  };
  for (const [name, values] of Object.entries(edges)) {
    for (const value of [undefined, ...values]) {
      const buffer = await open(new MemoryFileSystem(), { [name]: value });
      if (name !== "maxBacklogBytes") assertEquals(await buffer.put("a"), 1, `${name}: ${String(value)}`);
      await buffer.close();
    }
  }
});

// The path

test("FileBuffer.open() rejects with NotABufferError when the path is a file, or below one", async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-bad-"));
  try {
    const file = join(directory, "file");
    writeFileSync(file, "mine");
    for (const path of [file, join(file, "buffer"), join(file, "a", "b")]) {
      const error = await assertRejects(() => FileBuffer.open({ path }), NotABufferError);
      assertEquals([error.code, error.path, error.found], ["NOT_A_BUFFER", path, []]);
      assertInstanceOf(error.cause, FileSystemError);
    }
    assertEquals([readdirSync(directory), readFileSync(file, "utf8")], [["file"], "mine"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

const FOREIGN: Record<string, { files: readonly string[]; found: readonly string[] }> = {
  "a project": {
    files: ["main.ts", "deno.json", "README.md", ".git/HEAD", "src/a.ts", "package.json", "tests/a.ts"],
    found: ["README.md", "deno.json", "main.ts", "package.json", "src"],
  },
  "names like those of segments": {
    files: ["1.wal", "00000000000000000001.txt", "00000000000000000000.wal", "0000000000000000000x.wal"],
    found: ["00000000000000000000.wal", "00000000000000000001.txt", "0000000000000000000x.wal", "1.wal"],
  },
  "an owner.json of its own": { files: ["owner.json", "main.ts"], found: ["main.ts"] },
  "a file named lock": { files: ["lock", "yarn.json"], found: ["yarn.json"] },
  "a directory named quarantine": { files: ["quarantine/virus", "b"], found: ["b"] },
  "a database": { files: ["CURRENT", "LOCK", "000003.log"], found: ["000003.log", "CURRENT", "LOCK"] },
};

for (const [title, { files, found }] of Object.entries(FOREIGN)) {
  test(`FileBuffer.open() rejects with NotABufferError and changes nothing when the directory holds ${title}`, async () => {
    const fileSystem = new MemoryFileSystem();
    for (const name of files) fileSystem.writeFile(`${PATH}/${name}`, bytes(`content of ${name}`));
    const before = contentOf(fileSystem);
    const error = await assertRejects(() => open(fileSystem), NotABufferError);
    assertEquals([error.code, error.path, error.found], ["NOT_A_BUFFER", PATH, found]);
    assertStringIncludes(error.message, found[0]);
    assertEquals(contentOf(fileSystem), before);
  });
}

test("FileBuffer.open() takes a directory that counts as empty", async () => {
  for (const files of [[], [".gitkeep"], [".DS_Store", ".hidden/file"], ["lost+found/x"], [".a", "lost+found/b"]]) {
    const fileSystem = new MemoryFileSystem();
    fileSystem.makeDirectory(PATH);
    for (const name of files) fileSystem.writeFile(`${PATH}/${name}`, bytes("theirs"));
    const before = contentOf(fileSystem);
    for (let i = 1; i <= 2; i++) {
      const buffer = await open(fileSystem);
      assertEquals(await buffer.put("a"), i);
      await buffer.close();
    }
    const after = contentOf(fileSystem);
    for (const [path, content] of Object.entries(before)) assertEquals(after[path], content, path);
  }
});

test("FileBuffer.open() makes a directory that is missing, and its parents", async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-bad-"));
  try {
    const path = join(directory, "a b", "ü", "buffer.wal");
    const buffer = await FileBuffer.open<string>({ path });
    await buffer.put("a");
    await buffer.close();
    assert(existsSync(path));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("FileBuffer.open() rejects with PermissionError, and leaves the lock free, when any operation is refused", async () => {
  let refused = 0;
  for (let failing = 0, isDone = false; !isDone; failing++) {
    isDone = true;
    let isArmed = false;
    let count = 0;
    const fileSystem = new MemoryFileSystem({
      onOperation({ operation }): Fault | undefined {
        if (!isArmed || operation === "close" || count++ !== failing) return;
        isDone = false;
        return { kind: "fail", errno: "EROFS" };
      },
    });
    let buffer = await open(fileSystem);
    await buffer.putMany(["a", "b"]);
    await buffer.close();
    isArmed = true;
    try {
      await (await open(fileSystem)).close();
    } catch (error) {
      refused++;
      // What closing could not do may also be a failure of the buffer, with the refusal as its cause.
      const reason = error instanceof BufferFailedError ? error.cause : error;
      assertInstanceOf(reason, PermissionError, `operation ${failing}`);
      assertEquals([reason.code, reason.errno, reason.flag], ["PERMISSION", "EROFS", undefined]);
    }
    isArmed = false;
    buffer = await open(fileSystem);
    assertEquals(await drain(buffer), ["a", "b"], `operation ${failing}`);
    await buffer.close();
  }
  assert(refused > 10, `${refused} operations were refused`);
});

// What is in the files

/** A directory with three committed-to-disk records in two segments. */
async function withRecords(): Promise<{ fileSystem: MemoryFileSystem; segments: readonly string[] }> {
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, { segmentBytes: 300 });
  for (const text of ["a", "b", "c", "d"]) await buffer.put(text.repeat(50));
  await buffer.close();
  const segments = fileSystem.paths().filter((path) => path.endsWith(".wal"));
  assert(segments.length >= 2);
  return { fileSystem, segments };
}

/** Version 2 is in its place, and nothing else is right. */
function makeNewer(fileSystem: MemoryFileSystem, path: string, offsets: readonly number[]): void {
  const content = fileSystem.readFile(path);
  for (const offset of offsets) content[offset] = 3;
  fileSystem.writeFile(path, content);
}

test("FileBuffer.open() rejects with UnsupportedVersionError when the newest segment is of a newer version", async () => {
  const { fileSystem, segments } = await withRecords();
  const newest = segments[segments.length - 1];
  makeNewer(fileSystem, newest, [8, 88]);
  const before = contentOf(fileSystem);
  const error = await assertRejects(() => open(fileSystem), UnsupportedVersionError);
  assertEquals([error.code, error.path, error.version, error.supported], ["UNSUPPORTED_VERSION", newest, 3, 2]);
  const { [`${PATH}/owner.json`]: _, ...after } = contentOf(fileSystem);
  delete before[`${PATH}/owner.json`];
  assertEquals(after, before);
});

test("FileBuffer.open() rejects with UnsupportedVersionError when the cursor is of a newer version", async () => {
  const { fileSystem } = await withRecords();
  const slots = Math.ceil(fileSystem.readFile(`${PATH}/cursor`).length / CURSOR_SLOT_STRIDE);
  makeNewer(fileSystem, `${PATH}/cursor`, Array.from({ length: slots }, (_, i) => i * CURSOR_SLOT_STRIDE + 8));
  const error = await assertRejects(() => open(fileSystem), UnsupportedVersionError);
  assertEquals([error.path, error.version, error.supported], [`${PATH}/cursor`, 3, 2]);
});

test("FileBuffer.emit() rejects with UnsupportedVersionError when it meets a segment of a newer version", async () => {
  const { fileSystem, segments } = await withRecords();
  const original = fileSystem.readFile(segments[0]);
  makeNewer(fileSystem, segments[0], [8, 88]);
  let buffer = await open(fileSystem);
  for (let i = 0; i < 2; i++) {
    const error = await assertRejects(() => buffer.emit(), UnsupportedVersionError);
    assertEquals([error.path, error.version], [segments[0], 3]);
  }
  assertEquals(await buffer.put("e"), 5);
  await buffer.close();
  fileSystem.writeFile(segments[0], original);
  buffer = await open(fileSystem);
  assertEquals(await drain(buffer), [..."abcd"].map((text) => text.repeat(50)).concat("e"));
  await buffer.close();
});

/** Makes the first frame of a segment bad. */
function damage(fileSystem: MemoryFileSystem, path: string): void {
  const content = fileSystem.readFile(path);
  content[SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 10] ^= 1;
  fileSystem.writeFile(path, content);
}

test("FileBuffer.open() rejects with DamagedLogError when onDamage is fail and the newest segment is damaged", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem);
  for (const text of ["a", "b"]) await buffer.put(text.repeat(50));
  await buffer.close();
  const path = fileSystem.paths().find((name) => name.endsWith(".wal"))!;
  damage(fileSystem, path);
  const before = fileSystem.readFile(path);
  const error = await assertRejects(() => open(fileSystem, { onDamage: "fail" }), DamagedLogError);
  assertEquals([error.code, error.segment, error.offset, error.length], [
    "DAMAGED_LOG",
    path.slice(PATH.length + 1),
    SEGMENT_HEADER_BYTES,
    FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 50,
  ]);
  assertEquals(fileSystem.readFile(path), before);
  const patient = await open(fileSystem);
  assertEquals(await drain(patient), ["b".repeat(50)]);
  await patient.close();
});

test("FileBuffer.emit() rejects with DamagedLogError when onDamage is fail and it meets damage", async () => {
  const { fileSystem, segments } = await withRecords();
  damage(fileSystem, segments[0]);
  let buffer = await open(fileSystem, { onDamage: "fail" });
  for (let i = 0; i < 2; i++) {
    const error = await assertRejects(() => buffer.emit(), DamagedLogError);
    assertEquals([error.segment, error.offset, error.length], [
      segments[0].slice(PATH.length + 1),
      SEGMENT_HEADER_BYTES,
      FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 50,
    ]);
  }
  assertEquals(await buffer.put("e"), 5);
  await buffer.close();
  buffer = await open(fileSystem);
  assertEquals(await drain(buffer), [..."bcd"].map((text) => text.repeat(50)).concat("e"));
  await buffer.close();
});

// Two owners

test("FileBuffer.open() rejects with BufferLockedError, which names the owner, when the buffer is open", async () => {
  const clock = new ManualClock(Date.UTC(2026, 4, 6, 7, 8, 9));
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, { clock });
  await buffer.put("a");
  for (let i = 0; i < 2; i++) {
    const error = await assertRejects(() => open(fileSystem), BufferLockedError);
    assertEquals([error.code, error.path], ["BUFFER_LOCKED", PATH]);
    assertEquals(error.owner, { pid: process.pid, runtime: "memory", openedAt: "2026-05-06T07:08:09.000Z" });
    assertStringIncludes(error.message, String(process.pid));
  }
  assertEquals(await buffer.put("b"), 2);
  await buffer.close();
  const next = await open(fileSystem);
  assertEquals(await drain(next), ["a", "b"]);
  await next.close();
});

test("FileBuffer.open() rejects with BufferLockedError when the owner can't be read", async () => {
  for (const content of ["", "{", "null", '{"pid":"1"}', "x".repeat(5000), '{"pid":1,"runtime":2,"openedAt":3}']) {
    const fileSystem = new MemoryFileSystem();
    const buffer = await open(fileSystem);
    fileSystem.writeFile(`${PATH}/owner.json`, bytes(content));
    const error = await assertRejects(() => open(fileSystem), BufferLockedError);
    assertEquals(error.owner, undefined);
    await buffer.close();
  }
});

test("FileBuffer.open() lets exactly one win when it is called at the same time", async () => {
  const path = mkdtempSync(join(tmpdir(), "sluice-bad-"));
  try {
    for (let round = 0; round < 3; round++) {
      const results = await Promise.allSettled(Array.from({ length: 4 }, () => FileBuffer.open<string>({ path })));
      const won = results.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
      assertEquals(won.length, 1);
      for (const result of results) {
        if (result.status === "rejected") assertInstanceOf(result.reason, BufferLockedError);
      }
      assertEquals(await won[0].put("a"), round + 1);
      await won[0].close();
    }
  } finally {
    rmSync(path, { recursive: true });
  }
});

// The disk

test("FileBuffer goes on with everything but puts when the disk is full, and with these once it isn't", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await open(fileSystem, { maxRecords: 2, segmentBytes: 1024 });
  await buffer.putMany(["a", "b", "c"]);
  fileSystem.capacityBytes = fileSystem.usedBytes;
  for (let i = 0; i < 2; i++) {
    const error = await assertRejects(() => buffer.put("d"), NoSpaceError);
    assertEquals([error.code, error.errno, error.operation], ["NO_SPACE", "ENOSPC", "write"]);
    await assertRejects(() => buffer.putMany(["d", "e"]), NoSpaceError);
  }
  assertEquals(buffer.stats().rejected, 4);
  assertEquals(await drain(buffer), ["a", "b", "c"]);
  fileSystem.capacityBytes = Infinity;
  assertEquals(await buffer.put("d"), 4);
  await buffer.close();
  const next = await open(fileSystem);
  assertEquals(await drain(next), ["d"]);
  await next.close();
});

test("FileBuffer rejects every call with the first cause when a sync has failed, and a new open() recovers", async () => {
  let isFailing = false;
  const events: BufferEvent[] = [];
  const fileSystem = new MemoryFileSystem({
    onOperation: ({ operation }) => isFailing && operation === "sync" ? { kind: "lost", errno: "EIO" } : undefined,
  });
  const buffer = await open(fileSystem, { fsync: "always", onEvent: (event) => events.push(event) });
  await buffer.put("a");
  const batch = await buffer.emit();
  isFailing = true;
  const error = await assertRejects(() => buffer.put("b"), BufferFailedError);
  assertEquals([error.code, error.path], ["BUFFER_FAILED", PATH]);
  assertInstanceOf(error.cause, FileSystemError);
  assertEquals([error.cause.code, error.cause.errno, error.cause.operation], ["FILE_SYSTEM", "EIO", "sync"]);
  isFailing = false;
  const calls: (() => Promise<unknown>)[] = [
    () => buffer.put("c"),
    () => buffer.putMany(["c"]),
    () => buffer.emit(),
    () => buffer.commit(batch),
    () => buffer.flush(),
    () => buffer.clear(),
    () => buffer.batches().next(),
    () => buffer.batches({ flush: true }).next(),
    () => buffer.writable().getWriter().write("c"),
  ];
  for (const call of calls) {
    const later = await assertRejects(call, BufferFailedError);
    assertEquals(later.cause, error.cause);
  }
  assertEquals(events.filter(({ type }) => type === "failed").length, 1);
  assertEquals(buffer.shouldEmit(), false);
  await buffer.close();
  const next = await open(fileSystem.kill());
  assertEquals(await drain(next), ["a"]);
  await next.close();
});

test("FileBuffer.batches() rejects when the buffer fails during the pause before a batch comes again", async () => {
  let isFailing = false;
  const fileSystem = new MemoryFileSystem({
    onOperation: ({ operation }) => isFailing && operation === "sync" ? { kind: "fail", errno: "EIO" } : undefined,
  });
  const buffer = await open(fileSystem, { clock: new ManualClock(), fsync: "always", maxRecords: 1 });
  await buffer.put("a");
  const batches = buffer.batches();
  await batches.next();
  const again = batches.next();
  isFailing = true;
  await assertRejects(() => buffer.put("b"), BufferFailedError);
  await assertRejects(() => again, BufferFailedError);
  await buffer.close();
});

test("FileBuffer.commit() rejects with BatchMismatchError when it is given something else", async () => {
  const buffer = await open(new MemoryFileSystem());
  await buffer.put("a");
  const { id } = await buffer.emit();
  for (const wrong of [{}, { id: "" }, { id: `${id}0` }, "batch", 5]) {
    const error = await assertRejects(() => buffer.commit(wrong as Parameters<typeof buffer.commit>[0]));
    assertInstanceOf(error, BatchMismatchError);
    assertEquals(error.expected, id);
  }
  assertEquals(await drain(buffer), ["a"]);
  await buffer.close();
});

// Every code

/** Opens a buffer for `use`, which has to reject, and closes it. */
async function withBuffer(
  options: Partial<FileBufferOptions<string>>,
  use: (buffer: FileBuffer<string>, fileSystem: MemoryFileSystem) => Promise<unknown>,
  onOperation?: (operation: MemoryOperation) => Fault | undefined,
): Promise<unknown> {
  const fileSystem = new MemoryFileSystem({ onOperation });
  const buffer = await open(fileSystem, options);
  try {
    return await use(buffer, fileSystem);
  } finally {
    await buffer.close();
  }
}

/** Makes a producer with a target that refuses everything for good, for `use`, which has to reject. */
function withProducer(use: (producer: Producer<string>) => Promise<unknown>): Promise<unknown> {
  return withBuffer({}, async (buffer) => {
    const send = () => Promise.reject(new DeliveryError({ reason: "bad request", retryable: false }));
    const producer = new Producer<string>({ buffer, send });
    try {
      return await use(producer);
    } finally {
      await producer.close();
    }
  });
}

async function stop(producer: Producer<string>): Promise<void> {
  await producer.put("a");
  await producer.flush();
}

/** One way to each code; the type checker refuses a missing one. */
const PROVOKED: Record<SluiceErrorCode, () => Promise<unknown>> = {
  BATCH_MISMATCH: () => withBuffer({}, (buffer) => buffer.commit()),
  BUFFER_CLOSED: () => withBuffer({}, (buffer) => buffer.close().then(() => buffer.put("a"))),
  BUFFER_EMPTY: () => withBuffer({}, (buffer) => buffer.emit()),
  BUFFER_FAILED: () => {
    const fault = ({ operation, path }: MemoryOperation): Fault | undefined =>
      operation === "sync" && path.endsWith(".wal") ? { kind: "fail", errno: "EIO" } : undefined;
    return withBuffer({ fsync: "always" }, (buffer) => buffer.put("a"), fault);
  },
  BUFFER_FULL: () => withBuffer({ maxBacklogBytes: 1 }, (buffer) => buffer.put("a")),
  BUFFER_LOCKED: () => withBuffer({}, (_buffer, fileSystem) => open(fileSystem)),
  OWNERSHIP_LOST: () =>
    withBuffer({}, async (buffer, fileSystem) => {
      const [path] = fileSystem.paths();
      const directory = path!.slice(0, path!.lastIndexOf("/"));
      fileSystem.rename(directory, `${directory}.moved`);
      await buffer.put("a");
    }),
  CODEC: () => withBuffer({}, (buffer) => buffer.put(undefined as unknown as string)),
  async DAMAGED_LOG() {
    const { fileSystem, segments } = await withRecords();
    damage(fileSystem, segments[segments.length - 1]);
    return open(fileSystem, { onDamage: "fail" });
  },
  DELIVERY: () =>
    withProducer((producer) =>
      stop(producer).catch((error: Error) => {
        throw error.cause;
      })
    ),
  FILE_SYSTEM: () => open(new MemoryFileSystem({ onOperation: () => ({ kind: "fail", errno: "EIO" }) })),
  NO_BATCH_BEHIND: () =>
    withBuffer({}, async (buffer) => {
      await buffer.put("a");
      await buffer.emit({ after: await buffer.emit() });
    }),
  NO_SPACE: () =>
    withBuffer({}, (buffer, fileSystem) => {
      fileSystem.capacityBytes = 0;
      return buffer.put("a");
    }),
  NOT_A_BUFFER() {
    const fileSystem = new MemoryFileSystem();
    fileSystem.writeFile(PATH, bytes("a file"));
    return open(fileSystem);
  },
  PERMISSION: () => open(new MemoryFileSystem({ onOperation: () => ({ kind: "fail", errno: "EROFS" }) })),
  PRODUCER_CLOSED: () => withProducer((producer) => producer.close().then(() => producer.put("a"))),
  PRODUCER_STOPPED: () => withProducer(stop),
  RECORD_TOO_LARGE: () => withBuffer({ maxRecordBytes: 1 }, (buffer) => buffer.put("ab")),
  async UNSUPPORTED_VERSION() {
    const { fileSystem, segments } = await withRecords();
    makeNewer(fileSystem, segments[segments.length - 1], [8, 88]);
    return open(fileSystem);
  },
};

for (const [code, provoke] of Object.entries(PROVOKED)) {
  test(`SluiceError: ${code} can be provoked`, async () => {
    const error = await assertRejects(provoke) as SluiceError;
    assertEquals(error.code, code);
    assertMatch(error.message, /^Cannot .*[^.]$/);
    assertEquals(error.name, error.constructor.name);
  });
}

test("SluiceError: every code of the source is provoked", () => {
  const source = readFileSync(new URL("../../src/errors/base.ts", import.meta.url), "utf8");
  const [, union] = /export type SluiceErrorCode =([^;]*);/.exec(source)!;
  const codes = Array.from(union.matchAll(/"([A-Z_]+)"/g), ([, code]) => code);
  assertEquals(Object.keys(PROVOKED).sort(), codes.sort());
});
