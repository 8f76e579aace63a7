/**
 * A target as it may be in the worst case, and as it has to be for exactly once: it answers late or never, takes a
 * delivery and loses the answer, takes a part of one, is ill for a while; and it keeps the id of each delivery together with the records
 * and its answer, so that a delivery that comes again changes nothing and is answered as it was.
 *
 * Beside it stands a target that keeps no ids: it gets every record at least once.
 */

import { DeliveryError, type DeliveryErrorData, type FailedRecord } from "../../mod.ts";

/** What arrives at a target. */
export interface Arrival {
  readonly id: string;
  readonly records: readonly string[];
}

/** How a target behaves. */
export interface TargetRules {
  /** Chance: a whole number from 0 to below the argument. */
  readonly random: (below: number) => number;
  /** A delivery of more records is too large. */
  readonly maxRecords: number;
  /** Records that are refused for good. */
  readonly isPoison: (record: string) => boolean;
  /** Whether it takes only the first records of a delivery when it can't take all, so that order is kept. */
  readonly keepsOrder: boolean;
}

/** A target with both views. */
export class ModelTarget {
  /** What a target holds that keeps ids. */
  readonly stored: string[] = [];
  /** What a target holds that doesn't. */
  readonly received: string[] = [];
  /** Deliveries that came with an id that was known. */
  duplicates = 0;
  /** Faults of its own, whatever was sent. */
  faults = 0;
  /** No more trouble than the records themselves make. */
  isCalm = false;
  /** How many of the next deliveries meet a fault of its own. */
  #illFor = 0;
  readonly #rules: TargetRules;
  readonly #answers = new Map<string, readonly FailedRecord[]>();

  /** An empty one. */
  constructor(rules: TargetRules) {
    this.#rules = rules;
  }

  /** A delivery arrives; throws what the target answers, if it doesn't take all. */
  arrive({ id, records }: Arrival): void {
    const { maxRecords, random } = this.#rules;
    if (!this.isCalm && this.#illFor === 0 && random(12) === 0) this.#illFor = 1 + random(6);
    // Some know it before they have looked, others have taken some of it by then.
    if (this.#isIll() && random(3) > 0) throw this.#fault({ reason: "ill" });
    if (records.length > maxRecords) throw this.#error({ reason: "too large", tooLarge: true });
    let failed = this.#answers.get(id);
    const isKnown = failed !== undefined;
    if (isKnown) this.duplicates++;
    failed ??= this.#refuse(records);
    this.#answers.set(id, failed);
    const refused = new Set(failed.map(({ index }) => index));
    const taken = records.filter((_, index) => !refused.has(index));
    this.received.push(...taken);
    if (!isKnown) this.stored.push(...taken);
    if (failed.length === 0) return;
    // What it says of records while it is ill means nothing: none may become a dead letter because of it. Not of poison, which has to
    // be answered the same way each time.
    if (this.#isIll() && failed.every(({ retryable }) => retryable)) {
      const blamed = failed.map((one) => ({ ...one, retryable: random(2) === 0 }));
      throw this.#fault({ reason: "ill", failed: blamed });
    }
    throw this.#error({ reason: "some", failed, retryable: random(2) === 0 });
  }

  #isIll(): boolean {
    return !this.isCalm && this.#illFor > 0;
  }

  #fault(data: DeliveryErrorData): DeliveryError {
    const { random } = this.#rules;
    this.#illFor--;
    this.faults++;
    return this.#error({ ...data, scope: "target", retryable: random(2) === 0, split: random(4) === 0 });
  }

  #error(data: DeliveryErrorData): DeliveryError {
    const { random } = this.#rules;
    return new DeliveryError(random(4) === 0 ? { ...data, retryAfterMs: random(50) } : data);
  }

  /** Which records aren't taken. */
  #refuse(records: readonly string[]): FailedRecord[] {
    const { random, isPoison, keepsOrder } = this.#rules;
    // Everything from here on is put off; never all of it, or the same answer would be given for ever.
    const until = this.isCalm || random(4) > 0 ? records.length : 1 + random(records.length);
    const isTaken = (index: number): boolean =>
      keepsOrder || this.isCalm ? index < until : index === 0 || random(8) > 0;
    return records.flatMap((record, index): FailedRecord[] => {
      if (isPoison(record)) return [{ index, retryable: false, reason: "poison" }];
      return isTaken(index) ? [] : [{ index, retryable: true, reason: "busy" }];
    });
  }
}
