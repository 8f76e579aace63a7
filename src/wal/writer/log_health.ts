/**
 * Whether a log works: the first failure ends it, and everybody who asks later gets that one cause.
 *
 * Guarantees: a failure is final. Each listener hears of it once, in the order in which they joined, within the call of
 * `fail` that was the first. A failure in a directory that isn't ours any more is reported as the loss of ownership, which
 * is its cause.
 *
 * @module
 */

import { BufferFailedError } from "../../errors/mod.ts";
import type { Ownership } from "../ownership.ts";

/** The health of one log. */
export class LogHealth {
  readonly #directory: string;
  readonly #ownership: Pick<Ownership, "isLost" | "isStillOwner">;
  readonly #listeners: ((failure: BufferFailedError) => void)[] = [];
  #failure: BufferFailedError | undefined;

  /** A log that works, in a directory that is ours. */
  constructor(directory: string, ownership: Pick<Ownership, "isLost" | "isStillOwner">) {
    this.#directory = directory;
    this.#ownership = ownership;
  }

  /** What made the log fail, if it has. */
  get failure(): BufferFailedError | undefined {
    return this.#failure;
  }

  /** Calls `listener` when the log fails. */
  listen(listener: (failure: BufferFailedError) => void): void {
    this.#listeners.push(listener);
  }

  /** The log fails, unless it has failed before; returns the first failure, which is to be thrown. */
  fail(error: unknown): BufferFailedError {
    // Asking makes the log fail by the loss of ownership, if that is the cause.
    if (this.#failure === undefined && !this.#ownership.isLost) this.#ownership.isStillOwner();
    if (this.#failure !== undefined) return this.#failure;
    const failure = error instanceof BufferFailedError ? error : new BufferFailedError(this.#directory, error);
    this.#failure = failure;
    for (const listener of this.#listeners) listener(failure);
    return failure;
  }
}
