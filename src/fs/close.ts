/**
 * Closing a file when nothing depends on the result.
 *
 * What has to be durable was synced before, and a descriptor is given back even if the system reports an error at
 * close (close(2)); so there is nothing to do about it, and nothing that a caller could be told.
 *
 * @module
 */

import { FileSystemError } from "../errors/mod.ts";
import type { FileHandle } from "./file_system.ts";

/** Closes a file; a failure to do so is ignored. */
export function closeQuietly(handle: FileHandle | undefined): void {
  try {
    handle?.close();
  } catch (error) {
    if (!(error instanceof FileSystemError)) throw error;
  }
}
