/**
 * Readings and views for the tests of `top`.
 */

import type { BufferStatus, StatusReading } from "../../src/buffer/status_format.ts";
import type { TopDirectory, TopReading, TopView } from "../../src/cli/top/view.ts";

/** 2026-11-25 21:14:03 UTC. */
export const NOW: number = Date.UTC(2026, 10, 25, 21, 14, 3);

/** A status that was written at NOW by a process that has been at it for an hour, but for what is given. */
export function statusWith(
  { stats, ...rest }: Partial<Omit<BufferStatus, "stats">> & { readonly stats?: Partial<BufferStatus["stats"]> } = {},
): BufferStatus {
  return {
    version: 1,
    state: "open",
    uuid: "d31e5b33-b874-42bc-a3e6-d819e13660ac",
    pid: 4711,
    runtime: "node",
    openedAt: NOW - 3_600_000,
    at: NOW,
    statusMs: 1000,
    limits: { maxRecords: 1000, maxBytes: 1_000_000, maxAgeMs: 5000, maxBacklogBytes: 2 ** 30, fsync: 1000 },
    end: { nextSequence: 1, payloadBytes: 0 },
    committed: { nextSequence: 1, payloadBytes: 0 },
    inFlightBatches: 0,
    sync: { samples: 0, lastMs: 0, p50Ms: 0, p99Ms: 0, maxMs: 0 },
    problems: [],
    ...rest,
    stats: {
      pendingRecords: 0,
      pendingBytes: 0,
      backlogBytes: 0,
      maxBacklogBytes: 2 ** 30,
      inFlightRecords: 0,
      oldestAgeMs: 0,
      segments: 1,
      diskBytes: 1000,
      lastSequence: 0,
      puts: 0,
      batchesEmitted: 0,
      batchesCommitted: 0,
      batchesRedelivered: 0,
      syncs: 0,
      syncMs: 0,
      rejected: 0,
      dropped: 0,
      expired: 0,
      quarantinedBytes: 0,
      lastProgressAt: NOW,
      ...stats,
    },
  };
}

/** A text in which escape characters can be seen, and looked for. */
export function visible(text: string): string {
  return text.replaceAll("\x1b", "␛");
}

/** What the directory of that process tells. */
export const DIRECTORY: TopDirectory = {
  owner: { pid: 4711, runtime: "node", openedAt: new Date(NOW - 3_600_000).toISOString() },
  cursor: undefined,
  segments: [{ bytes: 1000 }],
  quarantine: [],
  lastHeader: undefined,
};

/** A reading so long after NOW; of a status, or of why there is none. */
export function readingOf(
  status: BufferStatus | Exclude<StatusReading, { kind: "status" }>,
  afterMs = 0,
  directory: Partial<TopDirectory> = {},
): TopReading {
  const reading: StatusReading = "kind" in status ? status : { kind: "status", status };
  return { now: NOW + afterMs, monotonic: afterMs, status: reading, directory: { ...DIRECTORY, ...directory } };
}

/** A busy buffer, looked at for a while. */
export const BUSY: TopView = {
  path: "/var/lib/app/events.wal",
  now: NOW,
  source: "status",
  note: undefined,
  state: "open",
  seenAt: NOW - 400,
  owner: { pid: 4711, runtime: "node", openedAt: NOW - 4_400_000 },
  backlog: {
    isExact: true,
    records: 1_204_113,
    payloadBytes: 316_000_000,
    bytes: 334_495_744,
    maxBytes: 2 ** 30,
  },
  trend: { kind: "full", inMs: 720_000 },
  put: { records: 12_410, payloadBytes: 1_570_000 },
  committed: { records: 1_900, payloadBytes: 240_000 },
  inFlight: { batches: 2, records: 2000 },
  oldestAgeMs: 74_000,
  maxAgeMs: 5000,
  batches: { emitted: 812, committed: 810, redelivered: 3 },
  puts: { accepted: 2_014_113, rejected: 0, dropped: 0 },
  syncs: { count: 4312, meanMs: 0.61, lastMs: 0.2, p50Ms: 0.21, p99Ms: 4.2, maxMs: 31 },
  disk: { segments: 21, bytes: 340_000_000 },
  quarantine: { files: 0, bytes: 0 },
  problems: [
    { type: "full", message: "the backlog was full at 1073741824 bytes", at: NOW - 5_000, count: 14 },
    {
      type: "warning",
      code: "NO_SPACE",
      message: 'Cannot write "/var/lib/app/events.wal/00000000000000812345.wal": ENOSPC',
      at: NOW - 86_400_000,
      count: 1,
    },
  ],
  history: {
    put: Array.from({ length: 60 }, (_, i) => 8 * ((i * 7) % 24)),
    committed: Array.from({ length: 60 }, (_, i) => 4 * (i % 24)),
  },
};

/** The same buffer without a status file. */
export const BARE: TopView = {
  ...BUSY,
  source: "directory",
  note: "there is no status.json: an older version, statusMs 0, or killed at once",
  state: "unknown",
  seenAt: undefined,
  backlog: { isExact: false, records: 1_200_000, payloadBytes: undefined, bytes: 3.1e8, maxBytes: undefined },
  trend: undefined,
  put: undefined,
  oldestAgeMs: undefined,
  maxAgeMs: undefined,
  batches: undefined,
  puts: undefined,
  syncs: undefined,
  problems: undefined,
  quarantine: { files: 2, bytes: 5000 },
};
