/**
 * Writes `status.json` for a buffer: when something has changed, at most once an interval, and a last time at its close.
 *
 * Guarantees: a put pays for it with the look whether a timer is set; no timer is set while nothing changes, and none keeps
 * the process alive; nothing is synced; whatever fails here (a full disk, a directory that somebody else guards) is left
 * out and tried again an interval later, and no caller of the buffer is told. Memory is bounded: the last sync times and
 * one entry for each kind of problem.
 *
 * @module
 */

import process from "node:process";
import { join } from "@std/path/join";
import type { Clock } from "../base/clock.ts";
import { closeQuietly, openOrCreate } from "../fs/file_helpers.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { STATUS_NAME } from "../wal/names.ts";
import type { BufferEvent, BufferStats } from "./events.ts";
import {
  type BufferStatus,
  encodeStatus,
  STATUS_BYTES,
  STATUS_VERSION,
  type StatusLimits,
  type StatusPosition,
  type StatusProblem,
  type SyncTimes,
} from "./status_format.ts";

/** So many sync times are kept: enough for a 99th percentile, few enough to be sorted once a second. */
const SYNC_SAMPLES = 256;
/** So many kinds of problems are kept. */
const MAX_PROBLEMS = 10;
/** A message is cut to so many characters, so that ten of them fit. */
const MAX_MESSAGE_LENGTH = 200;
/** Names of file systems are ours, or an implementer's own. */
const MAX_RUNTIME_LENGTH = 32;

/** What a {@linkcode StatusFile} is made with. */
export interface StatusFileOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  /** The least time between two writes. */
  readonly statusMs: number;
  readonly limits: StatusLimits;
}

/** What it tells of. */
export interface StatusSource {
  readonly uuid: string;
  /** The figures of now. */
  stats(): BufferStats;
  /** Behind the last record acknowledged, behind the last one committed, and the batches in flight. */
  positions(): { readonly end: StatusPosition; readonly committed: StatusPosition; readonly inFlightBatches: number };
  /** Whether the buffer can't go on. */
  hasFailed(): boolean;
  /** Whether the directory is still its own: else nothing is written there. */
  isOwner(): boolean;
}

/** The status file of one buffer that is open. */
export class StatusFile {
  readonly #options: StatusFileOptions;
  readonly #path: string;
  readonly #openedAt: number;
  /** The last sync times; where the next one goes, counted on. */
  readonly #syncMs = new Float64Array(SYNC_SAMPLES);
  #syncs = 0;
  /** By kind; the one that came last stands last. */
  readonly #problems = new Map<string, StatusProblem>();
  /** `undefined` while the buffer is being opened, and after its close. */
  #source: StatusSource | undefined;
  #cancelTimer: (() => void) | undefined;

  /** Begins to listen; nothing is written before {@linkcode StatusFile.start}. */
  constructor(options: StatusFileOptions) {
    this.#options = options;
    this.#path = join(options.directory, STATUS_NAME);
    this.#openedAt = options.clock.now();
  }

  /** The buffer is open: from now on it is told of. */
  start(source: StatusSource): void {
    this.#source = source;
    this.touch();
  }

