/**
 * `FileBuffer`: the buffer that survives crashes. Its records are in a write-ahead log on disk.
 *
 * What each method guarantees is said at `RecordBuffer`; how durable "persisted" is, at the option `fsync`.
 *
 * @module
 */

import { stampClock } from "../base/clock.ts";
import { isJsonCodec } from "../base/codec.ts";
import {
  checkInteger,
  checkMethods,
  checkOneOf,
  checkPath,
  type Complete,
  describe,
  MAX_TIMER_MS,
} from "../base/validation.ts";
import { detectFileSystem } from "../fs/detect.ts";
import type { FileSystem } from "../fs/file_system.ts";
import type { OnDamage } from "../wal/recovery/damage.ts";
import { MAX_RESERVE_BYTES, RESERVE_PART_BYTES } from "../wal/reserve.ts";
import type { Fsync } from "../wal/writer/log.ts";
import { LocalBuffer } from "./local_buffer.ts";
import { FileStore } from "./file_store.ts";
import { type BufferOptions, resolveOptions } from "./options.ts";
import { StatusFile } from "./status_file.ts";

/** Interval of syncs: what a power cut may cost, against a sync a second. */
const DEFAULT_FSYNC_MS = 1_000;
/** Segment: what open() has to read through, and what a commit gives back to the disk at a time. */
const DEFAULT_SEGMENT_BYTES: number = 16 * 2 ** 20;
/** The smallest segment: a header and little more. For tests that want to see many. */
const MIN_SEGMENT_BYTES = 256;

/** Interval of status files: as often as a person looks. */
const DEFAULT_STATUS_MS = 1_000;

const FILE_SYSTEM_METHODS = ["open", "list", "makeDirectory", "rename", "remove", "syncDirectory", "lock"];

/**
 * Options of {@linkcode FileBuffer.open}.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 */
export interface FileBufferOptions<T, In = T> extends BufferOptions<T, In> {
  /**
   * A directory of this buffer's own, also as a `file:` URL; created if missing. Its absolute path has at most 499 bytes in UTF-8,
   * because SQLite makes the lock in it.
   */
  readonly path: string | URL;
  /**
   * How durable a put is when its promise resolves.
   *
   * - `"always"`: on stable storage. Batch ends and commits, too. Neither a killed process nor a power cut loses
   *   anything. Not so with Deno on macOS where the file system has no F_FULLFSYNC (SMB, exFAT, some of FUSE).
   * - a number, 1 to 2^31 - 1: in the operating system, and on stable storage at most that many milliseconds later. A
   *   killed process loses nothing; a power cut loses at most the last interval.
   * - `"never"`: in the operating system, which writes it out when it sees fit. A killed process loses nothing.
   *
   * @default {1_000}
   */
  readonly fsync?: Fsync | undefined;
  /**
   * A new segment is begun when a write would make the current one longer than this; 256 to 2^30.
   *
   * @default {16 MiB}
   */
  readonly segmentBytes?: number | undefined;
  /**
   * The bytes that are kept back in files of their own, where overwriting a file may need space (btrfs, ZFS, APFS,
   * reflinks), and given up when the disk is full, so that batches are handed over and committed all the same; 2^18 to
   * 2^26, or 0 for none. If given, they are kept on every file system.
   *
   * By default none are kept where that surely isn't needed: on ext2 to ext4 and tmpfs. Deno can tell that only with
   * `--allow-sys=statfs`.
   *
   * @default {1 MiB, where it may be needed}
   */
  readonly reserveBytes?: number | undefined;
  /**
   * What to do about damaged records: `"quarantine"` sets the bytes aside, reports them and delivers the rest;
   * `"fail"` refuses with DamagedLogError, in `open()` or in the `emit()` that meets them.
   *
   * @default {"quarantine"}
   */
  readonly onDamage?: OnDamage | undefined;
  /**
   * How often the file `status.json` in the directory is updated while something changes, in milliseconds. Other programs
   * read it to watch the buffer: `top` of the command line, or your own. 0: never; up to 2^31 - 1.
   *
   * @default {1_000}
   */
  readonly statusMs?: number | undefined;
  /**
   * Where the files are.
   *
   * @default {the file system of this runtime}
   */
  readonly fileSystem?: FileSystem | undefined;
}

/** The options that only a `FileBuffer` has. */
const OWN_OPTIONS = ["path", "fsync", "segmentBytes", "reserveBytes", "onDamage", "statusMs", "fileSystem"];

