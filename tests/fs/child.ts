/**
 * A program that makes one call of this runtime's file system and prints what came of it, as JSON: `{ "result": ... }`
 * or `{ "error": { name, code, errno, operation, path, flag } }`.
 *
 *     file_system_child.ts METHOD ARGUMENT...      `lock` holds the lock until standard input ends
 *     file_system_child.ts leave PATH              locks, and ends without releasing
 *     file_system_child.ts collect PATH            locks, and makes the garbage collector run first
 */

import process from "node:process";
import { text } from "node:stream/consumers";
import type { FileSystemError } from "../../src/errors/mod.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import type { FileSystem, OpenMode } from "../../src/fs/file_system.ts";
import { yieldToEventLoop } from "../support/event_loop.ts";

/** Makes garbage, old and young, until objects that have lived for a while, as the lock has, are collected. */
async function collectGarbage(): Promise<void> {
  let collected = 0;
  // Several, because a collector that looks at the stack may take some for used.
  let canaries: object[] = Array.from({ length: 100 }, (_, i) => ({ i }));
  const registry = new FinalizationRegistry(() => collected++);
  for (const canary of canaries) registry.register(canary, undefined);
  const hoard: object[] = [];
  for (let round = 0; collected < 50; round++) {
    if (round === 5_000) throw new Error("The garbage collector never ran");
    if (round === 50) canaries = [];
    if (hoard.push(Array.from({ length: 10_000 }, (_, i) => ({ i, canaries }))) === 50) hoard.length = 0;
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
