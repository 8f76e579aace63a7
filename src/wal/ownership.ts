/**
 * One owner per buffer: takes the directory, and notices when it isn't ours any more.
 *
 * The lock (`lock.ts`) keeps a second owner out. It can be lost without a word: POSIX gives it up when anybody in the
 * process closes a descriptor of its file; it stays behind with the directory when that is moved; some file systems have
 * none. So there is a second line of defence that doesn't rest on it:
 *
 * - Taking a buffer puts a new file `owner.json` into its directory, *before anything in the directory is read*. Its device
 *   and inode, which the owner knows from its own handle, are the token. The handle stays open, so the system gives the
 *   number to no other file.
 * - {@linkcode Ownership.verify} looks the name up: another file, or none, means that another owner has come, or that the
 *   directory was moved, removed or replaced. A hard link to the token in a copy of the directory shows in the number of its
 *   names, and then the directory itself must be the one that was opened. Once lost, it stays lost.
 *
 * **Why nothing that was confirmed is lost.** Whatever was written before a confirmation that succeeds was written before
 * the next owner put its token there, and so before that owner read the directory: it finds it. What is written after the
 * last confirmation may be overlooked, so with "always" a put is acknowledged only after a confirmation that follows its
 * sync; with an interval, or "never", the error names what was acknowledged since the last one.
 *
 * **What is confirmed.** Before anything that can't be taken back: a new segment, a removal, a file set aside, a write of
 * the cursor; at every sync; and before a write of records, if the last time is too long ago. The cursor is a file of each
 * owner's own, so within one turn of the event loop only its first writes are confirmed. {@linkcode Ownership.acquire} lets the
 * loop have a turn, so that of two owners in one process the first notices at once.
 *
 * Taken for granted: that names are looked up in one step, and that device and inode tell files apart while they are open.
 * Between a confirmation and the call that follows it another process can come; that window is microseconds wide, and what
 * falls into it is a segment without records, which the other owner removes, or a cursor of our own. Where the file system
 * can't tell files apart (`FileSystem.identify` is missing), or has no room for a file without content, the lock is all.
 *
 * @module
 */

import process from "node:process";
import { clearImmediate, setImmediate } from "node:timers";
import { join } from "@std/path/join";
import { crc32 } from "../base/crc32.ts";
import { yieldToEventLoop } from "../base/event_loop.ts";
import { OwnershipLostError } from "../errors/mod.ts";
import { closeQuietly, isNotFound } from "../fs/file_helpers.ts";
import type { FileHandle, FileIdentity, FileLock, FileSystem } from "../fs/file_system.ts";
import { lockDirectory } from "./lock.ts";
import { OWNER_NAME } from "./names.ts";
import { createOwnerFile, type OwnerNotes, readOwnerNotes, writeOwnerNotes } from "./owner_file.ts";
import type { CursorState } from "./position.ts";

/** After so many confirmations of writes of the cursor, those that follow in the same turn of the event loop have none. */
const MAX_CHECKS_PER_TICK = 8;

/** What {@linkcode Ownership.acquire} takes. */
export interface OwnershipDeps {
  readonly fileSystem: FileSystem;
  /** The buffer's directory: absolute, without symbolic links, as far as the file system can tell. */
  readonly directory: string;
  /** Wall time, milliseconds since 1970. */
  readonly openedAt: number;
}

/** Whom the ownership of a log concerns. */
export interface OwnershipListener {
  /** The sequence behind the last record that was acknowledged without a confirmation after its write. */
  acknowledged(): number;
  /** It is lost. Called once. */
  onLost(error: OwnershipLostError): void;
}

/** A directory that is ours. */
export class Ownership {
  readonly #options: OwnershipDeps;
  readonly #lock: FileLock;
  readonly #file: FileHandle | undefined;
  readonly #last: OwnerNotes | undefined;
  /** The directory and the token, as they were; `undefined` if the file system can't tell. */
  readonly #directory: FileIdentity | undefined;
  readonly #token: FileIdentity | undefined;
  #place: number;
  #listener: OwnershipListener | undefined;
  /** The sequence behind the last record that was acknowledged at the last confirmation. */
  #confirmed = 0;
  #lost: OwnershipLostError | undefined;
  /** Confirmations by `confirmOncePerTurn` since the event loop was last known to have had a turn. */
  #confirmations = 0;
  #turn: ReturnType<typeof setImmediate> | undefined;

  private constructor(
    options: OwnershipDeps,
    { lock, file, last, directory }: {
      readonly lock: FileLock;
      readonly file: FileHandle | undefined;
      readonly last: OwnerNotes | undefined;
      readonly directory: FileIdentity | undefined;
    },
  ) {
    this.#options = options;
    this.#lock = lock;
    this.#file = file;
    this.#last = last;
    this.#directory = directory;
    this.#token = directory === undefined ? undefined : file?.identify?.();
    this.#place = last?.place ?? 0;
  }

