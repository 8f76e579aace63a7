/**
 * Scans a log from its first segment to its last, frame by frame. Read-only, and without the lock.
 *
 * Guarantees:
 * - It finds what recovery and the reader of a buffer would find: the same frames, the same bad regions, the same torn
 *   tail. All three use the same code for headers and frames.
 * - It is safe beside a live writer that appends, rotates, commits and removes segments:
 *   - What exists when the scan begins is what is scanned.
 *   - A segment that is removed before its turn is "gone", never an error.
 *   - Missing sequences are reported only if the cursor, read again, says that the consumer still needs them.
 *   - Bad bytes in the last segment, which may be written to, are read again, and count if a second read finds the same
 *     bytes: the first may have met an unfinished write.
 * - Memory: one chunk of a segment, or one frame if that is longer.
 *
 * The caller should yield to the event loop now and then, between two items.
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
import { type Frame, type ReaderPlace, type SegmentItem, SegmentReader } from "../wal/segment_reader.ts";
import { ReaderStarts } from "../wal/recovery/reader_starts.ts";
import { LossAssessor, notDone } from "./loss_assessor.ts";
import type { DamagedBytes, MissingRecords, ScanItem, UnusableSegment } from "./scan_items.ts";
import { toScannedFrame } from "./scanned_frame.ts";
import { type DirectorySnapshot, readCursor, readDirectory, type SnapshotSegment } from "./snapshot.ts";

/** The most reads of bad bytes. If each read finds others, because they are being written, then the last one counts. */
const MAX_READ_ATTEMPTS = 4;

/** What to scan. */
export interface ScanOptions {
  /** A snapshot of the directory that was taken before; by default one is taken now. */
  readonly snapshot?: DirectorySnapshot | undefined;
  /**
   * The first sequence wanted. Frames that end before it are left out, and segments that end before it are not read.
   *
   * @default {1}
   */
  readonly from?: number | undefined;
  /**
   * The last sequence wanted. The scan ends after it.
   *
   * @default {Infinity}
   */
  readonly to?: number | undefined;
}

/**
 * Scans the log in the directory `path`.
 *
 * @throws what {@linkcode readDirectory} throws, and what reading fails with; a segment that is gone is no failure.
 */
export function scanLog(fileSystem: FileSystem, path: string, options: ScanOptions = {}): Generator<ScanItem> {
  const { snapshot = readDirectory(fileSystem, path), from = 1, to = Infinity } = options;
  return new LogScan(fileSystem, snapshot, { from, to }).run();
}

/** What a segment's header says; `"gone"` if the segment doesn't exist any more. */
type FoundSegment = SegmentClass | { readonly kind: "gone" };

/** A segment that is being read. */
interface OpenSegment {
  readonly segment: SnapshotSegment;
  readonly handle: FileHandle;
  readonly header: SegmentHeader;
  /** Read once: what is appended later is not scanned. */
  readonly size: number;
  /** The first sequence of the next segment of this log; `Infinity` after the last segment. */
  readonly next: number;
  /** Whether a file that is not part of this log lies between this segment and the next. */
  readonly hasStray: boolean;
}

/** One scan. */
class LogScan {
  readonly #fileSystem: FileSystem;
  readonly #snapshot: DirectorySnapshot;
  readonly #from: number;
  readonly #to: number;
  readonly #found = new Map<number, FoundSegment>();
  /** Caches `#nextOurs`: the result is `index` for each segment from `from` to the one before `index`. */
  #ours: { readonly from: number; readonly index: number } | undefined;
  #cursor: CursorState | undefined;
  readonly #losses: LossAssessor;
  /** The sequence after the last one accounted for: found, or reported as missing. */
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
        // A later segment proves that all sequences before it were assigned.
        if (this.#nextOurs(i - 1) !== undefined) known = Math.max(known, this.#to);
        break;
      }
      const found = this.#classify(i);
      this.#found.delete(i);
      if (found.kind === "gone") {
        yield { kind: "gone", segment: segment.name };
      } else if (found.kind === "ours") {
        if (yield* this.#scanSegment(i, found)) return;
      } else {
        const item = this.#unusable(i, found);
        if (item.mayHold !== undefined) {
          // Its name proves that all sequences before it were assigned.
          const first = Math.max(this.#next ?? this.#firstNeeded(), unread + 1);
          yield* this.#missing(first, item.mayHold.first - 1, this.#losses.provenBefore(segment.firstSequence));
          unread = item.mayHold.last;
        }
        yield item;
      }
    }
    yield* this.#missing(Math.max(this.#next ?? this.#firstNeeded(), unread + 1), known);
  }

