/**
 * What `top` shows, computed from what it has read: pure, no I/O and no clock.
 *
 * Guarantees: an unknown figure is `undefined`, never a guess and never 0. Rates are measured between two readings, by positions in
 * the log, so that they include everything in between. Nothing here claims that a process is alive, because that can't be known
 * without its lock. Intervals and ages are measured by the monotonic clock: the wall clock may be set while `top` runs, and while
 * the program does that it watches. Times of the program are shown by the wall clock as it is now.
 *
 * @module
 */

import { unlessSet } from "../../base/clock.ts";
import type {
  BufferStatus,
  StatusPosition,
  StatusProblem,
  StatusReading,
  SyncTimes,
} from "../../buffer/status_format.ts";
import type { DirectorySnapshot } from "../../maintenance/snapshot.ts";
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from "../../wal/format.ts";

/** Readings over which a trend is measured: enough to even out batches, few enough to react in time. */
const TREND_READINGS = 16;
/** Readings whose rates are kept for the small charts. */
const HISTORY_READINGS = 120;
/** A status file is due every `statusMs`. If it is late by this factor, nothing happens, or the writer is gone. */
const LATE_FACTOR = 2.5;
/** A shorter pause is never late. */
const MIN_LATE_MS = 2_500;
/** A backlog that changes by a smaller share over all readings of a trend is steady. */
const STEADY_SHARE = 0.01;
/** A backlog that empties within this time is normal: batches come and go. */
const MIN_EMPTY_MS = 2_000;

export interface TopReading {
  /** Wall time, milliseconds since 1970. */
  readonly now: number;
  /** The monotonic clock at that moment. */
  readonly monotonic: number;
  readonly status: StatusReading;
  readonly directory: TopDirectory;
}

export interface TopDirectory extends Pick<DirectorySnapshot, "owner" | "cursor"> {
  readonly segments: readonly { readonly bytes: number }[];
  readonly quarantine: readonly { readonly bytes: number }[];
  /** Header of the last segment; `undefined` if it can't be read. */
  readonly lastHeader: SegmentHeader | undefined;
}

export interface TopRate {
  readonly records: number;
  readonly payloadBytes: number;
}

/** The buffer's state, as far as it can be known. */
export type TopState =
  /** Open, according to a recent status. */
  | "open"
  /** Open, according to an old status: it is idle, or its process is gone. */
  | "silent"
  | "failed"
  | "closed"
  | "unknown";

/** What is shown. Times are milliseconds since 1970, rates are per second. */
export interface TopView {
  readonly path: string;
  readonly now: number;
  /** The source of the figures. */
  readonly source: "status" | "directory";
  /** Why the source isn't the status file. */
  readonly note: string | undefined;
  readonly state: TopState;
  /** When the status file was written. */
  readonly seenAt?: number | undefined;
  /** Who opened the buffer last. */
  readonly owner: { readonly pid: number; readonly runtime: string; readonly openedAt: number } | undefined;
  readonly backlog: {
    /** If not, `records` is a lower bound, and the bytes are upper bounds. */
    readonly isExact: boolean;
    /** Not committed, in flight included. */
    readonly records: number | undefined;
    readonly payloadBytes?: number | undefined;
    /** Payloads and framing, what counts against `maxBytes`. */
    readonly bytes: number | undefined;
    readonly maxBytes?: number | undefined;
  };
  /** Where the backlog is heading; `undefined` if that is unknown. */
  readonly trend?: { readonly kind: "full" | "empty" | "steady"; readonly inMs: number } | undefined;
  readonly put?: TopRate | undefined;
  readonly committed?: TopRate | undefined;
  readonly inFlight: { readonly batches: number; readonly records: number } | undefined;
  /** Of the oldest record that is not in flight; `undefined` if there is none, or it isn't known. */
  readonly oldestAgeMs?: number | undefined;
  readonly maxAgeMs?: number | undefined;
  readonly batches?: { readonly emitted: number; readonly committed: number; readonly redelivered: number } | undefined;
  readonly puts?: { readonly accepted: number; readonly rejected: number; readonly dropped: number } | undefined;
  /** Syncs since the buffer was opened, and their recent durations. */
  readonly syncs?: Omit<SyncTimes, "samples"> & { readonly count: number; readonly meanMs: number } | undefined;
  readonly disk: { readonly segments: number; readonly bytes: number };
  readonly quarantine: { readonly files: number; readonly bytes: number };
  readonly problems?: readonly StatusProblem[] | undefined;
  /** Rates of the readings so far, records per second, the newest last. */
  readonly history: { readonly put: readonly number[]; readonly committed: readonly number[] };
}

/** A point from which rates are measured. */
interface Mark {
  /** On the monotonic clock. */
  readonly at: number;
  readonly end: StatusPosition | undefined;
  readonly committed: StatusPosition | undefined;
  readonly dropped: number;
  readonly backlogBytes: number | undefined;
}

