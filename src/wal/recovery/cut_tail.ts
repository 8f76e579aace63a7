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
import { closeQuietly, createEmptyFile, withFile } from "../../fs/file_helpers.ts";
import type { FileSystem } from "../../fs/file_system.ts";
import type { LogLocation, Segment } from "../segment_files.ts";

/** How much is copied at a time. */
const COPY_BYTES = 256 * 1024;

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
  if (isShared) return await replaceByCopy(fileSystem, path, position);
  const handle = fileSystem.open(path, "write");
  try {
    if (handle.size() > size) throw new BufferLockedError(directory, undefined);
    handle.truncate(position);
    await handle.sync();
  } finally {
    closeQuietly(handle);
  }
}

/** Puts a copy of the first `length` bytes of a file in its place; the old file stays as it is under its other names. */
async function replaceByCopy(fileSystem: FileSystem, path: string, length: number): Promise<void> {
  const newPath = `${path}.new`;
  const target = createEmptyFile(fileSystem, newPath);
  try {
    withFile(fileSystem, path, (source) => {
      const chunk = new Uint8Array(Math.min(COPY_BYTES, length));
      for (let at = 0; at < length; at += chunk.length) {
        const part = chunk.subarray(0, Math.min(chunk.length, length - at));
        target.write(part.subarray(0, source.read(part, at)), at);
      }
    });
    await target.sync();
  } catch (error) {
    closeQuietly(target);
    fileSystem.remove(newPath);
    throw error;
  }
  closeQuietly(target);
  fileSystem.rename(newPath, path);
}