  /** Something has changed. */
  touch(): void {
    if (this.#cancelTimer !== undefined || this.#source === undefined) return;
    this.#cancelTimer = this.#options.clock.setTimer(() => {
      this.#cancelTimer = undefined;
      // What could not be written has changed still.
      if (!this.#write(false)) this.touch();
    }, this.#options.statusMs);
  }

  /** Something has happened. */
  note(event: BufferEvent): void {
    if (event.type === "synced") {
      this.#syncMs[this.#syncs++ % SYNC_SAMPLES] = event.durationMs;
    } else {
      const problem = problemOf(event);
      if (problem !== undefined) this.#add(problem);
    }
    this.touch();
  }

  /** Writes a last time. To be called before the lock is given up: then the file is the next owner's. */
  close(): void {
    this.#cancelTimer?.();
    this.#write(true);
    this.#source = undefined;
  }

  #add(problem: Problem): void {
    const kind = `${problem.type} ${problem.code ?? ""}`;
    const count = (this.#problems.get(kind)?.count ?? 0) + 1;
    const message = problem.message.slice(0, MAX_MESSAGE_LENGTH);
    // Taken out first, so that it stands last.
    this.#problems.delete(kind);
    this.#problems.set(kind, { ...problem, message, at: this.#options.clock.now(), count });
    const [oldest] = this.#problems.keys();
    if (this.#problems.size > MAX_PROBLEMS && oldest !== undefined) this.#problems.delete(oldest);
  }

  /** Whether it could be written. */
  #write(isClosed: boolean): boolean {
    if (this.#source === undefined || !this.#source.isOwner()) return true;
    try {
      const bytes = encodeStatus(this.#status(this.#source, isClosed));
      // Opened each time, because somebody may have deleted it, or put another one there.
      const handle = openOrCreate(this.#options.fileSystem, this.#path);
      try {
        // Somebody else's, then: ours never has another length.
        if (handle.size() > STATUS_BYTES) handle.truncate(STATUS_BYTES);
        handle.write(bytes, 0);
      } finally {
        closeQuietly(handle);
      }
      return true;
    } catch {
      // See above: whatever it is, a buffer must not fail by it.
      return false;
    }
  }

  #status(source: StatusSource, isClosed: boolean): BufferStatus {
    const { clock, fileSystem, limits, statusMs } = this.#options;
    const { end, committed, inFlightBatches } = source.positions();
    return {
      version: STATUS_VERSION,
      state: isClosed ? "closed" : source.hasFailed() ? "failed" : "open",
      uuid: source.uuid,
      pid: process.pid,
      runtime: fileSystem.name.slice(0, MAX_RUNTIME_LENGTH),
      openedAt: this.#openedAt,
      at: clock.now(),
      statusMs,
      limits,
      stats: source.stats(),
      end: positionOf(end),
      committed: positionOf(committed),
      inFlightBatches,
      sync: this.#syncTimes(),
      problems: [...this.#problems.values()].reverse(),
    };
  }

  #syncTimes(): SyncTimes {
    const samples = Math.min(this.#syncs, SYNC_SAMPLES);
    const sorted = this.#syncMs.slice(0, samples).sort();
    const at = (share: number): number => round(sorted[Math.max(0, Math.ceil(share * samples) - 1)] ?? 0);
    const lastMs = samples === 0 ? 0 : round(this.#syncMs[(this.#syncs - 1) % SYNC_SAMPLES]);
    return { samples, lastMs, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  }
}

type Problem = Pick<StatusProblem, "type" | "message"> & { readonly code?: string };

/** What an event says has gone wrong, in the file's own words; `undefined` if nothing has. */
function problemOf(event: BufferEvent): Problem | undefined {
  switch (event.type) {
    case "warned":
      return { type: "warning", code: event.error.code, message: event.error.message };
    case "failed": {
      // The message says that something failed, its cause what.
      const { code, message, cause } = event.error;
      return { type: event.type, code, message: cause instanceof Error ? cause.message : message };
    }
    case "damage-found": {
      const { segment, offset, length, missing } = event.region;
      const lost = missing === undefined ? "" : `, records ${missing.first} to ${missing.last} are missing`;
      return { type: "damage", message: `${length} bytes at ${offset} of ${segment}${lost}` };
    }
    case "records-dropped": {
      const { sequences, records } = event;
      return { type: "drop", message: `${records} records, ${sequences.first} to ${sequences.last}` };
    }
    case "reserve-used": {
      const { error, bytesLeft } = event;
      return {
        type: event.type,
        code: error.code,
        message: `${error.message}, ${bytesLeft} bytes of reserve are left`,
      };
    }
    case "backlog-filled":
      return { type: "full", message: `the backlog was full at ${event.backlogBytes} bytes` };
    default:
      return undefined;
  }
}

/** Without what else a position knows. */
function positionOf({ nextSequence, payloadBytes }: StatusPosition): StatusPosition {
  return { nextSequence, payloadBytes };
}

/** Microseconds are as much as a clock tells. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
