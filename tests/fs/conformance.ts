/**
 * What every implementation of `FileSystem` must do, as one suite: `fileSystemConformance()` registers it for one.
 *
 * Only what can be seen through the interface is here. What a power cut leaves can't be: see
 * `memory_file_system_test.ts` for the model, and the process tests for locks.
 */

import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path/join";
import { FileSystemError } from "../../src/errors/mod.ts";
import type { FileHandle, FileSystem } from "../../src/fs/file_system.ts";
import { seededRandom } from "../support/random.ts";

/** A file system to test, and an empty directory in it. */
export interface Subject {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  /** Removes the directory. */
  readonly tearDown: () => void;
}

/** Bytes of a text. */
export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The whole content of an open file, as text. */
export function contentOf(file: FileHandle): string {
  const into = new Uint8Array(file.size() + 10);
  return new TextDecoder().decode(into.subarray(0, file.read(into, 0)));
}

/** Asserts that `call` throws a FileSystemError with one of these errnos, and gives it. */
export function assertErrno(call: () => unknown, ...errnos: string[]): FileSystemError {
  const error = assertThrows(call);
  assertInstanceOf(error, FileSystemError);
  assert(errnos.includes(error.errno), `${error.message}, expected ${errnos.join(" or ")}`);
  return error;
}

/** Asserts that `promise` is rejected with that errno. */
export async function assertRejectsErrno(call: () => Promise<unknown>, errno: string): Promise<void> {
  const error = await assertRejects(call);
  assertInstanceOf(error, FileSystemError);
  assertEquals(error.errno, errno);
}

/** Whether the rules of Windows hold for it. The file system in memory has those of POSIX everywhere. */
function isOnWindows(fileSystem: FileSystem): boolean {
  return process.platform === "win32" && fileSystem.name !== "memory";
}

/** What a path through a file leads to: Windows says of it that nothing is there. */
function errnoBehindFile(fileSystem: FileSystem): string {
  return isOnWindows(fileSystem) ? "ENOENT" : "ENOTDIR";
}

/** Registers the suite for one implementation; `setUp` is called for each test. */
export function fileSystemConformance(name: string, setUp: () => Subject): void {
  const check = (title: string, body: (fileSystem: FileSystem, directory: string) => void | Promise<void>): void => {
    test(`${name}: ${title}`, async () => {
      const { fileSystem, directory, tearDown } = setUp();
      try {
        await body(fileSystem, directory);
      } finally {
        tearDown();
      }
    });
  };
  handleTests(check);
  modelTest(check);
  openTests(check);
  nameTests(check);
  syncTests(check);
  spaceTests(check);
  lockTests(check);
}

type Check = (title: string, body: (fileSystem: FileSystem, directory: string) => void | Promise<void>) => void;

/** Opens a new file, hands it to `body`, and closes it. */
function withFile(fileSystem: FileSystem, directory: string, body: (file: FileHandle, path: string) => void): void {
  const path = join(directory, "file");
  const file = fileSystem.open(path, "create");
  try {
    body(file, path);
  } finally {
    file.close();
  }
}

