/**
 * The file of a file sink, its journal and its lock: `file.ts` says what they guarantee, and why in this order.
 *
 * Before each delivery it is checked that the three names still lead to the three files that are open, and that none has become
 * shorter. If not, the files are opened again, in whatever state they are by then. So another file is one of these:
 *
 * - **The same** as before: the device and inode that the journal names, or a copy that has the bytes of the last delivery. What is
 *   behind the last delivery is cut off.
 * - **Truncated** while it was open here: deliveries continue at its end. If it happened while no sink had it open, it is damage.
 * - **Another one**, or none: it is taken over as it is, or created. The end of the file before it, which has been moved away, is cut
 *   off as well, if an unfinished delivery is there.
 *
 * @module
 */

import { basename } from "@std/path/basename";
import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import { BufferLockedError, DamagedLogError, DeliveryError, FileSystemError, PermissionError } from "../errors/mod.ts";
import { closeQuietly, isNotFound, openIfExists } from "../fs/file_helpers.ts";
import type { FileHandle, FileIdentity, FileLock, FileSystem } from "../fs/file_system.ts";
import type { Delivery } from "../producer/delivery.ts";
import {
  DeliveryJournal,
  type FileId,
  hasContent,
  isSameFile,
  type JournalContent,
  readJournal,
} from "./file_journal.ts";
import { type LineOptions, toLines } from "./lines.ts";

const LINE_FEED = 0x0a;
/** How much is read at a time in search of a file's content. */
const SEARCH_BYTES = 64 * 1024;

/** A file of deliveries. Calls must not overlap. */
export class DeliveryFile<T> {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #knownIds: number;
  readonly #options: LineOptions<T>;
  #lock: FileLock | undefined;
  #lockId: FileId | undefined;
  /** The known ids, oldest first. */
  #ids: Set<string> = new Set();
  /** Bytes of all deliveries in the journal. */
  #size = 0;
  /** The file that was last open, and whole. */
  #id: FileIdentity | undefined;
  /** Its handle. */
  #file: FileHandle | undefined;
  /** `undefined` while it is unknown what is stored: at the start, and after any failure. */
  #journal: DeliveryJournal | undefined;
  /** The delivery that is being stored, or that has failed: it was not acknowledged. */
  #unacknowledged: string | undefined;