/**
 * A crash-safe buffer on disk. One process at a time may have it open. Its methods are described at
 * {@linkcode RecordBuffer}.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
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
export class FileBuffer<T, In = T> extends LocalBuffer<T, In> {
  /**
   * Opens the buffer in a directory, recovering what an earlier process left.
   *
   * @typeParam T The records of the buffer.
   * @typeParam In What may be put; more than `T` where a schema fills in defaults.
   * @param options `path` is required; the others have defaults.
   * @returns The buffer. What was accepted and not committed is in it, in order.
   * @throws {TypeError} if an option has the wrong type, or is unknown.
   * @throws {RangeError} if a number is out of range.
   * @throws {BufferLockedError} if the buffer is open already, here or in another process.
   * @throws {NotABufferError} if `path` is a file, or a directory that holds other files.
   * @throws {UnsupportedVersionError} if the log was written by a newer version.
   * @throws {DamagedLogError} if it is damaged and `onDamage` is `"fail"`.
   * @throws {PermissionError} if the operating system, or Deno's sandbox, refuses.
   * @throws {NoSpaceError} if a new buffer's first files don't fit the disk.
   *
   * @example After a crash: what is there again, and what was cut off
   * ```ts
   * import { FileBuffer, type RecoveryReport } from "@sluice/buffer";
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const summary = ({ recoveredRecords, truncatedBytes, damaged, cursorLost }: RecoveryReport) =>
   *   `${recoveredRecords} records, ${truncatedBytes} bytes cut off, ${damaged.length} damaged` +
   *   (cursorLost ? ", commits lost: expect duplicates" : "");
   *
   * const dead = new MemoryFileSystem();
   * const options = { fsync: "never", statusMs: 0 } as const; // no timer goes on for the process that dies
   * const buffer = await FileBuffer.open<string>({ path: "/events.wal", fileSystem: dead, ...options });
   * await buffer.putMany(["a", "b"]);
   * const fileSystem = dead.kill();
   * const segment = "/events.wal/00000000000000000001.wal";
   * const bytes = fileSystem.readFile(segment);
   * fileSystem.writeFile(segment, new Uint8Array([...bytes, 1, 2, 3])); // a third put had just begun
   *
   * const again = await FileBuffer.open<string>({ path: "/events.wal", fileSystem });
   * assertEquals(summary(again.recovery), "2 records, 3 bytes cut off, 0 damaged");
   * await again.close();
   * ```
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
  static async open<T, In = T>(options: FileBufferOptions<T, In>): Promise<FileBuffer<T, In>> {
    const resolved = resolveOptions(options, OWN_OPTIONS);
    const own = resolveOwnOptions(options);
    const { clock, codec, listeners, maxRecordBytes, maxRecords, maxBytes, maxAgeMs, maxBacklogBytes } = resolved;
    const { path: directory, fsync, statusMs } = own;
    const time = stampClock(clock);
    const fileSystem = options.fileSystem ?? await detectFileSystem();
    const limits = { maxRecords, maxBytes, maxAgeMs, maxBacklogBytes, fsync };
    const status = statusMs > 0 ? new StatusFile({ fileSystem, directory, clock, statusMs, limits }) : undefined;
    if (status !== undefined) listeners.add((event) => status.note(event));
    const onChange = (): void => status?.touch();
    const store = await FileStore.open({
      ...own,
      fileSystem,
      clock,
      time,
      recordLimit: maxRecordBytes,
      codecVersion: codec.version ?? 0,
      isJson: isJsonCodec(codec),
      tell: (event) => listeners.tell(event),
      onChange,
      onClosing: () => status?.close(),
    });
    const buffer = new FileBuffer<T, In>({ store, options: resolved, time, onChange });
    status?.start(store, () => buffer.stats());
    return buffer;
  }
}

/** The options that only a `FileBuffer` has, complete and checked. */
interface OwnOptions
  extends Complete<Pick<FileBufferOptions<unknown>, "fsync" | "segmentBytes" | "onDamage" | "statusMs">> {
  readonly path: string;
  readonly reserveBytes: number | undefined;
}

/** Checks what `resolveOptions` doesn't know. */
function resolveOwnOptions(options: FileBufferOptions<unknown, never>): OwnOptions {
  const { fsync = DEFAULT_FSYNC_MS, segmentBytes = DEFAULT_SEGMENT_BYTES, onDamage = "quarantine" } = options;
  const { statusMs = DEFAULT_STATUS_MS, reserveBytes } = options;
  const path = checkPath(options.path, "the path of a directory");
  if (typeof fsync === "number") checkInteger("fsync", fsync, 1, MAX_TIMER_MS);
  else if (fsync !== "always" && fsync !== "never") {
    throw new TypeError(`Cannot open buffer: fsync must be "always", "never" or milliseconds, got ${describe(fsync)}`);
  }
  checkInteger("segmentBytes", segmentBytes, MIN_SEGMENT_BYTES, 2 ** 30);
  if (reserveBytes !== undefined && reserveBytes !== 0) {
    checkInteger("reserveBytes", reserveBytes, RESERVE_PART_BYTES, MAX_RESERVE_BYTES);
  }
  checkOneOf("onDamage", onDamage, ["quarantine", "fail"]);
  checkInteger("statusMs", statusMs, 0, MAX_TIMER_MS);
  if (options.fileSystem !== undefined) checkMethods("fileSystem", options.fileSystem, FILE_SYSTEM_METHODS);
  return { path, fsync, segmentBytes, reserveBytes, onDamage, statusMs };
}
