/**
 * Logs for the tests of `report` and for its snapshot: a healthy one, one that has everything in it, and made-up items of a
 * scan for those that no test could write.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { ReportCollector, toReportPlan } from "../../src/cli/report/collector.ts";
import type { ReportData } from "../../src/cli/report/data.ts";
import type { RepairSteps } from "../../src/cli/shared/repair_plan.ts";
import { planRepair } from "../../src/maintenance/repair.ts";
import { scanLog } from "../../src/maintenance/scan.ts";
import type { ScanItem } from "../../src/maintenance/scan_items.ts";
import { type DirectorySnapshot, readDirectory } from "../../src/maintenance/snapshot.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { segmentName } from "../../src/wal/names.ts";
import { bytesOf, concat, flipBit, garbage } from "../support/bytes.ts";
import { framesOf, headerOf } from "../support/frames.ts";
import { DIRECTORY, segmentsOf } from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";

/** When the first record of a made log is put. */
export const START = Date.UTC(2026, 0, 1, 9);
/** When a report on made-up items is made. */
export const NOW: number = Date.UTC(2026, 0, 2);
/** No page is larger. */
export const PAGE_BYTES = 300_000;
const BURSTS = 90;
const RECORDS_PER_BURST = 20;
/** At the end of the damaged one. */
const TORN_BYTES = 700;

/** A log, and when it was left. */
export interface ReportLog {
  readonly fileSystem: MemoryFileSystem;
  readonly clock: ManualClock;
}

/** 1,800 records of all sizes, put in bursts over three hours; some are committed, two batches of 150 are in flight. */
export async function healthyLog(): Promise<ReportLog> {
  const clock = new ManualClock(START);
  const random = seededRandom(7);
  // The disk is slow from the end of open() on: no segment is removed before the process ends.
  let isSlow = false;
  const fileSystem = new MemoryFileSystem({ whileSyncing: () => isSlow ? new Promise(() => {}) : undefined });
  const buffer = await FileBuffer.open<unknown>({
    path: DIRECTORY,
    fileSystem,
    clock,
    fsync: "never",
    maxRecords: 150,
    maxAgeMs: 0,
    segmentBytes: 24 * 1024,
  });
  isSlow = true;
  for (let burst = 0; burst < BURSTS; burst++) {
    for (let i = 0; i < RECORDS_PER_BURST; i++) {
      // Mostly short, a few long.
      const bytes = 20 + Math.floor(6000 ** (random(1000) / 1000 * random(1000) / 1000));
      await buffer.put({ burst, text: "x".repeat(bytes) });
    }
    clock.advance(burst % 30 < 10 ? 400_000 : 60_000 + random(20_000));
  }
  for (let i = 0; i < 3; i++) await buffer.commit(await buffer.emit());
  const inFlight = await buffer.emit();
  await buffer.emit({ after: inFlight });
  const owner = { pid: 4242, runtime: "node", openedAt: new Date(START).toISOString() };
  fileSystem.writeFile(`${DIRECTORY}/owner.json`, bytesOf(JSON.stringify(owner)));
  return { fileSystem: fileSystem.kill(), clock };
}

/** The same log after a bad day: damage, a segment lost, one unreadable, a torn tail, and something in quarantine. */
export async function damagedLog(): Promise<ReportLog> {
  const { fileSystem, clock } = await healthyLog();
  const paths = segmentsOf(fileSystem).map((name) => `${DIRECTORY}/${name}`);
  const change = (path: string, by: (bytes: Uint8Array) => Uint8Array): void =>
    fileSystem.writeFile(path, by(fileSystem.readFile(path)));
  const middle = Math.floor(paths.length / 2);
  change(paths[middle]!, (bytes) => {
    const frames = framesOf(bytes);
    return [frames.at(5)!, frames.at(40)!, frames.at(41)!].reduce(
      (bytes, { offset, length }) => flipBit(bytes, offset + length - 1),
      bytes,
    );
  });
  // Both copies of the header.
  change(paths[middle + 1]!, (bytes) => flipBit(flipBit(bytes, 20), 100));
  fileSystem.remove(paths[middle + 3]!);
  change(paths.at(-1)!, (bytes) => {
    const used = framesOf(bytes).at(-1)!;
    return concat(bytes.subarray(0, used.offset + used.length), garbage(TORN_BYTES, 3));
  });
  fileSystem.makeDirectory(`${DIRECTORY}/quarantine`);
  fileSystem.writeFile(`${DIRECTORY}/quarantine/00000000000000000001.wal-4242-97.bad`, garbage(97, 4));
  fileSystem.writeFile(`${DIRECTORY}/quarantine/00000000000000000061.wal-160-4096.bad`, garbage(4096, 5));
  return { fileSystem, clock };
}

/** Puts a log's files on the disk, into a new directory. */
export function writeTo(fileSystem: MemoryFileSystem, directory: string): void {
  for (const path of fileSystem.paths()) {
    const target = join(directory, path.slice(DIRECTORY.length));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, fileSystem.readFile(path));
  }
}

/** The data of a report on a log in memory. */
export async function reportDataOf(fileSystem: MemoryFileSystem, now: number = NOW): Promise<ReportData> {
  const snapshot = readDirectory(fileSystem, DIRECTORY);
  const collector = new ReportCollector(snapshot);
  for (const item of scanLog(fileSystem, DIRECTORY, { snapshot })) collector.add(item);
  const { signal } = new AbortController();
  return collector.finish(now, toReportPlan(await planRepair({ fileSystem, path: DIRECTORY, signal })));
}

/** An empty directory. */
const PICTURE: DirectorySnapshot = {
  path: DIRECTORY,
  isSingleFile: false,
  uuid: headerOf().uuid,
  cursor: undefined,
  cursorState: "missing",
  owner: undefined,
  segments: [],
  quarantine: [],
};

/** Nothing is to be done. */
const NO_STEPS: RepairSteps = { tail: undefined, regions: [], moved: [], removed: [], cursor: undefined, missing: [] };

/** The data of a report on made-up items, and what is to be done about them. */
export function tallied(
  items: Iterable<ScanItem>,
  snapshot: Partial<DirectorySnapshot> = {},
  steps: RepairSteps = NO_STEPS,
): ReportData {
  const collector = new ReportCollector({ ...PICTURE, ...snapshot });
  for (const item of items) collector.add(item);
  return collector.finish(NOW, toReportPlan(steps));
}

/** A segment begins. */
export function segment(firstSequence: number, bytes: number): ScanItem {
  const header = headerOf({ firstSequence });
  return { kind: "segment", segment: segmentName(firstSequence), bytes, header, isLast: false };
}

/** Frames of one record each, one behind the other. */
export function frames(first: number, count: number, length: number, putTime = NOW): ScanItem[] {
  const payload = new Uint8Array(length - 32);
  const body = new Uint8Array(4 + payload.length);
  new DataView(body.buffer).setUint32(0, payload.length, true);
  return Array.from({ length: count }, (_, i) => ({
    kind: "frame",
    segment: "",
    offset: 160 + i * length,
    length,
    firstSequence: first + i,
    count: 1,
    putTime,
    payloads: () => [payload],
    body: () => body,
    codecVersion: 0,
    isJson: false,
  }));
}

/** What people read on a page: tags away, and numbers without the spaces in them. */
export function textOf(page: string): string {
  const body = page.slice(page.indexOf("<body>"), page.indexOf("<script>"));
  return body.replaceAll(/<title>[^]*?<\/title>/g, "").replaceAll(/<[^>]*>/g, " ")
    .replaceAll("\u202f", "").replaceAll("\xa0", " ").replaceAll(/\s+/g, " ");
}
