/**
 * Cuts the end off a segment, also where the system refuses to make the file shorter: Windows does while another program has it
 * mapped. Zeros are written over the end then, which recovery and readers take for the same: they are never records.
 *
 * @module
 */

import type { FileHandle } from "../fs/file_system.ts";
import { isPassing, retryBlocking } from "../fs/retry.ts";

/** How much is overwritten at a time. */
const CHUNK_BYTES = 64 * 1024;

/** Cuts a file back to `size`, or else fills it with zeros from there on; returns its length. */
export function cutBack(handle: FileHandle, size: number): number {
  try {
    retryBlocking(() => handle.truncate(size));
    return size;
  } catch (error) {
    if (!isPassing(error)) throw error;
  }
  const length = handle.size();
  for (let at = size; at < length; at += CHUNK_BYTES) {
    handle.write(new Uint8Array(Math.min(CHUNK_BYTES, length - at)), at);
  }
  return length;
}