type Rates = Pick<TopView, "put" | "committed">;
/** What one reading says, without its place among others. */
type Figures = Omit<TopView, "path" | "now" | "history">;

const UNKNOWN_RATES: Rates = {};
const NO_RATE: TopRate = { records: 0, payloadBytes: 0 };

/** Turns readings, in order, into views. */
export class TopWatch {
  readonly #path: string;
  /** What the marks belong to: one process that has the buffer open, or the directory. */
  #subject = "";
  /** The status read last: which one it is, and when it was written, on the monotonic clock. */
  #written = { status: "", at: 0 };
  /** The monotonic clock at the reading before. */
  #lastReading = -Infinity;
  #marks: Mark[] = [];
  #rates: Rates = UNKNOWN_RATES;
  #put: number[] = [];
  #committed: number[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  /** Adds a reading and returns its view. */
  add(reading: TopReading): TopView {
    const found = statusOf(reading);
    const view = typeof found === "string" ? this.#fromDirectory(reading, found) : this.#fromStatus(reading, found);
    this.#lastReading = reading.monotonic;
    // Both at once, so that values below each other on the screen are of the same time.
    if (view.put !== undefined || view.committed !== undefined) {
      this.#put = withLast(this.#put, view.put?.records ?? 0);
      this.#committed = withLast(this.#committed, view.committed?.records ?? 0);
    }
    const history = { put: this.#put, committed: this.#committed };
    return { path: this.#path, now: reading.now, ...view, history };
  }

  #fromStatus(reading: TopReading, status: BufferStatus): Figures {
    const { now, monotonic, directory } = reading;
    const { stats, limits, sync: { samples: _, ...syncTimes } } = status;
    const writtenAt = this.#writtenAt(reading, status);
    const ageMs = monotonic - writtenAt;
    const isLate = ageMs > Math.max(MIN_LATE_MS, LATE_FACTOR * status.statusMs);
    const state = status.state === "open" && isLate ? "silent" : status.state;
    const openMs = ageMs + (status.openMs ?? status.at - status.openedAt);
    this.#mark(subjectOf(status), {
      at: writtenAt,
      end: status.end,
      committed: status.committed,
      dropped: lossesIn(stats),
      backlogBytes: stats.backlogBytes,
    }, isLate);
    const isOpen = status.state === "open";
    const waiting = stats.pendingRecords - stats.inFlightRecords;
    return {
      source: "status",
      note: undefined,
      state,
      seenAt: unlessSet(status.at, now - ageMs),
      owner: { pid: status.pid, runtime: status.runtime, openedAt: unlessSet(status.openedAt, now - openMs) },
      backlog: {
        isExact: true,
        records: stats.pendingRecords,
        payloadBytes: stats.pendingBytes,
        bytes: stats.backlogBytes,
        maxBytes: limits.maxBacklogBytes,
      },
      trend: state === "open" ? this.#trend(limits.maxBacklogBytes) : undefined,
      put: isOpen ? this.#rates.put : undefined,
      committed: isOpen ? this.#rates.committed : undefined,
      inFlight: { batches: status.inFlightBatches, records: stats.inFlightRecords },
      // If the status is old, nothing has happened to the record since, so it has aged.
      oldestAgeMs: waiting > 0 ? stats.oldestAgeMs + (state === "open" ? 0 : ageMs) : undefined,
      maxAgeMs: limits.maxAgeMs,
      batches: {
        emitted: stats.batchesEmitted,
        committed: stats.batchesCommitted,
        redelivered: stats.batchesRedelivered,
      },
      puts: { accepted: stats.puts, rejected: stats.rejected, dropped: lossesIn(stats) },
      syncs: {
        count: stats.syncs,
        meanMs: stats.syncs === 0 ? 0 : stats.syncMs / stats.syncs,
        ...syncTimes,
      },
      disk: { segments: stats.segments, bytes: stats.diskBytes },
      quarantine: sumOf(directory.quarantine),
      problems: status.problems,
    };
  }

  #fromDirectory({ monotonic, directory }: TopReading, note: string): Figures {
    const { cursor, owner, lastHeader, segments } = directory;
    const committed = cursor?.committed;
    this.#mark("directory", { at: monotonic, end: undefined, committed, dropped: 0, backlogBytes: undefined }, false);
    // Up to the highest sequence in the small files. Later puts are in the last segment only.
    const next = cursor &&
      Math.max(cursor.lastSequence + 1, cursor.resume.nextSequence, lastHeader?.firstSequence ?? 0);
    // Up to the end of the last file, as if none of it were preallocated.
    const end = lastHeader && lastHeader.logBytesBefore + (segments.at(-1)?.bytes ?? 0) - SEGMENT_HEADER_BYTES;
    const inFlightEnd = cursor?.boundaries.at(-1) ?? committed;
    const { files, bytes } = sumOf(segments);
    return {
      source: "directory",
      note,
      state: "unknown",
      owner: owner && { pid: owner.pid, runtime: owner.runtime, openedAt: Date.parse(owner.openedAt) },
      backlog: {
        isExact: false,
        records: committed && Math.max(0, next! - committed.nextSequence),
        bytes: committed && end && Math.max(0, end - committed.logBytes),
      },
      committed: this.#rates.committed,
      inFlight: cursor && {
        batches: cursor.boundaries.length,
        records: inFlightEnd!.nextSequence - cursor.committed.nextSequence,
      },
      disk: { segments: files, bytes },
      quarantine: sumOf(directory.quarantine),
    };
  }

  /**
   * When a status was written, on the monotonic clock. The wall clock, which it was written by, may have been set since; but one that
   * is new was written after the reading before.
   */
  #writtenAt({ now, monotonic }: TopReading, status: BufferStatus): number {
    const id = `${subjectOf(status)} ${status.at}`;
    if (id !== this.#written.status) {
      const ageMs = Math.min(Math.max(0, now - status.at), monotonic - this.#lastReading);
      this.#written = { status: id, at: monotonic - ageMs };
    }
    return this.#written.at;
  }

  /** Measures the rates since the previous mark, if both have the same subject. */
  #mark(subject: string, mark: Mark, isLate: boolean): void {
    if (subject !== this.#subject) {
      this.#subject = subject;
      this.#marks = [];
      this.#rates = UNKNOWN_RATES;
    }
    const last = this.#marks.at(-1);
    if (last !== undefined && mark.at > last.at) this.#rates = ratesBetween(last, mark);
    // Nothing was written since: the rates stay valid until the status is late.
    else if (isLate) this.#rates = { put: NO_RATE, committed: NO_RATE };
    if (last === undefined || mark.at > last.at) this.#marks = [...this.#marks, mark].slice(-TREND_READINGS);
  }

  #trend(maxBytes: number): TopView["trend"] {
    const [first] = this.#marks;
    const last = this.#marks.at(-1);
    if (first?.backlogBytes === undefined || last?.backlogBytes === undefined || last.at <= first.at) return undefined;
    const change = last.backlogBytes - first.backlogBytes;
    const bytesAMs = change / (last.at - first.at);
    if (Math.abs(change) <= STEADY_SHARE * Math.max(first.backlogBytes, last.backlogBytes)) {
      return { kind: "steady", inMs: 0 };
    }
    if (change > 0) return { kind: "full", inMs: Math.max(0, maxBytes - last.backlogBytes) / bytesAMs };
    const inMs = last.backlogBytes / -bytesAMs;
    return inMs < MIN_EMPTY_MS ? { kind: "steady", inMs: 0 } : { kind: "empty", inMs };
  }
}

