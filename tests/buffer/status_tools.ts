/**
 * What the tests of status.json share.
 */

import type { FileSystem } from "../../src/fs/file_system.ts";

/** The directory of the buffer. */
export const PATH = "/data/buffer";

/** The same file system, as a plain object. */
export function passing(fileSystem: FileSystem): FileSystem {
  return {
    name: fileSystem.name,
    open: (path, mode) => fileSystem.open(path, mode),
    list: (path) => fileSystem.list(path),
    makeDirectory: (path) => fileSystem.makeDirectory(path),
    rename: (from, to) => fileSystem.rename(from, to),
    remove: (path) => fileSystem.remove(path),
    syncDirectory: (path) => fileSystem.syncDirectory(path),
    lock: (path) => fileSystem.lock(path),
  };
}
