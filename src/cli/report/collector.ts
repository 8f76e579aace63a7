/**
 * Makes the data of a report out of what a scan meets, item by item.
 *
 * Guarantees: memory is bounded, but for a few numbers a segment; the judgement is that of `verify`; a frame that is
 * committed in part counts record by record; every number counts all of the log, also where lists and drawing are cut
 * short.
 *
 * @module
 */

import { countSequences, type SequenceRange } from "../../base/sequences.ts";
import { type Finding, isFinding, isHarmless } from "../../maintenance/findings.ts";
import type { ScanItem, ScannedFrame, UnusableSegment } from "../../maintenance/scan_items.ts";
import type { DirectorySnapshot } from "../../maintenance/snapshot.ts";
import { TotalsCheck } from "../../maintenance/totals_check.ts";
import { FRAME_HEADER_BYTES, recordBytes } from "../../wal/format.ts";
import type { RepairSteps } from "../shared/repair_plan.ts";
import type { BadRegion, ReportCounts, ReportData, ReportPlan, StretchKind } from "./data.ts";
import { SizeHistogram, TimeHistogram } from "./histograms.ts";
import { ReportRows } from "./rows.ts";

/** Regions that are listed one by one. */
export const MAX_REGIONS = 60;
/** Steps of each kind that a plan lists. */
const MAX_STEPS = 60;
/** Files of the quarantine that are listed. */
export const MAX_QUARANTINE_FILES = 20;

/** Collects a report's data. */
export class ReportCollector {
  readonly #snapshot: DirectorySnapshot;
  readonly #counts: { -readonly [K in keyof ReportCounts]: ReportCounts[K] };
  readonly #totals: TotalsCheck;
  readonly #rows = new ReportRows();
  readonly #sizes = new SizeHistogram();
  readonly #times = new TimeHistogram();
  readonly #regions: BadRegion[] = [];
  #regionsInAll = 0;
  #isSound = true;
  #isLastSegment = false;
  /** The sequence that follows what was met. */
  #next = 1;
  /** The first sequence that isn't committed, isn't in flight, wasn't dropped. */
  readonly #limits: readonly { readonly kind: StretchKind; readonly below: number }[];
  readonly #committedNext: number;

  /** Of the log in that directory. */
  constructor(snapshot: DirectorySnapshot) {
    this.#snapshot = snapshot;
    const { cursor } = snapshot;
    this.#totals = new TotalsCheck(cursor);
    this.#committedNext = cursor?.committed.nextSequence ?? 0;
    const boundaries = cursor?.boundaries.filter(({ nextSequence }) => nextSequence > this.#committedNext) ?? [];
    this.#limits = [
      { kind: "committed", below: this.#committedNext },
      { kind: "inFlight", below: boundaries.at(-1)?.nextSequence ?? 0 },
      { kind: "dropped", below: cursor?.resume.nextSequence ?? 0 },
      { kind: "pending", below: Infinity },
    ];
    this.#counts = {
      ...emptyCounts(),
      committedThrough: cursor === undefined ? undefined : this.#committedNext - 1,
      inFlightBatches: boundaries.length,
      lastSequence: cursor?.lastSequence ?? 0,
    };
  }

