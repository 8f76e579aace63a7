/**
 * Writes deliveries to a file, each exactly once: NDJSON, one line per record.
 *
 * ## What it guarantees
 *
 * - A delivery is acknowledged when its lines and its id are on stable storage. A delivery with a known id is acknowledged at
 *   once and not written again. So every delivery is in the file once, whole, in the order of the acknowledgements, after any
 *   kill or power cut. Only with the buffer's `maxRecordAgeMs` may some of its records come again, in a delivery with another id:
 *   `producer/delivery.ts` says when.
 * - The unfinished delivery of a dead process is cut off before anything is written.
 * - Each failure of the file system fails the delivery, which is retried. The next attempt reopens the files and starts from
 *   what is known to be stored. A failed sync is never trusted later: what it was to cover is written again.
 * - Such a failure is the target's, never the records': a {@linkcode DeliveryError} of scope `"target"` with the failure as its
 *   `cause`. It isn't `retryable` if somebody has to act first: the disk is full, a quota is used up, the file system is read-only, a
 *   permission or the directory is missing, the files are damaged. The pauses between attempts are the longest ones then. It is
 *   `final` if the sink was closed.
 *
 * ## How
 *
 * Beside the file `F` is a journal, `F.deliveries`, with a line for each delivery: the size of `F` including it, its id, and the
 * checksum of its bytes. A delivery is written in this order, which proves the guarantees:
 *
 * 1. Its lines at the end of `F`, its line at the end of the journal; both are synced at the same time.
 * 2. A mark in the journal that both are stored. It isn't synced itself: a killed process leaves it behind.
 * 3. The acknowledgement. *An acknowledged delivery has a stored line, so it is recognized when it comes again.*
 *
 * *Only the last line may have no mark.* It counts if `F` has the bytes that it states, and then they are written and synced once
 * more: they may be what a failed sync has left in the page cache. Otherwise the delivery was never acknowledged.
 *
 * Opening takes the last line of the journal that counts and cuts `F` to its size: what is behind it belongs to a delivery that was
 * never acknowledged, and comes again. Then the journal is written once more under another name, synced, and renamed. So a line that was
 * only in the page cache of a system whose sync failed is stored before anything relies on it.
 *
 * The head of `file_journal.ts` describes the journal's bytes.
 *
 * ## When the file is rotated
 *
 * Before each delivery, and at `reopen()`, the sink finds out whether the name still leads to its file, and the file is still as
 * long as it was (`delivery_file.ts`). Ids stay known in any case.
 *
 * - **Renamed or removed**, with or without another file in its place: deliveries continue in the file that has the name, which is
 *   created if there is none. What it has already stays in front. Each delivery is once in the old file or once in the new one, also
 *   if the process is killed in between, as long as the old file stays in the directory under a name that begins with its own.
 *   Nothing proves whose file one is that was empty before: the unfinished first delivery in it isn't cut off if it is moved away after
 *   the process has died, and comes once more in the new file.
 * - **Truncated** in place, as logrotate's `copytruncate` does: deliveries continue at its new end. Lines that come between the copy
 *   and the truncation are in neither file; nothing can prevent that, so rename instead. A file that is truncated while no sink has
 *   it open is refused at the next start, because that looks like lost data.
 * - The same holds for the file behind a symbolic link, for a link that leads to another file, for the journal, and for a directory
 *   that is replaced.
 *
 * A file system without `identify()` can tell only that a file has become shorter.
 *
 * ## What is asked of the user
 *
 * `F` belongs to the sink while it is open. What others append is cut off at the next open. A second sink on the same path is refused,
 * but not one that gets to `F` by another name, a link: both would write over each other's lines. A file without a journal is taken over
 * as it is. The sink keeps at least the last 10,000 ids. A delivery comes again only until its batch's commit is durable, which is
 * at most one sync interval of the buffer later, so that is ample.
 *
 * @module
 */

import { basename } from "@std/path/basename";
import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import { runExclusive } from "../base/abortable.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import { checkPath } from "../base/validation.ts";
import {
  BufferLockedError,
  DamagedLogError,
  DeliveryError,
  FileSystemError,
  NoSpaceError,
  PermissionError,
} from "../errors/mod.ts";
import { detectFileSystem } from "../fs/detect.ts";
import type { FileSystem } from "../fs/file_system.ts";
import type { Send } from "../producer/delivery.ts";
import { DeliveryFile } from "./delivery_file.ts";
import type { LineOptions } from "./lines.ts";

