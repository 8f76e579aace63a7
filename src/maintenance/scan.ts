/**
 * Reads a log from its first segment to its last, frame by frame, without its lock and without changing anything.
 *
 * Guarantees:
 * - What it judges is what recovery and the reader of a buffer would judge: the same frames, the same bad regions, the
 *   same torn tail, because the same code looks at headers and frames.
 * - It is safe beside a live writer that appends, rotates, commits and removes segments. What is there when the scan
 *   begins is what is scanned; a segment that is gone when its turn comes is "gone", never an error; sequences
 *   count as missing only if the cursor, read again, doesn't say that they are done with; and bad bytes in the
 *   segment that may be written to count only if a second look finds them, too: the first may have met a write halfway.
 * - Memory: one chunk of a segment, or one frame if that is longer.
 *
 * Whoever runs it should give the event loop a turn now and then, between two items.
 *
 * @module
 */

import { join } from "@std/path/join";
import type { SequenceRange } from "../base/sequences.ts";
import { closeQuietly, openIfExists } from "../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from "../wal/format.ts";
import type { CursorState } from "../wal/position.ts";
import { classifySegment, type SegmentClass } from "../wal/segment_files.ts";
import { type Frame, type SegmentItem, SegmentReader } from "../wal/segment_reader.ts";
import { LossAssessor, notDone } from "./loss_assessor.ts";
import type { DamagedBytes, MissingRecords, ScanItem, UnusableSegment } from "./scan_items.ts";
import { toScannedFrame } from "./scanned_frame.ts";
import { type DirectorySnapshot, readCursor, readDirectory, type SnapshotSegment } from "./snapshot.ts";

/** Bad bytes that look different each time are being written: then the last look counts. */
const MAX_READ_ATTEMPTS = 4;

/** What to scan. */
export interface ScanOptions {
  /** The directory as it was seen before; by default it is looked at now. */
  readonly snapshot?: DirectorySnapshot | undefined;
  /**
   * Frames with no sequence from this one on are left out, and segments that hold none aren't read.
   *
   * @default {1}
   */
  readonly from?: number | undefined;
  /**
   * The scan ends behind this sequence.
   *
   * @default {Infinity}
   */
  readonly to?: number | undefined;
}

/**
 * Scans the log in the directory `path`.
 *
 * @throws what {@linkcode readDirectory} does, and what reading fails with; never because a segment is gone.
 */
export function scanLog(fileSystem: FileSystem, path: string, options: ScanOptions = {}): Generator<ScanItem> {
  const { snapshot = readDirectory(fileSystem, path), from = 1, to = Infinity } = options;
  return new LogScan(fileSystem, snapshot, { from, to }).run();
}

/** What a look at a segment's header says; `"gone"` if it is not there any more. */
type FoundSegment = SegmentClass | { readonly kind: "gone" };

/** A segment that is being read. */
interface OpenSegment {
  readonly segment: SnapshotSegment;
  readonly handle: FileHandle;
  readonly header: SegmentHeader;
  /** Read once: what is appended later is not looked at. */
  readonly size: number;
  /** Where the next segment of this log begins; `Infinity` behind the last. */
  readonly next: number;
  /** Whether a file stands between the two that is none of this log. */
  readonly hasStray: boolean;
}

/** One scan. */
class LogScan {
  readonly #fileSystem: FileSystem;
  readonly #snapshot: DirectorySnapshot;
  readonly #from: number;
  readonly #to: number;
  readonly #found = new Map<number, FoundSegment>();
  /** From where on, up to the segment before it, the one at `index` is the next of ours. */
  #ours: { readonly from: number; readonly index: number } | undefined;
  #cursor: CursorState | undefined;
  readonly #losses: LossAssessor;
  /** Behind the last sequence that was accounted for: met, or reported as missing. */
  #next: number | undefined;

  constructor(fileSystem: FileSystem, snapshot: DirectorySnapshot, { from, to }: { from: number; to: number }) {
    this.#fileSystem = fileSystem;
    this.#snapshot = snapshot;
    this.#from = from;
    this.#to = to;
    this.#cursor = snapshot.cursor;
    this.#losses = new LossAssessor(fileSystem, snapshot);
  }

