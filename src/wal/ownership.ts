/**
 * One owner per buffer: acquires a buffer's directory, and notices when another owner has taken it over.
 *
 * The lock (`lock.ts`) keeps a second owner out, but it can be lost without notice: POSIX releases it when anything in the
 * process closes a descriptor of the file; it moves along when the directory is renamed, and leaves the path unlocked; some
 * file systems have no locks. So there is a second mechanism, a fencing token, which doesn't depend on the lock:
 *
 * - {@linkcode Ownership.acquire} puts a new file `owner.json` into the directory *before anything in the directory is
 *   read*. Its device and inode are the token; the owner knows them from its own handle. The handle stays open, so the
 *   system gives that inode to no other file.
 * - {@linkcode Ownership.verify} looks the name up. If it is another file, or missing, then another owner has acquired the
 *   buffer, or the directory was moved, removed or replaced. If the file has a second hard link (in a copy of the
 *   directory), the directory must also be the one that was opened. Once lost, the ownership stays lost.
 *
 * **Why nothing that was verified is lost.** A verification that succeeds precedes the next owner's token, and that owner
 * reads the directory only after placing its token. So it finds everything that was written before the last successful
 * verification. What was written after it may be overlooked. So with `fsync: "always"` a put is acknowledged only after a
 * verification that follows its sync. With an interval, or `"never"`, the error names the records acknowledged since the
 * last verification.
 *
 * **When it is verified.** Before everything that can't be undone: creating a segment, removing one, moving a file to the
 * quarantine, writing the cursor. At every sync. Before a write of records, if the last verification is too old. Each owner
 * has a cursor file of its own, so it is enough to verify the first few writes of the cursor within one turn of the event
 * loop. `acquire` yields to the event loop once, so that of two owners in one process the first one notices at once.
 *
 * **Assumptions.** The system looks a name up atomically. Device and inode identify a file as long as it is open. Between a
 * verification and the call that follows, another process may acquire the buffer; in that window of microseconds the former
 * owner can only leave a segment without records, which the new owner removes, or its own cursor file. Where the file
 * system can't identify files (`FileSystem.identify` is missing), or has no room for an empty file, only the lock protects
 * the buffer.
 *
 * @module
 */

import { clearImmediate, setImmediate } from "node:timers";
import { join } from "@std/path/join";
import { crc32 } from "../base/crc32.ts";
import { yieldToEventLoop } from "../base/event_loop.ts";
import { processId } from "../base/runtime.ts";
import { OwnershipLostError } from "../errors/mod.ts";
import { closeQuietly, isNotFound } from "../fs/file_helpers.ts";
import type { FileIdentity, FileLock } from "../fs/file_system.ts";
import { retryBlocking } from "../fs/retry.ts";
import { lockDirectory } from "./lock.ts";
import { OWNER_NAME } from "./names.ts";
import { createOwnerFile, type OwnerFile, type OwnerNotes, readOwnerNotes, writeOwnerNotes } from "./owner_file.ts";
import type { CursorState } from "./position.ts";
import type { LogLocation } from "./segment_files.ts";

/** The most calls of `verifyThrottled` that verify within one turn of the event loop. */
const MAX_CHECKS_PER_TICK = 8;

/** What an {@linkcode Ownership} works with. The directory's path is absolute and, where possible, without links. */
interface OwnershipDeps extends LogLocation {
  /** Wall time, milliseconds since 1970. */
  readonly openedAt: number;
}

/** What was found and made when the directory was acquired. */
interface AcquiredParts {
  readonly lock: FileLock;
  /** The token; `undefined` if there is no room for it. */
  readonly file: OwnerFile | undefined;
  /** What the last owner noted. */
  readonly last: OwnerNotes | undefined;
  /** The identity of the directory; `undefined` if the file system has none. */
  readonly directory: FileIdentity | undefined;
}

/** The log that depends on the ownership. */
interface OwnershipListener {
  /** The sequence after the last record that was acknowledged without a verification after its write; 0 for none. */
  acknowledged(): number;
  /** The ownership is lost. Called once. */
  onLost(error: OwnershipLostError): void;
}

/** The ownership of a buffer's directory. */
export class Ownership {
  readonly #deps: OwnershipDeps;
  readonly #parts: AcquiredParts;
  /** The identity of the token when it was placed; `undefined` if the file system has none. */
  readonly #token: FileIdentity | undefined;
  /** Where the token is: with "always" it is looked at after every write. */
  readonly #tokenPath: string;
  #place: number;
  #listener: OwnershipListener | undefined;
  /** The sequence after the last record that was acknowledged at the last verification. */
  #confirmed = 0;
  #lost: OwnershipLostError | undefined;
  /** Verifications by `verifyThrottled` since the event loop was last known to have turned. */
  #throttledChecks = 0;
  /** Set while no more of them are made; ends this turn. */
  #nextTurn: ReturnType<typeof setImmediate> | undefined;

  private constructor(deps: OwnershipDeps, parts: AcquiredParts) {
    this.#deps = deps;
    this.#parts = parts;
    this.#token = parts.directory && parts.file?.identity;
    this.#tokenPath = join(deps.directory, OWNER_NAME);
    this.#place = parts.last?.place ?? 0;
  }