function handleTests(check: Check): void {
  check("FileHandle.write() and read() use the position they are given", (fileSystem, directory) => {
    withFile(fileSystem, directory, (file) => {
      file.write(bytesOf("hello world"), 0);
      file.write(bytesOf("W"), 6);
      file.write(bytesOf("!"), 11);
      assertEquals(contentOf(file), "hello World!");
      const into = new Uint8Array(5);
      assertEquals(file.read(into, 6), 5);
      assertEquals(into, bytesOf("World"));
      // A read in between doesn't move the next write, nor a write the next read.
      file.write(bytesOf("?"), 12);
      assertEquals(contentOf(file), "hello World!?");
    });
  });

  check("FileHandle.read() reads less only at the end of the file, and 0 bytes behind it", (fileSystem, directory) => {
    withFile(fileSystem, directory, (file) => {
      const into = new Uint8Array(4).fill(9);
      assertEquals(file.read(into, 0), 0);
      file.write(bytesOf("abcdef"), 0);
      assertEquals(file.read(into, 4), 2);
      assertEquals([...into], [101, 102, 9, 9]);
      assertEquals(file.read(into, 6), 0);
      assertEquals(file.read(into, 1_000), 0);
      assertEquals(file.read(new Uint8Array(0), 2), 0);
      assertEquals([...into], [101, 102, 9, 9]);
    });
  });

  check("FileHandle.write() behind the end fills the gap with zeros", (fileSystem, directory) => {
    withFile(fileSystem, directory, (file) => {
      file.write(bytesOf("a"), 0);
      file.write(bytesOf("b"), 5_000);
      assertEquals(file.size(), 5_001);
      const into = new Uint8Array(5_001).fill(9);
      assertEquals(file.read(into, 0), 5_001);
      assertEquals([into[0], into[1], into[4_999], into[5_000]], [97, 0, 0, 98]);
      assert(into.subarray(1, 5_000).every((byte) => byte === 0));
    });
  });

  check("FileHandle.write() of nothing does nothing", (fileSystem, directory) => {
    withFile(fileSystem, directory, (file) => {
      file.write(new Uint8Array(0), 0);
      file.write(new Uint8Array(0), 100);
      assertEquals(file.size(), 0);
    });
  });

  check("FileHandle.write() has taken the bytes when it returns", (fileSystem, directory) => {
    withFile(fileSystem, directory, (file) => {
      const bytes = bytesOf("xabcx").subarray(1, 4);
      file.write(bytes, 0);
      bytes.fill(0);
      assertEquals(contentOf(file), "abc");
    });
  });

  check("FileHandle.write() and read() take a megabyte at once", (fileSystem, directory) => {
    withFile(fileSystem, directory, (file) => {
      const bytes = Uint8Array.from({ length: 2 ** 20 }, (_, i) => i % 251);
      file.write(bytes, 3);
      const into = new Uint8Array(2 ** 20);
      assertEquals(file.read(into, 3), 2 ** 20);
      assert(into.every((byte, i) => byte === i % 251));
    });
  });

  check("FileHandle.truncate() cuts, and extends with zeros", (fileSystem, directory) => {
    withFile(fileSystem, directory, (file) => {
      file.write(bytesOf("abcdef"), 0);
      file.truncate(3);
      assertEquals([file.size(), contentOf(file)], [3, "abc"]);
      file.truncate(6);
      assertEquals([file.size(), contentOf(file)], [6, "abc\0\0\0"]);
      file.write(bytesOf("g"), 6);
      assertEquals(contentOf(file), "abc\0\0\0g");
      file.truncate(0);
      assertEquals([file.size(), contentOf(file)], [0, ""]);
    });
  });

  check("FileHandle methods throw RangeError when a position or size is no whole number from 0", (fs, directory) => {
    withFile(fs, directory, (file) => {
      for (const number of [-1, 0.5, NaN, Infinity]) {
        assertThrows(() => file.read(new Uint8Array(1), number), RangeError);
        assertThrows(() => file.write(new Uint8Array(1), number), RangeError);
        assertThrows(() => file.truncate(number), RangeError);
      }
      assertEquals(file.size(), 0);
    });
  });

  check(
    "FileHandle methods throw EBADF after close(), and close() again does nothing",
    async (fileSystem, directory) => {
      const path = join(directory, "file");
      const file = fileSystem.open(path, "create");
      file.close();
      file.close();
      // The system gives the next file the same number: the closed handle must not reach it.
      const next = fileSystem.open(join(directory, "next"), "create");
      assertErrno(() => file.size(), "EBADF");
      assertErrno(() => file.read(new Uint8Array(1), 0), "EBADF");
      assertErrno(() => file.write(bytesOf("x"), 0), "EBADF");
      assertErrno(() => file.truncate(0), "EBADF");
      await assertRejectsErrno(() => file.sync(), "EBADF");
      assertErrno(() => file.syncBlocking!(), "EBADF");
      file.close();
      next.write(bytesOf("still open"), 0);
      next.close();
    },
  );
}

