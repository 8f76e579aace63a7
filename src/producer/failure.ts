/**
 * What an answer of the target means for the records of a delivery: which are to be sent again, which never will be
 * taken, whether it was too much at once. Pure.
 *
 * An answer comes from the outside, so nothing in it is believed unchecked. Where it makes no sense (records that the
 * delivery doesn't have, or one of them twice), all of the delivery counts as not taken: sent again it may arrive
 * twice, which a target that deduplicates doesn't mind, while a record that is left out is lost.
 *
 * @module
 */

import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";

/** A record that no retry can deliver. */
export interface Undeliverable {
  /** Its position in the delivery, from 0. */
  readonly index: number;
  readonly reason: string;
}

/** What is to become of a delivery that failed. */
export interface FailureOutcome {
  /** Positions of the records to be sent again, ascending. */
  readonly again: readonly number[];
  /** What the target has said of single ones among them. */
  readonly reasons: ReadonlyMap<number, string>;
  /** The records that will never be taken, ascending. All that stand in neither list were taken. */
  readonly undeliverable: readonly Undeliverable[];
  /** Whether those to be sent again have to be fewer at a time. */
  readonly isTooLarge: boolean;
  /** How long the target asks to be left alone. */
  readonly retryAfterMs: number | undefined;
}

/**
 * Classifies what a `Send` has thrown.
 *
 * @param error Anything: a {@linkcode DeliveryError} says more, all else means that all of it is to be sent again.
 * @param length Number of records in the delivery.
 */
export function classifyFailure(error: unknown, length: number): FailureOutcome {
  if (!(error instanceof DeliveryError)) return toFailureOutcome({ again: range(length) });
  const { tooLarge: isTooLarge, retryAfterMs } = error;
  const failed = checkFailed(error.failed, length);
  if (failed !== undefined) {
    const again = failed.filter(({ retryable }) => retryable);
    return toFailureOutcome({
      again: again.map(({ index }) => index),
      reasons: new Map(again.map(({ index, reason }) => [index, reason])),
      undeliverable: failed.filter(({ retryable }) => !retryable),
      isTooLarge,
      retryAfterMs,
    });
  }
  // Too large counts more than "don't try again": in parts it is something else.
  if (error.retryable || isTooLarge) return toFailureOutcome({ again: range(length), isTooLarge, retryAfterMs });
  const reason = errorText(error);
  return toFailureOutcome({ undeliverable: range(length).map((index) => ({ index, reason })) });
}

/** A verdict of which only this much is to be said. */
export function toFailureOutcome(known: Partial<FailureOutcome>): FailureOutcome {
  return { again: [], reasons: new Map(), undeliverable: [], isTooLarge: false, retryAfterMs: undefined, ...known };
}

/** The failed records in order, or `undefined` if what is said of them can't be. */
function checkFailed(failed: unknown, length: number): FailedRecord[] | undefined {
  // An empty list says that all were taken, and the error that they were not.
  if (!Array.isArray(failed) || failed.length === 0 || failed.length > length) return undefined;
  const seen = new Set<number>();
  const checked: FailedRecord[] = [];
  for (const one of failed as readonly (Partial<FailedRecord> | null | undefined)[]) {
    const index = one?.index;
    if (typeof index !== "number" || !Number.isInteger(index)) return undefined;
    if (index < 0 || index >= length || seen.has(index)) return undefined;
    seen.add(index);
    checked.push({ index, retryable: one?.retryable !== false, reason: errorText(one?.reason) });
  }
  return checked.sort((a, b) => a.index - b.index);
}

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}
