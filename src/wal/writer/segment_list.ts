/**
 * The segments of a log: which there are, how large they are together, and which may go.
 *
 * Guarantees: a segment may go only when every record in it is committed or dropped, and never if it is the last one:
 * its name keeps the sequences from starting anew, even if the cursor is lost. Only this log's segments are removed, and only
 * by whoever owns the directory: a file is known by device and inode, or by its header, never by its name alone. No
 * look-up goes over all of them, and what a batch costs depends on the segments that it is in, not on how many there are.
 *
 * @module
 */

import { join } from "@std/path/join";
import { isNoSuchFile, withFile } from "../../fs/file_helpers.ts";
import type { FileHandle, FileIdentity, FileSystem } from "../../fs/file_system.ts";
import { DiskUsage, type SegmentSize } from "../disk_usage.ts";
import { SEGMENT_HEADER_BYTES } from "../format.ts";
import { OrderedSegments } from "../ordered_segments.ts";
import type { Ownership } from "../ownership.ts";
import type { CommitState, LogPosition } from "../position.ts";
import type { DamagedRegion } from "../recovery/damage.ts";
import type { Quarantine } from "../recovery/quarantine.ts";
import { headerMatches, isZeroFilled, readSegmentHeader, type Segment, withSegment } from "../segment_files.ts";

/** What a {@linkcode SegmentList} is made with. */
export interface SegmentListDeps {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly uuid: string;
  readonly quarantine: Quarantine;
  readonly ownership: Pick<Ownership, "verify">;
  /** Is told of bytes that turned up behind the end of a segment that an earlier process left. */
  readonly report: (region: DamagedRegion) => void;
  /** The segment that the process before wrote to last, and where its last frame ends. */
  readonly inherited: { readonly name: string; readonly position: number } | undefined;
  /** Those that recovery found, in order, and the sizes of those that it has looked at. */
  readonly segments: readonly Segment[];
  readonly sizes: readonly SegmentSize[];
  /** Where the next segment begins. */
  readonly end: LogPosition;
}

/** The segments of one log, in order. */
export class SegmentList {
  readonly #options: SegmentListDeps;
  readonly #segments: OrderedSegments;
  /** Those that aren't known to be no segments of this log. */
  readonly #candidates: OrderedSegments;
  /** Names of those whose header was looked at, and whether it is one of this log. */
  readonly #isOurs = new Map<string, boolean>();
  /** Which files those are that this process has created. */
  readonly #identities = new Map<string, FileIdentity>();
  readonly #usage: DiskUsage;

  /** For one log. */
  constructor(options: SegmentListDeps) {
    this.#options = options;
    this.#segments = new OrderedSegments(options.segments);
    this.#candidates = new OrderedSegments(options.segments);
    this.#usage = new DiskUsage(this.#segments, options.sizes, options.end);
  }

  /** All of them, as they are now: as many as there are, so not for every batch. */
  get all(): readonly Segment[] {
    return this.#segments.toArray();
  }

  /** How many there are. */
  get count(): number {
    return this.#segments.count;
  }

  /** The one behind all others. */
  get last(): Segment | undefined {
    return this.#segments.last;
  }

  /** The last one that begins at `sequence` or before, going by its name. */
  upTo(sequence: number): Segment | undefined {
    return this.#segments.findAtOrBefore(sequence);
  }

  /** The first one that begins behind `sequence`, going by its name. */
  behind(sequence: number): Segment | undefined {
    return this.#segments.findAfter(sequence);
  }

  /** Their bytes, as far as is known. */
  get diskBytes(): number {
    return this.#usage.bytes;
  }

  /**
   * Adds a segment that was just created behind the others: what its header says of those before it, and which file it is,
   * if that can be told.
   */
  append({ segment, logBytesBefore, identity }: {
    segment: Segment;
    logBytesBefore: number;
    identity: FileIdentity | undefined;
  }): void {
    this.#segments.append(segment);
    this.#candidates.append(segment);
    this.#isOurs.set(segment.name, true);
    if (identity !== undefined) this.#identities.set(segment.name, identity);
    this.#usage.recordSize({ segment, bytes: SEGMENT_HEADER_BYTES, logBytesBefore });
  }

  /** Says that the last one has grown. */
  grew(bytes: number): void {
    this.#usage.addToLast(bytes);
  }

  /** Somebody has looked at one of them. */
  note(size: SegmentSize): void {
    this.#usage.recordSize(size);
  }