  *run(): Generator<ScanItem> {
    const { segments } = this.#snapshot;
    let unread = 0;
    let known = Math.max(this.#cursor?.lastSequence ?? 0, (this.#cursor?.resume.nextSequence ?? 1) - 1);
    for (let i = this.#firstIndex(); i < segments.length; i++) {
      const segment = segments[i];
      if (segment.firstSequence > this.#to) {
        // If there is a segment behind, then all sequences before it were given out.
        if (this.#nextOurs(i - 1) !== undefined) known = Math.max(known, this.#to);
        break;
      }
      const look = this.#classify(i);
      this.#found.delete(i);
      if (look.kind === "gone") {
        yield { kind: "gone", segment: segment.name };
      } else if (look.kind === "ours") {
        if (yield* this.#scanSegment(i, look)) return;
      } else {
        const item = this.#unusable(i, look);
        if (item.mayHold !== undefined) {
          // Its name says that all sequences before it were given out.
          const first = Math.max(this.#next ?? this.#firstNeeded(), unread + 1);
          yield* this.#missing(first, item.mayHold.first - 1, this.#losses.provenBefore(segment.firstSequence));
          unread = item.mayHold.last;
        }
        yield item;
      }
    }
    yield* this.#missing(Math.max(this.#next ?? this.#firstNeeded(), unread + 1), known);
  }

  /** Where to begin: at the last segment of ours that begins at or before the first sequence wanted. */
  #firstIndex(): number {
    const { segments } = this.#snapshot;
    for (let i = segments.length - 1; i > 0 && this.#from > 1; i--) {
      if (segments[i].firstSequence <= this.#from && this.#classify(i).kind === "ours") return i;
    }
    return 0;
  }

  #classify(i: number): FoundSegment {
    const known = this.#found.get(i);
    if (known !== undefined) return known;
    const look = this.#classifyNow(this.#snapshot.segments[i]);
    this.#found.set(i, look);
    return look;
  }

  #classifyNow(segment: SnapshotSegment): FoundSegment {
    const handle = this.#open(segment);
    if (handle === undefined) return { kind: "gone" };
    try {
      return classifySegment(handle, segment, this.#snapshot.uuid ?? "");
    } finally {
      closeQuietly(handle);
    }
  }

  #open(segment: SnapshotSegment): FileHandle | undefined {
    return openIfExists(this.#fileSystem, join(this.#snapshot.path, segment.name), "read");
  }

  /** The next segment of ours behind the one at `i`. */
  #nextOurs(i: number): number | undefined {
    const { segments } = this.#snapshot;
    let next = i + 1;
    // Asked for each of many files in a row that are none of ours, it is found once.
    if (this.#ours !== undefined && this.#ours.from <= i && i < this.#ours.index) next = this.#ours.index;
    while (next < segments.length && this.#classify(next).kind !== "ours") next++;
    this.#ours = { from: i, index: next };
    return next < segments.length ? next : undefined;
  }

  #unusable(i: number, look: Exclude<FoundSegment, { readonly kind: "gone" | "ours" }>): UnusableSegment {
    const { name, firstSequence } = this.#snapshot.segments[i];
    const most = look.kind === "bad" && this.#nextOurs(i) === undefined ? look.records : 0;
    const before = this.#snapshot.segments[i + 1]?.firstSequence ?? Infinity;
    const first = Math.max(firstSequence, this.#next ?? 1);
    const last = Math.min(firstSequence + most, before) - 1;
    const isUnproven = look.kind === "bad" && firstSequence >= this.#losses.provenBefore(firstSequence);
    return {
      kind: "unusable",
      segment: name,
      bytes: look.size,
      why: look.kind === "bad" ? "header" : look.kind,
      version: look.kind === "version" ? look.version : undefined,
      mayHold: most > 0 && first <= last ? { first, last } : undefined,
      ...isUnproven ? { isUnproven } : {},
    };
  }

  /** Scans a segment of ours; returns whether the last sequence wanted is behind us. */
  *#scanSegment(i: number, look: FoundSegment & { readonly kind: "ours" }): Generator<ScanItem, boolean> {
    const { segments } = this.#snapshot;
    const segment = segments[i];
    const { header } = look;
    const next = this.#nextOurs(i);
    const handle = this.#open(segment);
    if (handle === undefined) {
      yield { kind: "gone", segment: segment.name };
      return false;
    }
    try {
      const size = handle.size();
      const { firstSequence } = header;
      yield* this.#missing(this.#next ?? Math.min(this.#firstNeeded(firstSequence), firstSequence), firstSequence - 1);
      this.#account(firstSequence);
      yield { kind: "segment", segment: segment.name, bytes: size, header, isLast: next === undefined };
      return yield* this.#scanFrames({
        segment,
        handle,
        header,
        size,
        next: next === undefined ? Infinity : segments[next].firstSequence,
        hasStray: next !== i + 1,
      });
    } finally {
      closeQuietly(handle);
    }
  }

  /** The first sequence that must be there, going by the cursor; without one, nobody knows. */
  #firstNeeded(otherwise = 1): number {
    return this.#cursor?.committed.nextSequence ?? otherwise;
  }