/** Random operations against a plain array. */
function modelTest(check: Check): void {
  check("FileHandle does what an array of bytes would do, whatever the order of calls", (fileSystem, directory) => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const file = fileSystem.open(join(directory, `seed ${seed}`), "create");
      let model = new Uint8Array(0);
      for (let step = 0; step < 60; step++) {
        const position = random(300);
        const message = `seed ${seed}, step ${step}`;
        if (random(10) < 4) {
          const bytes = new Uint8Array(1 + random(100)).fill(1 + random(255));
          file.write(bytes, position);
          const grown = new Uint8Array(Math.max(model.length, position + bytes.length));
          grown.set(model);
          grown.set(bytes, position);
          model = grown;
        } else if (random(10) < 2) {
          file.truncate(position);
          const resized = new Uint8Array(position);
          resized.set(model.subarray(0, position));
          model = resized;
        } else {
          const into = new Uint8Array(random(100));
          const expected = model.slice(position, position + into.length);
          assertEquals(file.read(into, position), expected.length, message);
          assertEquals(into.slice(0, expected.length), expected, message);
        }
        if (random(4) === 0) assertEquals(file.size(), model.length, message);
      }
      file.close();
    }
  });
}

function openTests(check: Check): void {
  check("FileSystem.open() creates only with create, and only what isn't there", (fileSystem, directory) => {
    const path = join(directory, "file");
    const error = assertErrno(() => fileSystem.open(path, "read"), "ENOENT");
    assertEquals([error.operation, error.path, error.code], ["open", path, "FILE_SYSTEM"]);
    assertErrno(() => fileSystem.open(path, "write"), "ENOENT");
    assertEquals(fileSystem.list(directory), []);
    fileSystem.open(path, "create").close();
    assertErrno(() => fileSystem.open(path, "create"), "EEXIST");
    assertErrno(() => fileSystem.open(directory, "create"), "EEXIST");
    assertErrno(() => fileSystem.open(join(directory, "none", "file"), "create"), "ENOENT");
    assertErrno(() => fileSystem.open(join(path, "file"), "create"), errnoBehindFile(fileSystem));
    assertErrno(() => fileSystem.open(join(path, "file"), "read"), errnoBehindFile(fileSystem));
    assertErrno(() => fileSystem.open("", "read"), "ENOENT");
  });

  check("FileSystem.open() of a directory throws EISDIR", (fileSystem, directory) => {
    assertErrno(() => fileSystem.open(directory, "read"), "EISDIR");
    assertErrno(() => fileSystem.open(directory, "write"), "EISDIR");
  });

  check("FileSystem.open() leaves the content alone, and read handles can't change it", (fileSystem, directory) => {
    withFile(fileSystem, directory, (file, path) => {
      file.write(bytesOf("abc"), 0);
      const writer = fileSystem.open(path, "write");
      const reader = fileSystem.open(path, "read");
      writer.write(bytesOf("B"), 1);
      assertEquals(contentOf(reader), "aBc");
      assertEquals(contentOf(writer), "aBc");
      assertErrno(() => reader.write(bytesOf("x"), 0), "EBADF");
      assertErrno(() => reader.truncate(0), "EINVAL", "EBADF");
      writer.close();
      assertEquals(contentOf(reader), "aBc");
      reader.close();
    });
  });
}

