/**
 * The directory of a {@linkcode FileBuffer}: finds or creates it, and refuses one that holds somebody else's files.
 *
 * @module
 */

import { dirname } from "@std/path/dirname";
import { FileSystemError, NotABufferError, PermissionError } from "../errors/mod.ts";
import { isNoSuchFile, isNotFound } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { isBufferFile, isLogFile } from "../wal/names.ts";

/** A directory that is there; `naming` resolves when its name is durable. */
interface Directory {
  /** What it is called from now on, wherever the program goes and whatever becomes of symbolic links. */
  readonly path: string;
  readonly names: readonly string[];
  readonly naming: Promise<void>;
}

/** Makes sure that the directory is there, and is ours or empty. */
export async function prepareDirectory(fileSystem: FileSystem, path: string): Promise<Directory> {
  const directory = await listOrCreate(fileSystem, path);
  const { names, naming } = directory;
  if (names.some(isLogFile)) return directory;
  // Mount points and desktops put things of their own into directories that count as empty.
  const foreign = names.filter((name) => !isBufferFile(name) && !name.startsWith(".") && name !== "lost+found");
  if (foreign.length === 0) return directory;
  await naming;
  throw new NotABufferError(path, foreign.sort().slice(0, 5));
}

/**
 * The names in a directory, which is created if missing. Directories are created one at a time, and the name of each is
 * synced before the next: so only the deepest one that is there can have a name that isn't durable yet (its creator
 * may have died before it could sync it), and that one is synced in any case. For the last one's name the caller waits.
 */
async function listOrCreate(fileSystem: FileSystem, path: string): Promise<Directory> {
  const real = resolveIfThere(fileSystem, path);
  const missing: string[] = [];
  let there = real ?? path;
  let names = listIfThere(fileSystem, there, false);
  while (names === undefined && dirname(there) !== there) {
    missing.unshift(there);
    there = dirname(there);
    names = listIfThere(fileSystem, there, true, path);
  }
  let naming = syncName(fileSystem, there);
  for (const directory of missing) {
    await naming;
    fileSystem.makeDirectory(directory);
    naming = syncName(fileSystem, directory);
  }
  // Who waits for it comes later.
  naming.catch(() => {});
  if (missing.length === 0) return { path: real ?? path, names: names ?? [], naming };
  try {
    return { path: resolveIfThere(fileSystem, path) ?? path, names: [], naming };
  } catch (error) {
    await Promise.allSettled([naming]);
    throw error;
  }
}

/** The absolute path of a directory, without symbolic links; `undefined` if there is none, or it can't be told. */
function resolveIfThere(fileSystem: FileSystem, path: string): string | undefined {
  try {
    return fileSystem.resolve?.(path);
  } catch (error) {
    // What keeps it from being told shows at the next call, and is reported there; but for what Deno's sandbox refuses.
    const isSandbox = error instanceof PermissionError && error.flag !== undefined;
    if (isNotFound(error) || (error instanceof PermissionError && !isSandbox)) return undefined;
    throw error;
  }
}

/**
 * The names in a directory; `undefined` if it isn't there. We need not be allowed to look into one above ours. That a file is above
 * `asked` shows only there on Windows, which says of anything below a file that it isn't there.
 */
function listIfThere(
  fileSystem: FileSystem,
  path: string,
  isAbove: boolean,
  asked: string = path,
): string[] | undefined {
  try {
    return fileSystem.list(path);
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    if (!(error instanceof FileSystemError)) throw error;
    if (error.errno === "ENOTDIR") throw new NotABufferError(asked, [], { cause: error });
    if (error.code === "PERMISSION" && isAbove) return [];
    throw error;
  }
}

/** Makes a directory's name durable, unless we may not look into the directory that it is in. */
async function syncName(fileSystem: FileSystem, directory: string): Promise<void> {
  try {
    await fileSystem.syncDirectory(dirname(directory));
  } catch (error) {
    if (!(error instanceof PermissionError) || error.advice !== undefined) throw error;
  }
}
