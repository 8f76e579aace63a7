/**
 * Decides, record by record, what of the quarantine is restored into the log, and why the rest is not. Pure.
 *
 * A record is restored if its frame is sound, and it is known that it was not delivered and is not going to be:
 * - Its sequence is not in the log: no record is restored that the log still has.
 * - It is in no other quarantined file that was restored or is being restored.
 * - It is not committed; or only because the cursor skipped what could not be read (see `known_losses.ts`). Without a
 *   record of that loss, it counts as delivered.
 * - Its `putMany` is complete: parts of one must not become visible.
 * - It is a record of this buffer.
 *
 * The last three conditions can be waived.
 *
 * @module
 */

import { countSequences, mergeRanges, type SequenceRange, subtractRanges } from "../base/sequences.ts";
import type { QuarantinedContent } from "./quarantine_files.ts";
import type { SoundFrame } from "./salvage.ts";

/** Why a record is not restored. */
export type LeftReason = "in-log" | "restored" | "committed" | "unfinished" | "foreign";

/** Consecutive records of a frame. */
export interface Piece {
  readonly frame: SoundFrame;
  /** The index of the first record in the frame, and the number of records. */
  readonly index: number;
  readonly count: number;
  /** Whether the flags that tie the frame to its neighbours still apply. */
  readonly isTied: boolean;
}

/** What is restored from one file, and what is not. */
export interface FilePlan extends Pick<QuarantinedContent, "name" | "segment" | "offset" | "facts"> {
  readonly bytes: number;
  readonly frames: number;
  /** The sequences of its sound records. */
  readonly sound: readonly SequenceRange[];
  /** Those that are restored. */
  readonly restore: readonly SequenceRange[];
  readonly pieces: readonly Piece[];
  /** Those that are not, and why. */
  readonly left: readonly { readonly reason: LeftReason; readonly sequences: readonly SequenceRange[] }[];
}

export interface LogFacts {
  readonly uuid: string;
  readonly present: readonly SequenceRange[];
  /** Sequences that are committed or dropped. */
  readonly done: readonly SequenceRange[];
  /** Sequences that were never delivered, whatever the cursor says. */
  readonly lost: readonly SequenceRange[];
}

/** Plans the restore of one file after the other. */
export class RestorePlanner {
  readonly #log: LogFacts;
  /** Whether the last three conditions are waived. */
  readonly #isAll: boolean;
  /** The sequences restored so far, by buffer. */
  readonly #taken = new Map<string, SequenceRange[]>();

  constructor(log: LogFacts, isAll: boolean) {
    this.#log = log;
    this.#isAll = isAll;
  }

  /** Notes that the records of a file were restored, so that they are not restored again. */
  addRestored(file: QuarantinedContent): void {
    this.#take(this.#ownerOf(file), rangesOf(file.frames));
  }

  /** Plans the next file. */
  plan(file: QuarantinedContent): FilePlan {
    const owner = this.#ownerOf(file);
    const left = new Map<LeftReason, SequenceRange[]>();
    const wanted = new Map<SoundFrame, SequenceRange[]>();
    for (const frame of file.frames) {
      let ranges: SequenceRange[] = [rangeOf(frame)];
      for (const { reason, refused } of this.#refusals(frame, owner)) {
        const kept = subtractRanges(ranges, refused);
        const those = subtractRanges(ranges, kept);
        if (those.length > 0) left.set(reason, [...left.get(reason) ?? [], ...those]);
        ranges = kept;
      }
      if (ranges.length > 0) wanted.set(frame, ranges);
      // Before the next frame: the same frame may be in a file twice.
      this.#take(owner, ranges);
    }
    const { name, segment, offset, bytes, facts, frames } = file;
    return {
      name,
      segment,
      offset,
      bytes: bytes.length,
      facts,
      frames: frames.length,
      sound: rangesOf(frames),
      restore: mergeRanges([...wanted.values()].flat()),
      pieces: toPieces(file, wanted),
      left: [...left].map(([reason, sequences]) => ({ reason, sequences: mergeRanges(sequences) })),
    };
  }

  /** The reasons not to restore, the strongest first, and the sequences that each applies to. */
  #refusals(
    frame: SoundFrame,
    owner: string,
  ): readonly { readonly reason: LeftReason; readonly refused: readonly SequenceRange[] }[] {
    const { uuid, present, done, lost } = this.#log;
    const all = [rangeOf(frame)];
    const isForeign = owner !== uuid;
    const waivable = this.#isAll ? [] : [
      { reason: "foreign" as const, refused: isForeign ? all : [] },
      { reason: "committed" as const, refused: isForeign ? [] : subtractRanges(done, lost) },
      { reason: "unfinished" as const, refused: frame.isWhole ? [] : all },
    ];
    return [
      { reason: "in-log", refused: isForeign ? [] : present },
      { reason: "restored", refused: this.#taken.get(owner) ?? [] },
      ...waivable,
    ];
  }

  /** The uuid of the buffer that a file is from: this one's, unless its header says otherwise. */
  #ownerOf({ facts }: QuarantinedContent): string {
    return facts?.uuid ?? this.#log.uuid;
  }

  #take(owner: string, ranges: readonly SequenceRange[]): void {
    this.#taken.set(owner, mergeRanges([...this.#taken.get(owner) ?? [], ...ranges]));
  }
}

function toPieces({ frames }: QuarantinedContent, wanted: ReadonlyMap<SoundFrame, readonly SequenceRange[]>): Piece[] {
  const isComplete = (frame: SoundFrame): boolean => countSequences(wanted.get(frame) ?? []) === frame.count;
  const broken = new Set(frames.filter((frame) => !frame.isWhole || !isComplete(frame)).map(({ group }) => group));
  return [...wanted].flatMap(([frame, ranges]) =>
    ranges.map(({ first, last }): Piece => ({
      frame,
      index: first - frame.firstSequence,
      count: last - first + 1,
      isTied: !broken.has(frame.group),
    }))
  );
}

function rangeOf({ firstSequence, count }: SoundFrame): SequenceRange {
  return { first: firstSequence, last: firstSequence + count - 1 };
}

function rangesOf(frames: readonly SoundFrame[]): SequenceRange[] {
  return mergeRanges(frames.map(rangeOf));
}