  /** Takes the next item in. */
  add(item: ScanItem): void {
    this.#judge(this.#totals.add(item));
    if (isFinding(item)) this.#judge([item]);
    const counts = this.#counts;
    switch (item.kind) {
      case "segment":
        this.#beginFile(item.segment, item.bytes);
        this.#isLastSegment = item.isLast;
        this.#next = item.header.firstSequence;
        break;
      case "frame":
        this.#addFrame(item);
        break;
      case "damaged":
        if (item.length > 0) counts.damagedRegions++;
        counts.damagedBytes += item.length;
        this.#addRegion({
          ...item,
          kind: item.length === 0 ? "missing" : "damaged",
          missing: this.#addMissing(item.missing),
          isPast: !this.#isLastSegment && this.#isDone(item.missing?.last ?? this.#next),
        });
        this.#rows.add({
          ...item,
          kind: item.length === 0 ? "missing" : "damaged",
          sequences: item.missing,
          records: item.missing === undefined ? 0 : countSequences([item.missing]),
        });
        break;
      case "torn":
        if (item.isZero) counts.freeBytes += item.length;
        else {
          counts.tornBytes += item.length;
          this.#addRegion(item);
        }
        this.#rows.add({ ...item, kind: item.isZero ? "free" : "torn", sequences: undefined });
        break;
      case "missing":
        this.#addRegion({ ...item, offset: 0, length: 0, missing: this.#addMissing(item.missing) });
        this.#rows.addMissing(item.missing);
        break;
      case "unusable":
        this.#addUnusable(item);
        break;
      case "gone":
        counts.goneSegments++;
    }
  }

  /** Everything that was taken in, as of `generatedAt`, and what is to be done about it. */
  finish(generatedAt: number, plan: ReportData["plan"]): ReportData {
    this.#judge(this.#totals.end(this.#snapshot));
    const { path, uuid, cursorState: cursor, owner, quarantine } = this.#snapshot;
    const bytes = quarantine.reduce((sum, file) => sum + file.bytes, 0);
    const listed = quarantine.toSorted((a, b) => a.name < b.name ? -1 : 1).slice(0, MAX_QUARANTINE_FILES);
    return {
      path,
      generatedAt,
      uuid,
      cursor,
      owner,
      isSound: this.#isSound,
      counts: { ...this.#counts },
      rows: this.#rows.finish(),
      segmentsPerRow: this.#rows.segmentsPerRow,
      sizes: this.#sizes.buckets(),
      times: { widthMs: this.#times.widthMs, bins: this.#times.bins() },
      regions: this.#regions,
      regionsInAll: this.#regionsInAll,
      plan,
      quarantine: { files: quarantine.length, bytes, listed },
    };
  }

  #judge(findings: readonly Finding[]): void {
    for (const finding of findings) {
      if (!isHarmless(finding)) this.#isSound = false;
      if (finding.kind !== "contradiction") continue;
      this.#counts.contradictions++;
      this.#addRegion({ ...finding, offset: 0, length: 0 });
    }
  }

  #beginFile(name: string, bytes: number): void {
    this.#counts.segments++;
    this.#counts.segmentBytes += bytes;
    this.#rows.beginSegment(name, bytes);
  }

  /** A frame is one stretch, or several if a limit is inside it. */
  #addFrame(frame: ScannedFrame): void {
    const payloads = frame.payloads();
    let { offset } = frame;
    let length = FRAME_HEADER_BYTES;
    let first = frame.firstSequence;
    let kind = this.#kindOf(first);
    let payloadBytes = 0;
    for (let i = 0; i < payloads.length; i++) {
      const sequence = frame.firstSequence + i;
      const next = this.#kindOf(sequence);
      if (next !== kind) {
        this.#addRecords(kind, { offset, length, first, end: sequence, payloadBytes, putTime: frame.putTime });
        [offset, length, first, kind, payloadBytes] = [offset + length, 0, sequence, next, 0];
      }
      const bytes = payloads[i]!.length;
      this.#sizes.add(bytes);
      payloadBytes += bytes;
      length += recordBytes(bytes);
    }
    const end = frame.firstSequence + frame.count;
    length = frame.offset + frame.length - offset;
    this.#addRecords(kind, { offset, length, first, end, payloadBytes, putTime: frame.putTime });
    this.#times.add(frame.putTime, frame.count);
    this.#counts.lastSequence = Math.max(this.#counts.lastSequence, end - 1);
    this.#next = end;
  }

  #kindOf(sequence: number): StretchKind {
    return this.#limits.find(({ below }) => sequence < below)!.kind;
  }

  #addRecords(kind: StretchKind, part: {
    readonly offset: number;
    readonly length: number;
    readonly first: number;
    readonly end: number;
    readonly payloadBytes: number;
    readonly putTime: number;
  }): void {
    const { offset, length, first, end, payloadBytes, putTime } = part;
    const counts = this.#counts;
    const records = end - first;
    this.#rows.add({ kind, offset, length, sequences: { first, last: end - 1 }, records, putFrom: putTime });
    if (kind === "committed") counts.committedRecords += records;
    else if (kind === "dropped") counts.droppedRecords += records;
    else {
      counts.pendingRecords += records;
      counts.pendingBytes += payloadBytes;
      counts.oldestPutTime = Math.min(counts.oldestPutTime ?? Infinity, putTime);
      if (kind === "inFlight") counts.inFlightRecords += records;
    }
  }

  #addUnusable(item: UnusableSegment): void {
    const { segment, bytes, why, version, mayHold: missing } = item;
    const counts = this.#counts;
    this.#beginFile(segment, bytes);
    if (why === "empty") {
      counts.emptyFiles++;
      this.#rows.add({ kind: "free", offset: 0, length: bytes, sequences: undefined });
    } else {
      counts.unusableFiles++;
      counts.unusableBytes += bytes;
      this.#addRegion({ kind: "unusable", segment, offset: 0, length: bytes, missing, why, version });
      this.#rows.add({ kind: "unusable", offset: 0, length: bytes, sequences: missing });
    }
  }

  /** Counts what is missing, and returns it, without what is committed: nobody misses that. */
  #addMissing(missing: SequenceRange | undefined): SequenceRange | undefined {
    if (missing === undefined) return undefined;
    this.#next = missing.last + 1;
    this.#counts.lastSequence = Math.max(this.#counts.lastSequence, missing.last);
    const first = Math.max(missing.first, this.#committedNext);
    if (first > missing.last) return undefined;
    this.#counts.missingRecords += missing.last - first + 1;
    return { first, last: missing.last };
  }

  /** Whether reading never comes to that sequence again. */
  #isDone(sequence: number): boolean {
    const kind = this.#kindOf(sequence);
    return kind === "committed" || kind === "dropped";
  }

  #addRegion(
    region: Pick<BadRegion, "kind" | "offset" | "length"> & Partial<Omit<BadRegion, "kind" | "offset" | "length">>,
  ): void {
    this.#regionsInAll++;
    if (this.#regions.length === MAX_REGIONS) return;
    const { kind, segment, offset, length, missing, isPast = false, why, version, what } = region;
    this.#regions.push({ kind, segment, offset, length, missing, isPast, why, version, what });
  }
}

