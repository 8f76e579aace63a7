/**
 * What is measured: the rows of the tables, and the cells that they compare. No code that measures.
 *
 * A row says how many times as long Sluice takes for a record as something else does: a bare system call, JSON lines, SQLite, or
 * Sluice itself with less to do. Cells of rows that stand in one group here are run right after one another.
 */

import type { RuntimeName } from "../support/children.ts";

/** Names of the workloads, for `--rows`; what stands on a title's left in the tables. */
export const TITLES = {
  W1: "put, one by one; a killed process loses nothing",
  W1s: "putSync, one by one; a killed process loses nothing",
  W2: "put, each record synced; a power cut loses nothing",
  W2s: "putSync, each record synced; a power cut loses nothing",
  W3: "put, emit and commit, records of 120 B",
  W4: "a backlog of records of 120 B that a killed process left",
  W5: "putMany of 1,000 records; a killed process loses nothing",
  cold: "a short-lived process from its start to its end: put, emit and commit by hundreds",
  send: "put to `send`, which does nothing, by a buffer and a producer",
  W6: "a backlog in 100,000 segments that a killed process left",
  import: "a process that imports the package and ends",
} as const;
export type Workload = keyof typeof TITLES;
export const WORKLOADS = Object.keys(TITLES) as readonly Workload[];
/** What is measured only when `--rows` names it: it takes minutes, or is in another row. */
export const ON_REQUEST: readonly Workload[] = ["W6", "import"];

/** `memory` is our buffer without a file. */
export type ContenderName = "raw" | "json-lines" | "sqlite" | "ours" | "memory";

/** What a process does. `backlog` and `segments` find what another process has left, which was killed. */
export type Work =
  | "put"
  | "put-sync"
  | "put-many"
  | "put-emit-commit"
  | "put-send"
  | "backlog"
  | "segments"
  | "process"
  | "import";

/** What one process measures. */
export interface Cell {
  readonly contender: ContenderName;
  readonly work: Work;
  /** Whether a put survives a power cut; else only a killed process. */
  readonly isSynced: boolean;
  /** Length of a record as JSON. */
  readonly recordBytes: number;
  /** How many put at the same time. */
  readonly writers: number;
  /** Records of a batch. */
  readonly maxRecords: number;
  /** Records of a backlog or of a short-lived process, at `--scale 1` and above. */
  readonly records: number;
}

/** A ratio: a measure of one cell beside a measure of another. */
export interface Row {
  readonly workload: Workload;
  readonly title: string;
  readonly beside: string;
  readonly cell: Cell;
  readonly base: Cell;
  readonly measure: string;
  readonly baseMeasure: string;
  /** The ratio is to be at most this. */
  readonly goal?: number | undefined;
  /** Where the goal holds; by default everywhere. */
  readonly goalOn?: readonly RuntimeName[] | undefined;
}

const PLAIN: Cell = {
  contender: "ours",
  work: "put",
  isSynced: false,
  recordBytes: 120,
  writers: 1,
  maxRecords: 1000,
  records: 0,
};

/** What Sluice is measured beside. */
type Base = readonly [beside: string, cell: Cell, goal?: number, goalOn?: readonly RuntimeName[]];

/** A row for each base. */
function rowsOf(workload: Workload, title: string, cell: Cell, bases: readonly Base[], measure = "us"): Row[] {
  return bases.map(([beside, base, goal, goalOn]) => {
    return { workload, title, beside, cell, base, measure, baseMeasure: measure, goal, goalOn };
  });
}

/** Raw calls, JSON lines and SQLite at the same work. */
function rivalsOf(like: Cell): Record<"raw" | "jsonLines" | "sqlite", Cell> {
  return {
    raw: { ...like, contender: "raw" },
    jsonLines: { ...like, contender: "json-lines" },
    sqlite: { ...like, contender: "sqlite" },
  };
}

/** Everything whose scale is a single put of 120 bytes. */
function smallRecords(): Row[] {
  const put = PLAIN;
  const { raw, jsonLines, sqlite } = rivalsOf(put);
  const thousands: Cell = { ...put, work: "put-emit-commit" };
  const batched = rivalsOf(thousands);
  const send: Cell = { ...put, work: "put-send" };
  return [
    ...rowsOf("W1", "120 B", put, [["a write", raw], ["JSON lines", jsonLines], ["SQLite", sqlite]]),
    ...rowsOf("W1", "120 B, 16 at a time", { ...put, writers: 16 }, [["a write", raw]]),
    ...rowsOf("W1s", "120 B", { ...put, work: "put-sync" }, [["a write", raw], ["JSON lines", jsonLines, 1.15]]),
    ...rowsOf("W3", "batches of 1,000", thousands, [
      ["its own put", put, 1.3],
      ["a write", raw],
      ["JSON lines", batched.jsonLines],
      ["SQLite", batched.sqlite],
    ]),
    ...rowsOf("W3", "batches of 3", { ...thousands, maxRecords: 3 }, [["its own put", put, 1.8]]),
    // Wanted are 1.5 and 1.0 microseconds where a write takes half of one.
    ...rowsOf("send", "FileBuffer", send, [["its own put", put], ["a write", raw, 3]]),
    ...rowsOf("send", "MemoryBuffer", { ...send, contender: "memory" }, [["FileBuffer's put", put], [
      "a write",
      raw,
      2,
    ]]),
  ];
}