  /** Where to begin: at the last segment of this log that begins at or before the first sequence wanted. */
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
    const found = this.#classifyNow(this.#snapshot.segments[i]);
    this.#found.set(i, found);
    return found;
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

  /** The next segment of this log after the one at `i`. */
  #nextOurs(i: number): number | undefined {
    const { segments } = this.#snapshot;
    let next = i + 1;
    // Many unusable files in a row have the same next segment: it is searched for once.
    if (this.#ours !== undefined && this.#ours.from <= i && i < this.#ours.index) next = this.#ours.index;
    while (next < segments.length && this.#classify(next).kind !== "ours") next++;
    this.#ours = { from: i, index: next };
    return next < segments.length ? next : undefined;
  }

  #unusable(i: number, found: Exclude<FoundSegment, { readonly kind: "gone" | "ours" }>): UnusableSegment {
    const { name, firstSequence } = this.#snapshot.segments[i];
    const most = found.kind === "bad" && this.#nextOurs(i) === undefined ? found.records : 0;
    const before = this.#snapshot.segments[i + 1]?.firstSequence ?? Infinity;
    const first = Math.max(firstSequence, this.#next ?? 1);
    const last = Math.min(firstSequence + most, before) - 1;
    const isUnproven = found.kind === "bad" && firstSequence >= this.#losses.provenBefore(firstSequence);
    return {
      kind: "unusable",
      segment: name,
      bytes: found.size,
      why: found.kind === "bad" ? "header" : found.kind,
      version: found.kind === "version" ? found.version : undefined,
      mayHold: most > 0 && first <= last ? { first, last } : undefined,
      ...isUnproven ? { isUnproven } : {},
    };
  }

  /** Scans a segment of this log. Returns whether the scan is past the last sequence wanted. */
  *#scanSegment(i: number, found: FoundSegment & { readonly kind: "ours" }): Generator<ScanItem, boolean> {
    const { segments } = this.#snapshot;
    const segment = segments[i];
    const { header } = found;
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

  /** The first sequence that the log must have, going by the cursor; `otherwise` without a cursor. */
  #firstNeeded(otherwise = 1): number {
    return this.#cursor?.committed.nextSequence ?? otherwise;
  }

