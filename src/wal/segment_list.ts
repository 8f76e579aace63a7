/**
 * The segments of a log: which there are, how large they are together, and which may go.
 *
 * Guarantees: a segment may go only when every record in it is committed or dropped, and never if it is the last one:
 * its name keeps the sequences from starting anew, even if the cursor is lost. Only this log's segments are removed.
 *
 * @module
 */

import { join } from "@std/path/join";
import { isGone, sizeOf } from "../fs/look.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { DiskUsage, type SegmentSize } from "./disk_usage.ts";
import { type LogPosition, SEGMENT_HEADER_BYTES } from "./format.ts";
import type { Quarantine } from "./quarantine.ts";
import { isOf, lookAtSegment, readSegmentHeader, type Segment } from "./segments.ts";

/** The commit state that the cursor keeps. */
export interface CommitState {
  /** Behind the last committed record. */
  readonly committed: LogPosition;
  /** Where the next batch begins. */
  readonly resume: LogPosition;
  /** The end of each batch in flight. */
  readonly boundaries: readonly LogPosition[];
}

/** What a {@linkcode SegmentList} is made with. */
export interface SegmentListOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly uuid: string;
  readonly quarantine: Quarantine;
  /** Those that recovery found, in order, and the sizes of those that it has looked at. */
  readonly segments: readonly Segment[];
  readonly sizes: readonly SegmentSize[];
  /** Where the next segment begins. */
  readonly end: LogPosition;
}

/** The segments of one log, in order. */
export class SegmentList {
  readonly #options: SegmentListOptions;
  readonly #segments: Segment[];
  /** Names of those whose header was looked at, and whether it is one of this log. */
  readonly #isOurs = new Map<string, boolean>();
  readonly #usage: DiskUsage;

  /** For one log. */
  constructor(options: SegmentListOptions) {
    this.#options = options;
    this.#segments = [...options.segments];
    this.#usage = new DiskUsage(this.#segments, options.sizes, options.end);
  }

  /** All of them. */
  get all(): readonly Segment[] {
    return this.#segments;
  }

  /** Their bytes, as far as is known. */
  get diskBytes(): number {
    return this.#usage.bytes;
  }

  /** Adds a segment that was just created behind the others, with a header that says `logBytesBefore`. */
  append(segment: Segment, logBytesBefore: number): void {
    this.#segments.push(segment);
    this.#isOurs.set(segment.name, true);
    this.#usage.note({ segment, bytes: SEGMENT_HEADER_BYTES, logBytesBefore });
  }

  /** Says that the last one has grown. */
  grew(bytes: number): void {
    this.#usage.grew(bytes);
  }

  /** Somebody has looked at one of them. */
  note(size: SegmentSize): void {
    this.#usage.note(size);
  }

  /** Where the next segment of ours begins; `undefined` behind the last. */
  nextAfter({ firstSequence }: Segment): number | undefined {
    return this.#segments.find((segment) => segment.firstSequence > firstSequence && this.#checkOurs(segment))
      ?.firstSequence;
  }

  /** Whether, going by their names, some may go once `state` is durable. Cheap; `droppable` looks closer. */
  mayDrop(state: CommitState): boolean {
    return this.#segments.some((_, i) => i + 1 < this.#segments.length && this.#isDone(i, i + 1, state));
  }

  /**
   * Those that may go once `state` is durable. A name alone doesn't prove where the one before ends: a file that strayed
   * in must not take ours with it.
   */
  droppable(state: CommitState): Segment[] {
    const droppable: Segment[] = [];
    for (let i = 0; i + 1 < this.#segments.length; i++) {
      if (this.#segments[i].firstSequence >= state.resume.nextSequence) break;
      if (!this.#isDone(i, i + 1, state)) continue;
      const next = this.#segments.findIndex((segment, k) => k > i && this.#checkOurs(segment));
      if (next > i && this.#isDone(i, next, state)) droppable.push(this.#segments[i]);
    }
    return droppable;
  }

  /** Removes a segment's file, then the segment; what isn't ours is set aside first. */
  async remove(segment: Segment): Promise<void> {
    const { fileSystem, directory, quarantine } = this.#options;
    const path = join(directory, segment.name);
    try {
      const length = sizeOf(fileSystem, path);
      const isSafe = length === 0 || this.#checkOurs(segment) ||
        await quarantine.copy({ segment: segment.name, offset: 0, length });
      if (isSafe) fileSystem.remove(path);
      // In the same breath, or before: a reader must not look for it when it isn't there any more.
      this.#forget(segment);
      // Where there is no room for a copy, the file itself is moved; if even that fails, it stays.
      if (!isSafe) await quarantine.move(segment.name);
    } catch (error) {
      // One that is gone already is as good as removed.
      if (!isGone(error)) throw error;
      this.#forget(segment);
    }
  }

  #forget(segment: Segment): void {
    this.#isOurs.delete(segment.name);
    this.#segments.splice(this.#segments.indexOf(segment), 1);
    this.#usage.remove(segment);
  }

  /** Whether all records from segment `i` up to where segment `next` begins are committed or dropped. */
  #isDone(i: number, next: number, { committed, resume, boundaries }: CommitState): boolean {
    const inFlight = boundaries.at(-1)?.nextSequence ?? committed.nextSequence;
    const first = this.#segments[i].firstSequence;
    const end = this.#segments[next].firstSequence;
    return end <= committed.nextSequence || (first >= inFlight && end <= resume.nextSequence);
  }

  #checkOurs(segment: Segment): boolean {
    const known = this.#isOurs.get(segment.name);
    if (known !== undefined) return known;
    const { fileSystem, directory, uuid } = this.#options;
    const { result, bytes } = lookAtSegment({ fileSystem, directory }, segment, (handle) => {
      return { result: readSegmentHeader(handle), bytes: handle.size() };
    });
    const isOurs = result.kind === "header" && isOf(result.header, uuid, segment);
    this.#isOurs.set(segment.name, isOurs);
    this.#usage.note({ segment, bytes, logBytesBefore: isOurs ? result.header.logBytesBefore : undefined });
    return isOurs;
  }
}