export type { LineOptions } from "./lines.ts";

/** Options of {@linkcode fileSink}. */
export interface FileSinkOptions<T> extends LineOptions<T> {
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
  /**
   * Opens the file again if it was renamed, removed or truncated, or if a delivery has failed. The next delivery does so by itself;
   * a program that is told of a rotation, by SIGHUP for example, frees the old file at once.
   */
  reopen(): Promise<void>;
  /** Waits for the delivery in progress, and closes the file. A second call waits for the first. */
  close(): Promise<void>;
}

/** No more batches than these can be in flight. */
const MIN_KNOWN_IDS = 16;
/** All ids are held in memory. */
const MAX_KNOWN_IDS = 1_000_000;
const DEFAULT_KNOWN_IDS = 10_000;

/**
 * Somebody has to make room for these names, or undo what was done to them. Those of a full disk and of permissions have classes.
 * Not EEXIST: who rotates the file has created it at the same moment.
 */
const LASTING_ERRNOS: ReadonlySet<string> = new Set([
  "ENOENT",
  "ENOTDIR",
  "EISDIR",
  "ELOOP",
  "ENAMETOOLONG",
  "EINVAL",
]);

/**
 * Opens a file and makes a `Send` that writes each delivery to it once.
 *
 * @param path The file, also as a `file:` URL; its directory must exist. Two more files are beside it, `<path>.deliveries` and
 * `<path>.lock`.
 * @param options How a record becomes a line, and what to remember.
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
 * const sink = await fileSink<{ n: number }>("/out.ndjson", { fileSystem });
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
 * const open = () => fileSink<string>("/out.ndjson", { fileSystem });
 * await (await open()).close();
 * fileSystem.writeFile("/out.ndjson", new TextEncoder().encode('"half a rec')); // killed in the middle of a write
 *
 * const send = await open();
 * assertEquals(send.truncatedBytes, 11); // that delivery was not acknowledged, so it comes again
 * assertEquals(fileSystem.readFile("/out.ndjson").length, 0);
 * await send.close();
 * ```
 */
export async function fileSink<T>(path: string | URL, options: FileSinkOptions<T> = {}): Promise<FileSink<T>> {
  const { knownIds = DEFAULT_KNOWN_IDS, fileSystem = await detectFileSystem() } = options;
  const given = checkPath(path, "the path of a file", "open a file sink");
  if (!Number.isInteger(knownIds) || knownIds < MIN_KNOWN_IDS || knownIds > MAX_KNOWN_IDS) {
    const range = `${MIN_KNOWN_IDS} to ${MAX_KNOWN_IDS}`;
    throw new RangeError(`Cannot open a file sink: knownIds must be a whole number from ${range}, got ${knownIds}`);
  }
  const resolved = resolvePath(fileSystem, given);
  const file = new DeliveryFile<T>(fileSystem, resolved, knownIds, options);
  const queue = new SerialQueue();
  let truncatedBytes: number;
  try {
    truncatedBytes = await file.recover();
  } catch (error) {
    file.close();
    throw error;
  }
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => closing ??= queue.run(() => file.close());
  const checkOpen = (): void => {
    if (closing === undefined) return;
    throw new DeliveryError({ reason: `the file sink "${resolved}" is closed`, scope: "target", final: true });
  };
  const send: Send<T> = async (delivery, { signal }) => {
    checkOpen();
    await runExclusive(queue, () => file.deliver(delivery).catch(rethrow), signal);
  };
  const reopen = async (): Promise<void> => {
    checkOpen();
    await queue.run(() => file.reopen());
  };
  return Object.assign(send, { truncatedBytes, reopen, close, [Symbol.asyncDispose]: close });
}

/** Throws what went wrong with a delivery: a failure of the files is the target's. */
function rethrow(error: unknown): never {
  const isOfFile = error instanceof FileSystemError;
  if (!isOfFile && !(error instanceof DamagedLogError) && !(error instanceof BufferLockedError)) throw error;
  const isLasting = isOfFile
    ? error instanceof NoSpaceError || error instanceof PermissionError || LASTING_ERRNOS.has(error.errno)
    : error instanceof DamagedLogError;
  throw new DeliveryError({ reason: error.message, scope: "target", retryable: !isLasting }, { cause: error });
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