  /** Nothing is open yet: {@linkcode recover} comes first. */
  constructor(fileSystem: FileSystem, path: string, knownIds: number, options: LineOptions<T>) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#knownIds = knownIds;
    this.#options = options;
  }

  get #journalPath(): string {
    return `${this.#path}.deliveries`;
  }

  get #lockPath(): string {
    return `${this.#path}.lock`;
  }

  /** Stores a delivery unless it is stored already. After a failure, none of it counts as stored. */
  async deliver(delivery: Delivery<T>): Promise<void> {
    await this.reopen();
    if (this.#ids.has(delivery.id)) return;
    const lines = toLines(delivery, this.#options);
    try {
      await this.#store(delivery.id, lines);
    } catch (error) {
      this.#closeJournal();
      throw error;
    }
  }

  /** Opens the files again if they aren't the ones that have the names, or if it is unknown what is stored. */
  async reopen(): Promise<void> {
    if (this.#journal !== undefined && !this.#isMoved()) return;
    this.#closeJournal();
    await this.recover();
  }

  /**
   * Locks the file, finds out what is stored, from the files alone, and continues from there.
   *
   * @returns How many bytes of an unfinished delivery were cut off.
   * @throws {BufferLockedError} if somebody else has the lock.
   */
  async recover(): Promise<number> {
    if (this.#lock === undefined || !this.#leadsTo(this.#lockPath, this.#lockId)) this.#acquireLock();
    const stated = await this.#readStated() ?? this.#remembered();
    let file = openIfExists(this.#fileSystem, this.#path, "write");
    try {
      const found = file?.size() ?? 0;
      const size = file === undefined ? 0 : this.#findSize(file, found, stated);
      const isStated = stated !== undefined && isSameFile(file?.identify?.(), stated.file);
      if (stated !== undefined && !isStated) await this.#cutMoved(stated);
      if (found > size) file!.truncate(size);
      // A file that is taken over must be stored before the journal relies on it.
      if (!isStated || size !== stated.size) await file?.sync();
      const ids = [...new Set([...stated?.ids ?? [], ...this.#ids])].slice(-this.#knownIds);
      if (file === undefined && stated !== undefined && stated.size > 0) {
        // First without the file: an empty one beside a journal that states a size would look like a loss.
        (await DeliveryJournal.replace(this.#fileSystem, this.#journalPath, { size, ids })).close();
      }
      // Before the journal that names it, and before its first delivery, which must not be in a file whose name is lost.
      file ??= await this.#createFile();
      this.#journal = await DeliveryJournal.replace(this.#fileSystem, this.#journalPath, { size, ids, file });
      closeQuietly(this.#file);
      this.#file = file;
      this.#id = file.identify?.();
      this.#ids = new Set(ids);
      this.#size = size;
      return found - size;
    } catch (error) {
      if (file !== this.#file) closeQuietly(file);
      throw error;
    }
  }

  /** Closes the files and releases the lock, in any state. */
  close(): void {
    this.#closeJournal();
    closeQuietly(this.#file);
    this.#file = undefined;
    this.#lock?.release();
    this.#lock = undefined;
  }

  /** The file stays open: if it is moved away now, an unfinished delivery is still to be cut off. */
  #closeJournal(): void {
    this.#journal?.close();
    this.#journal = undefined;
  }

  #acquireLock(): void {
    let lock: FileLock;
    try {
      lock = this.#fileSystem.lock(this.#lockPath);
    } catch (error) {
      if (!(error instanceof FileSystemError) || error.errno !== "EBUSY") throw error;
      throw new BufferLockedError(this.#path, undefined, { cause: error });
    }
    this.#lock?.release();
    this.#lock = lock;
    this.#lockId = this.#fileSystem.identify?.(this.#lockPath);
  }

  /** Whether a name leads to this file. A file system that can't tell says yes. */
  #leadsTo(path: string, id: FileId | undefined): boolean {
    try {
      return id === undefined || isSameFile(this.#fileSystem.identify?.(path), id);
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /** Whether a file was renamed, removed, replaced or truncated. */
  #isMoved(): boolean {
    return this.#file!.size() < this.#size || !this.#leadsTo(this.#path, this.#id) ||
      !this.#journal!.isWhole() || !this.#leadsTo(this.#journalPath, this.#journal!.id) ||
      !this.#leadsTo(this.#lockPath, this.#lockId);
  }

  /**
   * Reads the journal, and decides about its pending delivery. What this process was about to store wasn't acknowledged, so it is
   * left out. What another process was about to store counts if it is in the file; then it is written and synced once more, because
   * it may be what a failed sync has left in the page cache.
   */
  async #readStated(): Promise<JournalContent | undefined> {
    const journal = readJournal(this.#fileSystem, this.#journalPath);
    const pending = journal?.pending;
    if (pending === undefined || pending.ids.at(-1) === this.#unacknowledged) return journal;
    let file = openIfExists(this.#fileSystem, this.#path, "write");
    try {
      if (file === undefined || !hasContent(file, pending)) {
        closeQuietly(file);
        file = this.#findMoved(pending);
        if (file === undefined) return journal;
      }
      const bytes = new Uint8Array(pending.size - journal!.size);
      file.read(bytes, journal!.size);
      file.write(bytes, journal!.size);
      await file.sync();
      return pending;
    } finally {
      closeQuietly(file);
    }
  }

  /** What is known without a journal, after it was removed while it was open. */
  #remembered(): JournalContent | undefined {
    if (this.#file === undefined) return undefined;
    return { size: this.#size, ids: [...this.#ids], ...this.#id === undefined ? {} : { file: this.#id } };
  }

  /**
   * How much of a file is deliveries, or was there before them. Throws for a file that has lost bytes, and for one that is taken
   * over although its last line would run into the first record.
   */
  #findSize(file: FileHandle, found: number, stated: JournalContent | undefined): number {
    const id = file.identify?.();
    // A device may have another number after a restart of the system.
    const isStated = stated?.file === undefined || stated.file.inode === id?.inode;
    // Without a name and a size it is of a file that was still to be created, and nothing has been delivered into it. One that is there
    // was moved back, or its move has been undone by a power cut.
    const isToCome = stated?.size === 0 && stated.file === undefined && id !== undefined;
    if (isToCome && isSameFile(id, this.#id)) found = Math.min(found, this.#size);
    if (stated !== undefined && !isToCome && (isStated || hasContent(file, stated))) {
      const { size } = stated;
      // Behind what was truncated, a write leaves zeros where lines were.
      if (found >= size && (size === 0 || readByte(file, size - 1) === LINE_FEED)) return size;
      const left = findEnd(file, Math.min(found, size));
      if (id === undefined || !isSameFile(id, this.#id)) {
        const reason = `it has ${left} bytes, and ${size} were delivered into it`;
        throw new DamagedLogError({ segment: this.#path, offset: left, length: size - left, reason });
      }
      found = left;
    }
    if (found === 0 || readByte(file, found - 1) === LINE_FEED) return found;
    const reason = "its last line has no line break";
    throw new DamagedLogError({ segment: this.#path, offset: found, length: 0, reason });
  }

  /** Cuts an unfinished delivery off the file before this one, wherever that is now. */
  async #cutMoved(stated: JournalContent): Promise<void> {
    const file = this.#file ?? this.#findMoved(stated);
    if (file === undefined) return;
    try {
      const size = isSameFile(file.identify?.(), stated.file) ? stated.size : this.#size;
      if (file.size() > size) file.truncate(size);
      // Also what a process that is gone has cut off: a power cut would bring it back, and nobody looks at this file any more.
      await file.sync();
    } finally {
      if (file !== this.#file) closeQuietly(file);
    }
  }

  /**
   * Finds the file of a journal under a name that begins like its own. Only its content proves it: numbers are used again.
   *
   * @throws {FileSystemError} if that can't be found out for now: to go on without it would deliver once more what is in it.
   */
  #findMoved(stated: JournalContent): FileHandle | undefined {
    const directory = dirname(this.#path);
    const name = basename(this.#path);
    for (const other of this.#unlessOthers(() => this.#fileSystem.list(directory)) ?? []) {
      if (!other.startsWith(name) || other === name) continue;
      const path = join(directory, other);
      const file = this.#unlessOthers(() =>
        isSameFile(this.#fileSystem.identify?.(path), stated.file) ? this.#fileSystem.open(path, "write") : undefined
      );
      if (file !== undefined && hasContent(file, stated)) return file;
      closeQuietly(file);
    }
    return undefined;
  }

  /** `undefined` for what belongs to another user by now, is gone, or is a link that leads nowhere. */
  #unlessOthers<R>(look: () => R): R | undefined {
    try {
      return look();
    } catch (error) {
      const isLoop = error instanceof FileSystemError && error.errno === "ELOOP";
      if (isLoop || isNotFound(error) || error instanceof PermissionError) return undefined;
      throw error;
    }
  }

  async #createFile(): Promise<FileHandle> {
    const file = this.#fileSystem.open(this.#path, "create");
    try {
      await this.#fileSystem.syncDirectory(dirname(this.#path));
      return file;
    } catch (error) {
      closeQuietly(file);
      throw error;
    }
  }

  async #store(id: string, lines: Uint8Array): Promise<void> {
    const file = this.#file!;
    const size = this.#size + lines.length;
    this.#unacknowledged = id;
    file.write(lines, this.#size);
    // Both syncs at once: the journal's line counts only together with the lines. Neither file may be closed before both have ended.
    const syncs = await Promise.allSettled([this.#journal!.add(size, id, lines), file.sync()]);
    for (const sync of syncs) if (sync.status === "rejected") throw sync.reason;
    this.#checkStored(file, lines.length);
    this.#journal!.confirm();
    this.#unacknowledged = undefined;
    this.#size = size;
    this.#ids.add(id);
    if (this.#journal!.lines >= 2 * this.#knownIds) await this.#shortenJournal();
  }

  /** Throws if the file was truncated or removed since it was checked: the delivery must come again. */
  #checkStored(file: FileHandle, length: number): void {
    const isWhole = file.size() >= this.#size + length &&
      (this.#size === 0 || readByte(file, this.#size - 1) === LINE_FEED);
    // Some file systems don't count names: there it is 0 from the beginning.
    const hasName = this.#id === undefined || this.#id.links === 0 || file.identify!().links > 0;
    if (isWhole && hasName) return;
    const reason = `"${this.#path}" was ${isWhole ? "removed" : "truncated"} during the delivery`;
    throw new DeliveryError({ reason, scope: "target", retryable: true });
  }

  async #shortenJournal(): Promise<void> {
    const ids = [...this.#ids].slice(-this.#knownIds);
    // Closed first: Windows refuses to replace an open file.
    this.#closeJournal();
    const content = { size: this.#size, ids, file: this.#file! };
    this.#journal = await DeliveryJournal.replace(this.#fileSystem, this.#journalPath, content);
    this.#ids = new Set(ids);
  }
}

function readByte(file: FileHandle, position: number): number | undefined {
  const byte = new Uint8Array(1);
  return file.read(byte, position) === 1 ? byte[0] : undefined;
}

/** Where the content ends, without the zeros in front of `end`. */
function findEnd(file: FileHandle, end: number): number {
  const chunk = new Uint8Array(SEARCH_BYTES);
  while (end > 0) {
    const start = Math.max(0, end - chunk.length);
    const part = chunk.subarray(0, file.read(chunk.subarray(0, end - start), start));
    const last = part.findLastIndex((byte) => byte !== 0);
    if (last >= 0) return start + last + 1;
    end = start;
  }
  return 0;
}
