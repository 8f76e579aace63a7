/**
 * The reserve, on a disk in memory that copies on write: what works on a full one with it, and what doesn't without.
 */

import { test } from "node:test";
import { assert, assertEquals, assertGreater, assertLess, assertRejects } from "@std/assert";
import {
  type BufferEvent,
  BufferFailedError,
  FileBuffer,
  type FileBufferOptions,
  FileSystemError,
  NoSpaceError,
  textCodec,
} from "../../mod.ts";
import { type Fault, MemoryFileSystem, type MemoryOperation } from "../../src/testing/mod.ts";
import { DEFAULT_RESERVE_BYTES, RESERVE_PART_BYTES } from "../../src/wal/reserve.ts";
import { runCli } from "../cli/tools.ts";
import { settle } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";

const PATH = "/buffer";
const FIRST_PART = `${PATH}/reserve-1`;
const RECORD = "x".repeat(1000);

interface Opened {
  readonly buffer: FileBuffer<string>;
  readonly events: BufferEvent[];
}

async function open(fileSystem: MemoryFileSystem, options: Partial<FileBufferOptions<string>> = {}): Promise<Opened> {
  const events: BufferEvent[] = [];
  const buffer = await FileBuffer.open<string>({
    path: PATH,
    fileSystem,
    codec: textCodec(),
    segmentBytes: 65_536,
    maxRecords: 10,
    statusMs: 0,
    onEvent: (event) => events.push(event),
    ...options,
  });
  return { buffer, events };
}

function eventsOf(events: readonly BufferEvent[], type: BufferEvent["type"]): BufferEvent[] {
  return events.filter((event) => event.type === type);
}

/** The sizes of the parts of the reserve. */
function reserveSizes(fileSystem: MemoryFileSystem): number[] {
  const paths = fileSystem.paths().filter((path) => path.startsWith(`${PATH}/reserve-`));
  return paths.map((path) => fileSystem.readFile(path).length);
}

/** How large the reserve is. */
function reserveSize(fileSystem: MemoryFileSystem): number {
  return reserveSizes(fileSystem).reduce((sum, size) => sum + size, 0);
}

async function putUntilRefused(buffer: FileBuffer<string>): Promise<number> {
  for (let puts = 0;; puts++) {
    assertLess(puts, 10_000, "the disk is never full");
    try {
      await buffer.put(RECORD);
    } catch (error) {
      assert(error instanceof NoSpaceError, `${error}`);
      return puts;
    }
  }
}

/** Records on a disk that somebody has filled up, in segments that are more than the reserve. */
const RECORDS = 1_500;

async function openOnFullDisk(
  options: Partial<FileBufferOptions<string>> = {},
): Promise<Opened & { fileSystem: MemoryFileSystem }> {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true });
  const opened = await open(fileSystem, options);
  for (let i = 0; i < RECORDS; i++) await opened.buffer.put(RECORD);
  await opened.buffer.flush();
  fileSystem.capacityBytes = fileSystem.usedBytes;
  return { ...opened, fileSystem };
}

for (const fsync of ["always", 1000, "never"] as const) {
  test(`FileBuffer with fsync ${fsync} can't hand over on a full disk that copies on write without a reserve`, async () => {
    const { buffer, fileSystem } = await openOnFullDisk({ fsync, reserveBytes: 0 });
    const error = await assertRejects(() => buffer.emit(), NoSpaceError);
    assertEquals([error.operation, error.path], ["write", `${PATH}/cursor`]);
    await assertRejects(() => buffer.close(), NoSpaceError);
    assertEquals(reserveSize(fileSystem), 0);
  });

  test(`FileBuffer with fsync ${fsync} drains a full disk that copies on write, and takes puts again`, async () => {
    const { buffer, events, fileSystem } = await openOnFullDisk({ fsync });
    assertEquals(reserveSize(fileSystem), DEFAULT_RESERVE_BYTES);
    await buffer.commit(await buffer.emit());
    assertEquals(eventsOf(events, "reserve-used").length, 1);
    // What was given up is not for puts.
    assertEquals(await putUntilRefused(buffer), 0);
    await buffer.close();
    // Full from the start, and nobody knows that a part of the reserve was given up but by its size.
    fileSystem.capacityBytes = fileSystem.usedBytes;
    const again = await open(fileSystem, { fsync });
    assertEquals(await putUntilRefused(again.buffer), 0);
    assertEquals((await drain(again.buffer)).length, RECORDS - 10);
    await again.buffer.flush();
    await settle();
    assertEquals(eventsOf(again.events, "reserve-restored"), [
      { type: "reserve-restored", bytes: DEFAULT_RESERVE_BYTES },
    ]);
    assertEquals(reserveSize(fileSystem), DEFAULT_RESERVE_BYTES);
    assertGreater(await putUntilRefused(again.buffer), 100);
    await drain(again.buffer);
    await again.buffer.close();
  });

  test(`FileBuffer with fsync ${fsync} opens on a full disk that copies on write, and cuts a torn tail there`, async () => {
    const { buffer, fileSystem } = await openOnFullDisk({ fsync });
    const left = fileSystem.kill();
    await buffer.close().catch(() => {});
    const last = left.paths().filter((path) => path.endsWith(".wal")).at(-1)!;
    const whole = left.readFile(last);
    left.writeFile(last, new Uint8Array([...whole, 1, 2, 3]));
    left.capacityBytes = left.usedBytes;
    const again = await open(left, { fsync });
    assertEquals(again.buffer.recovery.truncatedBytes > 0, true);
    await drain(again.buffer);
    await again.buffer.close();
  });
}

