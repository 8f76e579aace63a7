/**
 * The puts of one tick: they are written by one call and share its outcome, and each gets its own answer.
 *
 * Guarantees: the outcome is final; an answer is given only when it is known. A put costs one promise here, made by
 * `then`, and no resolving functions: these cost more than all the bookkeeping of a put.
 *
 * @module
 */

import type { Waiter } from "./sync_queue.ts";

/** Puts that wait together. */
export class PutGroup implements Waiter {
  puts = 0;
  #outcome: "open" | "persisted" | "rejected" = "open";
  #error: unknown;
  #settled: Promise<void> | undefined;
  #settle: (() => void) | undefined;

  /** The answer for one of them, whose first record has that sequence; a promise as long as there is no outcome. */
  answer(firstSequence: number): number | Promise<number> {
    if (this.#outcome === "persisted") return firstSequence;
    if (this.#outcome === "rejected") throw this.#error;
    this.#settled ??= new Promise((resolve) => this.#settle = resolve);
    return this.#settled.then(() => this.answer(firstSequence));
  }

  /** All of them are persisted. */
  resolve(): void {
    this.#end("persisted");
  }

  /** None of them is there. */
  reject(error: unknown): void {
    this.#error = error;
    this.#end("rejected");
  }

  #end(outcome: "persisted" | "rejected"): void {
    this.#outcome = outcome;
    this.#settle?.();
  }
}
