/**
 * The cursor file: how far the log is committed, and where the batches in flight end.
 *
 * Guarantees: a write changes neither the slot of the state before nor that of the last state that was synced, so that
 * the one survives whatever happens to the process, and the other a power cut; a slot that failed to be written is the
 * next one to be written again; it needs no disk space after its creation. Losing the cursor loses no record: the
 * log wins, and everything in it is delivered again.
 *
 * The scheme is that of LMDB's meta pages, with a third one because not every write is synced here.
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError, UnsupportedVersionError } from "../errors.ts";
import { closeQuietly } from "../fs/close.ts";
import type { FileHandle, FileSystem, OpenMode } from "../fs/file_system.ts";
import {
  CURSOR_FILE_BYTES,
  CURSOR_SLOT_BYTES,
  CURSOR_SLOT_STRIDE,
  CURSOR_SLOTS,
  CURSOR_VERSION,
  type CursorPositions,
  type CursorState,
  decodeCursor,
  encodeCursor,
  newCursorSlot,
} from "./format.ts";

/** Name of the cursor file in a buffer's directory. */
export const CURSOR_NAME = "cursor";

/** A valid slot and its number. */
interface SlotState {
  readonly state: CursorState;
  readonly slot: number;
}

/** Reads and writes the cursor file. */
export class Cursor {
  readonly #handle: FileHandle;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** The bytes that count, by the number of boundaries: there are few, and a view costs as much as encoding. */
  readonly #views: Uint8Array[] = [];
  #generation: number;
  /** The slot of the newest state, and of the newest that was synced; -1 if there is none. */
  #newest: number;
  #synced: number;
  /** Until the first sync nobody knows whether the process before has synced. */
  #isDirty = true;
  /** The slot that the sync under way makes durable; -1 if there is none. */
  #syncing = -1;
  #running: Promise<void> | undefined;

  private constructor(handle: FileHandle, uuid: string, slots: readonly SlotState[]) {
    this.#handle = handle;
    this.#bytes = newCursorSlot(uuid);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
    const [newest, second] = slots;
    this.#generation = newest?.state.generation ?? 0;
    this.#newest = newest?.slot ?? -1;
    // Nobody knows what the process before has synced, until the first sync.
    this.#synced = second?.slot ?? this.#newest;
  }

  /**
   * Reads the cursor file of a directory without changing anything.
   *
   * @returns `undefined` if there is none, or no valid slot in it.
   * @throws {UnsupportedVersionError} if it was written by a newer version.
   */
  static read(fileSystem: FileSystem, directory: string): CursorState | undefined {
    const path = join(directory, CURSOR_NAME);
    const handle = openIfThere(fileSystem, path, "read");
    if (handle === undefined) return undefined;
    try {
      return readSlots(handle, path).at(0)?.state;
    } finally {
      closeQuietly(handle);
    }
  }

  /**
   * Opens the cursor file for writing, created or brought to its full length if need be; after that, no write to it
   * needs disk space. It should be synced before it is written to.
   */
  static open(fileSystem: FileSystem, directory: string, uuid: string): Cursor {
    const path = join(directory, CURSOR_NAME);
    const handle = openIfThere(fileSystem, path, "write") ?? fileSystem.open(path, "create");
    try {
      const slots = readSlots(handle, path);
      // Zeros are written, not left as a hole, because a hole needs space later.
      const size = handle.size();
      if (size < CURSOR_FILE_BYTES) handle.write(new Uint8Array(CURSOR_FILE_BYTES - size), size);
      return new Cursor(handle, uuid, slots);
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
  write(state: CursorPositions): void {
    const isFirst = this.#newest < 0;
    const generation = this.#generation + 1;
    const length = encodeCursor(this.#bytes, this.#view, generation, state);
    let slot = 0;
    while (slot === this.#newest || slot === this.#synced) slot++;
    // No other slot is left than the one that a sync is being made of: it proves nothing for this one then.
    if (slot === this.#syncing) this.#syncing = -1;
    const bytes = this.#views[state.boundaries.length] ??= this.#bytes.subarray(0, length);
    this.#handle.write(bytes, slot * CURSOR_SLOT_STRIDE);
    this.#generation = generation;
    this.#newest = slot;
    this.#isDirty = true;
    // From the start there are two valid slots, so that one bad bit never leaves none.
    if (isFirst) this.write(state);
  }

  /**
   * Resolves when the last state written is on stable storage; nothing is done if it is. One sync at a time: the system
   * reports an error to one of those who wait, and it must reach them all.
   */
  async sync(): Promise<void> {
    while (this.#isDirty) {
      this.#running ??= this.#syncOnce();
      await this.#running;
    }
  }

  async #syncOnce(): Promise<void> {
    const generation = this.#generation;
    this.#syncing = this.#newest;
    try {
      await this.#handle.sync();
      if (this.#syncing >= 0) this.#synced = this.#syncing;
      if (generation === this.#generation) this.#isDirty = false;
    } finally {
      this.#syncing = -1;
      this.#running = undefined;
    }
  }

  /** Closes the file. */
  close(): void {
    closeQuietly(this.#handle);
  }
}

function openIfThere(fileSystem: FileSystem, path: string, mode: OpenMode): FileHandle | undefined {
  try {
    return fileSystem.open(path, mode);
  } catch (error) {
    if (error instanceof FileSystemError && error.errno === "ENOENT") return undefined;
    throw error;
  }
}

/** The valid slots, the newest first. A newer version counts only if no slot is ours. */
function readSlots(handle: FileHandle, path: string): SlotState[] {
  const slots: SlotState[] = [];
  let version: number | undefined;
  const bytes = new Uint8Array(CURSOR_SLOT_BYTES);
  for (let slot = 0; slot < CURSOR_SLOTS; slot++) {
    const length = handle.read(bytes, slot * CURSOR_SLOT_STRIDE);
    const result = decodeCursor(bytes.subarray(0, length));
    if (result.kind === "version") version = result.version;
    if (result.kind === "cursor") slots.push({ state: result.state, slot });
  }
  if (slots.length === 0 && version !== undefined) {
    throw new UnsupportedVersionError({ path, version, supported: CURSOR_VERSION });
  }
  return slots.sort((a, b) => b.state.generation - a.state.generation);
}