test("FileBuffer.put() that is refused by a full disk that copies on write doesn't make the buffer fail", async () => {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true });
  const { buffer, events } = await open(fileSystem);
  await buffer.put(RECORD);
  await buffer.flush();
  // The first bytes of the record fit, and to cut them off again takes a block that was synced.
  fileSystem.capacityBytes = fileSystem.usedBytes + 100;
  await assertRejects(() => buffer.put(RECORD), NoSpaceError);
  await assertRejects(() => buffer.put(RECORD), NoSpaceError);
  assertEquals(eventsOf(events, "failed"), []);
  assertEquals((await buffer.emit()).length, 1);
  await buffer.commit();
  fileSystem.capacityBytes = Infinity;
  assertEquals(await buffer.put(RECORD), 2);
  await buffer.close();
});

test("FileBuffer gives up its reserve a part at a time, so that it lasts when others take the space", async () => {
  const { buffer, fileSystem } = await openOnFullDisk({ fsync: "always" });
  const sizes: number[] = [];
  for (let i = 0; i < 4; i++) {
    await buffer.emit();
    await buffer.commit();
    // What was given up is gone before it is needed again.
    fileSystem.capacityBytes = fileSystem.usedBytes;
    sizes.push(reserveSize(fileSystem) / RESERVE_PART_BYTES);
  }
  assertEquals(sizes, [3, 2, 1, 0]);
  await assertRejects(() => buffer.emit(), NoSpaceError);
  await assertRejects(() => buffer.close(), NoSpaceError);
});

test("FileBuffer keeps a reserve by default only where overwriting may need space", async () => {
  for (const copyOnWrite of [true, false]) {
    const fileSystem = new MemoryFileSystem({ copyOnWrite });
    const { buffer } = await open(fileSystem);
    assertEquals(reserveSize(fileSystem), copyOnWrite ? DEFAULT_RESERVE_BYTES : 0);
    await buffer.close();
  }
  const fileSystem = new MemoryFileSystem();
  const { buffer } = await open(fileSystem, { reserveBytes: 600_001 });
  assertEquals(reserveSizes(fileSystem), [RESERVE_PART_BYTES, 600_001 - RESERVE_PART_BYTES]);
  await buffer.close();
});

test("FileBuffer.open() brings the reserve to the size that is asked for, and removes one that isn't wanted", async () => {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true });
  for (const reserveBytes of [400_000, 1_000_000, RESERVE_PART_BYTES, 0, 0, 300_000]) {
    const { buffer, events } = await open(fileSystem, { reserveBytes });
    assertEquals(reserveSize(fileSystem), reserveBytes);
    await buffer.put(RECORD);
    await buffer.close();
    assertEquals(reserveSize(fileSystem), reserveBytes);
    assertEquals(eventsOf(events, "warned"), []);
  }
});

test("FileBuffer.open() makes a reserve of bytes that can't be compressed or shared", async () => {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true });
  const { buffer } = await open(fileSystem);
  await buffer.close();
  const seen = new Set<string>();
  for (let part = 1; part <= 4; part++) {
    const bytes = fileSystem.readFile(`${PATH}/reserve-${part}`);
    const counts = new Array<number>(256).fill(0);
    for (const byte of bytes) counts[byte]!++;
    assert(counts.every((count) => count > 800 && count < 1250), `part ${part} isn't random`);
    for (let at = 0; at < bytes.length; at += 4096) seen.add(bytes.subarray(at, at + 16).join());
  }
  assertEquals(seen.size, 4 * 64);
});

