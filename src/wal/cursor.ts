/**
 * The cursor file: how far the log is committed, and where the batches in flight end.
 *
 * Guarantees:
 * - A write spares the newest state, so that a process that dies in the middle of it loses nothing.
 * - A write spares the newest state that was synced, and the one that a sync under way is making durable. So when a sync has
 *   ended, a power cut leaves what was written before that sync began, or something newer, however many writes came since.
 * - `sync` ends: it waits for the sync under way, which may have begun too early, and for one of its own. Writes that come
 *   meanwhile are not waited for.
 * - Each owner has a file of its own: {@linkcode Cursor.replace} makes a new one and renames it over the old one. A former
 *   owner that still writes, or a hard link to the old file in somebody's copy of the directory, changes nothing here.
 * - A write needs no disk space.
 *
 * Losing the cursor loses no record: the log wins, and everything in it is delivered again.
 *
 * The scheme is that of LMDB's meta pages, with two slots more because not every write is synced here.
 *
 * @module
 */

import { join } from "@std/path/join";
import { NoSpaceError, UnsupportedVersionError } from "../errors/mod.ts";
import { closeQuietly, openIfExists, openOrCreate } from "../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { replaceFile } from "../fs/replace_file.ts";
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
 * Where a new file has no room, the old one is gone on with, this many generations further: so no write of a former owner
 * can be taken for a newer one.
 */
const GENERATIONS_PER_OWNER: number = 2 ** 20;

/** A valid slot and its number. */
interface SlotState {
  readonly state: CursorState;
  readonly slot: number;
}

/** What a cursor begins with. */
interface Beginning {
  readonly owner: CursorOwner;
  readonly generation: number;
  /** How many slots fit the file. */
  readonly slots: number;
  /** The slot of the newest state, and of the newest that may have been synced; -1 if there is none. */
  readonly newest: number;
  readonly synced: number;
}

/** Reads and writes the cursor file. */
export class Cursor {
  #handle: FileHandle;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** The bytes that count, by the number of boundaries: there are few, and a view costs as much as encoding. */
  readonly #views: Uint8Array[] = [];
  readonly #slots: number;
  #generation: number;
  /** The generation that is on stable storage; below all until the first sync, as nobody knows what was synced before. */
  #syncedGeneration = -1;
  /** The slot of the newest state, and of the newest that was synced; -1 if there is none. */
  #newest: number;
  #synced: number;
  /** The slot that the sync under way makes durable; -1 if there is none. */
  #syncing = -1;
  #running: Promise<void> | undefined;

  private constructor(handle: FileHandle, { owner, generation, slots, newest, synced }: Beginning) {
    this.#handle = handle;
    this.#bytes = newCursorSlot(owner);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
    this.#slots = slots;
    this.#generation = generation;
    this.#newest = newest;
    this.#synced = synced;
  }

  /**
   * Reads the cursor file of a directory without changing anything.
   *
   * @returns `undefined` if there is none, or no valid slot in it.
   * @throws {UnsupportedVersionError} if it was written by a newer version.
   */
  static read(fileSystem: FileSystem, directory: string): CursorState | undefined {
    const path = join(directory, CURSOR_NAME);
    const handle = openIfExists(fileSystem, path, "read");
    if (handle === undefined) return undefined;
    try {
      return readSlots(handle, path).at(0)?.state;
    } finally {
      closeQuietly(handle);
    }
  }

