/**
 * Tries a call again while what keeps it from working may pass by itself: on Windows a virus scanner, a backup or a reader that
 * has the file open or mapped; everywhere a moment without free descriptors or memory.
 *
 * Guarantees: the time is bounded, to about a second where the caller can wait and to 60 ms where it can't; what is thrown in the
 * end is the file system's own error. A call that works at once costs nothing. The file may have changed between two attempts, so
 * only calls that leave nothing behind when they fail are repeated; never a sync that was begun.
 *
 * @module
 */

import { setTimeout } from "node:timers";
import { yieldToEventLoop } from "../base/event_loop.ts";
import type { MaybePromise } from "../base/maybe_promise.ts";
import { FileSystemError, PermissionError } from "../errors/mod.ts";

/**
 * What sharing violations and mappings become on Windows, and what short resources do. EACCES and EPERM mostly last on other
 * systems, and are tried again there as well: the same program must not fail because of where it runs.
 */
const PASSING_ERRNOS: ReadonlySet<string> = new Set([
  "EACCES",
  "EAGAIN",
  "EBUSY",
  "EMFILE",
  "ENFILE",
  "ENOMEM",
  "EPERM",
  "ETXTBSY",
]);

/** Pauses between attempts, in milliseconds; 0 is a turn of the event loop. */
const PAUSES_MS: readonly number[] = [0, 0, 5, 10, 20, 40, 75, 100, 150, 200, 200, 200];
/** The longest of the pauses before a sync, each twice as long as the one before. */
const MAX_SYNC_PAUSE_MS = 4096;
const BLOCKING_PAUSES_MS: readonly number[] = [1, 4, 15, 40];

/** Whether a file system error may pass by itself. What Deno's sandbox refuses never does. */
export function isPassing(error: unknown): error is FileSystemError {
  if (error instanceof PermissionError && error.flag !== undefined) return false;
  return error instanceof FileSystemError && PASSING_ERRNOS.has(error.errno);
}

/**
 * Whether a sync wasn't begun, because its file or directory couldn't be opened, and may be made again. One that was begun and
 * failed never may: see `wal/writer/sync_queue.ts`.
 */
export function isUnbegunSync(error: unknown): error is FileSystemError {
  return isPassing(error) && error.operation === "open";
}

/** What `call` gives; it is made again, for about a second, while it fails with what may pass. No promise if it works at once. */
export function retryWhilePassing<R>(call: () => R): MaybePromise<R> {
  try {
    return call();
  } catch (error) {
    if (!isPassing(error)) throw error;
    return retryLater(call);
  }
}

async function retryLater<R>(call: () => R): Promise<R> {
  for (const pause of PAUSES_MS) {
    await wait(pause);
    try {
      return call();
    } catch (error) {
      if (!isPassing(error)) throw error;
    }
  }
  return call();
}

/**
 * As {@linkcode retryWhilePassing}, where nobody can wait for a promise: it blocks the process, for 60 ms at most. A sync is given with
 * `isUnbegunSync`.
 */
export function retryBlocking<R>(call: () => R, mayRepeat: (error: unknown) => boolean = isPassing): R {
  for (const pause of BLOCKING_PAUSES_MS) {
    try {
      return call();
    } catch (error) {
      if (!mayRepeat(error)) throw error;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
  }
  return call();
}

/**
 * Makes a sync again, for about eight seconds, that could not be begun.
 *
 * @throws at once, without a promise, what says that it was begun: who learns of that a moment later may be too late.
 */
export function retryUnbegunSync(error: unknown, sync: () => Promise<void>): Promise<void> {
  if (!isUnbegunSync(error)) throw error;
  return syncLater(sync);
}

async function syncLater(sync: () => Promise<void>): Promise<void> {
  for (let pause = 1; pause <= MAX_SYNC_PAUSE_MS; pause *= 2) {
    await wait(pause);
    try {
      return await sync();
    } catch (error) {
      if (!isUnbegunSync(error)) throw error;
    }
  }
  return await sync();
}

/** Resolves after so many milliseconds; after a turn of the event loop if there are none. */
export function wait(ms: number): Promise<void> {
  return ms === 0 ? yieldToEventLoop() : new Promise((resolve) => void setTimeout(resolve, ms));
}