  #account(next: number): void {
    this.#next = Math.max(this.#next ?? next, next);
  }

  *#scanFrames(open: OpenSegment): Generator<ScanItem, boolean> {
    const { segment, header, size, next } = open;
    let reader = this.#readerOf(open);
    let lastGood: Frame | undefined;
    for (;;) {
      if (reader.expected >= next) {
        // The next segment goes on here. What is left was never acknowledged, or cut off; no frame of it may be believed.
        const length = reader.tailBytes(size);
        const { position: offset } = reader;
        if (length > 0) yield this.#assess(damaged(segment, { offset, length }, undefined), reader.expected);
        return false;
      }
      const { expected } = reader;
      if (expected > this.#to) return true;
      let item = reader.next(size);
      if (item.kind === "bad" && next === Infinity) {
        ({ reader, item } = rereadBadBytes(open, { reader, item }, lastGood));
      }
      if (item.kind === "frame") {
        const { frame } = item;
        lastGood = frame;
        const end = frame.firstSequence + frame.count;
        const known = this.#next!;
        this.#account(end);
        if (end > known && end > this.#from) yield toScannedFrame(segment.name, header, frame, known);
      } else if (item.kind === "bad" && !item.last) {
        const missing = rangeOf(expected, Math.min(reader.expected, next) - 1);
        if (missing !== undefined) this.#account(missing.last + 1);
        if ((missing?.last ?? reader.expected) >= this.#from) yield this.#assess(damaged(segment, item, missing));
      } else {
        const length = item.kind === "bad" ? item.length : item.zeros;
        const offset = size - length;
        if (next < Infinity) yield* this.#endBefore(open, { offset, length, isZero: item.kind === "end" }, expected);
        else if (length > 0) {
          yield { kind: "torn", segment: segment.name, offset, length, isZero: item.kind === "end" };
        }
        return false;
      }
    }
  }

  #assess<L extends DamagedBytes | MissingRecords>(loss: L, expected?: number, provenBefore?: number): L {
    return this.#losses.assess(loss, { cursor: this.#cursor, expected, provenBefore });
  }

  /** A segment ends, and there are more: what is bad at its end is damage. */
  *#endBefore(
    { segment, next, hasStray }: OpenSegment,
    { offset, length, isZero }: { offset: number; length: number; isZero: boolean },
    expected: number,
  ): Generator<ScanItem> {
    // With another file in between, nobody knows which of the two they were in: they are reported behind it.
    const missing = hasStray ? undefined : rangeOf(expected, next - 1);
    if (length === 0 || (isZero && missing === undefined)) return;
    if (missing !== undefined) this.#account(next);
    yield this.#assess(damaged(segment, { offset, length }, missing), expected);
  }

  /** A reader at the first frame wanted, if the cursor knows where that is; else at the first of the segment. */
  #readerOf({ handle, header, size }: OpenSegment): SegmentReader {
    const reader = new SegmentReader(handle, header);
    if (this.#from <= header.firstSequence || this.#cursor === undefined) return reader;
    const { committed, resume, boundaries } = this.#cursor;
    const position = [committed, resume, ...boundaries].find(({ nextSequence }) => nextSequence === this.#from);
    const offset = position === undefined ? 0 : SEGMENT_HEADER_BYTES + position.logBytes - header.logBytesBefore;
    if (offset > SEGMENT_HEADER_BYTES && offset <= size) reader.seek(offset, this.#from, size);
    return reader;
  }

  /** Those of the sequences from `first` to `last` that are missing: wanted, and not done with. */
  *#missing(first: number, last: number, provenBefore?: number): Generator<ScanItem> {
    const [from, to] = [Math.max(first, this.#from), Math.min(last, this.#to)];
    if (from > to || this.#snapshot.isSingleFile) return;
    if (notDone({ first: from, last: to }, this.#cursor).length === 0) return;
    // Removed since: then it was committed first.
    const cursor = readCursor(this.#fileSystem, this.#snapshot.path);
    if (cursor !== undefined && cursor.uuid === this.#snapshot.uuid) this.#cursor = cursor;
    for (const missing of notDone({ first: from, last: to }, this.#cursor)) {
      yield this.#assess({ kind: "missing", missing }, 0, provenBefore);
    }
  }
}

/**
 * Looks at bad bytes again: beside a live writer the first look may have met them half written. What is found twice is
 * there.
 */
function rereadBadBytes(
  { handle, header, size }: OpenSegment,
  first: { readonly reader: SegmentReader; readonly item: SegmentItem },
  lastGood: Frame | undefined,
): { reader: SegmentReader; item: SegmentItem } {
  let { reader, item } = first;
  for (let look = 1; look < MAX_READ_ATTEMPTS && item.kind === "bad"; look++) {
    const before = item;
    reader = new SegmentReader(handle, header);
    if (lastGood !== undefined) {
      reader.seek(lastGood.fileOffset, lastGood.firstSequence, size);
      // A failed write was cut off: that is the end.
      if (reader.position !== lastGood.fileOffset) return { reader, item: { kind: "end", zeros: 0 } };
      reader.next(size);
    }
    item = reader.next(size);
    if (item.kind === "bad" && item.offset === before.offset && item.length === before.length) break;
  }
  return { reader, item };
}

function rangeOf(first: number, last: number): SequenceRange | undefined {
  return first <= last ? { first, last } : undefined;
}

function damaged(
  { name }: SnapshotSegment,
  { offset, length }: { readonly offset: number; readonly length: number },
  missing: SequenceRange | undefined,
): DamagedBytes {
  return { kind: "damaged", segment: name, offset, length, missing };
}