  /**
   * Makes a new cursor file in place of the one that is there, and syncs it; its name is to be synced by the caller. Where
   * there is no room for it, the old file is gone on with, unless other directories share it.
   *
   * @param state What it says. Where that is what the old file says, the two are alike to the last byte once a file has been
   * replaced: to open a buffer again changes nothing.
   * @throws {NoSpaceError} if there is no room, and no file to go on with.
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
      if (!(error instanceof NoSpaceError) || !isUnshared(fileSystem, join(directory, CURSOR_NAME))) throw error;
    }
    const cursor = Cursor.open(fileSystem, directory, owner);
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
    const isSame = found !== undefined && isEqual(found, { ...owner, ...state });
    // The state is written twice.
    const generation = Math.max(0, (found?.generation ?? 0) - (isSame ? 2 : 1));
    const cursor = await replaceFile(fileSystem, join(directory, CURSOR_NAME), (handle) => {
      // Zeros are written, not left as a hole, because a hole needs space later.
      handle.write(new Uint8Array(CURSOR_FILE_BYTES), 0);
      const made = new Cursor(handle, { owner, generation, slots: CURSOR_SLOTS, newest: -1, synced: -1 });
      made.write(state);
      return made;
    }, { newPath: join(directory, NEW_CURSOR_NAME), sync: "content", isKeptOpen: true });
    cursor.#noteSynced(cursor.#newest, cursor.#generation);
    try {
      cursor.#openByName(fileSystem, directory);
      return cursor;
    } catch (error) {
      cursor.close();
      throw error;
    }
  }

  /**
   * Opens the cursor file that is there for writing, created or brought to its full length if need be; after that, no write
   * to it needs disk space. It should be synced before it is written to.
   */
  static open(fileSystem: FileSystem, directory: string, owner: CursorOwner): Cursor {
    const path = join(directory, CURSOR_NAME);
    const handle = openOrCreate(fileSystem, path);
    try {
      const [newest, second] = readSlots(handle, path);
      return new Cursor(handle, {
        owner,
        generation: (newest?.state.generation ?? 0) + GENERATIONS_PER_OWNER,
        slots: makeRoomForSlots(handle),
        newest: newest?.slot ?? -1,
        // Nobody knows what the process before has synced, until the first sync.
        synced: second?.slot ?? newest?.slot ?? -1,
      });
    } catch (error) {
      closeQuietly(handle);
      throw error;
    }
  }

  /** Opens the file by its name, which is the one that errors tell from then on; not if it is another owner's already. */
  #openByName(fileSystem: FileSystem, directory: string): void {
    const handle = fileSystem.open(join(directory, CURSOR_NAME), "write");
    let other = handle;
    try {
      if (handle.identify?.().inode !== this.#handle.identify?.().inode) return;
      other = this.#handle;
      this.#handle = handle;
    } finally {
      closeQuietly(other);
    }
  }

  /** Counts the writes: that of the newest state. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether something was written that no sync has covered. */
  get isDirty(): boolean {
    return this.#syncedGeneration < this.#generation;
  }

  /** Writes a state to the operating system. If it throws, the state before still stands. */
  write(state: CursorPositions): void {
    const isFirst = this.#newest < 0;
    const generation = this.#generation + 1;
    const length = encodeCursor(this.#bytes, this.#view, generation, state);
    const slot = this.#freeSlot();
    const bytes = this.#views[state.boundaries.length] ??= this.#bytes.subarray(0, length);
    this.#handle.write(bytes, slot * CURSOR_SLOT_STRIDE);
    this.#generation = generation;
    this.#newest = slot;
    // From the start there are two valid slots, so that one bad bit never leaves none.
    if (isFirst) this.write(state);
  }

  /**
   * A slot that nothing rests on. Of four there always is one. A file of version 1 on a disk without room for a fourth slot
   * has three: then, while a sync runs, it is the newest state that is written over, as what is synced must stay.
   */
  #freeSlot(): number {
    for (let slot = 0; slot < this.#slots; slot++) {
      if (slot !== this.#newest && slot !== this.#synced && slot !== this.#syncing) return slot;
    }
    return this.#newest;
  }

  /**
   * Resolves when the last state written before the call is on stable storage; nothing is done if it is. One sync at a
   * time: the system reports an error to one of those who wait, and it must reach them all. Bound: the sync under way and
   * one more.
   */
  async sync(): Promise<void> {
    const wanted = this.#generation;
    while (this.#syncedGeneration < wanted) {
      // One that is under way may have begun before the write; the one after it covers what is wanted, whoever begins it.
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

  /** Closes the file. */
  close(): void {
    closeQuietly(this.#handle);
  }
}

/** Whether two states say the same, whatever their generation. */
function isEqual(one: CursorOwner & CursorPositions, other: CursorOwner & CursorPositions): boolean {
  const isOfOneOwner = one.uuid === other.uuid && one.place === other.place && one.isSynced === other.isSynced;
  return isOfOneOwner && isSameState(one, other);
}

/** Brings a file to its full length, if the disk has the room; returns how many slots fit it. */
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

/** Whether the file at `path` is there, and in no other directory as well, as far as the file system can tell. */
function isUnshared(fileSystem: FileSystem, path: string): boolean {
  const handle = openIfExists(fileSystem, path, "read");
  closeQuietly(handle);
  return handle !== undefined && (fileSystem.identify?.(path).links ?? 1) === 1;
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