function nameTests(check: Check): void {
  const create = (fileSystem: FileSystem, path: string, text: string): void => {
    const file = fileSystem.open(path, "create");
    file.write(bytesOf(text), 0);
    file.close();
  };
  const textOf = (fileSystem: FileSystem, path: string): string => {
    const file = fileSystem.open(path, "read");
    const text = contentOf(file);
    file.close();
    return text;
  };

  check("FileSystem.list() gives the names of files and directories", (fileSystem, directory) => {
    assertEquals(fileSystem.list(directory), []);
    create(fileSystem, join(directory, "b"), "");
    create(fileSystem, join(directory, "a ä"), "");
    fileSystem.makeDirectory(join(directory, "c", "d"));
    assertEquals(fileSystem.list(directory).sort(), ["a ä", "b", "c"]);
    assertErrno(() => fileSystem.list(join(directory, "none")), "ENOENT");
    assertErrno(() => fileSystem.list(join(directory, "b")), "ENOTDIR");
  });

  check("FileSystem.makeDirectory() makes parents, and nothing where one is", (fileSystem, directory) => {
    const path = join(directory, "a", "b", "c");
    fileSystem.makeDirectory(path);
    create(fileSystem, join(path, "file"), "kept");
    fileSystem.makeDirectory(path);
    fileSystem.makeDirectory(directory);
    assertEquals(textOf(fileSystem, join(path, "file")), "kept");
    assertErrno(() => fileSystem.makeDirectory(join(path, "file")), "EEXIST", "ENOTDIR");
    const behind = join(path, "file", "x", "y");
    const error = assertErrno(() => fileSystem.makeDirectory(behind), isOnWindows(fileSystem) ? "EEXIST" : "ENOTDIR");
    assertEquals(error.path, behind);
  });

  check("FileSystem.rename() moves a file, and replaces the target in one step", (fileSystem, directory) => {
    const [a, b] = [join(directory, "a"), join(directory, "b")];
    create(fileSystem, a, "first");
    fileSystem.rename(a, b);
    assertEquals(fileSystem.list(directory), ["b"]);
    create(fileSystem, a, "second");
    const replaced = fileSystem.open(b, "read");
    // Windows may not replace a file that is open.
    if (isOnWindows(fileSystem)) replaced.close();
    fileSystem.rename(a, b);
    assertEquals(textOf(fileSystem, b), "second");
    if (!isOnWindows(fileSystem)) assertEquals(contentOf(replaced), "first");
    replaced.close();
    fileSystem.rename(b, b);
    assertEquals(fileSystem.list(directory), ["b"]);
    fileSystem.makeDirectory(join(directory, "c"));
    fileSystem.rename(b, join(directory, "c", "b"));
    assertEquals(textOf(fileSystem, join(directory, "c", "b")), "second");
  });

  check(
    "FileSystem.rename() throws when the source is missing or a directory is in the way",
    (fileSystem, directory) => {
      const [a, b] = [join(directory, "a"), join(directory, "b")];
      assertErrno(() => fileSystem.rename(a, b), "ENOENT");
      create(fileSystem, a, "a");
      assertErrno(() => fileSystem.rename(a, join(directory, "none", "b")), "ENOENT");
      fileSystem.makeDirectory(b);
      assertErrno(() => fileSystem.rename(a, b), "EISDIR", "EPERM");
      // Wine replaces the file.
      if (!isOnWindows(fileSystem)) assertErrno(() => fileSystem.rename(b, a), "ENOTDIR", "EPERM");
      assertEquals(fileSystem.list(directory).sort(), ["a", "b"]);
    },
  );

  check("FileSystem.remove() removes a file, which open handles still read", (fileSystem, directory) => {
    const path = join(directory, "file");
    create(fileSystem, path, "abc");
    const reader = fileSystem.open(path, "read");
    fileSystem.remove(path);
    // On Windows the name may stay until the file is closed.
    if (!isOnWindows(fileSystem)) assertEquals(fileSystem.list(directory), []);
    assertEquals(contentOf(reader), "abc");
    reader.close();
    assertEquals(fileSystem.list(directory), []);
    create(fileSystem, path, "new");
    assertEquals(textOf(fileSystem, path), "new");
  });

  check("FileSystem.remove() throws when there is no file or a directory", (fileSystem, directory) => {
    assertErrno(() => fileSystem.remove(join(directory, "none")), "ENOENT");
    fileSystem.makeDirectory(join(directory, "empty"));
    assertErrno(() => fileSystem.remove(join(directory, "empty")), "EISDIR", "EPERM");
    assertEquals(fileSystem.list(directory), ["empty"]);
  });
}

