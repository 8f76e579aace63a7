/**
 * Collects a report's data from the items of a scan.
 *
 * Guarantees: memory is bounded, but for a few numbers per segment; the verdict is that of `verify`; a frame that is committed in
 * part counts record by record; every number covers the whole log, also where lists and drawing are cut short.
 *
 * @module
 */

import { countSequences, type SequenceRange } from "../../base/sequences.ts";
import { type Finding, isFinding, isHarmless } from "../../maintenance/findings.ts";
import type { DamagedBytes, ScanItem, ScannedFrame, UnusableSegment } from "../../maintenance/scan_items.ts";
import type { DirectorySnapshot } from "../../maintenance/snapshot.ts";
import { TotalsCheck } from "../../maintenance/totals_check.ts";
import { FRAME_HEADER_BYTES, recordBytes } from "../../wal/format.ts";
import type { RepairSteps } from "../shared/repair_plan.ts";
import {
  type BadRegion,
  NO_COUNTS,
  type ReportCounts,
  type ReportData,
  type ReportPlan,
  type StretchKind,
} from "./data.ts";
import { SizeHistogram, TimeHistogram } from "./histograms.ts";
import { type Piece, ReportRows } from "./rows.ts";

/** Regions that are listed one by one. */
export const MAX_REGIONS = 60;
/** Steps of each kind that a plan lists. */
const MAX_STEPS = 60;
/** Files of the quarantine that are listed. */
export const MAX_QUARANTINE_FILES = 20;

export class ReportCollector {
  readonly #snapshot: DirectorySnapshot;
  readonly #counts: ReportCounts;
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
      ...NO_COUNTS,
      committedThrough: cursor === undefined ? undefined : this.#committedNext - 1,
      inFlightBatches: boundaries.length,
      lastSequence: cursor?.lastSequence ?? 0,
    };
  }

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
        this.#addDamaged(item);
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
    const { firstSequence, putTime, count } = frame;
    let { offset } = frame;
    let length = FRAME_HEADER_BYTES;
    let first = firstSequence;
    let kind = this.#kindOf(first);
    let payloadBytes = 0;
    const addRecords = (end: number): void => {
      const sequences = { first, last: end - 1 };
      this.#addRecords({ kind, offset, length, sequences, records: end - first, putFrom: putTime }, payloadBytes);
    };
    for (const [i, payload] of frame.payloads().entries()) {
      const next = this.#kindOf(firstSequence + i);
      if (next !== kind) {
        addRecords(firstSequence + i);
        [offset, length, first, kind, payloadBytes] = [offset + length, 0, firstSequence + i, next, 0];
      }
      this.#sizes.add(payload.length);
      payloadBytes += payload.length;
      length += recordBytes(payload.length);
    }
    length = frame.offset + frame.length - offset;
    this.#next = firstSequence + count;
    addRecords(this.#next);
    this.#times.add(putTime, count);
    this.#counts.lastSequence = Math.max(this.#counts.lastSequence, this.#next - 1);
  }

  #kindOf(sequence: number): StretchKind {
    return this.#limits.find(({ below }) => sequence < below)!.kind;
  }

  #addRecords(piece: Piece & { readonly records: number; readonly putFrom: number }, payloadBytes: number): void {
    const { kind, records, putFrom } = piece;
    const counts = this.#counts;
    this.#rows.add(piece);
    if (kind === "committed") counts.committedRecords += records;
    else if (kind === "dropped") counts.droppedRecords += records;
    else {
      counts.pendingRecords += records;
      counts.pendingBytes += payloadBytes;
      counts.oldestPutTime = Math.min(counts.oldestPutTime ?? Infinity, putFrom);
      if (kind === "inFlight") counts.inFlightRecords += records;
    }
  }

  #addDamaged(item: DamagedBytes): void {
    const { length, missing: sequences } = item;
    const kind = length === 0 ? "missing" : "damaged";
    if (length > 0) this.#counts.damagedRegions++;
    this.#counts.damagedBytes += length;
    const missing = this.#addMissing(sequences);
    // Whether reading never comes to that sequence again.
    const isDone = ["committed", "dropped"].includes(this.#kindOf(sequences?.last ?? this.#next));
    this.#addRegion({ ...item, kind, missing, isPast: !this.#isLastSegment && isDone });
    this.#rows.add({ ...item, kind, sequences, records: sequences === undefined ? 0 : countSequences([sequences]) });
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

  /** Counts what is missing, and returns it, without what is committed. */
  #addMissing(missing: SequenceRange | undefined): SequenceRange | undefined {
    if (missing === undefined) return undefined;
    this.#next = missing.last + 1;
    this.#counts.lastSequence = Math.max(this.#counts.lastSequence, missing.last);
    const first = Math.max(missing.first, this.#committedNext);
    if (first > missing.last) return undefined;
    this.#counts.missingRecords += missing.last - first + 1;
    return { first, last: missing.last };
  }

  #addRegion(region: Omit<BadRegion, "isPast"> & Partial<BadRegion>): void {
    this.#regionsInAll++;
    if (this.#regions.length === MAX_REGIONS) return;
    const { kind, segment, offset, length, missing, isPast = false, why, version, what } = region;
    this.#regions.push({ kind, segment, offset, length, missing, isPast, why, version, what });
  }
}

/** A plan of any length, cut to what a report shows. */
export function toReportPlan(steps: RepairSteps): ReportPlan {
  const cut = <S>(list: readonly S[]): readonly S[] => list.slice(0, MAX_STEPS);
  const { tail, regions, moved, removed, cursor, missing } = steps;
  return {
    steps: { tail, regions: cut(regions), moved: cut(moved), removed: cut(removed), cursor, missing: cut(missing) },
    more: [regions, moved, removed, missing].reduce((sum, { length }) => sum + Math.max(0, length - MAX_STEPS), 0),
  };
}
