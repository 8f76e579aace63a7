/**
 * The segments of a log: which there are, how large they are together, and which may go.
 *
 * Guarantees: a segment may go only when every record in it is committed or dropped, and never if it is the last one:
 * its name keeps the sequences from starting anew, even if the cursor is lost.
 *
 * @module
 */

import { join } from "@std/path/join";
import { FileSystemError } from "../errors.ts";
import { closeQuietly } from "../fs/close.ts";
import type { FileSystem } from "../fs/file_system.ts";
import type { LogPosition } from "./format.ts";
import type { Segment } from "./recovery.ts";

/** The commit state that the cursor keeps. */
export interface CommitState {
  /** Behind the last committed record. */
  readonly committed: LogPosition;
  /** Where the next batch begins. */
  readonly resume: LogPosition;
  /** The end of each batch in flight. */
  readonly boundaries: readonly LogPosition[];
}

/** The segments of one log, in order. */
export class SegmentList {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #segments: Segment[];
  #diskBytes: number;

  /** Those that recovery found. */
  constructor(
    fileSystem: FileSystem,
    directory: string,
    found: { readonly segments: readonly Segment[]; readonly diskBytes: number },
  ) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#segments = [...found.segments];
    this.#diskBytes = found.diskBytes;
  }

  /** All of them. */
  get all(): readonly Segment[] {
    return this.#segments;
  }

  /** Their bytes. */
  get diskBytes(): number {
    return this.#diskBytes;
  }

  /** Adds a segment behind the others. */
  append(segment: Segment): void {
    this.#segments.push(segment);
  }

  /** Says that the last one has grown. */
  grew(bytes: number): void {
    this.#diskBytes += bytes;
  }

  /** Those that may go once `state` is durable. */
  droppable({ committed, resume, boundaries }: CommitState): Segment[] {
    const inFlight = boundaries.at(-1)?.nextSequence ?? committed.nextSequence;
    const droppable: Segment[] = [];
    for (let i = 0; i + 1 < this.#segments.length; i++) {
      const first = this.#segments[i].firstSequence;
      const next = this.#segments[i + 1].firstSequence;
      if (first >= resume.nextSequence) break;
      const isDropped = first >= inFlight && next <= resume.nextSequence;
      if (next <= committed.nextSequence || isDropped) droppable.push(this.#segments[i]);
    }
    return droppable;
  }

  /** Removes a segment's file, then the segment. One that is gone already is as good as removed. */
  remove(segment: Segment): void {
    const path = join(this.#directory, segment.name);
    try {
      const handle = this.#fileSystem.open(path, "read");
      const size = handle.size();
      closeQuietly(handle);
      this.#fileSystem.remove(path);
      this.#diskBytes -= size;
    } catch (error) {
      if (!(error instanceof FileSystemError) || error.errno !== "ENOENT") throw error;
    }
    this.#segments.splice(this.#segments.indexOf(segment), 1);
  }
}
