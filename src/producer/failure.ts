/**
 * Classifies failures of a delivery: which of its records are sent again, which will never be taken, and whether there were
 * too many at once. Pure.
 *
 * An answer comes from the outside, so all of it is checked. Where it makes no sense (records that the delivery doesn't
 * have, or one of them twice), all of the delivery counts as not taken. Sent again it may arrive twice, which a target that
 * deduplicates ignores, while a record that is left out is lost.
 *
 * @module
 */

import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";

/** A record that no retry can deliver: its position in the delivery, from 0, and why. */
export type Undeliverable = Pick<FailedRecord, "index" | "reason">;

/** What is to become of a delivery that failed. */
export interface FailureOutcome {
  /** Positions of the records to be sent again, ascending. */
  readonly again: readonly number[];
  /** What the target said about them, by position; about some of them, or none. */
  readonly reasons: ReadonlyMap<number, string>;
  /** The records that will never be taken, ascending. All that are in neither list were taken. */
  readonly undeliverable: readonly Undeliverable[];
  /** Whether those to be sent again have to be fewer at a time. */
  readonly isTooLarge: boolean;
  /** Whether it is the target that fails, whatever is sent: all that weren't taken are sent again, when it is well. */
  readonly isTargetFault: boolean;
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
  const { retryAfterMs } = error;
  const isTarget = error.scope === "target";
  // Fewer at a time mend no fault of the target, but for "too much at once", which one record can't be.
  const isTooMuch = (records: number): boolean =>
    isTarget ? error.tooLarge && records > 1 : error.tooLarge || (error.split && records > 1);
  const failed = checkFailed(error.failed, length);
  if (failed !== undefined) {
    // What a target at fault says of single records is no verdict on them; that it has the others is believed.
    const again = failed.filter(({ retryable }) => retryable || isTarget);
    const isTooLarge = isTooMuch(again.length);
    return toFailureOutcome({
      again: again.map(({ index }) => index),
      reasons: new Map(again.map(({ index, reason }) => [index, reason])),
      undeliverable: failed.filter(({ retryable }) => !retryable && !isTarget),
      isTooLarge,
      isTargetFault: isTarget && !isTooLarge,
      retryAfterMs,
    });
  }
  // Too large counts more than "don't try again": in parts it is something else.
  const isTooLarge = isTooMuch(length);
  if (error.retryable || isTooLarge || isTarget) {
    return toFailureOutcome({ again: range(length), isTooLarge, isTargetFault: isTarget && !isTooLarge, retryAfterMs });
  }
  const reason = errorText(error);
  return toFailureOutcome({ undeliverable: range(length).map((index) => ({ index, reason })) });
}

/** Completes an outcome: what isn't given is empty. */
export function toFailureOutcome(known: Partial<FailureOutcome>): FailureOutcome {
  return {
    again: [],
    reasons: new Map(),
    undeliverable: [],
    isTooLarge: false,
    isTargetFault: false,
    retryAfterMs: undefined,
    ...known,
  };
}

/** The failed records in order, or `undefined` if the list makes no sense. */
function checkFailed(failed: unknown, length: number): FailedRecord[] | undefined {
  // An empty list says that all were taken, and the error says that they were not.
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
