/**
 * Cuts a torn tail off a segment that an earlier process has left.
 *
 * Guarantees: nothing is cut that was written since the segment was read, or that somebody else's copy of the directory
 * shares; when it resolves, the cut is on stable storage.
 *
 * @module
 */

import { join } from "@std/path/join";
import { BufferLockedError } from "../../errors/mod.ts";
import { closeQuietly, copyBytes, withFile } from "../../fs/file_helpers.ts";
import { replaceFile } from "../../fs/replace_file.ts";
import { retryWhilePassing } from "../../fs/retry.ts";
import { cutBack } from "../cut_back.ts";
import type { LogLocation, Segment } from "../segment_files.ts";

/**
 * Cuts a torn tail off. In a file that a copy of the directory shares (a hard link) it would be cut there, too, perhaps under
 * the hands of its owner: then this log gets a file of its own first.
 *
 * @throws {BufferLockedError} if the file has grown since it was read: somebody writes to it.
 */
export async function cutTail(
  { fileSystem, directory }: LogLocation,
  { name }: Segment,
  { position, size }: { position: number; size: number },
): Promise<void> {
  const path = join(directory, name);
  const isShared = (fileSystem.identify?.(path).links ?? 1) > 1;
  if (isShared) {
    const copy = { offset: 0, length: position };
    // The name is synced at the end of recovery, with all others.
    return await replaceFile(fileSystem, path, (target) => {
      withFile(fileSystem, path, (source) => copyBytes(source, copy, target));
    }, { sync: "content" });
  }
  const handle = await retryWhilePassing(() => fileSystem.open(path, "write"));
  try {
    if (handle.size() > size) throw new BufferLockedError(directory, undefined);
    cutBack(handle, position);
    await handle.sync();
  } finally {
    closeQuietly(handle);
  }
}
