/**
 * What the runtimes' own calls throw, and what becomes of it: rare errors that no disk here gives on demand, so the
 * calls are replaced while a test runs. That works for `Deno.*` and for Node's `node:fs`; Bun runs the same code as
 * Node, but its `node:fs` can't be replaced.
 */

import fs, { mkdtempSync, rmSync } from "node:fs";
import * as module from "node:module";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path/join";
import type { FileSystemError } from "../../src/errors/mod.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import type { FileHandle } from "../../src/fs/file_system.ts";
import { currentRuntime } from "../support/children.ts";
import { assertErrno, bytesOf, contentOf } from "./conformance.ts";

// deno-lint-ignore no-explicit-any
type Call = (...args: any[]) => any;
type Calls = Record<string, Call>;

/** Where the runtime's calls are, and what they are called. */
interface Runtime {
  readonly rename: readonly [object: Calls, name: string];
  readonly write: readonly [object: Calls, name: string];
  readonly read: readonly [object: Calls, name: string];
  readonly sync: readonly [object: Calls, name: string];
  readonly cut: readonly [object: Calls, name: string];
  readonly stat: readonly [object: Calls, name: string];
  readonly close: readonly [object: Calls, name: string];
  /** A write that gets only `count` bytes. */
  readonly shortWrite: (write: Call, count: number) => Call;
  /** A read that gets at most `count` bytes. */
  readonly shortRead: (read: Call, count: number) => Call;
  /** A sync that fails with `error`. */
  readonly failedSync: (error: Error) => Call;
  /** An error as this runtime would throw it for this errno. */
  readonly interrupted: () => Error;
  /** An error as this runtime throws it on Windows when a file is cut that is mapped. */
  readonly mapped: Error;
  /** Errors without a usable code, and the errno that they are. */
  readonly errors: readonly (readonly [Error, string])[];
}

function denoRuntime(): Runtime {
  const { Deno } = globalThis as unknown as {
    Deno: { FsFile: { prototype: Calls }; errors: Record<string, new (message: string) => Error> };
  };
  const { prototype } = Deno.FsFile;
  const make = (name: string, message: string) => new Deno.errors[name]!(message);
  return {
    rename: [Deno as unknown as Calls, "renameSync"],
    write: [prototype, "writeSync"],
    read: [prototype, "readSync"],
    sync: [prototype, "syncData"],
    cut: [prototype, "truncateSync"],
    stat: [prototype, "statSync"],
    close: [prototype, "close"],
    shortWrite: (write, count) =>
      function (this: unknown, bytes: Uint8Array) {
        return count === 0 ? 0 : write.call(this, bytes.subarray(0, count));
      },
    shortRead: (read, count) =>
      function (this: unknown, into: Uint8Array) {
        return read.call(this, into.subarray(0, count));
      },
    failedSync: (error) => () => Promise.reject(error),
    interrupted: () => make("Interrupted", "Interrupted system call (os error 4)"),
    mapped: new Error("The requested operation cannot be performed (os error 1224)"),
    errors: [
      [make("BadResource", "Bad resource ID"), "EBADF"],
      [make("NotFound", "gone"), "ENOENT"],
      [make("PermissionDenied", "Operation not permitted"), "EACCES"],
      [new Error("something else"), "UNKNOWN"],
      ...(process.platform === "linux"
        ? [
          [new Error("Disk quota exceeded (os error 122)"), "EDQUOT"],
          [new Error("File too large (os error 27)"), "EFBIG"],
          [new Error("Too many open files in system (os error 23): open 'x'"), "ENFILE"],
          [new Error("Stale file handle (os error 116)"), "ESTALE"],
          [new Error("Structure needs cleaning (os error 117)"), "EUCLEAN"],
          [make("PermissionDenied", "Operation not permitted (os error 1)"), "EPERM"],
          [new Error("Input/output error (os error 5)"), "EIO"],
          [new Error("Unheard of (os error 9999)"), "UNKNOWN"],
        ] as const
        : []),
    ],
  };
}

function nodeRuntime(): Runtime {
  const calls = fs as unknown as Calls;
  const make = (code: string, errno: number) => Object.assign(new Error(code), { code, errno });
  return {
    rename: [calls, "renameSync"],
    write: [calls, "writeSync"],
    read: [calls, "readSync"],
    sync: [calls, "fdatasync"],
    cut: [calls, "ftruncateSync"],
    stat: [calls, "fstatSync"],
    close: [calls, "closeSync"],
    shortWrite: (write, count) => (descriptor, bytes, offset, length, position) =>
      count === 0 ? 0 : write(descriptor, bytes, offset, Math.min(length, count), position),
    shortRead: (read, count) => (descriptor, into, offset, length, position) =>
      read(descriptor, into, offset, Math.min(length, count), position),
    failedSync: (error) => (_descriptor, done: (error: Error) => void) => queueMicrotask(() => done(error)),
    interrupted: () => make("EINTR", -4),
    mapped: Object.assign(make("UNKNOWN", -4094), { syscall: "ftruncate" }),
    errors: [
      [make("EIO", -5), "EIO"],
      [make("ERR_SOMETHING", NaN), "UNKNOWN"],
      [new Error("something else"), "UNKNOWN"],
      ...(process.platform === "linux"
        ? [
          [make("UNKNOWN", -122), "EDQUOT"],
          [make("UNKNOWN", -116), "ESTALE"],
          [make("UNKNOWN", -117), "EUCLEAN"],
          [make("UNKNOWN", -9999), "UNKNOWN"],
        ] as const
        : []),
    ],
  };
}

const { name } = currentRuntime();
const runtime = name === "deno" ? denoRuntime() : name === "node" ? nodeRuntime() : undefined;