test("FileBuffer writes its reserve anew, part by part, so that it isn't a snapshot's alone", async () => {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true });
  const { buffer } = await open(fileSystem, { maxRecords: 1000, segmentBytes: 2 ** 20, reserveBytes: 512 * 1024 });
  const headOf = (part: number) => fileSystem.readFile(`${PATH}/reserve-${part}`).subarray(0, 16).join();
  const before = [headOf(1), headOf(2)];
  const seen: string[] = [];
  for (let i = 0; i < 80; i++) {
    await buffer.put("x".repeat(500_000));
    const now = [1, 2].map((part) => Number(headOf(part) !== before[part - 1])).join("");
    if (seen.at(-1) !== now) seen.push(now);
  }
  assertEquals(seen, ["00", "10", "11"]);
  assertEquals(reserveSize(fileSystem), 512 * 1024);
  await buffer.close();
});

test("FileBuffer.open() checks reserveBytes", async () => {
  for (const reserveBytes of [-1, 1, RESERVE_PART_BYTES - 1, 2 ** 26 + 1, 1.5, NaN]) {
    const error = await assertRejects(() => open(new MemoryFileSystem(), { reserveBytes }), RangeError);
    assert(error.message.includes("reserveBytes"), error.message);
  }
  // @ts-expect-error A string is none.
  await assertRejects(() => open(new MemoryFileSystem(), { reserveBytes: "1 MiB" }), TypeError);
});

test("FileBuffer takes puts of a new buffer for whose reserve there is no room, and refuses them when opened again", async () => {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true, capacityBytes: 200_000 });
  const { buffer, events } = await open(fileSystem);
  assertEquals(eventsOf(events, "warned").length, 1);
  assertEquals(reserveSize(fileSystem), 0);
  await buffer.put(RECORD);
  await buffer.close();
  const again = await open(fileSystem);
  assertEquals(await putUntilRefused(again.buffer), 0);
  fileSystem.capacityBytes = Infinity;
  assertEquals(await again.buffer.put(RECORD), 2);
  assertEquals(reserveSize(fileSystem), DEFAULT_RESERVE_BYTES);
  assertEquals((await drain(again.buffer)).length, 2);
  await again.buffer.close();
});

test("FileBuffer.open() makes a reserve for a buffer that has none yet", async () => {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true });
  const { buffer } = await open(fileSystem, { reserveBytes: 0 });
  await buffer.put(RECORD);
  await buffer.close();
  const again = await open(fileSystem);
  assertEquals(reserveSize(fileSystem), DEFAULT_RESERVE_BYTES);
  await again.buffer.put(RECORD);
  await again.buffer.close();
});

/** A disk on which the operations chosen fail. */
function failing(): {
  fileSystem: MemoryFileSystem;
  fail: (fault: (operation: MemoryOperation) => Fault | undefined) => void;
} {
  let fault: (operation: MemoryOperation) => Fault | undefined = () => undefined;
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true, onOperation: (operation) => fault(operation) });
  return { fileSystem, fail: (next) => fault = next };
}

/** Fails the next operation of that name on that file, with each of the errors in turn. */
function failNext(operation: string, file: string, ...errnos: string[]): (given: MemoryOperation) => Fault | undefined {
  return (given) => {
    if (given.operation !== operation || !given.path.endsWith(file) || errnos.length === 0) return undefined;
    return { kind: "fail", errno: errnos.shift()! };
  };
}

for (const errno of ["ENOSPC", "EDQUOT"]) {
  test(`FileBuffer gives up its reserve for a cursor that can't be written because of ${errno}`, async () => {
    const { fileSystem, fail } = failing();
    const { buffer, events } = await open(fileSystem);
    await buffer.put(RECORD);
    fail(failNext("write", "cursor", errno, errno));
    await buffer.emit();
    const used = eventsOf(events, "reserve-used").map((event) => {
      return event.type === "reserve-used" ? [event.bytesLeft, event.error.errno] : [];
    });
    assertEquals(used, [[3 * RESERVE_PART_BYTES, errno], [2 * RESERVE_PART_BYTES, errno]]);
    // The next put makes it whole, because there is room.
    await buffer.put(RECORD);
    assertEquals(reserveSize(fileSystem), DEFAULT_RESERVE_BYTES);
    assertEquals(eventsOf(events, "reserve-restored").length, 1);
    await buffer.close();
  });
}

test("FileBuffer doesn't give up its reserve for a limit on the size of files, nor for other errors", async () => {
  for (const errno of ["EFBIG", "EIO", "EACCES"]) {
    const { fileSystem, fail } = failing();
    const { buffer } = await open(fileSystem);
    await buffer.put(RECORD);
    fail(failNext("write", "cursor", errno));
    const error = await assertRejects(() => buffer.emit(), FileSystemError);
    assertEquals([error.errno, reserveSize(fileSystem)], [errno, DEFAULT_RESERVE_BYTES]);
    await buffer.close();
  }
});