function largerRecords(recordBytes: number): Row[] {
  const put: Cell = { ...PLAIN, recordBytes };
  const sync: Cell = { ...put, work: "put-sync" };
  const { raw, jsonLines } = rivalsOf(put);
  const title = sizeText(recordBytes);
  return [
    ...rowsOf("W1", title, put, [["a write", raw], ["JSON lines", jsonLines]]),
    ...rowsOf("W1s", title, sync, [["a write", raw], ["JSON lines", jsonLines, 1, ["deno", "bun"]]]),
  ];
}

function syncedRecords(): Row[] {
  const put: Cell = { ...PLAIN, isSynced: true };
  const { raw, jsonLines, sqlite } = rivalsOf(put);
  const limit = ["a write and fdatasync", raw] as const;
  return [
    ...rowsOf("W2", "1 writer", put, [limit]),
    ...rowsOf("W2", "64 writers", { ...put, writers: 64 }, [limit, ["JSON lines", jsonLines], ["SQLite", sqlite]]),
    ...rowsOf("W2", "1,000 writers", { ...put, writers: 1000 }, [limit]),
    ...rowsOf("W2s", "1 writer", { ...put, work: "put-sync" }, [[...limit, 0.8]]),
  ];
}

function thousandsOf(recordBytes: number): Row[] {
  const many: Cell = { ...PLAIN, work: "put-many", recordBytes };
  const { raw, jsonLines, sqlite } = rivalsOf(many);
  const bases: Base[] = [["a write of all", raw], ["JSON lines", jsonLines, 1], ["SQLite", sqlite, 1]];
  return rowsOf("W5", sizeText(recordBytes), many, bases);
}

function backlogOf(records: number): Row[] {
  const backlog: Cell = { ...PLAIN, work: "backlog", records };
  const { sqlite } = rivalsOf(backlog);
  const count = records.toLocaleString("en-US");
  return [
    ...rowsOf("W4", `${count}: open to the first batch`, backlog, [["SQLite", sqlite, 1]], "firstMs"),
    ...rowsOf("W4", `${count}: drain`, backlog, [["SQLite", sqlite]]),
  ];
}

function shortLived(records: number, goal: number): Row[] {
  const whole: Cell = { ...PLAIN, work: "process", maxRecords: 100, records };
  return rowsOf("cold", `${records.toLocaleString("en-US")} records`, whole, [[
    "SQLite",
    rivalsOf(whole).sqlite,
    goal,
  ]]);
}

function onRequest(): Row[] {
  const segments: Cell = { ...PLAIN, work: "segments", records: 100_000 };
  const slowest: Row = {
    ...rowsOf("W6", "the slowest emit and commit", segments, [["the median of them", segments, 20]])[0]!,
    measure: "slowestMs",
    baseMeasure: "batchMs",
  };
  const imported: Cell = { ...PLAIN, work: "import" };
  return [
    slowest,
    ...rowsOf("import", "the package as one file", imported, [["an empty script", rivalsOf(imported).raw]]),
  ];
}

/** All rows, by groups. */
export const GROUPS: readonly (readonly Row[])[] = [
  smallRecords(),
  largerRecords(1024),
  largerRecords(16_384),
  syncedRecords(),
  ...[120, 1024, 16_384].map(thousandsOf),
  ...[100_000, 1_000_000].map(backlogOf),
  shortLived(1000, 0.9),
  shortLived(20_000, 0.5),
  ...onRequest().map((row) => [row]),
];

/** Its rows in the order of the tables. */
export function rowsIn(workloads: readonly Workload[]): Row[] {
  return workloads.flatMap((workload) => GROUPS.flat().filter((row) => row.workload === workload));
}

/** Each cell of some rows once. */
export function cellsOf(rows: readonly Row[]): Cell[] {
  return [...new Set(rows.flatMap(({ cell, base }) => [cell, base]))];
}

/** A cell in words. */
export function cellText({ contender, work, isSynced, recordBytes, writers, maxRecords, records }: Cell): string {
  const count = records > 0 ? `, ${records.toLocaleString("en-US")} records` : "";
  const many = writers > 1 ? `, ${writers} writers` : "";
  return `${contender}: ${work} ${sizeText(recordBytes)}${
    isSynced ? " synced" : ""
  }${many}, batches of ${maxRecords}${count}`;
}

/** A number of bytes in words. */
function sizeText(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KiB`;
}
