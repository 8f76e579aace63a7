/**
 * Writes deliveries to a file, each exactly once: NDJSON, one line per record.
 *
 * ## What it guarantees
 *
 * - A delivery is acknowledged when its lines and its id are on stable storage. A delivery with a known id is acknowledged at
 *   once and not written again. So every delivery is in the file once, whole, in the order of the acknowledgements, after any
 *   kill or power cut.
 * - The unfinished delivery of a dead process is cut off before anything is written.
 * - Each failure of the file system fails the delivery, which is retried. The next attempt reopens the files and starts from
 *   what is known to be stored. A failed sync is never trusted later: what it was to cover is written again.
 *
 * ## How
 *
 * Beside the file `F` is a journal, `F.deliveries`, with a line for each delivery: the size of `F` including it, and its id. A
 * delivery is written in this order, which proves the guarantees:
 *
 * 1. Its lines at the end of `F`; sync.
 * 2. Its line at the end of the journal; sync. *A line in the journal never covers bytes that aren't stored.*
 * 3. The acknowledgement. *An acknowledged delivery has a stored line, so it is recognized when it comes again.*
 *
 * Opening takes the last valid line of the journal and cuts `F` to its size: what is behind it belongs to a delivery that was
 * never acknowledged, and comes again. Then the journal is rewritten under another name, synced, and renamed. So a line that was
 * only in the page cache of a system whose sync failed is stored before anything relies on it.
 *
 * The head of `file_journal.ts` describes the journal's bytes.
 *
 * ## What is asked of the user
 *
 * `F` belongs to the sink while it is open. What others append is cut off at the next open. A file without a journal is taken over
 * as it is. To rotate, close the sink, rename `F`, and open again: a new file is created, and ids stay known. The sink keeps at
 * least the last 10,000 ids. A delivery comes again only until its batch's commit is durable, which is at most one sync interval
 * of the buffer later, so that is ample.
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

/** Options of {@linkcode fileSink}. */
export interface FileSinkOptions<T> extends LineOptions<T> {
  /** The file; its directory must exist. Two more files are beside it, `<path>.deliveries` and `<path>.lock`. */
  readonly path: string;
  /**
   * The fewest delivery ids to keep; 16 to 1,000,000.
   *
   * @default {10_000}
   */
  readonly knownIds?: number | undefined;
  /**
   * Where the files are.
   *
   * @default {this runtime's}
   */
  readonly fileSystem?: FileSystem | undefined;
}

/** A `Send` that writes to a file, and must be closed. */
export interface FileSink<T> extends Send<T>, AsyncDisposable {
  /** Bytes of an unfinished delivery that were cut off at opening. */
  readonly truncatedBytes: number;
  /** Waits for the delivery in progress, and closes the file. A second call waits for the first. */
  close(): Promise<void>;
}

/** No more batches than these can be in flight. */
const MIN_KNOWN_IDS = 16;
/** All ids are held in memory. */
const MAX_KNOWN_IDS = 1_000_000;
const DEFAULT_KNOWN_IDS = 10_000;
const LINE_FEED = 0x0a;

