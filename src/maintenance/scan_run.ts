/**
 * Runs a scan in portions. Between them it yields to the event loop, reports progress, and checks for an abort.
 *
 * @module
 */

import { YieldBudget, yieldToEventLoop } from "../base/event_loop.ts";
import type { ScanItem } from "./scan_items.ts";
import type { DirectorySnapshot } from "./snapshot.ts";

/** The bytes between two yields to the event loop: a few milliseconds of work. */
const YIELD_BYTES = 4 * 1024 * 1024;
/** The cost of an item in addition to its bytes. */
const ITEM_BYTES = 256;

/** What is checked and called between two portions. */
export interface ScanRunOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** The bytes of all segments. */
export function segmentBytesOf({ segments }: DirectorySnapshot): number {
  return segments.reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * Calls `visit` for each item, and awaits the promise that it may return. An item's payloads are valid until then.
 *
 * @param totalBytes The expected number of bytes of the scan, for `onProgress`.
 * @throws the reason of the signal once it is aborted, and whatever the scan or `visit` throws.
 */
export async function runScan(
  scan: Iterable<ScanItem>,
  { signal, onProgress, totalBytes }: ScanRunOptions & { readonly totalBytes: number },
  visit: (item: ScanItem) => Promise<void> | void,
): Promise<void> {
  const budget = new YieldBudget(YIELD_BYTES);
  let doneBytes = 0;
  for (const item of scan) {
    const bytes = "length" in item ? item.length : item.kind === "unusable" ? item.bytes : 0;
    doneBytes += bytes;
    const visited = visit(item);
    if (visited !== undefined) await visited;
    if (!budget.spend(bytes + ITEM_BYTES)) continue;
    onProgress?.(doneBytes, totalBytes);
    await yieldToEventLoop();
    signal.throwIfAborted();
  }
}
