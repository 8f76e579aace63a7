/**
 * Deliveries into a file, each exactly once: NDJSON, one line a record.
 *
 * ## What it guarantees
 *
 * - A delivery counts as taken when its lines and its id are on stable storage. One whose id is known is taken at once
 *   and not written again. So every delivery is in the file once, whole, in the order in which they were taken, whatever
 *   was killed or lost its power in between.
 * - What a dead process left unfinished is cut off before anything is written.
 * - Each failure of the file system fails the delivery, to be tried again; the next attempt starts from what is known to
 *   be stored, with files opened anew. A sync that failed is never believed later: what it was to cover is written again.
 *
 * ## How
 *
 * Beside the file `F` lies a journal, `F.deliveries`: a line for each delivery, with the size that `F` has with it and
 * its id. A delivery is written in this order, and proven by it:
 *
 * 1. Its lines at the end of `F`; sync.
 * 2. Its line at the end of the journal; sync. *A line in the journal never stands for bytes that aren't stored.*
 * 3. It is acknowledged. *What was acknowledged has a stored line, so that it is known when it comes again.*
 *
 * Opening takes the last valid line of the journal and cuts `F` to the size that it states: what is behind it belongs to
 * a delivery that was never acknowledged, and comes again. Then the journal is written anew, under another name that
 * replaces it, and synced: so a line that was only in the page cache of a system whose sync had failed is stored before
 * anything is built on it.
 *
 * The head of `file_journal.ts` describes the journal's bytes.
 *
 * ## What is asked of the user
 *
 * `F` belongs to the sink while it is open, and what others append is cut off at the next open. A file that has no
 * journal is taken over as it is. To rotate, close the sink, rename `F`, and open again: a file that is gone is begun
 * anew, and ids stay known. Ids of the last 10,000 deliveries are kept; a delivery comes again only until its batch's
 * commit is durable, which is at most a sync interval of the buffer later, so that is ample.
 *
 * @module
 */

import { basename } from "@std/path/basename";
import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import { runExclusive } from "../base/abortable.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import { BufferLockedError, DamagedLogError, DeliveryError, FileSystemError } from "../errors/mod.ts";
import { detectFileSystem } from "../fs/detect.ts";
import { closeQuietly, openIfExists } from "../fs/file_helpers.ts";
import type { FileHandle, FileLock, FileSystem } from "../fs/file_system.ts";
import type { Delivery, Send } from "../producer/delivery.ts";
import { DeliveryJournal, readJournal } from "./file_journal.ts";
import { type LineOptions, toLines } from "./lines.ts";

export type { LineOptions } from "./lines.ts";

/**
 * Options of {@linkcode fileSink}.
 *
 * @example Text instead of JSON, and a short memory
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { fileSink, type FileSinkOptions } from "@sluice/buffer/sinks/file";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const options: FileSinkOptions<{ level: string; text: string }> = {
 *   path: "/app.log",
 *   line: ({ level, text }) => `${level} ${text.replaceAll("\n", " ")}`,
 *   knownIds: 100,
 *   fileSystem,
 * };
 * const buffer = await MemoryBuffer.open<{ level: string; text: string }>();
 * const send = await fileSink(options);
 * const producer = new Producer({ buffer, send });
 * await producer.put({ level: "WARN", text: "the disk is\nnearly full" });
 * await producer.flush();
 * assertEquals(new TextDecoder().decode(fileSystem.readFile("/app.log")), "WARN the disk is nearly full\n");
 * await producer.close();
 * await send.close();
 * await buffer.close();
 * ```
 */
export interface FileSinkOptions<T> extends LineOptions<T> {
  /** The file; its directory must exist. Two more files lie beside it, `<path>.deliveries` and `<path>.lock`. */
  readonly path: string;
  /**
   * How many ids are kept at least; 16 to 1,000,000.
   *
   * @default {10_000}
   */
  readonly knownIds?: number;
  /**
   * Where the files are.
   *
   * @default {this runtime's}
   */
  readonly fileSystem?: FileSystem;
}

/**
 * A `Send` that writes to a file.
 *
 * @example What a killed process has left unfinished is cut off
 * ```ts
 * import { type FileSink, fileSink } from "@sluice/buffer/sinks/file";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const open = (): Promise<FileSink<string>> => fileSink<string>({ path: "/out.ndjson", fileSystem });
 * await (await open()).close();
 * fileSystem.writeFile("/out.ndjson", new TextEncoder().encode('"half a rec')); // killed in the middle of a write
 *
 * const send = await open();
 * assertEquals(send.truncatedBytes, 11); // its delivery was not acknowledged, so it comes again
 * assertEquals(fileSystem.readFile("/out.ndjson").length, 0);
 * await send.close();
 * ```
 */
