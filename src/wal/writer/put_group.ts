/**
 * The puts of one tick: they are written by one call and share its outcome; each gets its own answer, once that is known.
 *
 * A put costs one promise here, made by `then`, and no resolving functions: these cost more than all else about a put.
 *
 * @module
 */

import type { Waiter } from "./sync_queue.ts";

export class PutGroup implements Waiter {
  puts = 0;
  #outcome: "open" | "persisted" | "rejected" = "open";
  #error: unknown;
  #settled: Promise<void> | undefined;
  #settle: (() => void) | undefined;

  /** The answer for a put whose first record has that sequence; a promise until the outcome is known. */
  answer(firstSequence: number): number | Promise<number> {
    if (this.#outcome === "persisted") return firstSequence;
    if (this.#outcome === "rejected") throw this.#error;
    this.#settled ??= new Promise((resolve) => this.#settle = resolve);
    return this.#settled.then(() => this.answer(firstSequence));
  }

  /** All of them are persisted. */
  resolve(): void {
    this.#outcome = "persisted";
    this.#settle?.();
  }

  /** None of them is persisted. */
  reject(error: unknown): void {
    this.#error = error;
    this.#outcome = "rejected";
    this.#settle?.();
  }
}