/** The status, if it is of the latest owner; otherwise why there is none. */
function statusOf({ status: reading, directory }: TopReading): BufferStatus | string {
  if (reading.kind === "missing") return "there is no status.json: an older version, statusMs 0, or killed at once";
  if (reading.kind === "version") return `status.json is of a newer version, ${reading.version}`;
  if (reading.kind === "bad") return "status.json is not whole";
  if (reading.kind === "unreadable") return reading.error.message;
  const { status } = reading;
  return isOfOwner(status, directory.owner) ? status : "status.json is of an earlier process";
}

/** Not told by which was written first: the wall clock may have been set in between. */
function isOfOwner({ pid, openedAt }: BufferStatus, owner: TopDirectory["owner"]): boolean {
  return owner === undefined || (pid === owner.pid && openedAt === Date.parse(owner.openedAt));
}

/** Who wrote a status: one process that has the buffer open. */
function subjectOf({ pid, openedAt }: BufferStatus): string {
  return `process ${pid} ${openedAt}`;
}

/** Records that were dropped, for either reason. The status of an older version has no `expired`. */
function lossesIn({ dropped, expired = 0 }: { readonly dropped: number; readonly expired?: number }): number {
  return dropped + expired;
}

function ratesBetween(from: Mark, to: Mark): Rates {
  const seconds = (to.at - from.at) / 1000;
  const dropped = Math.max(0, to.dropped - from.dropped);
  const rate = (a: StatusPosition | undefined, b: StatusPosition | undefined, without: number): TopRate | undefined =>
    a && b && {
      // Dropped records are counted and leave the log at different times.
      records: Math.max(0, b.nextSequence - a.nextSequence - without) / seconds,
      payloadBytes: Math.max(0, b.payloadBytes - a.payloadBytes) / seconds,
    };
  return { put: rate(from.end, to.end, 0), committed: rate(from.committed, to.committed, dropped) };
}

function sumOf(files: readonly { readonly bytes: number }[]): { files: number; bytes: number } {
  return { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}

function withLast(values: readonly number[], value: number): number[] {
  return [...values, value].slice(-HISTORY_READINGS);
}