export interface FileSink<T> extends Send<T>, AsyncDisposable {
  /** Bytes of an unfinished delivery that were cut off when it was opened. */
  readonly truncatedBytes: number;
  /** Waits for the delivery that is under way, and gives the file up. A second call waits for the first. */
  close(): Promise<void>;
}

/** More batches than these can't be in flight. */
const MIN_KNOWN_IDS = 16;
/** All of them are held in memory. */
const MAX_KNOWN_IDS = 1_000_000;
const DEFAULT_KNOWN_IDS = 10_000;
const LINE_FEED = 0x0a;

/**
 * Opens a file and makes a `Send` that writes each delivery to it once.
 *
 * @returns What to give to a producer as `send`. Close it after the producer.
 * @throws {TypeError} or {RangeError} for a wrong option.
 * @throws {BufferLockedError} if it is open already, in this process or another.
 * @throws {DamagedLogError} if the file is shorter than what was delivered into it, its journal is damaged, or a file that
 * is to be taken over ends in the middle of a line.
 * @throws {FileSystemError} if the files can't be opened.
 *
 * @example A resend is no duplicate
 * ```ts
 * import { MemoryBuffer, Producer, type Send } from "@sluice/buffer";
 * import { fileSink } from "@sluice/buffer/sinks/file";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const sink = await fileSink<{ n: number }>({ path: "/out.ndjson", fileSystem });
 * const send: Send<{ n: number }> = async (delivery, context) => {
 *   await sink(delivery, context);
 *   if (context.attempt < 3) throw new Error("written, but the producer doesn't know");
 * };
 *
 * const buffer = await MemoryBuffer.open<{ n: number }>();
 * const producer = new Producer({ buffer, send, retry: { firstDelayMs: 1 } });
 * await producer.putMany([{ n: 1 }, { n: 2 }]);
 * await producer.flush();
 * assertEquals(new TextDecoder().decode(fileSystem.readFile("/out.ndjson")), '{"n":1}\n{"n":2}\n');
 * await producer.close();
 * await sink.close();
 * await buffer.close();
 * ```
 */
export async function fileSink<T>(options: FileSinkOptions<T>): Promise<FileSink<T>> {
  const { path: given, knownIds = DEFAULT_KNOWN_IDS, fileSystem = await detectFileSystem() } = options;
  if (typeof given !== "string" || given === "") {
    throw new TypeError(`Cannot open a file sink: path must be a string that isn't empty, got ${typeof given}`);
  }
  if (!Number.isInteger(knownIds) || knownIds < MIN_KNOWN_IDS || knownIds > MAX_KNOWN_IDS) {
    const range = `${MIN_KNOWN_IDS} to ${MAX_KNOWN_IDS}`;
    throw new RangeError(`Cannot open a file sink: knownIds must be a whole number from ${range}, got ${knownIds}`);
  }
  const path = fixedPath(fileSystem, given);
  const lock = lockFile(fileSystem, path);
  const file = new DeliveryFile<T>(fileSystem, path, knownIds, options);
  const turns = new SerialQueue();
  let truncatedBytes: number;
  try {
    truncatedBytes = await file.recover();
  } catch (error) {
    lock.release();
    throw error;
  }
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    closing ??= turns.run(() => {
      file.close();
      lock.release();
    });
  const send: Send<T> = async (delivery, { signal }) => {
    if (closing !== undefined) throw new DeliveryError({ reason: `the file sink "${path}" is closed` });
    await runExclusive(turns, () => file.take(delivery), signal);
  };
  return Object.assign(send, { truncatedBytes, close, [Symbol.asyncDispose]: close });
}

/**
 * The path in the directory that it stands for now: a change of the working directory, or of a symbolic link on the way,
 * makes no difference afterwards. As it is, where that can't be told.
 */
function fixedPath(fileSystem: FileSystem, path: string): string {
  try {
    const directory = fileSystem.resolve?.(dirname(path));
    return directory === undefined ? path : join(directory, basename(path));
  } catch (error) {
    if (error instanceof FileSystemError) return path;
    throw error;
  }
}

