/**
 * A program that makes one call of this runtime's file system and prints what came of it, as JSON: `{ "result": ... }`
 * or `{ "error": { name, code, errno, operation, path, flag } }`.
 *
 *     child.ts METHOD ARGUMENT...      `lock` holds the lock until standard input ends
 *     child.ts leave PATH              locks, and ends without releasing
 *     child.ts collect PATH            locks, and collects garbage first
 */

import process from "node:process";
import { text } from "node:stream/consumers";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { FileSystemError } from "../../src/errors/mod.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import type { FileSystem, OpenMode } from "../../src/fs/file_system.ts";
import { yieldToEventLoop } from "../support/event_loop.ts";

/** The runtime's full garbage collection. */
function findCollector(): () => void {
  const { Bun } = globalThis as { Bun?: { gc(isSynchronous: boolean): void } };
  if (Bun !== undefined) return () => Bun.gc(true);
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc");
}

/**
 * Collects garbage until objects that nothing refers to are gone, as a lock would be. Asked for, not provoked by allocating: how
 * much that takes depends on the machine's memory.
 */
async function collectGarbage(): Promise<void> {
  let collected = 0;
  const registry = new FinalizationRegistry(() => collected++);
  // Several, because a collector that looks at the stack may take some for used.
  for (let i = 0; i < 100; i++) registry.register({ i }, undefined);
  const collect = findCollector();
  for (let round = 0; collected < 50; round++) {
    if (round === 100) throw new Error("The garbage collector found nothing to collect");
    collect();
    await yieldToEventLoop();
  }
  // Still referenced here, or nobody would be told.
  registry.unregister({});
}

async function call(fileSystem: FileSystem, [method, path = "", argument = ""]: string[]): Promise<unknown> {
  switch (method) {
    case "open":
      return fileSystem.open(path, argument as OpenMode).close();
    case "list":
      return fileSystem.list(path);
    case "makeDirectory":
      return fileSystem.makeDirectory(path);
    case "rename":
      return fileSystem.rename(path, argument);
    case "remove":
      return fileSystem.remove(path);
    case "syncDirectory":
      return await fileSystem.syncDirectory(path);
    case "leave":
      fileSystem.lock(path);
      return "locked";
    case "lock":
    case "collect": {
      const lock = fileSystem.lock(path);
      if (method === "collect") await collectGarbage();
      console.log(JSON.stringify({ result: "locked" }));
      await text(process.stdin);
      lock.release();
      return "released";
    }
  }
  throw new TypeError(`Cannot call "${method}"`);
}

try {
  const result = await call(await detectFileSystem(), process.argv.slice(2));
  console.log(JSON.stringify({ result }));
} catch (error) {
  const { name, code, errno, operation, path, flag } = error as FileSystemError & { flag?: string };
  if (errno === undefined) throw error;
  console.log(JSON.stringify({ error: { name, code, errno, operation, path, flag } }));
}
