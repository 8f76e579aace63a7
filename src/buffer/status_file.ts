/**
 * Writes `status.json` for a buffer: when something has changed, at most once an interval, and a last time at its close.
 *
 * Guarantees: a put pays for it with the check whether a timer is set; no timer is set while nothing changes, and none keeps
 * the process alive; nothing is synced; whatever fails here (a full disk, a directory that somebody else guards) is left
 * out and tried again an interval later, and no caller of the buffer sees it. Memory is bounded: the last sync times and
 * one entry for each kind of problem.
 *
 * @module
 */

import { join } from "@std/path/join";
import type { Clock } from "../base/clock.ts";
import { processId } from "../base/runtime.ts";
import { errorText } from "../errors/text.ts";
import { closeQuietly, openOrCreate } from "../fs/file_helpers.ts";
import { STATUS_NAME } from "../wal/names.ts";
import type { LogLocation } from "../wal/segment_files.ts";
import type { BufferEvent, BufferStats } from "./events.ts";
import type { FileStore } from "./file_store.ts";
import type { RecordStore } from "./record_store.ts";
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

/** The sync times that are kept: enough for a 99th percentile, few enough to be sorted once a second. */
const SYNC_SAMPLES = 256;
/** The most kinds of problems that are kept. */
const MAX_PROBLEMS = 10;
/** A message is cut to this many characters, so that ten of them fit. */
const MAX_MESSAGE_LENGTH = 200;
/** Names of file systems are ours, or an implementer's own. */
const MAX_RUNTIME_LENGTH = 32;

interface StatusFileDeps extends LogLocation {
  readonly clock: Clock;
  /** The shortest time between two writes. */
  readonly statusMs: number;
  readonly limits: StatusLimits;
}

/** The store that the file describes. Once the directory isn't its own any more, nothing is written there. */
type StatusStore =
  & Pick<RecordStore, "uuid" | "ends" | "commitState" | "health">
  & Pick<FileStore, "isOwner" | "openedAt">;

/** The status file of one buffer that is open. */
export class StatusFile {
  readonly #deps: StatusFileDeps;
  readonly #path: string;
  /** On the monotonic clock. */
  readonly #openedAt: number;
  /** The last sync times, and how many there have been. */
  readonly #syncMs = new Float64Array(SYNC_SAMPLES);
  #syncs = 0;
  /** By kind, the most recent one last. */
  readonly #problems = new Map<string, StatusProblem>();
  /** `undefined` while the buffer is being opened, and after its close. */
  #store: StatusStore | undefined;
  #stats: (() => BufferStats) | undefined;
  #cancelTimer: (() => void) | undefined;

  /** Begins to listen; nothing is written before {@linkcode StatusFile.start}. */
  constructor(deps: StatusFileDeps) {
    this.#deps = deps;
    this.#path = join(deps.directory, STATUS_NAME);
    this.#openedAt = deps.clock.monotonic();
  }

  /** The buffer is open: from now on its figures are written. */
  start(store: StatusStore, stats: () => BufferStats): void {
    this.#store = store;
    this.#stats = stats;
    this.touch();
  }

  /** Something has changed. */
  touch(): void {
    if (this.#cancelTimer !== undefined || this.#store === undefined) return;
    this.#cancelTimer = this.#deps.clock.setTimer(() => {
      this.#cancelTimer = undefined;
      // What could not be written has changed still.
      if (!this.#write(false)) this.touch();
    }, this.#deps.statusMs);
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
    this.#store = undefined;
  }

  #add(problem: Problem): void {
    const kind = `${problem.type} ${problem.code ?? ""}`;
    const count = (this.#problems.get(kind)?.count ?? 0) + 1;
    const message = problem.message.slice(0, MAX_MESSAGE_LENGTH);
    // Taken out first, so that it stands last.
    this.#problems.delete(kind);
    this.#problems.set(kind, { ...problem, message, at: this.#deps.clock.now(), count });
    const [oldest] = this.#problems.keys();
    if (this.#problems.size > MAX_PROBLEMS && oldest !== undefined) this.#problems.delete(oldest);
  }

  /** Whether it could be written. */
  #write(isClosed: boolean): boolean {
    if (this.#store === undefined || !this.#store.isOwner()) return true;
    try {
      const bytes = encodeStatus(this.#status(this.#store, isClosed));
      // Opened each time, because somebody may have deleted it, or put another one there.
      const handle = openOrCreate(this.#deps.fileSystem, this.#path);
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

  #status({ uuid, openedAt, ends, commitState, health }: StatusStore, isClosed: boolean): BufferStatus {
    const { clock, fileSystem, limits, statusMs } = this.#deps;
    return {
      version: STATUS_VERSION,
      state: isClosed ? "closed" : health.failure !== undefined ? "failed" : "open",
      uuid,
      pid: processId(),
      runtime: fileSystem.name.slice(0, MAX_RUNTIME_LENGTH),
      openedAt,
      openMs: Math.floor(clock.monotonic() - this.#openedAt),
      at: clock.now(),
      statusMs,
      limits,
      stats: this.#stats!(),
      end: positionOf(ends.acknowledged),
      committed: positionOf(commitState.committed),
      inFlightBatches: commitState.boundaries.length,
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

type Problem = Pick<StatusProblem, "type" | "message" | "code">;

/** What an event says has gone wrong, in the file's own words; `undefined` if nothing has. */
function problemOf(event: BufferEvent): Problem | undefined {
  switch (event.type) {
    case "warned":
      return { type: "warning", code: event.error.code, message: event.error.message };
    case "listener-failed":
      return { type: "warning", message: `a listener failed at "${event.at}": ${errorText(event.error)}` };
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
      const { sequences, records, reason } = event;
      const why = reason === "expired" ? " had expired" : "";
      return { type: "drop", message: `${records} records, ${sequences.first} to ${sequences.last}${why}` };
    }
    case "reserve-used": {
      const { type, error: { code, message }, bytesLeft } = event;
      return { type, code, message: `${message}, ${bytesLeft} bytes of reserve are left` };
    }
    case "backlog-filled":
      return { type: "full", message: `the backlog was full at ${event.backlogBytes} bytes` };
    default:
      return undefined;
  }
}

/** A position, without what the file doesn't store of it. */
function positionOf({ nextSequence, payloadBytes }: StatusPosition): StatusPosition {
  return { nextSequence, payloadBytes };
}

/** Microseconds are as much as a clock tells. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