function lockFile(fileSystem: FileSystem, path: string): FileLock {
  try {
    return fileSystem.lock(`${path}.lock`);
  } catch (error) {
    if (!(error instanceof FileSystemError) || error.errno !== "EBUSY") throw error;
    throw new BufferLockedError(path, undefined, { cause: error });
  }
}

/** The file and its journal. One call at a time. */
class DeliveryFile<T> {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #knownIds: number;
  readonly #options: LineOptions<T>;
  /** Ids that are known, oldest first. */
  #ids: Set<string> = new Set();
  /** Bytes of all deliveries that are in the journal. */
  #size = 0;
  /** `undefined` when it is unknown what is stored: at the beginning, and after any failure. */
  #open: { readonly file: FileHandle; readonly journal: DeliveryJournal } | undefined;

  constructor(fileSystem: FileSystem, path: string, knownIds: number, options: LineOptions<T>) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#knownIds = knownIds;
    this.#options = options;
  }

  get #journalPath(): string {
    return `${this.#path}.deliveries`;
  }

  /** Stores a delivery unless it is stored. When this fails, nothing of it is believed to be. */
  async take(delivery: Delivery<T>): Promise<void> {
    if (this.#open === undefined) await this.recover();
    if (this.#ids.has(delivery.id)) return;
    const lines = toLines(delivery, this.#options);
    try {
      await this.#store(delivery.id, lines);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Finds out what is stored, from the files alone, and goes on from there.
   *
   * @returns How many bytes of an unfinished delivery were cut off.
   */
  async recover(): Promise<number> {
    const stated = readJournal(this.#fileSystem, this.#journalPath);
    let file = openIfExists(this.#fileSystem, this.#path, "write");
    let journal: DeliveryJournal | undefined;
    try {
      const found = file?.size() ?? 0;
      // A file that is gone was moved away, and is begun anew; a shorter one has lost what was delivered.
      const size = file === undefined ? 0 : stated?.size ?? found;
      if (file !== undefined) checkFile(file, this.#path, { found, stated: stated?.size });
      if (found > size) file!.truncate(size);
      // What is taken over has to be stored before the journal counts on it.
      if (stated === undefined) await file?.sync();
      const ids = (stated?.ids ?? []).slice(-this.#knownIds);
      journal = await DeliveryJournal.replace(this.#fileSystem, this.#journalPath, { size, ids });
      // Behind the journal: an empty file beside one that states a size would look like a loss. Before its first line,
      // which must not stand for bytes in a file whose name is lost.
      file ??= await this.#createFile();
      this.#ids = new Set(ids);
      this.#size = size;
      this.#open = { file, journal };
      return found - size;
    } catch (error) {
      closeQuietly(file);
      journal?.close();
      throw error;
    }
  }

  /** Closes the files, whatever state they are in. */
  close(): void {
    closeQuietly(this.#open?.file);
    this.#open?.journal.close();
    this.#open = undefined;
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
    const { file } = this.#open!;
    file.write(lines, this.#size);
    await file.sync();
    // The lines are stored, so the journal may say so; only when it does, durably, is the delivery known.
    await this.#open!.journal.add(this.#size + lines.length, id);
    this.#size += lines.length;
    this.#ids.add(id);
    if (this.#open!.journal.lines >= 2 * this.#knownIds) await this.#shortenJournal();
  }

  async #shortenJournal(): Promise<void> {
    const { file, journal: old } = this.#open!;
    const ids = [...this.#ids].slice(-this.#knownIds);
    const journal = await DeliveryJournal.replace(this.#fileSystem, this.#journalPath, { size: this.#size, ids });
    old.close();
    this.#ids = new Set(ids);
    this.#open = { file, journal };
  }
}

/** Throws for a file that has lost a part, and for one to be taken over whose last line would run into the first record. */
function checkFile(file: FileHandle, path: string, size: { found: number; stated: number | undefined }): void {
  const { found, stated } = size;
  if (stated === undefined) {
    const last = new Uint8Array(1);
    if (found === 0 || file.read(last, found - 1) === 1 && last[0] === LINE_FEED) return;
    throw new DamagedLogError({ segment: path, offset: found, length: 0, reason: "its last line has no end" });
  }
  if (found >= stated) return;
  const reason = `it has ${found} bytes, and ${stated} were delivered into it`;
  throw new DamagedLogError({ segment: path, offset: found, length: stated - found, reason });
}