function syncTests(check: Check): void {
  check("FileHandle.sync() and FileSystem.syncDirectory() resolve", async (fileSystem, directory) => {
    const file = fileSystem.open(join(directory, "file"), "create");
    file.write(bytesOf("abc"), 0);
    const first = file.sync();
    // Writing goes on meanwhile, and syncs may overlap.
    file.write(bytesOf("def"), 3);
    await Promise.all([first, file.sync(), fileSystem.syncDirectory(directory)]);
    assertEquals(contentOf(file), "abcdef");
    file.write(bytesOf("ghi"), 6);
    assertEquals(contentOf(file), "abcdefghi");
    file.close();
  });

  check(
    "FileHandle.syncBlocking() and FileSystem.syncDirectoryBlocking() return, also beside a sync",
    async (fileSystem, directory) => {
      const file = fileSystem.open(join(directory, "file"), "create");
      file.write(bytesOf("abc"), 0);
      const beside = file.sync();
      file.write(bytesOf("def"), 3);
      file.syncBlocking!();
      fileSystem.syncDirectoryBlocking!(directory);
      assertEquals(contentOf(file), "abcdef");
      await beside;
      file.close();
      const missing = (): void => fileSystem.syncDirectoryBlocking!(join(directory, "none"));
      if (isOnWindows(fileSystem)) missing();
      else assertErrno(missing, "ENOENT");
    },
  );

  check("FileSystem.syncDirectory() rejects when the directory is missing", async (fileSystem, directory) => {
    // Where directories can't be synced, nothing is looked at.
    if (isOnWindows(fileSystem)) return await fileSystem.syncDirectory(join(directory, "none"));
    await assertRejectsErrno(() => fileSystem.syncDirectory(join(directory, "none")), "ENOENT");
  });
}

function spaceTests(check: Check): void {
  check("FileSystem.copiesOnWrite() answers, also where nothing is", (fileSystem, directory) => {
    for (const path of [directory, join(directory, "none")]) {
      assertEquals(typeof fileSystem.copiesOnWrite?.(path), "boolean");
    }
  });
}

function lockTests(check: Check): void {
  check("FileSystem.lock() excludes until it is released", (fileSystem, directory) => {
    const path = join(directory, "lock");
    const lock = fileSystem.lock(path);
    const error = assertErrno(() => fileSystem.lock(path), "EBUSY");
    assertEquals([error.operation, error.path], ["lock", path]);
    assertErrno(() => fileSystem.lock(path), "EBUSY");
    // Another file is another lock.
    fileSystem.lock(join(directory, "other")).release();
    lock.release();
    lock.release();
    const again = fileSystem.lock(path);
    // Releasing the first one once more doesn't touch the second.
    lock.release();
    assertErrno(() => fileSystem.lock(path), "EBUSY");
    again.release();
    assertEquals(fileSystem.list(directory).sort(), ["lock", "other"]);
  });

  check("FileSystem.lock() tells why the file can't be created", (fileSystem, directory) => {
    assertErrno(() => fileSystem.lock(join(directory, "none", "lock")), "ENOENT");
    assertErrno(() => fileSystem.lock(directory), "EISDIR");
    fileSystem.open(join(directory, "file"), "create").close();
    assertErrno(() => fileSystem.lock(join(directory, "file", "lock")), errnoBehindFile(fileSystem));
  });
}
