/**
 * Syncs on macOS: Bun's don't reach the medium without F_FULLFSYNC, and Deno's fail where there is none. No Mac is needed: the
 * system's call is replaced.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path/join";
import { FileSystemError } from "../../src/errors/mod.ts";
import { createDriveFlush } from "../../src/fs/bun.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { createNodeFileSystem } from "../../src/fs/node.ts";
import { currentRuntime } from "../support/children.ts";
import { bytesOf } from "./conformance.ts";

const { name } = currentRuntime();

/** Syncs a file and its directory. */
async function syncBoth(fileSystem: FileSystem): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-fs-"));
  const file = fileSystem.open(join(directory, "file"), "create");
  try {
    file.write(bytesOf("abc"), 0);
    await file.sync();
    await fileSystem.syncDirectory(directory);
  } finally {
    file.close();
    rmSync(directory, { recursive: true });
  }
}

test("FileHandle.sync() and FileSystem.syncDirectory() have the drive flushed on macOS, on Bun", async () => {
  const calls: [descriptor: number, command: number][] = [];
  let loads = 0;
  const flushDrive = createDriveFlush(() => {
    loads++;
    return (...call) => calls.push(call);
  });
  assertEquals(loads, 0);
  const descriptors: number[] = [];
  await syncBoth(createNodeFileSystem("bun", (descriptor) => {
    descriptors.push(descriptor);
    flushDrive(descriptor);
  }));
  // Directories can't be synced on Windows.
  assertEquals(calls, descriptors.map((descriptor) => [descriptor, 51]));
  assertEquals([loads, descriptors.every((descriptor) => descriptor > 2)], [1, true]);
});

test("FileHandle.sync() on Bun falls back where a file system has no F_FULLFSYNC", () => {
  const commands: number[] = [];
  const refuse = (_descriptor: number, command: number): number => {
    commands.push(command);
    return -1;
  };
  createDriveFlush(() => refuse)(7);
  assertEquals(commands, [51, 85]);
});

test("FileHandle.sync() doesn't flush the drive when the sync itself failed", async () => {
  if (process.platform === "win32") return;
  const flushed: number[] = [];
  const fileSystem = createNodeFileSystem("bun", (descriptor) => flushed.push(descriptor));
  await assertRejects(() => fileSystem.syncDirectory("/none"), FileSystemError, "ENOENT");
  assertEquals(flushed, []);
});

test("FileHandle.sync() on Deno gets by without F_FULLFSYNC on macOS, and fails with all else", async () => {
  if (name !== "deno") return;
  // deno-lint-ignore no-explicit-any
  const { Deno } = globalThis as any;
  const { build } = Deno;
  const { sync, syncData } = Deno.FsFile.prototype;
  const failWith = (os: string, code: string): void => {
    Object.defineProperty(Deno, "build", { value: { ...build, os }, configurable: true });
    const fail = () => Promise.reject(Object.assign(new Error("Operation not supported"), { code }));
    Object.assign(Deno.FsFile.prototype, { sync: fail, syncData: fail });
  };
  try {
    for (const code of ["ENOTSUP", "ENOTTY", "EINVAL"]) {
      failWith("darwin", code);
      await syncBoth(await detectFileSystem());
    }
    for (const [os, code] of [["darwin", "EIO"], ["linux", "ENOTSUP"]] as const) {
      failWith(os, code);
      await assertRejects(async () => await syncBoth(await detectFileSystem()), FileSystemError, code);
    }
  } finally {
    Object.defineProperty(Deno, "build", { value: build, configurable: true });
    Object.assign(Deno.FsFile.prototype, { sync, syncData });
  }
});
