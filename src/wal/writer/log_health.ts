/**
 * Whether a log works. The first failure ends it, and is the cause that all later calls report.
 *
 * Guarantees: a failure is final. The first call of `fail` notifies each listener once, in the order in which they were added.
 * Once the ownership is lost, a failure is reported as that loss, which is its cause.
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

  constructor(directory: string, ownership: Pick<Ownership, "isLost" | "isStillOwner">) {
    this.#directory = directory;
    this.#ownership = ownership;
  }

  /** Why the log has failed; `undefined` while it works. */
  get failure(): BufferFailedError | undefined {
    return this.#failure;
  }

  /** Calls `listener` when the log fails. */
  listen(listener: (failure: BufferFailedError) => void): void {
    this.#listeners.push(listener);
  }

  /** Makes the log fail, unless it has failed before; returns the first failure, which is to be thrown. */
  fail(error: unknown): BufferFailedError {
    // If the ownership is lost, the check makes the log fail with that as its cause.
    if (this.#failure === undefined && !this.#ownership.isLost) this.#ownership.isStillOwner();
    if (this.#failure !== undefined) return this.#failure;
    const failure = error instanceof BufferFailedError ? error : new BufferFailedError(this.#directory, error);
    this.#failure = failure;
    for (const listener of this.#listeners) listener(failure);
    return failure;
  }
}