  #account(next: number): void {
    this.#next = Math.max(this.#next ?? next, next);
  }

  *#skipTo(next: number): Generator<ScanItem> {
    yield* this.#missing(this.#next!, next - 1);
    this.#account(next);
  }

  *#scanFrames(open: OpenSegment): Generator<ScanItem, boolean> {
    const { segment, header, size, next } = open;
    const reader = this.#readerOf(open);
    const starts = new ReaderStarts(open, this.#cursor);
    let lastGood: Frame | undefined;
    for (;;) {
      if (starts.seek(reader)) yield* this.#skipTo(reader.expected);
      const { expected, place } = reader;
      const isFromBehind = expected > starts.limitFor(expected);
      if (!isFromBehind && expected >= next) {
        // The next segment continues here. What is left was never acknowledged or was cut off: it is not trusted.
        const length = reader.tailBytes(size);
        const { position: offset } = reader;
        if (length > 0) yield this.#assess(damaged(segment, { offset, length }, undefined), expected);
        return false;
      }
      if (!isFromBehind && expected > this.#to) return true;
      let item = reader.next(size);
      if (item.kind === "bad" && next === Infinity) item = rereadBadBytes(open, reader, { place, item, lastGood });
      const entered = item.kind === "bad"
        ? starts.seekWithin(reader, { from: item.offset, to: item.offset + item.length })
        : undefined;
      if (item.kind === "bad" && entered !== undefined) {
        // What lies before a reader's beginning is committed or dropped.
        yield this.#assess(damaged(segment, { offset: item.offset, length: entered - item.offset }, undefined));
        yield* this.#skipTo(reader.expected);
      } else if (item.kind === "frame") {
        const { frame } = item;
        lastGood = frame;
        const first = this.#next!;
        const behind = frame.firstSequence + frame.count;
        const end = Math.min(behind, starts.limitFor(behind));
        this.#account(end);
        if (end > first && end > this.#from) yield toScannedFrame(segment.name, header, frame, { first, end });
      } else if (item.kind === "bad" && !item.last) {
        const missing = rangeOf(expected, Math.min(reader.expected, starts.limitFor(reader.expected), next) - 1);
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

  /** Handles the end of a segment that is not the last one: bad bytes there are damage. */
  *#endBefore(
    { segment, next, hasStray }: OpenSegment,
    { offset, length, isZero }: { offset: number; length: number; isZero: boolean },
    expected: number,
  ): Generator<ScanItem> {
    // With another file in between, it is unknown which of the two held them: they are reported after that file.
    const missing = hasStray ? undefined : rangeOf(expected, next - 1);
    if (length === 0 || (isZero && missing === undefined)) return;
    if (missing !== undefined) this.#account(next);
    yield this.#assess(damaged(segment, { offset, length }, missing), expected);
  }

  /** Creates a reader at the first frame wanted, if the cursor knows its offset; else at the first of the segment. */
  #readerOf({ handle, header, size }: OpenSegment): SegmentReader {
    const reader = new SegmentReader(handle, header);
    if (this.#from <= header.firstSequence || this.#cursor === undefined) return reader;
    const { committed, resume, boundaries } = this.#cursor;
    const position = [committed, resume, ...boundaries].find(({ nextSequence }) => nextSequence === this.#from);
    const offset = position === undefined ? 0 : SEGMENT_HEADER_BYTES + position.logBytes - header.logBytesBefore;
    if (offset > SEGMENT_HEADER_BYTES && offset <= size) reader.seek(offset, this.#from, size);
    return reader;
  }

  /** Reports as missing what is wanted of the sequences from `first` to `last`, and neither committed nor dropped. */
  *#missing(first: number, last: number, provenBefore?: number): Generator<ScanItem> {
    const [from, to] = [Math.max(first, this.#from), Math.min(last, this.#to)];
    if (from > to || this.#snapshot.isSingleFile) return;
    if (notDone({ first: from, last: to }, this.#cursor).length === 0) return;
    // A segment that was removed during the scan was committed first: the cursor, read again, says so.
    const cursor = readCursor(this.#fileSystem, this.#snapshot.path);
    if (cursor !== undefined && cursor.uuid === this.#snapshot.uuid) this.#cursor = cursor;
    for (const missing of notDone({ first: from, last: to }, this.#cursor)) {
      yield this.#assess({ kind: "missing", missing }, 0, provenBefore);
    }
  }
}

/**
 * Reads bad bytes again, because the first read may have met a live writer's unfinished write. They are bad if two
 * reads in a row find the same bytes.
 */
function rereadBadBytes(
  { handle, header, size }: OpenSegment,
  reader: SegmentReader,
  first: { readonly place: ReaderPlace; readonly item: SegmentItem; readonly lastGood: Frame | undefined },
): SegmentItem {
  const { place, lastGood } = first;
  let { item } = first;
  for (let attempt = 1; attempt < MAX_READ_ATTEMPTS && item.kind === "bad"; attempt++) {
    const before = item;
    if (lastGood !== undefined) {
      const probe = new SegmentReader(handle, header);
      probe.seek(lastGood.fileOffset, lastGood.firstSequence, size);
      // The last good frame is gone, too: its write failed and was cut off. The data ends here.
      if (probe.position !== lastGood.fileOffset) return { kind: "end", zeros: 0 };
    }
    reader.reread(place);
    item = reader.next(size);
    if (item.kind === "bad" && item.offset === before.offset && item.length === before.length) break;
  }
  return item;
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
