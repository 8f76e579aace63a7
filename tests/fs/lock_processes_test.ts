/**
 * The lock between processes, on all runtimes that can be started here: `FileSystem.lock()` as `sqlite_lock.ts` makes it.
 */

import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path/join";
import { detectFileSystem } from "../../src/fs/detect.ts";
import {
  availableRuntimes,
  currentRuntime,
  runChild,
  type Runtime,
  runtimeArgs,
  startChild,
} from "../support/children.ts";
import { assertErrno } from "./conformance.ts";

const program = "tests/fs/child.ts";
const programPath = fileURLToPath(new URL("child.ts", import.meta.url));
const native = await detectFileSystem();

async function withLockFile(body: (path: string) => Promise<void> | void): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-lock-"));
  try {
    await body(join(directory, "lock"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

interface Holder {
  /** Ends it and waits until it is gone: by a signal, or by the end of its input, which makes it release. */
  end(signal?: "SIGKILL"): Promise<void>;
}

/** Starts a process that holds the lock; resolves when it has it. */
async function startHolder(path: string, options: { method?: string; runtime: Runtime }): Promise<Holder> {
  const child = startChild(program, [options.method ?? "lock", path], { runtime: options.runtime });
  let output = "";
  let errors = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => errors += text);
  const closed = once(child, "close");
  await new Promise<void>((resolve, reject) => {
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.includes("\n")) resolve();
    });
    closed.then(() => reject(new Error(`${options.runtime.name} didn't lock: ${output}${errors}`)), reject);
  });
  assertEquals(output, '{"result":"locked"}\n', options.runtime.name);
  return {
    async end(signal) {
      if (signal !== undefined) child.kill(signal);
      else child.stdin!.end();
      await closed;
    },
  };
}

/** What a process that wants the lock is told: `"locked"` or an errno. */
async function tryLock(path: string, runtime: Runtime): Promise<string> {
  const { stdout } = await runChild(program, ["leave", path], { runtime });
  const { result, error } = JSON.parse(stdout);
  return error === undefined ? result : error.errno;
}

for (const runtime of availableRuntimes()) {
  test(`FileSystem.lock() throws EBUSY while a ${runtime.name} process holds it, and not after kill -9`, async () => {
    await withLockFile(async (path) => {
      const holder = await startHolder(path, { runtime });
      assertErrno(() => native.lock(path), "EBUSY");
      assertEquals(await tryLock(path, runtime), "EBUSY");
      assertErrno(() => native.lock(path), "EBUSY");
      await holder.end("SIGKILL");
      native.lock(path).release();
    });
  });

  test(`FileSystem.lock() excludes a ${runtime.name} process until it is released`, async () => {
    await withLockFile(async (path) => {
      const lock = native.lock(path);
      assertEquals(await tryLock(path, runtime), "EBUSY");
      assertErrno(() => native.lock(path), "EBUSY");
      // Being refused, here and there, has not weakened the lock.
      assertEquals(await tryLock(path, runtime), "EBUSY");
      lock.release();
      assertEquals(await tryLock(path, runtime), "locked");
      native.lock(path).release();
    });
  });

  test(`FileSystem.lock() succeeds when a ${runtime.name} process has released it, or ended without`, async () => {
    await withLockFile(async (path) => {
      await (await startHolder(path, { runtime })).end();
      native.lock(path).release();
      assertEquals(await tryLock(path, runtime), "locked");
      native.lock(path).release();
    });
  });
}

test("FileSystem.lock() holds through garbage collections", async () => {
  await withLockFile(async (path) => {
    const holder = await startHolder(path, { method: "collect", runtime: currentRuntime() });
    assertErrno(() => native.lock(path), "EBUSY");
    await holder.end();
    native.lock(path).release();
  });
});

test("FileSystem.lock() says nothing about SQLite, and leaves other warnings alone", async () => {
  await withLockFile((path) => {
    const { emitWarning } = process;
    native.lock(path).release();
    assertEquals(process.emitWarning, emitWarning);
    for (const runtime of availableRuntimes()) {
      // As users start it: with warnings.
      const args = runtimeArgs(runtime).filter((arg) => !arg.startsWith("--disable-warning"));
      const { stderr, stdout } = spawnSync(runtime.command, [...args, programPath, "leave", path], {
        encoding: "utf8",
      });
      assertEquals(stdout, '{"result":"locked"}\n');
      assert(!stderr.includes("SQLite"), `${runtime.name}: ${stderr}`);
    }
  });
});

test("FileSystem.lock() leaves nothing open when it is refused", async () => {
  if (process.platform !== "linux") return;
  await withLockFile((path) => {
    const lock = native.lock(path);
    assertErrno(() => native.lock(path), "EBUSY");
    const before = native.list("/proc/self/fd").length;
    for (let i = 0; i < 20; i++) assertErrno(() => native.lock(path), "EBUSY");
    assert(native.list("/proc/self/fd").length <= before + 2);
    lock.release();
  });
});

test("FileSystem.lock() leaves an empty file and nothing else", async () => {
  await withLockFile((path) => {
    const lock = native.lock(path);
    assertEquals(native.list(join(path, "..")), ["lock"]);
    lock.release();
    assertEquals(native.list(join(path, "..")), ["lock"]);
    assertEquals(statSync(path).size, 0);
  });
});

test("FileSystem.lock() takes names literally that SQLite reads as something else", async () => {
  // Colons and question marks can't be in names there.
  if (process.platform === "win32") return;
  await withLockFile((path) => {
    const directory = join(path, "..");
    const here = process.cwd();
    process.chdir(directory);
    try {
      for (const name of [":memory:", "file:x?mode=memory"]) {
        const lock = native.lock(name);
        assertErrno(() => native.lock(name), "EBUSY");
        lock.release();
      }
      assertEquals(native.list(directory).sort(), [":memory:", "file:x?mode=memory"]);
    } finally {
      process.chdir(here);
    }
  });
});