  /** Where the next segment of ours begins; `undefined` behind the last. */
  nextAfter({ firstSequence }: Segment): number | undefined {
    // What turns out not to be ours is no candidate any more.
    for (;;) {
      const next = this.#candidates.findAfter(firstSequence);
      if (next === undefined || this.#checkOurs(next)) return next?.firstSequence;
    }
  }

  /** Whether, going by their names, some may go once `state` is durable. Cheap; `nextDroppable` looks closer. */
  mayDrop({ committed, resume, boundaries }: CommitState): boolean {
    // Asked at every commit, mostly in a log of one segment.
    if (this.#segments.count < 2) return false;
    return this.#seemsDone(this.#segments.findAfter(-1), committed) ||
      this.#seemsDone(this.#segments.findAfter(inFlightUpTo({ committed, boundaries }) - 1), resume);
  }

  /**
   * The first one behind the sequence `after` that may go once `state` is durable; `undefined` if there is none. A name
   * alone doesn't prove where the one before ends: a file that strayed in must not take ours with it.
   */
  nextDroppable({ committed, resume, boundaries }: CommitState, after: number): Segment | undefined {
    const first = this.#segments.findAfter(after);
    if (this.#isDone(first, committed)) return first;
    // Dropped while others before it are in flight.
    const behind = this.#segments.findAfter(Math.max(after, inFlightUpTo({ committed, boundaries }) - 1));
    return this.#isDone(behind, resume) ? behind : undefined;
  }

  /** Removes a segment's file, then the segment; what isn't ours is set aside first. */
  async remove(segment: Segment): Promise<void> {
    const { fileSystem, directory, quarantine, ownership } = this.#options;
    const path = join(directory, segment.name);
    ownership.verify();
    try {
      const { length, isOurs } = withFile(fileSystem, path, (handle) => {
        return { length: handle.size(), isOurs: this.#isStillOurs(segment, handle) };
      });
      if (isOurs) this.#checkOurs(segment);
      await this.#setRestAside(segment, length);
      const isSafe = length === 0 || isOurs || await quarantine.copy({ segment: segment.name, offset: 0, length });
      ownership.verify();
      if (isSafe) fileSystem.remove(path);
      // In the same breath, or before: a reader must not look for it when it isn't there any more.
      this.#forget(segment);
      // Where there is no room for a copy, the file itself is moved; if even that fails, it stays.
      if (!isSafe) await quarantine.move(segment.name);
    } catch (error) {
      // One that is gone already is as good as removed.
      if (!isNoSuchFile(error)) throw error;
      this.#forget(segment);
    }
  }

  /** Whether the file under a segment's name is the one that is known, or at least one of this log. */
  #isStillOurs(segment: Segment, handle: FileHandle): boolean {
    const identity = this.#identities.get(segment.name);
    const found = identity === undefined ? undefined : handle.identify?.();
    if (found !== undefined) return found.device === identity!.device && found.inode === identity!.inode;
    const result = readSegmentHeader(handle);
    return result.kind === "header" && headerMatches(result.header, this.#options.uuid, segment);
  }

  /**
   * The process before may have written on, if the lock didn't keep this one out: what stands behind the end that recovery has
   * seen is copied and told, because nothing will deliver it.
   */
  async #setRestAside(segment: Segment, size: number): Promise<void> {
    const { inherited, quarantine, report, fileSystem, directory } = this.#options;
    if (inherited?.name !== segment.name || size <= inherited.position) return;
    const offset = inherited.position;
    if (withSegment({ fileSystem, directory }, segment, (handle) => isZeroFilled(handle, offset, size))) return;
    const region = { segment: segment.name, offset, length: size - offset };
    const known = quarantine.has(region);
    const quarantined = await quarantine.copy(region);
    if (!known) report({ ...region, missing: undefined, quarantined });
  }

  #forget(segment: Segment): void {
    this.#isOurs.delete(segment.name);
    this.#identities.delete(segment.name);
    this.#segments.remove(segment);
    this.#candidates.remove(segment);
    this.#usage.remove(segment);
  }

  /** Whether, going by names, all that a segment holds is before `position`: another one begins between the two. */
  #seemsDone(segment: Segment | undefined, { nextSequence }: LogPosition): segment is Segment {
    const next = segment && this.#segments.findAfter(segment.firstSequence);
    return next !== undefined && next.firstSequence <= nextSequence;
  }

  /** Whether all that a segment holds is before `position`: another one of ours begins between the two. */
  #isDone(segment: Segment | undefined, position: LogPosition): segment is Segment {
    if (!this.#seemsDone(segment, position)) return false;
    for (;;) {
      const last = this.#candidates.findAtOrBefore(position.nextSequence);
      if (last === undefined || last.firstSequence <= segment.firstSequence) return false;
      if (this.#checkOurs(last)) return true;
    }
  }

  #checkOurs(segment: Segment): boolean {
    const known = this.#isOurs.get(segment.name);
    if (known !== undefined) return known;
    const { fileSystem, directory, uuid } = this.#options;
    const { result, bytes } = withSegment({ fileSystem, directory }, segment, (handle) => {
      return { result: readSegmentHeader(handle), bytes: handle.size() };
    });
    const isOurs = result.kind === "header" && headerMatches(result.header, uuid, segment);
    this.#isOurs.set(segment.name, isOurs);
    if (!isOurs) this.#candidates.remove(segment);
    this.#usage.recordSize({ segment, bytes, logBytesBefore: isOurs ? result.header.logBytesBefore : undefined });
    return isOurs;
  }
}

/** The sequence behind the last batch in flight, or else behind the last record committed. */
function inFlightUpTo({ committed, boundaries }: Pick<CommitState, "committed" | "boundaries">): number {
  return boundaries.at(-1)?.nextSequence ?? committed.nextSequence;
}
