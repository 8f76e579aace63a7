/**
 * Goes through a scan item by item, in portions: between them the event loop gets a turn, progress is reported, and the
 * caller may abort.
 *
 * @module
 */

import { YieldBudget, yieldToEventLoop } from "../base/event_loop.ts";
import type { ScanItem } from "./scan_items.ts";
import type { DirectorySnapshot } from "./snapshot.ts";

/** After so many bytes the event loop gets a turn: a few milliseconds' worth. */
const YIELD_BYTES = 4 * 1024 * 1024;
/** What an item costs besides its bytes. */
const ITEM_BYTES = 256;

/** Who is asked, and told, between two portions. */
export interface ScanRunOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** Bytes of all segments. */
export function segmentBytesOf({ segments }: DirectorySnapshot): number {
  return segments.reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * Calls `visit` for each item, and waits where it returns a promise; an item's payloads are valid until then.
 *
 * @param totalBytes What the scan is expected to go through, for `onProgress`.
 * @throws the reason of the signal once that is aborted, and whatever the scan or `visit` throws.
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
