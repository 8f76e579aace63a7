/**
 * The cursor file: how far the log is committed, and where the batches in flight end.
 *
 * Guarantees:
 * - A write preserves the newest state, so a process that dies in the middle of a write loses nothing.
 * - A write preserves the newest synced state, and the state that a running sync is making durable. So after a sync, a
 *   power cut leaves the newest state written before that sync began, or a newer one, however many writes came since.
 * - `sync` takes bounded time: it waits for the running sync, which may have begun before the write, and for one more.
 *   It ignores later writes.
 * - Each owner has its own file: {@linkcode Cursor.replace} creates a new file and renames it over the old one. So the
 *   file can't be changed by a former owner that still writes, or through a hard link to the old file in a copy of the
 *   directory.
 * - A write needs no additional disk space.
 *
 * Losing the cursor loses no record: the log alone decides then, and everything in it is delivered again.
 *
 * The scheme is that of LMDB's meta pages, with two more slots because not every write is synced here.
 *
 * @module
 */

import { join } from "@std/path/join";
import { NoSpaceError, UnsupportedVersionError } from "../errors/mod.ts";
import { closeQuietly, ifExists, openIfExists, openOrCreate, withFile } from "../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { replaceFile } from "../fs/replace_file.ts";
import { isPassing, retryWhilePassing } from "../fs/retry.ts";
import {
  CURSOR_FILE_BYTES,
  CURSOR_SLOT_BYTES,
  CURSOR_SLOT_STRIDE,
  CURSOR_SLOTS,
  CURSOR_VERSION,
  cursorFileBytes,
  decodeCursor,
  encodeCursor,
  newCursorSlot,
} from "./cursor_format.ts";
import { CURSOR_NAME, NEW_CURSOR_NAME } from "./names.ts";
import { type CursorOwner, type CursorPositions, type CursorState, isSameState } from "./position.ts";

/**
 * Where there is no room for a new file, an owner continues with the old one, this many generations later. So a write
 * of a former owner never counts as newer.
 */
const GENERATIONS_PER_OWNER: number = 2 ** 20;

export class Cursor {
  #handle: FileHandle;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** The used part of `#bytes`, by number of boundaries. Kept, because making a view costs as much as encoding. */
  readonly #views: Uint8Array[] = [];
  readonly #slots: number;
  #generation: number;
  /** The newest generation on stable storage; -1 until the first sync: what was synced before is unknown. */
  #syncedGeneration = -1;
  /** The slots of the newest state and of the newest state that may have been synced; -1 for none. */
  #newest = -1;
  #synced = -1;
  /** The slot that the running sync makes durable; -1 if no sync is running. */
  #syncing = -1;
  #running: Promise<void> | undefined;

  /** Continues after `generation` in a file with room for `slots` slots. */
  private constructor(
    handle: FileHandle,
    owner: CursorOwner,
    { generation, slots }: { readonly generation: number; readonly slots: number },
  ) {
    this.#handle = handle;
    this.#bytes = newCursorSlot(owner);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
    this.#slots = slots;
    this.#generation = generation;
  }

  /**
   * Reads the cursor file of a directory. Read-only.
   *
   * @returns The newest state; `undefined` if there is no file, or no valid slot in it.
   * @throws {UnsupportedVersionError} if a newer version wrote it.
   */
  static read(fileSystem: FileSystem, directory: string): CursorState | undefined {
    const path = join(directory, CURSOR_NAME);
    return ifExists(() => withFile(fileSystem, path, (handle) => readSlots(handle, path).at(0)?.state));
  }

  /**
   * Replaces the cursor file with a new one, and syncs its content first; the caller syncs its name. Where no state is
   * replaced, none can be lost: then nothing is synced, and the caller may sync content and name side by side. Where there
   * is no room for a new file, the old one stays in use, unless it has a hard link in another directory.
   *
   * @param state The first state of the new file. If the old file was created in this way, and nothing was written to
   * it since, then the same state makes both equal byte for byte: reopening a buffer changes nothing.
   * @throws {NoSpaceError} if there is no room, and no old file that can stay in use.
   */
  static async replace(
    fileSystem: FileSystem,
    directory: string,
    owner: CursorOwner,
    state: CursorPositions,
  ): Promise<Cursor> {
    try {
      return await Cursor.#create(fileSystem, directory, owner, state);
    } catch (error) {
      if (
        !(error instanceof NoSpaceError || isPassing(error)) || !isUnshared(fileSystem, join(directory, CURSOR_NAME))
      ) throw error;
    }
    const cursor = await retryWhilePassing(() => Cursor.open(fileSystem, directory, owner));
    try {
      cursor.write(state);
      await cursor.sync();
      return cursor;
    } catch (error) {
      cursor.close();
      throw error;
    }
  }

