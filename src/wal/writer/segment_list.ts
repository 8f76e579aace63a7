/**
 * The segments of a log: which there are, how large they are, and which may be removed.
 *
 * Guarantees: a segment may be removed only when every record in it is committed or dropped, and never if it is the last
 * one: its name keeps sequences from being reused, even if the cursor is lost. Only this log's segments are removed, and only
 * by the owner of the directory: a file is identified by device and inode, or by its header, never by its name alone. The
 * cost of a lookup, or of a batch, doesn't depend on how many segments there are.
 *
 * @module
 */

import { join } from "@std/path/join";
import { isNoSuchFile, withFile } from "../../fs/file_helpers.ts";
import type { FileHandle, FileIdentity } from "../../fs/file_system.ts";
import { DiskUsage, type SegmentSize } from "../disk_usage.ts";
import { SEGMENT_HEADER_BYTES } from "../format.ts";
import { OrderedSegments } from "../ordered_segments.ts";
import type { Ownership } from "../ownership.ts";
import type { CommitState, LogPosition } from "../position.ts";
import type { DamagedRegion } from "../recovery/damage.ts";
import { measureSegment } from "../recovery/log_start.ts";
import type { Quarantine } from "../recovery/quarantine.ts";
import type { RecoveredLog } from "../recovery/recovery.ts";
import { type LogLocation, readOwnHeader, type Segment, withSegment } from "../segment_files.ts";
import { findFilledBytes } from "../unreadable_segment.ts";

interface SegmentListDeps extends LogLocation {
  readonly uuid: string;
  readonly quarantine: Quarantine;
  readonly ownership: Pick<Ownership, "verify">;
  /** Called for bytes found after the end that recovery saw of a segment of an earlier process. */
  readonly report: (region: DamagedRegion) => void;
  readonly inherited: RecoveredLog["inherited"];
  /** Those that recovery found, in order, and the sizes of those that it opened. */
  readonly segments: readonly Segment[];
  readonly sizes: readonly SegmentSize[];
  /** Where the next segment begins. */
  readonly end: LogPosition;
}

/** The segments of one log, in order. */
export class SegmentList {
  /** All of them, going by their names. */
  readonly ordered: OrderedSegments;
  /** How large they are. */
  readonly usage: DiskUsage;
  readonly #deps: SegmentListDeps;
  /** Those that are not known to be of another log. */
  readonly #candidates: OrderedSegments;
  /** Names of those whose header was read, and whether it is one of this log. */
  readonly #isOurs = new Map<string, boolean>();
  /** The files that this process has created. */
  readonly #identities = new Map<string, FileIdentity>();

  constructor(deps: SegmentListDeps) {
    this.#deps = deps;
    this.ordered = new OrderedSegments(deps.segments);
    this.#candidates = new OrderedSegments(deps.segments);
    this.usage = new DiskUsage(this.ordered, deps.sizes, deps.end);
  }

  /** Adds a segment that was just created, after all others; `identity` is that of its file, if the system tells. */
  append({ segment, logBytesBefore, identity }: {
    segment: Segment;
    logBytesBefore: number;
    identity: FileIdentity | undefined;
  }): void {
    this.ordered.append(segment);
    this.#candidates.append(segment);
    this.#isOurs.set(segment.name, true);
    if (identity !== undefined) this.#identities.set(segment.name, identity);
    this.usage.recordSize({ segment, bytes: SEGMENT_HEADER_BYTES, logBytesBefore });
  }

  /** Where the next segment of this log begins; `undefined` after the last. */
  nextAfter({ firstSequence }: Segment): number | undefined {
    for (;;) {
      const next = this.#candidates.findAfter(firstSequence);
      if (next === undefined || this.#checkOurs(next)) return next?.firstSequence;
    }
  }

  /** Whether, going by their names, some may be removed once `state` is durable. Cheap; `nextDroppable` reads headers. */
  mayDrop({ committed, resume, boundaries }: CommitState): boolean {
    // Called at every commit, mostly in a log of one segment.
    if (this.ordered.count < 2) return false;
    return this.#seemsDone(this.ordered.findAfter(-1), committed) ||
      this.#seemsDone(this.ordered.findAfter(inFlightUpTo({ committed, boundaries }) - 1), resume);
  }

  /**
   * The first one after the sequence `after` that may be removed once `state` is durable. A name alone doesn't prove where the
   * segment before it ends: a foreign file must not cause the removal of one of ours.
   */
  nextDroppable({ committed, resume, boundaries }: CommitState, after: number): Segment | undefined {
    const first = this.ordered.findAfter(after);
    if (this.#isDone(first, committed)) return first;
    // Dropped while others before it are in flight.
    const next = this.ordered.findAfter(Math.max(after, inFlightUpTo({ committed, boundaries }) - 1));
    return this.#isDone(next, resume) ? next : undefined;
  }

  /** Removes a segment, first its file; a file that isn't ours is moved to the quarantine instead. */
  async remove(segment: Segment): Promise<void> {
    const { fileSystem, directory, quarantine, ownership } = this.#deps;
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
      // In the same turn as the removal, or before the move: a reader must not open what isn't there any more.
      this.#forget(segment);
      // Without room for a copy, the file itself is moved; if that fails as well, it stays.
      if (!isSafe) await quarantine.move(segment.name);
    } catch (error) {
      // A file that is gone already counts as removed.
      if (!isNoSuchFile(error)) throw error;
      this.#forget(segment);
    }
  }

  /** Whether the file under a segment's name is the one that is known, or at least one of this log. */
  #isStillOurs(segment: Segment, handle: FileHandle): boolean {
    const identity = this.#identities.get(segment.name);
    const found = identity === undefined ? undefined : handle.identify?.();
    if (found !== undefined) return found.device === identity!.device && found.inode === identity!.inode;
    return readOwnHeader(handle, segment, this.#deps.uuid) !== undefined;
  }

  /**
   * The process before may have gone on writing, if the lock didn't stop it. What follows the end that recovery saw is copied
   * and reported, because nothing will deliver it.
   */
  async #setRestAside(segment: Segment, size: number): Promise<void> {
    const { inherited, quarantine, report } = this.#deps;
    if (inherited?.name !== segment.name || size <= inherited.position) return;
    const offset = inherited.position;
    if (withSegment(this.#deps, segment, (handle) => findFilledBytes(handle, size)) <= offset) return;
    const region = { segment: segment.name, offset, length: size - offset };
    const known = quarantine.has(region);
    const quarantined = await quarantine.copy(region);
    if (!known) report({ ...region, missing: undefined, quarantined });
  }

  #forget(segment: Segment): void {
    this.#isOurs.delete(segment.name);
    this.#identities.delete(segment.name);
    this.ordered.remove(segment);
    this.#candidates.remove(segment);
    this.usage.remove(segment);
  }

  /** Whether, going by names, all that a segment holds is before `position`: another one begins between the two. */
  #seemsDone(segment: Segment | undefined, { nextSequence }: LogPosition): segment is Segment {
    const next = segment && this.ordered.findAfter(segment.firstSequence);
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
    const size = measureSegment(this.#deps, segment, this.#deps.uuid);
    const isOurs = size.logBytesBefore !== undefined;
    this.#isOurs.set(segment.name, isOurs);
    if (!isOurs) this.#candidates.remove(segment);
    this.usage.recordSize(size);
    return isOurs;
  }
}

/** The sequence after the last batch in flight; if there is none, after the last committed record. */
function inFlightUpTo({ committed, boundaries }: Pick<CommitState, "committed" | "boundaries">): number {
  return boundaries.at(-1)?.nextSequence ?? committed.nextSequence;
}
