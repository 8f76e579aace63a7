/**
 * What is measured: each case with those who take part, and how they have to be set. No code that measures.
 *
 * A contender that has no way to do a workload is not in the list of its case, and its place in the table stays empty.
 */

import type { RuntimeName } from "../support/children.ts";
import type { Item } from "./records.ts";

/** Time of a cell at `--scale 1`: long enough that a sync once a second falls into it. */
const CELL_MS = 1_200;
/** Records of the backlog in W4 at `--scale 1` and above. */
const BACKLOG_RECORDS = 1_000_000;
/** Segments of the backlog in W6 at `--scale 1` and above, unless `--segments` says how many. */
const SEGMENTS = 100_000;
/** Processes started in a cell of `import`. */
const PROCESSES = 20;

/** Names of the workloads, for `--only`. `size` is no cell; `run.ts` does it once. */
export const WORKLOADS = ["W1", "W1x16", "W2", "W3", "W4", "W5", "W6", "parts", "calls", "import", "size"] as const;
/** Names of the contenders, for `--contenders`. */
export const CONTENDERS = ["raw", "json-lines", "sqlite", "ours"] as const;

export type Workload = typeof WORKLOADS[number];
export type ContenderName = typeof CONTENDERS[number];

/** A contender, and the setting that decides what a crash may take. */
export interface Way {
  readonly contender: ContenderName;
  /** `write` or `fdatasync` for raw and JSON lines, `synchronous` for SQLite, `fsync` for ours. */
  readonly setting: string;
}

/** One table: a workload, what it is done with, and by whom. */
export interface Case {
  readonly workload: Workload;
  /** What is done, and what an acknowledged record survives. */
  readonly title: string;
  /** Length of a record as JSON. */
  readonly recordBytes: number;
  /** How many put at the same time. */
  readonly writers: number;
  /** Records of a batch. */
  readonly maxRecords: number;
  /** Bytes of a segment; the default if it isn't stated. */
  readonly segmentBytes?: number;
  readonly ways: readonly Way[];
}

/** One process: a case, done in one way on one runtime. */
export interface Cell {
  readonly of: Case;
  readonly way: Way;
  readonly runtime: RuntimeName;
}

/** What the process is told. */
export interface Task {
  /** `fill` leaves the backlog that W4 finds, `fill-segments` that of W6. */
  readonly workload: Workload | "fill" | "fill-segments";
  readonly way: Way;
  readonly recordBytes: number;
  readonly writers: number;
  readonly maxRecords: number;
  readonly segmentBytes: number | undefined;
  /** How long to measure. */
  readonly targetMs: number;
  /** Records of the backlog. */
  readonly backlog: number;
  /** How many processes to start. */
  readonly processes: number;
  /** Where the core is as one minified file, if it could be bundled. */
  readonly bundle: string | undefined;
  /** A directory of its own: empty, or with the backlog. */
  readonly directory: string;
}

/** How a contender is opened. */
export interface OpenOptions {
  readonly directory: string;
  readonly setting: string;
  readonly maxRecords: number;
  readonly segmentBytes: number | undefined;
  /** The thousand records whose texts all others have, for those who encode beforehand. */
  readonly pool: readonly Item[];
}

/**
 * The work, as each contender does it. What is finished at the return gives nothing back; only a promise is awaited.
 * Contenders that only put have none of the last four methods.
 */
export interface Contender {
  /** Puts record `index`, as safe as the setting says. */
  put(record: Item, index: number): Promise<unknown> | void;
  /** Puts a thousand records at once. */
  putMany(records: readonly Item[]): Promise<unknown> | void;
  close(): Promise<void> | void;
  /** Whether a full batch is there. */
  shouldEmit?(): boolean;
  /** The oldest records that are not committed, decoded. */
  emit?(): Promise<readonly Item[]> | readonly Item[];
  /** Drops what `emit()` gave, as safe as a put. */
  commit?(): Promise<void> | void;
  /** Whether nothing is left. */
  isEmpty?(): boolean;
}