/** Replaces a call of the runtime while `body` runs; gives how often it was made. */
async function replaced(
  [object, name]: readonly [Calls, string],
  replacement: (original: Call, count: number) => Call,
  body: () => unknown,
): Promise<number> {
  const original = object[name]!;
  let count = 0;
  object[name] = function (this: unknown, ...args: unknown[]) {
    return replacement(original, ++count).apply(this, args);
  };
  module.syncBuiltinESMExports?.();
  try {
    await body();
  } finally {
    object[name] = original;
    module.syncBuiltinESMExports?.();
  }
  return count;
}

async function withFile(body: (file: FileHandle, runtime: Runtime) => Promise<void>): Promise<void> {
  if (runtime === undefined) return;
  const directory = mkdtempSync(join(tmpdir(), "sluice-fs-"));
  const file = (await detectFileSystem()).open(join(directory, "file"), "create");
  try {
    await body(file, runtime);
  } finally {
    file.close();
    rmSync(directory, { recursive: true });
  }
}

const throwing = (error: Error) => () => {
  throw error;
};

test("FileSystem methods name the errno when the runtime's error has no code for it", async () => {
  if (runtime === undefined) return;
  const fileSystem = await detectFileSystem();
  for (const [error, errno] of runtime.errors) {
    await replaced(runtime.rename, () => throwing(error), () => {
      const thrown = assertErrno(() => fileSystem.rename("a", "b"), errno);
      assertEquals([thrown.operation, thrown.path, thrown.cause], ["rename", "a", error]);
    });
  }
});

test("FileHandle.write() goes on after a short write", async () => {
  await withFile(async (file, runtime) => {
    const count = await replaced(runtime.write, (write) => runtime.shortWrite(write, 3), () => {
      file.write(bytesOf("hello world"), 2);
    });
    assertEquals([count, contentOf(file)], [4, "\0\0hello world"]);
  });
});

test("FileHandle.read() goes on after a short read", async () => {
  await withFile(async (file, runtime) => {
    file.write(bytesOf("hello world"), 0);
    const into = new Uint8Array(20);
    let length = 0;
    const count = await replaced(runtime.read, (read) => runtime.shortRead(read, 4), () => {
      length = file.read(into, 1);
    });
    // Three times for ten bytes, and once to see that the file ends there.
    assertEquals([count, length], [4, 10]);
    assertEquals(into.subarray(0, 11), bytesOf("ello world\0"));
  });
});

test("FileHandle.write() throws EIO when a write gets nothing done", async () => {
  await withFile(async (file, runtime) => {
    const shorten = (write: Call, count: number) => runtime.shortWrite(write, count === 1 ? 4 : 0);
    const count = await replaced(runtime.write, shorten, () => {
      assertErrno(() => file.write(bytesOf("hello world"), 0), "EIO");
    });
    assertEquals([count, contentOf(file)], [2, "hell"]);
  });
});

test("FileHandle.write() throws the error that ends it, and the next one starts where it should", async () => {
  await withFile(async (file, runtime) => {
    const [error, errno] = runtime.errors.at(-2)!;
    const failSecond = (write: Call, count: number) => count === 2 ? throwing(error) : runtime.shortWrite(write, 4);
    await replaced(runtime.write, failSecond, () => {
      assertErrno(() => file.write(bytesOf("hello world"), 0), errno);
    });
    assertEquals(contentOf(file), "hell");
    file.write(bytesOf("p!"), 3);
    assertEquals(contentOf(file), "help!");
  });
});

test("FileHandle methods make a call again when a signal interrupted it", async () => {
  await withFile(async (file, runtime) => {
    const interruptFirst = (call: Call, count: number) => count === 1 ? throwing(runtime.interrupted()) : call;
    assertEquals(await replaced(runtime.write, interruptFirst, () => file.write(bytesOf("hello"), 1)), 2);
    const into = new Uint8Array(5);
    assertEquals(await replaced(runtime.read, interruptFirst, () => file.read(into, 1)), 2);
    assertEquals(into, bytesOf("hello"));
    const interruptSync = (call: Call, count: number) => count === 1 ? runtime.failedSync(runtime.interrupted()) : call;
    assertEquals(await replaced(runtime.sync, interruptSync, () => file.sync()), 2);
  });
});

test("FileHandle.sync() is made once when it fails, and rejects with its error", async () => {
  await withFile(async (file, runtime) => {
    const [error, errno] = runtime.errors.at(-2)!;
    const count = await replaced(runtime.sync, () => runtime.failedSync(error), async () => {
      const rejected = await assertRejects(() => file.sync()) as FileSystemError;
      assertEquals([rejected.errno, rejected.operation, rejected.cause], [errno, "sync", error]);
    });
    assertEquals(count, 1);
  });
});

test("FileHandle.truncate() says EBUSY of a file that somebody has mapped, on Windows", async () => {
  await withFile(async (file, runtime) => {
    await replaced(runtime.cut, () => throwing(runtime.mapped), () => {
      const error = assertErrno(() => file.truncate(0), "EBUSY");
      assertEquals(error.cause, runtime.mapped);
    });
  });
});

test("FileSystem.open() closes the file again when it can't find out what that is", async () => {
  if (runtime === undefined) return;
  const directory = mkdtempSync(join(tmpdir(), "sluice-fs-"));
  const path = join(directory, "file");
  const fileSystem = await detectFileSystem();
  fileSystem.open(path, "create").close();
  const closed = await replaced(runtime.close, (close) => close, async () => {
    const [error, errno] = runtime.errors[0]!;
    await replaced(
      runtime.stat,
      () => throwing(error),
      () => void assertErrno(() => fileSystem.open(path, "read"), errno),
    );
  });
  assertEquals(closed, 1);
  rmSync(directory, { recursive: true });
});
