/**
 * `FileBuffer`: the buffer that survives crashes. Its records are in a write-ahead log on disk.
 *
 * What each method guarantees is said at `RecordBuffer`; how durable "persisted" is, at the option `fsync`.
 *
 * @module
 */

import type { BufferOptions } from "./buffer.ts";
import { isJsonCodec } from "./codec.ts";
import { BaseBuffer } from "./buffer_base.ts";
import { stampClock } from "./clock.ts";
import { FileStore } from "./file_store.ts";
import { detectFileSystem } from "./fs/detect.ts";
import type { FileSystem } from "./fs/file_system.ts";
import { checkInteger, checkMethods, checkOneOf, describe, resolveOptions } from "./options.ts";
import type { OnDamage } from "./wal/damage.ts";
import type { Fsync } from "./wal/log.ts";

/** Interval of syncs: what a power cut may cost, against a sync a second. */
const DEFAULT_FSYNC_MS = 1_000;
/** Segment: what open() has to read through, and what a commit gives back to the disk at a time. */
const DEFAULT_SEGMENT_BYTES: number = 16 * 2 ** 20;
/** The longest interval: a timer of 31 bits. */
const MOST_FSYNC_MS: number = 2 ** 31 - 1;
/** The smallest segment: a header and little more. For tests that want to see many. */
const LEAST_SEGMENT_BYTES = 256;

const FILE_SYSTEM_METHODS = [
  "open",
  "list",
  "makeDirectory",
  "rename",
  "remove",
  "syncDirectory",
  "lock",
];

/**
 * Options of {@linkcode FileBuffer.open}.
 *
 * @example Small segments give their space back sooner
 * ```ts
 * import { FileBuffer, type FileBufferOptions } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertLess } from "@std/assert";
 *
 * const options: FileBufferOptions<string> = {
 *   path: "/events.wal",
 *   fileSystem: new MemoryFileSystem(),
 *   segmentBytes: 4096,
 *   maxRecords: 10,
 * };
 * const buffer = await FileBuffer.open(options);
 * for (let n = 0; n < 20; n++) await buffer.put("x".repeat(1000));
 * const { segments } = buffer.stats();
 * await buffer.commit(await buffer.emit()); // one half
 * await buffer.flush(); // the commit is on the disk, so the segments may go
 * assertLess(buffer.stats().segments, segments);
 * assertEquals(buffer.stats().pendingRecords, 10);
 * await buffer.close();
 * ```
 */
export interface FileBufferOptions<T> extends BufferOptions<T> {
  /** A directory of this buffer's own; created if missing. */
  readonly path: string;
  /**
   * How durable a put is when its promise resolves.
   *
   * - `"always"`: on stable storage. Batch ends and commits, too. Neither a killed process nor a power cut loses
   *   anything.
   * - a number, 1 to 2^31 - 1: in the operating system, and on stable storage at most so many milliseconds later. A
   *   killed process loses nothing; a power cut loses at most the last interval.
   * - `"never"`: in the operating system, which writes it out when it sees fit. A killed process loses nothing.
   *
   * @default {1_000}
   */
  readonly fsync?: Fsync;
  /**
   * A new segment is begun when a write would make the current one longer than this; 256 to 2^30.
   *
   * @default {16 MiB}
   */
  readonly segmentBytes?: number;
  /**
   * What to do about damaged records: `"quarantine"` sets the bytes aside, reports them and delivers the rest;
   * `"fail"` refuses with DamagedLogError, in `open()` or in the `emit()` that meets them.
   *
   * @default {"quarantine"}
   */
  readonly onDamage?: OnDamage;
  /**
   * Where the files are.
   *
   * @default {the file system of this runtime}
   */
  readonly fileSystem?: FileSystem;
}

/** The options that only a `FileBuffer` has. */
const OWN_OPTIONS = ["path", "fsync", "segmentBytes", "onDamage", "fileSystem"];

/**
 * A crash-safe buffer on disk. One process at a time may have it open.
 *
 * @example Put, emit, commit
 * ```ts
 * import { FileBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempDir();
 * const buffer = await FileBuffer.open<{ n: number }>({ path, maxRecords: 2 });
 * await buffer.put({ n: 1 });
 * await buffer.put({ n: 2 });
 * if (buffer.shouldEmit()) {
 *   const batch = await buffer.emit();
 *   assertEquals(batch.records, [{ n: 1 }, { n: 2 }]);
 *   await buffer.commit(batch);
 * }
 * await buffer.close();
 * await Deno.remove(path, { recursive: true });
 * ```
 */
export class FileBuffer<T> extends BaseBuffer<T> {
  /**
   * Opens the buffer in a directory, recovering what an earlier process left.
   *
   * @param options `path` is required; the others have defaults.
   * @throws {TypeError} if an option has the wrong type, or is unknown.
   * @throws {RangeError} if a number is out of range.
   * @throws {BufferLockedError} if the buffer is open already, here or in another process.
   * @throws {NotABufferError} if `path` is a file, or a directory that holds other files.
   * @throws {UnsupportedVersionError} if the log was written by a newer version.
   * @throws {DamagedLogError} if it is damaged and `onDamage` is `"fail"`.
   * @throws {PermissionError} if the operating system, or Deno's sandbox, refuses.
   * @throws {NoSpaceError} if a new buffer's first files don't fit the disk.
   */
  static async open<T>(options: FileBufferOptions<T>): Promise<FileBuffer<T>> {
    const resolved = resolveOptions(options, OWN_OPTIONS);
    const own = resolveOwnOptions(options);
    const time = stampClock(resolved.clock);
    const store = await FileStore.open({
      ...own,
      fileSystem: options.fileSystem ?? await detectFileSystem(),
      clock: resolved.clock,
      time,
      recordLimit: resolved.maxRecordBytes,
      codecVersion: resolved.codec.version ?? 0,
      isJson: isJsonCodec(resolved.codec),
      tell: (event) => resolved.listeners.tell(event),
    });
    return new FileBuffer<T>({ store, options: resolved, time });
  }
}

/** Checks what `resolveOptions` doesn't know. */
function resolveOwnOptions<T>(options: FileBufferOptions<T>): {
  path: string;
  fsync: Fsync;
  segmentBytes: number;
  onDamage: OnDamage;
} {
  const { path, fsync = DEFAULT_FSYNC_MS, segmentBytes = DEFAULT_SEGMENT_BYTES, onDamage = "quarantine" } = options;
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    throw new TypeError(`Cannot open buffer: path must be the path of a directory, got ${describe(path)}`);
  }
  if (typeof fsync === "number") checkInteger("fsync", fsync, 1, MOST_FSYNC_MS);
  else if (fsync !== "always" && fsync !== "never") {
    throw new TypeError(`Cannot open buffer: fsync must be "always", "never" or milliseconds, got ${describe(fsync)}`);
  }
  checkInteger("segmentBytes", segmentBytes, LEAST_SEGMENT_BYTES, 2 ** 30);
  checkOneOf("onDamage", onDamage, ["quarantine", "fail"]);
  if (options.fileSystem !== undefined) checkMethods("fileSystem", options.fileSystem, FILE_SYSTEM_METHODS);
  return { path, fsync, segmentBytes, onDamage };
}