  /**
   * Acquires the buffer in a directory.
   *
   * @throws {BufferLockedError} if another owner holds the lock.
   */
  static async acquire(deps: OwnershipDeps): Promise<Ownership> {
    const { fileSystem, directory } = deps;
    const lock = await lockDirectory(fileSystem, directory);
    let file: OwnerFile | undefined;
    try {
      const identity = fileSystem.identify?.(directory);
      const last = readOwnerNotes(fileSystem, directory);
      file = await createOwnerFile(fileSystem, directory);
      const ownership = new Ownership(deps, { lock, file, last, directory: identity });
      ownership.#write(last);
      await yieldToEventLoop();
      return ownership;
    } catch (error) {
      closeQuietly(file?.handle);
      lock.release();
      throw error;
    }
  }

  /** When the directory was acquired: wall time, as noted in the file. */
  get openedAt(): number {
    return this.#deps.openedAt;
  }

  /** Whether the ownership is known to be lost. */
  get isLost(): boolean {
    return this.#lost !== undefined;
  }

  /** Sets the log to notify. */
  listen(listener: OwnershipListener): void {
    this.#listener = listener;
    this.#confirmed = listener.acknowledged();
  }

  /**
   * Assigns an id to the directory, which the cursor stores. An existing id is kept, unless the directory is a copy.
   *
   * @param cursor What the directory's cursor file says.
   * @param uuid The buffer's uuid.
   */
  assignPlace(cursor: Pick<CursorState, "place"> | undefined, uuid: string): number {
    const { last, directory } = this.#parts;
    const { inode = 0, device = 0 } = directory ?? {};
    const isKnown = directory === undefined || last?.place === undefined || last.inode === inode;
    this.#place = (isKnown ? last?.place ?? cursor?.place : 0) ||
      hashPlace(`${uuid} ${last?.place} ${device} ${inode}`);
    return this.#place;
  }

  /** Records the generation of the cursor, once the cursor stores the directory's id, and when the buffer is closed. */
  recordGeneration(generation: number): void {
    const inode = this.#parts.directory?.inode;
    if (inode !== undefined) this.#write({ place: this.#place, inode, generation });
  }

  #write(notes: Partial<OwnerNotes> | undefined): void {
    const { file } = this.#parts;
    if (file === undefined) return;
    const { place, inode, generation } = notes ?? {};
    writeOwnerNotes(file.handle, {
      pid: processId(),
      runtime: this.#deps.fileSystem.name,
      openedAt: new Date(this.#deps.openedAt).toISOString(),
      ...(place === undefined ? {} : { place, inode, generation }),
    });
  }

  /**
   * Verifies that the directory is still ours.
   *
   * @throws {OwnershipLostError} if it isn't.
   * @throws {FileSystemError} if the file system fails to say.
   */
  verify(): void {
    if (this.#lost !== undefined) throw this.#lost;
    const reason = this.#whyLost();
    if (reason !== undefined) throw this.#lose(reason);
    this.#confirmed = this.#listener?.acknowledged() ?? 0;
  }

  /**
   * As {@linkcode Ownership.verify}, but of many calls within one turn of the event loop only the first ones verify: little
   * time passes between them, and a verification costs a tenth of a small batch.
   */
  verifyThrottled(): void {
    if (this.#nextTurn !== undefined && this.#lost === undefined) return;
    this.verify();
    if (++this.#throttledChecks < MAX_CHECKS_PER_TICK) return;
    this.#nextTurn = setImmediate(() => {
      this.#nextTurn = undefined;
      this.#throttledChecks = 0;
    });
  }

  /** Whether the directory is verified to be ours; `false` also if the file system fails to say. */
  isStillOwner(): boolean {
    try {
      this.verify();
      return true;
    } catch {
      return false;
    }
  }

  /** Releases the lock and closes the token. */
  release(): void {
    clearImmediate(this.#nextTurn);
    closeQuietly(this.#parts.file?.handle);
    this.#parts.lock.release();
  }

  #whyLost(): string | undefined {
    if (this.#token === undefined) return undefined;
    const token = this.#identify(this.#tokenPath);
    const isToken = isSame(token, this.#token);
    if (isToken && token!.links === 1) return undefined;
    if (!isSame(this.#identify(this.#deps.directory), this.#parts.directory)) {
      return "the directory was moved, removed or replaced";
    }
    return isToken ? undefined : "another owner has opened it";
  }

  #identify(path: string): FileIdentity | undefined {
    try {
      return retryBlocking(() => this.#deps.fileSystem.identify!(path));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #lose(reason: string): OwnershipLostError {
    const next = this.#listener?.acknowledged() ?? 0;
    const unconfirmed = next > this.#confirmed ? { first: this.#confirmed, last: next - 1 } : undefined;
    this.#lost = new OwnershipLostError(this.#deps.directory, { reason, unconfirmed });
    this.#listener?.onLost(this.#lost);
    return this.#lost;
  }
}

function isSame(one: FileIdentity | undefined, other: FileIdentity | undefined): boolean {
  return one !== undefined && one.device === other?.device && one.inode === other.inode;
}

/** A directory's id: 32 bits, so that two copies of a buffer hardly ever have the same, and never 0. */
function hashPlace(description: string): number {
  return 1 + crc32(new TextEncoder().encode(description));
}
