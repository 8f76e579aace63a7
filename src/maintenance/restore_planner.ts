/**
 * Decides, record by record, what of the quarantine goes back into the log, and says of the rest why not. Pure, but for
 * reading the files.
 *
 * A record goes back if its frame is sound and it is known not to be delivered, now or ever:
 * - Its sequence is not in the log any more; never is a record doubled that the log still has.
 * - It is not in another file of the quarantine that was, or is being, restored.
 * - It is not committed; or it is, going by the cursor, but only because the cursor went past what could not be read (see
 *   `known_losses.ts`). Where nothing is noted, it counts as delivered.
 * - The `putMany` that it belongs to is here whole: of one that isn't, nobody may see a part.
 * - It is of this buffer.
 *
 * The last three can be waived.
 *
 * @module
 */

import { countSequences, mergeRanges, type SequenceRange, subtractRanges } from "../base/sequences.ts";
import type { QuarantinedContent, SegmentFacts } from "./quarantine_files.ts";
import type { SoundFrame } from "./salvage.ts";

/** Why a record isn't restored. */
export type LeftReason = "in-log" | "restored" | "committed" | "unfinished" | "foreign";

/** Records of a frame that follow each other. */
export interface Piece {
  readonly frame: SoundFrame;
  /** The number of the first record in the frame, and how many there are. */
  readonly index: number;
  readonly count: number;
  /** Whether the flags that tie it to its neighbours still hold. */
  readonly isTied: boolean;
}

/** What becomes of one file. */
export interface FilePlan {
  readonly name: string;
  readonly segment: string;
  readonly offset: number;
  readonly bytes: number;
  readonly facts: SegmentFacts | undefined;
  readonly frames: number;
  /** Sequences of the sound records in it. */
  readonly sound: readonly SequenceRange[];
  /** Those that go back. */
  readonly restore: readonly SequenceRange[];
  readonly pieces: readonly Piece[];
  /** Those that don't, and why. */
  readonly left: readonly { readonly reason: LeftReason; readonly sequences: readonly SequenceRange[] }[];
}

/** What is known about the log. */
export interface LogFacts {
  readonly uuid: string;
  /** Sequences that the log has. */
  readonly present: readonly SequenceRange[];
  /** Sequences that it doesn't have to have: committed, or dropped. */
  readonly done: readonly SequenceRange[];
  /** Sequences that were never delivered, whatever the cursor says. */
  readonly lost: readonly SequenceRange[];
}

/** Plans one file after the other. */
export class RestorePlanner {
  readonly #log: LogFacts;
  /** Whether what may have been delivered, parts of a `putMany` and other buffers' records are wanted, too. */
  readonly #isAll: boolean;
  /** Sequences that are restored by now, by buffer. */
  readonly #taken = new Map<string, SequenceRange[]>();

  constructor(log: LogFacts, isAll: boolean) {
    this.#log = log;
    this.#isAll = isAll;
  }

  /** The records of a file were restored, and must not be again. */
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
      // At once: a frame may stand twice in one file.
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

  /** What keeps a record back, the strongest reason first, and the sequences of which it does. */
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

  /** The buffer that a file is of; ours, unless its header says something else. */
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
