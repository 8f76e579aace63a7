/**
 * A program that opens a buffer, and keeps it open as a server does. With a hot reload it runs again in the same process. Each run
 * says one line of JSON: how often it has run, and the error's message if it could not open the buffer.
 */

import process from "node:process";
import { BufferLockedError, FileBuffer } from "../../mod.ts";
import { say } from "../support/children.ts";

const [path = ""] = process.argv.slice(2);
const kept = globalThis as { runs?: number };
const runs = kept.runs = (kept.runs ?? 0) + 1;
try {
  const buffer = await FileBuffer.open<string>({ path });
  // Something of this version goes on using it.
  setInterval(() => buffer.stats(), 10);
  say(JSON.stringify({ runs, pid: process.pid }));
} catch (error) {
  if (!(error instanceof BufferLockedError)) throw error;
  const { message, sameProcess } = error;
  say(JSON.stringify({ runs, pid: process.pid, message, sameProcess }));
}