/**
 * Opens a file and makes a `Send` that writes each delivery to it once.
 *
 * @param options Where to write, and how a record becomes a line.
 * @returns The function to pass to a producer as `send`. Close it after the producer.
 * @throws {TypeError} or {RangeError} for a wrong option.
 * @throws {BufferLockedError} if the file is open already, in this process or another.
 * @throws {DamagedLogError} if the file is shorter than what was delivered into it, if its journal is damaged, or if a file
 * without a journal ends in the middle of a line.
 * @throws {FileSystemError} if the files can't be opened.
 * @typeParam T The records' type.
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
 *
 * @example The unfinished write of a killed process is cut off
 * ```ts
 * import { fileSink } from "@sluice/buffer/sinks/file";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const open = () => fileSink<string>({ path: "/out.ndjson", fileSystem });
 * await (await open()).close();
 * fileSystem.writeFile("/out.ndjson", new TextEncoder().encode('"half a rec')); // killed in the middle of a write
 *
 * const send = await open();
 * assertEquals(send.truncatedBytes, 11); // that delivery was not acknowledged, so it comes again
 * assertEquals(fileSystem.readFile("/out.ndjson").length, 0);
 * await send.close();
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
  const path = resolvePath(fileSystem, given);
  const lock = lockFile(fileSystem, path);
  const file = new DeliveryFile<T>(fileSystem, path, knownIds, options);
  const queue = new SerialQueue();
  let truncatedBytes: number;
  try {
    truncatedBytes = await file.recover();
  } catch (error) {
    lock.release();
    throw error;
  }
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    closing ??= queue.run(() => {
      file.close();
      lock.release();
    });
  const send: Send<T> = async (delivery, { signal }) => {
    if (closing !== undefined) throw new DeliveryError({ reason: `the file sink "${path}" is closed` });
    await runExclusive(queue, () => file.deliver(delivery), signal);
  };
  return Object.assign(send, { truncatedBytes, close, [Symbol.asyncDispose]: close });
}

/**
 * Resolves the path's directory now, so that later changes of the working directory or of a symbolic link have no effect. Returns
 * the path as it is where the directory can't be resolved.
 */
function resolvePath(fileSystem: FileSystem, path: string): string {
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

/** The file and its journal. Calls must not overlap. */
class DeliveryFile<T> {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #knownIds: number;
  readonly #options: LineOptions<T>;
  /** The known ids, oldest first. */
  #ids: Set<string> = new Set();
  /** Bytes of all deliveries in the journal. */
  #size = 0;
  /** `undefined` while it is unknown what is stored: at the start, and after any failure. */
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

  /** Stores a delivery unless it is stored already. After a failure, none of it counts as stored. */
  async deliver(delivery: Delivery<T>): Promise<void> {
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
   * Finds out what is stored, from the files alone, and continues from there.
   *
   * @returns How many bytes of an unfinished delivery were cut off.
   */
  async recover(): Promise<number> {
    const stated = readJournal(this.#fileSystem, this.#journalPath);
    let file = openIfExists(this.#fileSystem, this.#path, "write");
    let journal: DeliveryJournal | undefined;
    try {
      const found = file?.size() ?? 0;
      // A missing file was moved away, and a new one is created. A shorter one has lost deliveries.
      const size = file === undefined ? 0 : stated?.size ?? found;
      if (file !== undefined) checkFile(file, this.#path, { found, stated: stated?.size });
      if (found > size) file!.truncate(size);
      // A file that is taken over must be stored before the journal relies on it.
      if (stated === undefined) await file?.sync();
      const ids = (stated?.ids ?? []).slice(-this.#knownIds);
      journal = await DeliveryJournal.replace(this.#fileSystem, this.#journalPath, { size, ids });
      // After the journal is written: an empty file beside one that states a size would look like a loss. Before its first
      // delivery, which must not cover bytes in a file whose name is lost.
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

  /** Closes the files, in any state. */
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
    // The lines are stored, so the journal may list them. The delivery is known once that is durable.
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

/**
 * Throws for a file that has lost bytes, and for one without a journal whose last line would run into the first record.
 */
function checkFile(file: FileHandle, path: string, size: { found: number; stated: number | undefined }): void {
  const { found, stated } = size;
  if (stated === undefined) {
    const last = new Uint8Array(1);
    if (found === 0 || file.read(last, found - 1) === 1 && last[0] === LINE_FEED) return;
    throw new DamagedLogError({ segment: path, offset: found, length: 0, reason: "its last line has no line break" });
  }
  if (found >= stated) return;
  const reason = `it has ${found} bytes, and ${stated} were delivered into it`;
  throw new DamagedLogError({ segment: path, offset: found, length: stated - found, reason });
}