  /**
   * Takes the buffer in a directory.
   *
   * @throws {BufferLockedError} if it has an owner.
   */
  static async acquire(options: OwnershipDeps): Promise<Ownership> {
    const { fileSystem, directory } = options;
    const lock = lockDirectory(fileSystem, directory);
    let file: FileHandle | undefined;
    try {
      const identity = fileSystem.identify?.(directory);
      const last = readOwnerNotes(fileSystem, directory);
      file = createOwnerFile(fileSystem, directory);
      const ownership = new Ownership(options, { lock, file, last, directory: identity });
      ownership.#write(last);
      await yieldToEventLoop();
      return ownership;
    } catch (error) {
      closeQuietly(file);
      lock.release();
      throw error;
    }
  }

  /** Whether it is known to be lost. */
  get isLost(): boolean {
    return this.#lost !== undefined;
  }

  /** Says whom it concerns. */
  listen(listener: OwnershipListener): void {
    this.#listener = listener;
    this.#confirmed = listener.acknowledged();
  }

  /**
   * What this directory is called from now on, going by its cursor: as before, unless it is new, or a copy of another one.
   *
   * @param uuid The buffer's.
   */
  assignPlace(cursor: Pick<CursorState, "place"> | undefined, uuid: string): number {
    const last = this.#last;
    const { inode = 0, device = 0 } = this.#directory ?? {};
    const isKnown = this.#directory === undefined || last?.place === undefined || last.inode === inode;
    this.#place = (isKnown ? last?.place ?? cursor?.place : 0) ||
      hashPlace(`${uuid} ${last?.place} ${device} ${inode}`);
    return this.#place;
  }

  /** Notes the generation of the cursor: once the cursor says what this directory is called, and at the end. */
  recordGeneration(generation: number): void {
    const inode = this.#directory?.inode;
    if (inode !== undefined) this.#write({ place: this.#place, inode, generation });
  }

  #write(notes: Partial<OwnerNotes> | undefined): void {
    if (this.#file === undefined) return;
    const { place, inode, generation } = notes ?? {};
    writeOwnerNotes(this.#file, {
      pid: process.pid,
      runtime: this.#options.fileSystem.name,
      openedAt: new Date(this.#options.openedAt).toISOString(),
      ...(place === undefined ? {} : { place, inode, generation }),
    });
  }

  /**
   * Makes sure that the directory is still ours.
   *
   * @throws {OwnershipLostError} if it isn't.
   * @throws {FileSystemError} if that can't be told.
   */
  verify(): void {
    if (this.#lost !== undefined) throw this.#lost;
    const reason = this.#whyLost();
    if (reason !== undefined) throw this.#lose(reason);
    this.#confirmed = this.#listener?.acknowledged() ?? 0;
  }

  /**
   * As {@linkcode Ownership.verify}; but of many calls within one turn of the event loop only the first are confirmed, as
   * little time passes in between, and a look at the file costs a tenth of a small batch.
   */
  verifyThrottled(): void {
    if (this.#turn !== undefined && this.#lost === undefined) return;
    this.verify();
    if (++this.#confirmations < MAX_CHECKS_PER_TICK) return;
    this.#turn = setImmediate(() => {
      this.#turn = undefined;
      this.#confirmations = 0;
    });
  }

  /** Whether the directory is still ours, as far as can be told. */
  isVerified(): boolean {
    try {
      this.verify();
      return true;
    } catch {
      return false;
    }
  }

  /** Gives it up. */
  release(): void {
    clearImmediate(this.#turn);
    closeQuietly(this.#file);
    this.#lock.release();
  }

  #whyLost(): string | undefined {
    if (this.#token === undefined) return undefined;
    const token = this.#identify(join(this.#options.directory, OWNER_NAME));
    const isToken = isSame(token, this.#token);
    if (isToken && token!.links === 1) return undefined;
    if (!isSame(this.#identify(this.#options.directory), this.#directory)) {
      return "the directory was moved, removed or replaced";
    }
    return isToken ? undefined : "another owner has opened it";
  }

  #identify(path: string): FileIdentity | undefined {
    try {
      return this.#options.fileSystem.identify!(path);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #lose(reason: string): OwnershipLostError {
    const next = this.#listener?.acknowledged() ?? 0;
    const unconfirmed = next > this.#confirmed ? { first: this.#confirmed, last: next - 1 } : undefined;
    this.#lost = new OwnershipLostError(this.#options.directory, { reason, unconfirmed });
    this.#listener?.onLost(this.#lost);
    return this.#lost;
  }
}

function isSame(one: FileIdentity | undefined, other: FileIdentity | undefined): boolean {
  return one !== undefined && one.device === other?.device && one.inode === other.inode;
}

/** A number for a directory, never 0: of 32 bits, so that two copies of a buffer hardly ever have the same. */
function hashPlace(description: string): number {
  return 1 + crc32(new TextEncoder().encode(description));
}
