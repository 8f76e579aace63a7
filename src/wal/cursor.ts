/**
 * The cursor file: how far the log is committed, and where the batches in flight end.
 *
 * Guarantees: a write changes one of two slots, in turn, so that the state before survives whatever happens to it; a
 * slot that failed to be written is the next one to be written again; it needs no disk space after its creation. Losing
 * the cursor loses no record: the log wins, and everything in it is delivered again.
 *
 * The two-slot scheme is that of LMDB's meta pages.
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError, UnsupportedVersionError } from "../errors.ts";
import { closeQuietly } from "../fs/close.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import {
  CURSOR_FILE_BYTES,
  CURSOR_SLOT_BYTES,
  CURSOR_SLOT_STRIDE,
  type CursorState,
  decodeCursor,
  encodeCursor,
  FORMAT_VERSION,
  newCursorSlot,
} from "./format.ts";

/** Name of the cursor file in a buffer's directory. */
export const CURSOR_NAME = "cursor";

/** What a cursor file says: its newest valid slot and the number of that slot. */
interface SlotState {
  readonly state: CursorState;
  readonly slot: number;
}

/** Reads and writes the cursor file. */
export class Cursor {
  readonly #handle: FileHandle;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #generation: number;
  #slot: number;
  /** Whether neither slot is valid. */
  #isNew: boolean;
  /** Until the first sync nobody knows whether the process before has synced. */
  #isDirty = true;
  #syncing: Promise<void> | undefined;

  private constructor(handle: FileHandle, uuid: string, newest: SlotState | undefined) {
    this.#handle = handle;
    this.#bytes = newCursorSlot(uuid);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
    this.#generation = newest?.state.generation ?? 0;
    this.#slot = newest === undefined ? 0 : 1 - newest.slot;
    this.#isNew = newest === undefined;
  }

  /**
   * Reads the cursor file of a directory without changing anything.
   *
   * @returns `undefined` if there is none, or no valid slot in it.
   * @throws {UnsupportedVersionError} if it was written by a newer version.
   */
  static read(fileSystem: FileSystem, directory: string): CursorState | undefined {
    const path = join(directory, CURSOR_NAME);
    const handle = openIfThere(fileSystem, path);
    if (handle === undefined) return undefined;
    try {
      return newestSlot(handle, path)?.state;
    } finally {
      closeQuietly(handle);
    }
  }

  /**
   * Opens the cursor file for writing, created or brought to its full length if need be; after that, no write to it
   * needs disk space.
   */
  static open(fileSystem: FileSystem, directory: string, uuid: string): Cursor {
    const path = join(directory, CURSOR_NAME);
    const handle = openIfThere(fileSystem, path) ?? fileSystem.open(path, "create");
    try {
      const newest = newestSlot(handle, path);
      // Zeros are written, not left as a hole, because a hole needs space later.
      const size = handle.size();
      if (size < CURSOR_FILE_BYTES) handle.write(new Uint8Array(CURSOR_FILE_BYTES - size), size);
      return new Cursor(handle, uuid, newest);
    } catch (error) {
      closeQuietly(handle);
      throw error;
    }
  }

  /** Whether something was written that no sync has covered. */
  get isDirty(): boolean {
    return this.#isDirty;
  }

  /** Writes a state to the operating system. If it throws, the state before still stands. */
  write(state: Omit<CursorState, "generation" | "uuid">): void {
    const generation = this.#generation + 1;
    const length = encodeCursor(this.#bytes, this.#view, { ...state, generation });
    this.#handle.write(this.#bytes.subarray(0, length), this.#slot * CURSOR_SLOT_STRIDE);
    this.#generation = generation;
    this.#slot = 1 - this.#slot;
    this.#isDirty = true;
    if (!this.#isNew) return;
    // From the start there are two valid slots, so that one bad bit never leaves none.
    this.#isNew = false;
    this.write(state);
  }

  /**
   * Resolves when the last state written is on stable storage; nothing is done if it is. One sync at a time: the system
   * reports an error to one of those who wait, and it must reach them all.
   */
  async sync(): Promise<void> {
    while (this.#isDirty) {
      this.#syncing ??= this.#syncOnce();
      await this.#syncing;
    }
  }

  async #syncOnce(): Promise<void> {
    const generation = this.#generation;
    try {
      await this.#handle.sync();
      if (generation === this.#generation) this.#isDirty = false;
    } finally {
      this.#syncing = undefined;
    }
  }

  /** Closes the file. */
  close(): void {
    closeQuietly(this.#handle);
  }
}

function openIfThere(fileSystem: FileSystem, path: string): FileHandle | undefined {
  try {
    return fileSystem.open(path, "write");
  } catch (error) {
    if (error instanceof FileSystemError && error.errno === "ENOENT") return undefined;
    throw error;
  }
}

/** The valid slot with the higher generation. A newer version counts only if no slot is ours. */
function newestSlot(handle: FileHandle, path: string): SlotState | undefined {
  let newest: SlotState | undefined;
  let version: number | undefined;
  const bytes = new Uint8Array(CURSOR_SLOT_BYTES);
  for (let slot = 0; slot < 2; slot++) {
    const length = handle.read(bytes, slot * CURSOR_SLOT_STRIDE);
    const result = decodeCursor(bytes.subarray(0, length));
    if (result.kind === "version") version = result.version;
    if (result.kind !== "cursor") continue;
    if (newest === undefined || result.state.generation > newest.state.generation) {
      newest = { state: result.state, slot };
    }
  }
  if (newest === undefined && version !== undefined) {
    throw new UnsupportedVersionError({ path, version, supported: FORMAT_VERSION });
  }
  return newest;
}