/** A plan of any length, cut to what a report shows. */
export function toReportPlan({ tail, regions, moved, removed, cursor, missing }: RepairSteps): ReportPlan {
  const lists = [regions, moved, removed, missing];
  return {
    steps: {
      tail,
      regions: regions.slice(0, MAX_STEPS),
      moved: moved.slice(0, MAX_STEPS),
      removed: removed.slice(0, MAX_STEPS),
      cursor,
      missing: missing.slice(0, MAX_STEPS),
    },
    more: lists.reduce((sum, { length }) => sum + Math.max(0, length - MAX_STEPS), 0),
  };
}

function emptyCounts(): ReportCounts {
  return {
    segments: 0,
    segmentBytes: 0,
    goneSegments: 0,
    committedRecords: 0,
    committedThrough: undefined,
    pendingRecords: 0,
    pendingBytes: 0,
    inFlightRecords: 0,
    inFlightBatches: 0,
    droppedRecords: 0,
    oldestPutTime: undefined,
    lastSequence: 0,
    damagedRegions: 0,
    damagedBytes: 0,
    tornBytes: 0,
    freeBytes: 0,
    unusableFiles: 0,
    unusableBytes: 0,
    emptyFiles: 0,
    missingRecords: 0,
    contradictions: 0,
  };
}