const raw: Way = { contender: "raw", setting: "write" };
const jsonLines: Way = { contender: "json-lines", setting: "write" };
const sqliteOff: Way = { contender: "sqlite", setting: "OFF" };
const sqlite: Way = { contender: "sqlite", setting: "NORMAL" };
const never: Way = { contender: "ours", setting: "never" };
const interval: Way = { contender: "ours", setting: "1000" };

/** Safe from a killed process. */
const all = [raw, jsonLines, sqliteOff, sqlite, never, interval];
const mainOnes = [raw, jsonLines, sqlite, never, interval];
/** Safe from a power cut. */
const synced: readonly Way[] = [
  { contender: "raw", setting: "fdatasync" },
  { contender: "json-lines", setting: "fdatasync" },
  { contender: "sqlite", setting: "FULL" },
  { contender: "ours", setting: "always" },
];

const SMALL = { recordBytes: 120, writers: 1, maxRecords: 1000 };
const SIZES = [120, 1024, 16_384];
const KILL = "safe from a killed process";
const POWER = "synced before it is acknowledged";

/** All cases, in the order in which they are run and shown. */
export const CASES: readonly Case[] = [
  ...SIZES.map((recordBytes): Case => ({
    ...SMALL,
    workload: "W1",
    title: `put one by one, ${sizeOf(recordBytes)}, ${KILL}`,
    recordBytes,
    ways: all,
  })),
  { ...SMALL, workload: "W1x16", title: `16 puts at a time, 120 B, ${KILL}`, writers: 16, ways: all },
  ...[1, 64, 1000].map((writers): Case => ({
    ...SMALL,
    workload: "W2",
    title: `put by ${writers} writer${writers === 1 ? "" : "s"}, 120 B, ${POWER}`,
    writers,
    ways: synced,
  })),
  ...[1000, 3].map((maxRecords): Case => ({
    ...SMALL,
    workload: "W3",
    title: `put, emit and commit batches of ${maxRecords}, 120 B, ${KILL}`,
    maxRecords,
    ways: mainOnes,
  })),
  { ...SMALL, workload: "W4", title: "a backlog that a killed process left, 120 B", ways: [jsonLines, sqlite, never] },
  ...SIZES.map((recordBytes): Case => ({
    ...SMALL,
    workload: "W5",
    title: `putMany of 1000, ${sizeOf(recordBytes)}, ${KILL}`,
    recordBytes,
    ways: mainOnes,
  })),
  {
    ...SMALL,
    workload: "W6",
    title: "a backlog that a killed process left, 120 B, a segment for each record",
    segmentBytes: 256,
    ways: [never, interval],
  },
  { ...SMALL, workload: "parts", title: "a put of 120 B, part after part", ways: [never] },
  { ...SMALL, workload: "calls", title: "calls without I/O", ways: [never] },
  { ...SMALL, workload: "import", title: "importing the package", ways: [never] },
];

/** What a cell's process is told. */
export function taskOf(
  { of, way }: Cell,
  { scale, segments, directory, bundle }: {
    scale: number;
    segments: number | undefined;
    directory: string;
    bundle: string | undefined;
  },
): Task {
  const { workload, recordBytes, writers, maxRecords, segmentBytes } = of;
  const share = Math.min(1, scale);
  return {
    workload,
    way,
    recordBytes,
    writers,
    maxRecords,
    segmentBytes,
    targetMs: CELL_MS * scale,
    backlog: workload === "W6"
      ? segments ?? Math.max(10, Math.round(share * SEGMENTS / maxRecords)) * maxRecords
      : Math.max(2, Math.round(share * BACKLOG_RECORDS / 1000)) * 1000,
    processes: Math.max(3, Math.round(share * PROCESSES)),
    bundle,
    directory,
  };
}

/** A contender with its setting, as the tables name it. */
export function labelOf({ contender, setting }: Way): string {
  switch (contender) {
    case "raw":
      return setting === "write" ? "raw limit: write" : "raw limit: write, fdatasync";
    case "json-lines":
      return setting === "write" ? "JSON lines: write" : "JSON lines: write, fdatasync";
    case "sqlite":
      return `SQLite: WAL, synchronous=${setting}`;
    case "ours":
      return `Sluice: fsync ${setting}`;
  }
}

/** A number of bytes in words. */
function sizeOf(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KiB`;
}
