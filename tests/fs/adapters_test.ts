/**
 * The file systems of the runtimes: the conformance suite for each that works here, and what only a real disk can do.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { join } from "@std/path/join";
import { NoSpaceError, PermissionError } from "../../src/errors/mod.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { nodeFileSystem } from "../../src/fs/node.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { currentRuntime, runChild } from "../support/children.ts";
import { assertErrno, bytesOf, contentOf, fileSystemConformance, type Subject } from "./conformance.ts";

const isLinux = process.platform === "linux";
const isRoot = process.getuid?.() === 0;
const native = await detectFileSystem();

function onDisk(fileSystem: FileSystem): Subject {
  const directory = mkdtempSync(join(tmpdir(), "sluice-fs-"));
  return { fileSystem, directory, tearDown: () => rmSync(directory, { recursive: true, force: true }) };
}

fileSystemConformance("memory", () => {
  const fileSystem = new MemoryFileSystem();
  fileSystem.makeDirectory("/test");
  return { fileSystem, directory: "/test", tearDown: () => {} };
});
fileSystemConformance(native.name, () => onDisk(native));
// Not on Deno: its `unlinkSync()` also removes directories. `deno.ts` is there for Deno.
if (native.name === "bun") fileSystemConformance("node:fs on bun", () => onDisk(nodeFileSystem));

test("detectFileSystem() gives the file system of this runtime", () => {
  assertEquals(native.name, currentRuntime().name);
});

test("detectFileSystem() rejects with TypeError when the runtime is unknown", async () => {
  const names = ["process", "Deno"];
  const properties = names.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);
  for (const name of names) Object.defineProperty(globalThis, name, { value: undefined, configurable: true });
  try {
    await assertRejects(() => detectFileSystem(), TypeError, "not Deno, Bun or Node");
  } finally {
    for (const [name, property] of properties) {
      if (property === undefined) Reflect.deleteProperty(globalThis, name);
      else Object.defineProperty(globalThis, name, property);
    }
  }
});

/** Mounts a small file system for `body`; false when that isn't possible here. */
function onMount(options: string, body: (mount: string, remount: (options: string) => void) => void): boolean {
  if (!isLinux || !isRoot) return false;
  const mount = mkdtempSync(join(tmpdir(), "sluice-fs-"));
  try {
    if (spawnSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", mount]).status !== 0) return false;
    try {
      body(mount, (options) => spawnSync("mount", ["-o", `remount,${options}`, mount]));
    } finally {
      // Lazily, so that a handle left open by a failed test doesn't leave the mount behind.
      spawnSync("umount", ["-l", mount]);
    }
  } finally {
    rmSync(mount, { recursive: true });
  }
  return true;
}

test("FileHandle.write() throws NoSpaceError when the device is full", () => {
  if (!isLinux) return;
  const file = native.open("/dev/full", "write");
  const error = assertErrno(() => file.write(bytesOf("x"), 0), "ENOSPC");
  assertInstanceOf(error, NoSpaceError);
  assertEquals([error.operation, error.path], ["write", "/dev/full"]);
  file.close();
});

test("FileHandle.write() writes what fits, throws NoSpaceError, and works again when there is space", () => {
  onMount("size=64k", (mount) => {
    const file = native.open(join(mount, "file"), "create");
    file.write(new Uint8Array(10_000).fill(1), 0);
    const error = assertErrno(() => file.write(new Uint8Array(100_000).fill(2), 10_000), "ENOSPC");
    assertInstanceOf(error, NoSpaceError);
    // The part that fitted is there, and nothing else.
    assertEquals(file.size(), 65_536);
    const into = new Uint8Array(70_000);
    assertEquals(file.read(into, 0), 65_536);
    assertEquals([into[9_999], into[10_000], into[65_535], into[65_536]], [1, 2, 2, 0]);
    // What is there can be overwritten, and after the cut there is space again.
    file.write(new Uint8Array(5_000).fill(3), 0);
    file.truncate(10_000);
    file.write(new Uint8Array(50_000).fill(4), 10_000);
    assertEquals(file.size(), 60_000);
    file.close();
  });
});

test("FileSystem.copiesOnWrite() says no on tmpfs", () => {
  onMount("size=64k", (mount) => assertEquals(native.copiesOnWrite!(mount), false));
});

test("FileSystem methods throw PermissionError when the file system is read-only", () => {
  onMount("size=64k", (mount, remount) => {
    writeFileSync(join(mount, "file"), "abc");
    remount("ro");
    const calls = [
      () => native.open(join(mount, "file"), "write"),
      () => native.open(join(mount, "new"), "create"),
      () => native.makeDirectory(join(mount, "new")),
      () => native.rename(join(mount, "file"), join(mount, "new")),
      () => native.remove(join(mount, "file")),
      () => native.lock(join(mount, "lock")),
    ];
    for (const call of calls) assertInstanceOf(assertErrno(call, "EROFS"), PermissionError);
    const file = native.open(join(mount, "file"), "read");
    assertEquals(contentOf(file), "abc");
    file.close();
  });
});

test("FileSystem methods throw PermissionError when the system refuses", () => {
  // The modes of POSIX mean nothing there.
  if (process.platform === "win32") return;
  const { directory, tearDown } = onDisk(native);
  try {
    if (isRoot) {
      // Root may do everything, except in the kernel's own file systems.
      if (isLinux) {
        assertInstanceOf(
          assertErrno(() => native.open("/sys/new", "create"), "EACCES", "EPERM", "EROFS"),
          PermissionError,
        );
      }
      return;
    }
    const path = join(directory, "closed");
    mkdirSync(path, { mode: 0 });
    assertInstanceOf(assertErrno(() => native.list(path), "EACCES", "EPERM"), PermissionError);
    assertInstanceOf(assertErrno(() => native.open(join(path, "file"), "create"), "EACCES", "EPERM"), PermissionError);
  } finally {
    tearDown();
  }
});

test("FileBuffer.open() names the flag when Deno's sandbox allows a path, but not where its symbolic link leads", async () => {
  if (native.name !== "deno" || process.platform === "win32") return;
  const { directory, tearDown } = onDisk(native);
  try {
    const [real, link] = [join(directory, "real"), join(directory, "link")];
    mkdirSync(real);
    symlinkSync(real, link);
    const paths = [[join(link, "events.wal"), join(real, "events.wal")], [link, real]] as const;
    for (const [path, target] of paths) {
      const open = async (...allowed: string[]): Promise<string> => {
        const permissions = allowed.flatMap((path) => [`--allow-read=${path}`, `--allow-write=${path}`]);
        return (await runChild("tests/buffer/child.ts", ["open", path], { permissions })).stdout.trim();
      };
      // Refused at the first start like at each later one.
      for (let i = 0; i < 2; i++) {
        const { code, flag } = JSON.parse(await open(path));
        assertEquals([code, flag], ["PERMISSION", `--allow-read=${target}`]);
        assertEquals(readdirSync(target), []);
      }
      for (let i = 0; i < 2; i++) assertEquals(await open(path, target), "opened");
      rmSync(target, { recursive: true });
    }
  } finally {
    tearDown();
  }
});

test("FileSystem methods throw PermissionError with the flag when Deno's sandbox refuses", async () => {
  if (native.name !== "deno") return;
  const { directory, tearDown } = onDisk(native);
  const [inside, outside] = [join(directory, "inside"), join(directory, "outside")];
  mkdirSync(inside);
  mkdirSync(outside);
  writeFileSync(join(inside, "file"), "abc");
  const allowed = [`--allow-read=${inside}`, `--allow-write=${inside}`];
  const run = async (permissions: string[], ...args: string[]): Promise<unknown> => {
    const { stdout, stderr } = await runChild("tests/fs/child.ts", args, { permissions });
    assertEquals(stderr, "");
    const { result, error } = JSON.parse(stdout);
    return error === undefined ? result ?? "done" : [error.name, error.errno, error.flag];
  };
  const refused = (flag: string, path: string) => ["PermissionError", "EACCES", `--allow-${flag}=${path}`];
  try {
    assertEquals(await run(allowed, "open", join(inside, "file"), "write"), "done");
    assertEquals(await run(allowed, "leave", join(inside, "lock")), "locked");
    assertEquals(await run(allowed, "makeDirectory", join(inside, "a", "b")), "done");
    assertEquals(await run(allowed, "syncDirectory", inside), "done");
    // Nothing is done, and nothing asked, about a directory that may not be read.
    assertEquals(await run(allowed, "syncDirectory", directory), "done");

    const path = join(outside, "file");
    assertEquals(await run(allowed, "open", path, "create"), refused("read", path));
    assertEquals(await run(["--allow-read"], "open", path, "create"), refused("write", path));
    assertEquals(await run(allowed, "list", outside), refused("read", outside));
    assertEquals(await run(["--allow-read"], "makeDirectory", path), refused("write", path));
    assertEquals(await run(["--allow-read"], "remove", join(inside, "file")), refused("write", join(inside, "file")));
    assertEquals(
      await run(["--allow-read", ...allowed.slice(1)], "rename", join(inside, "file"), path),
      refused("write", path),
    );
    assertEquals(await run(allowed, "lock", path), refused("read", path));
    assertEquals(await run(["--allow-read"], "lock", path), refused("write", path));
  } finally {
    tearDown();
  }
});
