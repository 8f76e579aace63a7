/**
 * The file `status.json`: what an open buffer says about itself, for programs that watch it from outside.
 *
 * Guarantees:
 * - It is one block of {@linkcode STATUS_BYTES} that is overwritten in place. So it needs no disk space after its
 *   creation, and is still updated when the disk is full.
 * - A checksum over the whole block tells a complete file from a half-written one.
 * - It is information only: no decision depends on it. It isn't synced, and may be deleted at any time without loss.
 *
 * It can't say whether the process is alive. A process that was killed leaves it as it was, and an idle process doesn't
 * write it either. Only the time of the last write is known.
 *
 * ```text
 * {"crc32":"xxxxxxxx","version":1, ... }      JSON, then spaces, then a line feed: 4096 bytes
 *            |         \________________/
 *            '-- CRC-32 of every byte from here to the end
 * ```
 *
 * @module
 */

import { join } from "@std/path/join";
import { crc32 } from "../base/crc32.ts";
import { FileSystemError } from "../errors/mod.ts";
import { isNoSuchFile, withFile } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { STATUS_NAME } from "../wal/names.ts";
import type { Fsync } from "../wal/writer/log.ts";
import type { BufferStats } from "./events.ts";
import type { ResolvedOptions } from "./options.ts";

/** The length of the file, which never changes. */
export const STATUS_BYTES = 4096;
/** The format version that is written, and the newest that is read. */
export const STATUS_VERSION = 1;

/** The bytes before those that the checksum covers. */
const HEAD_BYTES: number = '{"crc32":"'.length + 8 + '",'.length;
/** The most reads of a file that is being written. A write takes microseconds, so the next read finds it complete. */
const READ_ATTEMPTS = 3;

/** A position in the log, counted from its start. The difference of two is what passed between two reads. */
export interface StatusPosition {
  /** The sequence of the record that follows. */
  readonly nextSequence: number;
  /** Payload bytes of all records before it. */
  readonly payloadBytes: number;
}

/** Something that went wrong, once or several times. */
export interface StatusProblem {
  /** The kind of problem. These names belong to the file format, and stay when events are renamed. */
  readonly type: "warning" | "failed" | "damage" | "drop" | "full" | "reserve-used";
  /** The code of the error, if the event has one. */
  readonly code?: string;
  /** The message of the last occurrence, shortened. */
  readonly message: string;
  /** The last occurrence: milliseconds since 1970. */
  readonly at: number;
  /** How often it occurred since `open()`. */
  readonly count: number;
}

/** The content of `status.json`. Times are milliseconds since 1970. */
export interface BufferStatus {
  /** The version of the file's format. */
  readonly version: number;
  /** `"failed"`: the buffer is open, but can't continue; see {@linkcode BufferStatus.problems}. */
  readonly state: "open" | "failed" | "closed";
  readonly uuid: string;
  /** The process id, in the namespace of the process. */
  readonly pid: number;
  /** `"deno"`, `"bun"`, `"node"`. */
  readonly runtime: string;
  /** When the process opened the buffer; the same as in `owner.json`. */
  readonly openedAt: number;
  /** For how long it has been open, however the wall clock was set meanwhile; earlier versions didn't write it. */
  readonly openMs?: number;
  /** When this status was written. */
  readonly at: number;
  /** The option `statusMs`: while something changes, the next status follows after this time. */
  readonly statusMs: number;
  /** The options that are needed to interpret the figures. */
  readonly limits: StatusLimits;
  readonly stats: BufferStats;
  /** The position after the last acknowledged record. */
  readonly end: StatusPosition;
  /** The position after the last record that was committed or dropped. */
  readonly committed: StatusPosition;
  readonly inFlightBatches: number;
  /** How long the last syncs took. */
  readonly sync: SyncTimes;
  /** The most recent problems, one of each kind, newest first. */
  readonly problems: readonly StatusProblem[];
}

/** The options of the buffer that are needed to interpret its figures. */
export interface StatusLimits
  extends Pick<ResolvedOptions<unknown>, "maxRecords" | "maxBytes" | "maxAgeMs" | "maxBacklogBytes"> {
  readonly fsync: Fsync;
}

/** How long the last syncs took, in milliseconds; all 0 before the first sync. */
export interface SyncTimes {
  /** How many syncs these figures cover. */
  readonly samples: number;
  /** The last one. */
  readonly lastMs: number;
  /** The median: half of them took no longer. */
  readonly p50Ms: number;
  /** 99 of 100 took no longer. */
  readonly p99Ms: number;
  /** The longest. */
  readonly maxMs: number;
}

export type StatusResult =
  | { readonly kind: "status"; readonly status: BufferStatus }
  /** Written by an unknown version. */
  | { readonly kind: "version"; readonly version: number }
  /** Half written, or not a status file. */
  | { readonly kind: "bad" };

export type StatusReading =
  | StatusResult
  | { readonly kind: "missing" }
  | { readonly kind: "unreadable"; readonly error: FileSystemError };

/** Encodes the file, with as many problems as fit, newest first. */
export function encodeStatus(status: BufferStatus): Uint8Array {
  for (let count = status.problems.length;; count--) {
    const json = JSON.stringify({ ...status, problems: status.problems.slice(0, count) });
    const bytes = new TextEncoder().encode(" ".repeat(HEAD_BYTES - 1) + json);
    if (bytes.length >= STATUS_BYTES && count > 0) continue;
    const file = new Uint8Array(STATUS_BYTES).fill(0x20);
    file.set(bytes.subarray(0, STATUS_BYTES - 1));
    file[STATUS_BYTES - 1] = 0x0a;
    // The head replaces the spaces and the opening brace.
    file.set(new TextEncoder().encode(headOf(file)));
    return file;
  }
}

export function decodeStatus(bytes: Uint8Array): StatusResult {
  if (bytes.length < STATUS_BYTES) return { kind: "bad" };
  const file = bytes.subarray(0, STATUS_BYTES);
  const text = new TextDecoder().decode(file);
  if (!text.startsWith(headOf(file))) return { kind: "bad" };
  // The right checksum proves that Sluice wrote it, so the fields need no check of their own.
  const { crc32: _, ...status }: BufferStatus & { readonly crc32: string } = JSON.parse(text);
  if (status.version !== STATUS_VERSION) return { kind: "version", version: status.version };
  return { kind: "status", status };
}

/** Reads the file of the buffer in `directory`. Read-only; errors of the file system are returned, not thrown. */
export function readStatus(fileSystem: FileSystem, directory: string): StatusReading {
  let result: StatusReading = { kind: "bad" };
  for (let i = 0; i < READ_ATTEMPTS && result.kind === "bad"; i++) result = readOnce(fileSystem, directory);
  return result;
}

function readOnce(fileSystem: FileSystem, directory: string): StatusReading {
  try {
    return withFile(fileSystem, join(directory, STATUS_NAME), (handle) => {
      const bytes = new Uint8Array(STATUS_BYTES);
      return decodeStatus(bytes.subarray(0, handle.read(bytes, 0)));
    });
  } catch (error) {
    if (isNoSuchFile(error)) return { kind: "missing" };
    if (!(error instanceof FileSystemError)) throw error;
    return { kind: "unreadable", error };
  }
}

function headOf(file: Uint8Array): string {
  return `{"crc32":"${crc32(file.subarray(HEAD_BYTES)).toString(16).padStart(8, "0")}",`;
}