  static async #create(
    fileSystem: FileSystem,
    directory: string,
    owner: CursorOwner,
    state: CursorPositions,
  ): Promise<Cursor> {
    const found = Cursor.read(fileSystem, directory);
    const { uuid, place, isSynced } = owner;
    const isOfOwner = found?.uuid === uuid && found.place === place && found.isSynced === isSynced;
    const isSame = isOfOwner && isSameState(found, state);
    // The first write below counts as two, because it goes to two slots.
    const generation = Math.max(0, (found?.generation ?? 0) - (isSame ? 2 : 1));
    const sync = found === undefined ? "nothing" : "content";
    const cursor = await replaceFile(fileSystem, join(directory, CURSOR_NAME), (handle) => {
      // The zeros are written, because a hole would need space later.
      handle.write(new Uint8Array(CURSOR_FILE_BYTES), 0);
      const made = new Cursor(handle, owner, { generation, slots: CURSOR_SLOTS });
      made.write(state);
      return made;
    }, { newPath: join(directory, NEW_CURSOR_NAME), sync, isKeptOpen: true });
    if (sync === "content") cursor.#noteSynced(cursor.#newest, cursor.#generation);
    try {
      cursor.#openByName(fileSystem, directory);
      return cursor;
    } catch (error) {
      cursor.close();
      throw error;
    }
  }

  /**
   * Opens the present cursor file for writing; creates it, or extends it to its full length, if necessary. After that,
   * no write to it needs additional disk space. The caller should sync it before writing to it.
   */
  static open(fileSystem: FileSystem, directory: string, owner: CursorOwner): Cursor {
    const path = join(directory, CURSOR_NAME);
    const handle = openOrCreate(fileSystem, path);
    try {
      const [newest, second] = readSlots(handle, path);
      const generation = (newest?.state.generation ?? 0) + GENERATIONS_PER_OWNER;
      const cursor = new Cursor(handle, owner, { generation, slots: makeRoomForSlots(handle) });
      cursor.#newest = newest?.slot ?? -1;
      // Until the first sync, nothing shows that the newest state was synced: the one before must survive, too.
      cursor.#synced = second?.slot ?? cursor.#newest;
      return cursor;
    } catch (error) {
      closeQuietly(handle);
      throw error;
    }
  }

  /** Reopens the file by its final name, so that errors state that name; unless it is another owner's file by now. */
  #openByName(fileSystem: FileSystem, directory: string): void {
    let handle: FileHandle;
    try {
      handle = fileSystem.open(join(directory, CURSOR_NAME), "write");
    } catch (error) {
      if (!isPassing(error)) throw error;
      // The one that is open does as well.
      return;
    }
    let other = handle;
    try {
      if (handle.identify?.().inode !== this.#handle.identify?.().inode) return;
      other = this.#handle;
      this.#handle = handle;
    } finally {
      closeQuietly(other);
    }
  }

  /** The generation of the newest state: each write adds 1. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether the newest state still needs a sync. */
  get isDirty(): boolean {
    return this.#syncedGeneration < this.#generation;
  }

  /** Writes a state to the operating system. If it throws, the state before remains the newest. */
  write(state: CursorPositions): void {
    const isFirst = this.#newest < 0;
    const generation = this.#generation + 1;
    const length = encodeCursor(this.#bytes, this.#view, generation, state);
    const slot = this.#freeSlot();
    const bytes = this.#views[state.boundaries.length] ??= this.#bytes.subarray(0, length);
    this.#handle.write(bytes, slot * CURSOR_SLOT_STRIDE);
    this.#generation = generation;
    this.#newest = slot;
    // There are two valid slots from the start, so that one remains after a bad bit.
    if (isFirst) this.write(state);
  }

  /**
   * A slot that may be overwritten. Of four slots, one always is free. A file of version 1 on a disk without room for a
   * fourth slot has three: while a sync runs there, the newest state is overwritten, to keep the synced states.
   */
  #freeSlot(): number {
    for (let slot = 0; slot < this.#slots; slot++) {
      if (slot !== this.#newest && slot !== this.#synced && slot !== this.#syncing) return slot;
    }
    return this.#newest;
  }

  /**
   * Resolves when the last state written before the call is on stable storage; does nothing if it is already. Syncs run
   * one at a time: the system reports an error to only one of several concurrent syncs, and all callers must get it.
   * Bound: the running sync and one more.
   */
  async sync(): Promise<void> {
    const wanted = this.#generation;
    while (this.#syncedGeneration < wanted) {
      // A running sync may have begun before the write. The next one covers it, no matter which call begins it.
      this.#running ??= this.#syncOnce();
      await this.#running;
    }
  }

  async #syncOnce(): Promise<void> {
    const generation = this.#generation;
    const slot = this.#syncing = this.#newest;
    try {
      await this.#handle.sync();
      this.#noteSynced(slot, generation);
    } finally {
      this.#syncing = -1;
      this.#running = undefined;
    }
  }

  #noteSynced(slot: number, generation: number): void {
    this.#synced = slot;
    this.#syncedGeneration = generation;
  }

  close(): void {
    closeQuietly(this.#handle);
  }
}

/** Extends a file to its full length, if the disk has room. Returns how many slots fit into it. */
function makeRoomForSlots(handle: FileHandle): number {
  const size = handle.size();
  if (size >= CURSOR_FILE_BYTES) return CURSOR_SLOTS;
  try {
    handle.write(new Uint8Array(CURSOR_FILE_BYTES - size), size);
    return CURSOR_SLOTS;
  } catch (error) {
    const slots = CURSOR_SLOTS - 1;
    if (!(error instanceof NoSpaceError) || size < cursorFileBytes(slots)) throw error;
    return slots;
  }
}

/** Whether the file at `path` exists and has no other hard link, as far as the file system can tell. */
function isUnshared(fileSystem: FileSystem, path: string): boolean {
  const handle = openIfExists(fileSystem, path, "read");
  closeQuietly(handle);
  return handle !== undefined && (fileSystem.identify?.(path).links ?? 1) === 1;
}

/** Reads the valid slots, newest first. A slot of a newer version is an error only if there is no valid one. */
function readSlots(handle: FileHandle, path: string): { readonly state: CursorState; readonly slot: number }[] {
  const slots: ReturnType<typeof readSlots> = [];
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
