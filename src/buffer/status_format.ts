/**
 * The file `status.json`: what a buffer that is open says about itself, for whoever looks at it from outside.
 *
 * Guarantees: it is one block of {@linkcode STATUS_BYTES} that is overwritten in place, so that it needs no space after
 * its creation and goes on telling when the disk is full; a checksum over all of it tells a whole one from one that is
 * half written. Nothing is decided by it, and nothing is lost with it: it isn't synced, and may be deleted at any time.
 *
 * It can't say whether the process lives. One that was killed leaves it as it was, and one that has nothing to do leaves it
 * alone: all that can be known is when it was written.
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
/** Its length, always. */
export const STATUS_BYTES = 4096;
/** The version that is written, and the newest that is read. */
export const STATUS_VERSION = 1;

/** What stands before the bytes that the checksum covers. */
const HEAD_BYTES: number = '{"crc32":"'.length + 8 + '",'.length;
/** Reads of a file that is being written: a write takes microseconds, so the next one finds it whole. */
const READ_ATTEMPTS = 3;

/** A place in the log, counted from its start: what two of them differ by went by between two reads. */
export interface StatusPosition {
  /** Sequence of the record that follows. */
  readonly nextSequence: number;
  /** Payload bytes of all records before it. */
  readonly payloadBytes: number;
}

/** Something that went wrong, or did so several times. */
export interface StatusProblem {
  /** What it is about. Words of this format, which stay when events are renamed. */
  readonly type: "warning" | "failed" | "damage" | "drop" | "full" | "reserve-used";
  /** Code of the error, if the event has one. */
  readonly code?: string;
  /** The last time's message, shortened. */
  readonly message: string;
  /** The last time: milliseconds since 1970. */
  readonly at: number;
  /** How often since `open()`. */
  readonly count: number;
}

/** What `status.json` says. Times are milliseconds since 1970. */
export interface BufferStatus {
  /** Version of the file's format. */
  readonly version: number;
  /** `"failed"`: the buffer is open and can't go on; see {@linkcode BufferStatus.problems}. */
  readonly state: "open" | "failed" | "closed";
  /** The buffer's uuid. */
  readonly uuid: string;
  /** Process id, in the process's own namespace. */
  readonly pid: number;
  /** `"deno"`, `"bun"`, `"node"`. */
  readonly runtime: string;
  /** When the process opened the buffer. */
  readonly openedAt: number;
  /** When this was written. */
  readonly at: number;
  /** The option `statusMs`: while something changes, the next one follows so long after. */
  readonly statusMs: number;
  /** Options that say what the figures mean. */
  readonly limits: StatusLimits;
  /** The figures. */
  readonly stats: BufferStats;
  /** Behind the last record that was acknowledged. */
  readonly end: StatusPosition;
  /** Behind the last record that was committed or dropped. */
  readonly committed: StatusPosition;
  /** Batches in flight. */
  readonly inFlightBatches: number;
  /** How long syncs took. */
  readonly sync: SyncTimes;
  /** The last kinds of problems, the newest first. */
  readonly problems: readonly StatusProblem[];
}

/** Options of the buffer that say what its figures mean. */
export interface StatusLimits {
  /** The option of that name. */
  readonly maxRecords: number;
  /** The option of that name. */
  readonly maxBytes: number;
  /** The option of that name. */
  readonly maxAgeMs: number;
  /** The option of that name. */
  readonly maxBacklogBytes: number;
  /** The option of that name. */
  readonly fsync: Fsync;
}

/** How long the last syncs took, in milliseconds. All 0 if there was none. */
export interface SyncTimes {
  /** How many these are about. */
  readonly samples: number;
  /** The last one. */
  readonly lastMs: number;
  /** Half of them took no longer. */
  readonly p50Ms: number;
  /** 99 of 100 took no longer. */
  readonly p99Ms: number;
  /** The longest. */
  readonly maxMs: number;
}

/** What {@linkcode decodeStatus} found. */
export type StatusResult =
  | { readonly kind: "status"; readonly status: BufferStatus }
  /** Written by a version that is not known here. */
  | { readonly kind: "version"; readonly version: number }
  /** Half written, or something else. */
  | { readonly kind: "bad" };

/** What {@linkcode readStatus} found. */
export type StatusReading =
  | StatusResult
  | { readonly kind: "missing" }
  | { readonly kind: "unreadable"; readonly error: FileSystemError };

/** The bytes of the file. Of the problems there are as many as fit, the newest. */
export function encodeStatus(status: BufferStatus): Uint8Array {
  for (let count = status.problems.length;; count--) {
    const json = JSON.stringify({ ...status, problems: status.problems.slice(0, count) });
    const bytes = new TextEncoder().encode(" ".repeat(HEAD_BYTES - 1) + json);
    if (bytes.length >= STATUS_BYTES && count > 0) continue;
    const file = new Uint8Array(STATUS_BYTES).fill(0x20);
    file.set(bytes.subarray(0, STATUS_BYTES - 1));
    file[STATUS_BYTES - 1] = 0x0a;
    // The head ends where the brace was.
    file.set(new TextEncoder().encode(headOf(file)));
    return file;
  }
}

/** What the bytes of a file say. */
export function decodeStatus(bytes: Uint8Array): StatusResult {
  if (bytes.length < STATUS_BYTES) return { kind: "bad" };
  const file = bytes.subarray(0, STATUS_BYTES);
  const text = new TextDecoder().decode(file);
  if (!text.startsWith(headOf(file))) return { kind: "bad" };
  // What has the checksum is what one of us has written: it needn't be looked at field by field.
  const { crc32: _, ...status }: BufferStatus & { readonly crc32: string } = JSON.parse(text);
  if (status.version !== STATUS_VERSION) return { kind: "version", version: status.version };
  return { kind: "status", status };
}

/** Reads the file of the buffer in `directory`, without changing anything. Never throws for what is on the disk. */
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
