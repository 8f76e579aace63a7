/**
 * Goes through a scan, item by item: with a progress bar, turns for the event loop, and an end when the user wants one.
 *
 * @module
 */

import { nextTurn, Turns } from "../base/event_loop.ts";
import type { CommandContext } from "../cli/shared/command.ts";
import { Progress } from "../cli/shared/progress.ts";
import type { DirectoryPicture, ScanItem } from "./scan.ts";

/** After so many bytes the event loop gets a turn: a few milliseconds' worth. */
const TURN_BYTES = 4 * 1024 * 1024;
/** What an item costs besides its bytes. */
const ITEM_BYTES = 256;

/** How to go through a scan. */
export interface WalkOptions {
  readonly context: CommandContext;
  /** For the progress bar. */
  readonly label: string;
  readonly totalBytes: number;
}

/** Bytes of all segments. */
export function segmentBytesOf({ segments }: DirectoryPicture): number {
  return segments.reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * Calls `visit` for each item, and waits where it returns a promise; an item's payloads are valid until then.
 *
 * @throws the reason of the context's signal once that is aborted, and whatever the scan or `visit` throws.
 */
export async function walk(
  scan: Iterable<ScanItem>,
  { context, label, totalBytes }: WalkOptions,
  visit: (item: ScanItem) => Promise<void> | void,
): Promise<void> {
  const { signal, errors, clock } = context;
  const progress = new Progress({ errors, clock, label, totalBytes });
  const turns = new Turns(TURN_BYTES);
  let doneBytes = 0;
  try {
    for (const item of scan) {
      const bytes = "length" in item ? item.length : item.kind === "unusable" ? item.bytes : 0;
      doneBytes += bytes;
      const visited = visit(item);
      if (visited !== undefined) await visited;
      if (!turns.spend(bytes + ITEM_BYTES)) continue;
      progress.update(doneBytes);
      await nextTurn();
      signal.throwIfAborted();
    }
  } finally {
    progress.clear();
  }
}