test("FileBuffer.put() that is refused for want of a reserve cuts nothing off, which might fail", async () => {
  const { fileSystem, fail } = failing();
  const { buffer, events } = await open(fileSystem, { fsync: "always" });
  await buffer.put(RECORD);
  fail(failNext("write", "cursor", "ENOSPC"));
  await buffer.emit();
  fail(({ path, operation }) => {
    const isRefused = operation === "truncate" || (operation === "write" && path.includes("reserve"));
    return isRefused ? { kind: "fail", errno: "ENOSPC" } : undefined;
  });
  for (let i = 0; i < 3; i++) await assertRejects(() => buffer.put(RECORD), NoSpaceError);
  assertEquals(eventsOf(events, "failed"), []);
  fail(() => undefined);
  assertEquals(await buffer.put(RECORD), 2);
  await buffer.close();
});

test("FileBuffer reports the first error when another attempt fails in another way, or nothing is left", async () => {
  const { fileSystem, fail } = failing();
  const { buffer } = await open(fileSystem);
  await buffer.put(RECORD);
  fail(failNext("write", "cursor", "ENOSPC", "EIO"));
  assertEquals((await assertRejects(() => buffer.emit(), FileSystemError)).errno, "ENOSPC");
  fail(failNext("write", "cursor", ...new Array<string>(100).fill("EDQUOT")));
  assertEquals((await assertRejects(() => buffer.emit(), FileSystemError)).errno, "EDQUOT");
  assertEquals(reserveSize(fileSystem), 0);
  fail(() => undefined);
  assertEquals((await buffer.emit()).length, 1);
  await buffer.close();
});

test("FileBuffer gives up all of its reserve, and never syncs again, when there is no space for a sync", async () => {
  for (const file of [".wal", "cursor"]) {
    const { fileSystem, fail } = failing();
    const { buffer, events } = await open(fileSystem, { fsync: "always" });
    await buffer.put(RECORD);
    let syncs = 0;
    fail((operation) => {
      if (operation.operation !== "sync" || !operation.path.endsWith(file)) return undefined;
      return syncs++ === 0 ? { kind: "lost", errno: "ENOSPC" } : undefined;
    });
    const failed = file === "cursor" ? () => buffer.emit() : () => buffer.put(RECORD);
    const error = await assertRejects(failed, BufferFailedError);
    assert(error.cause instanceof NoSpaceError);
    assertEquals([syncs, reserveSize(fileSystem)], [1, 0], file);
    assertEquals(eventsOf(events, "reserve-used").length, 1);
    await buffer.close();
    fail(() => undefined);
    const again = await open(fileSystem, { fsync: "always" });
    assertEquals((await drain(again.buffer)).length, 1);
    await again.buffer.close();
  }
});

test("FileBuffer goes on without a reserve that can't be made, and says so", async () => {
  const { fileSystem, fail } = failing();
  fail(({ path, operation }) =>
    path === FIRST_PART && operation === "write" ? { kind: "fail", errno: "EIO" } : undefined
  );
  const { buffer, events } = await open(fileSystem);
  await buffer.put(RECORD);
  await buffer.commit(await buffer.emit());
  await buffer.close();
  assertEquals(eventsOf(events, "warned").map((event) => event.type === "warned" && event.error.message), [
    `Cannot write "${FIRST_PART}": EIO`,
  ]);
  assertEquals(reserveSize(fileSystem), 0);
});

test("FileBuffer.open() takes a directory with nothing but a reserve for its own", async () => {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true });
  fileSystem.writeFile(FIRST_PART, new Uint8Array(1000));
  const { buffer } = await open(fileSystem);
  await buffer.put(RECORD);
  assertEquals(reserveSize(fileSystem), DEFAULT_RESERVE_BYTES);
  await buffer.close();
});

test("the command line passes over a reserve", async () => {
  const fileSystem = new MemoryFileSystem({ copyOnWrite: true });
  const { buffer } = await open(fileSystem);
  await buffer.put(RECORD);
  await buffer.close();
  const before = reserveSizes(fileSystem);
  for (const command of ["inspect", "verify", "repair", "restore", "dump"]) {
    const { code, errors } = await runCli(
      fileSystem,
      command === "dump" ? [command, PATH, "--format", "base64"] : [command, PATH],
    );
    assertEquals([code, errors], [0, ""], command);
  }
  assertEquals(reserveSizes(fileSystem), before);
});
