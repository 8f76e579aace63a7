/**
 * Who waits for everything put so far to be committed, and how much of that is left.
 *
 * A buffer that is put into all the time is never empty, so a flush waits for a number of records: those that were
 * pending when it was asked for. As batches are committed in order, they are the first so many. Records that go
 * another way (dropped, cleared, damaged) count as well: what a flush waits for is never more than what is pending.
 *
 * @module
 */

/** One who waits. */
interface Request {
  /** Records that are still to be committed; `undefined` while its puts have not been answered. */
  left: number | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Those who wait, in one producer. */
export class Flushes {
  readonly #pendingRecords: () => number;
  readonly #requests = new Set<Request>();

  /** `pendingRecords` says how many records of the buffer are not committed. */
  constructor(pendingRecords: () => number) {
    this.#pendingRecords = pendingRecords;
  }

  /** Whether somebody waits. */
  get areWaiting(): boolean {
    return this.#requests.size > 0;
  }

  /**
   * Waits.
   *
   * @param answered Resolves when all puts made before have been answered: what they put is pending then, or never.
   * @param onCounted Is called when it is known what is waited for.
   * @param signal Ends the wait.
   */
  wait(answered: Promise<unknown>, onCounted: () => void, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#requests.delete(request);
        signal?.removeEventListener("abort", onAbort);
      };
      const request: Request = {
        left: undefined,
        resolve() {
          leave();
          resolve();
        },
        reject(error) {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => request.reject(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#requests.add(request);
      answered.then(() => {
        request.left = this.#pendingRecords();
        if (request.left === 0) request.resolve();
        onCounted();
      });
    });
  }

  /** So many records were committed. */
  onCommitted(records: number): void {
    if (this.#requests.size === 0) return;
    const pending = this.#pendingRecords();
    for (const request of [...this.#requests]) {
      if (request.left === undefined) continue;
      request.left = Math.min(request.left - records, pending);
      if (request.left <= 0) request.resolve();
    }
  }

  /** Begins to look whether the buffer is empty: if it turns out to be, call what is returned. */
  beginLook(): () => void {
    const counted = [...this.#requests].filter(({ left }) => left !== undefined);
    return () => {
      for (const request of counted) request.resolve();
    };
  }

  /** Nobody's records will be committed any more. */
  rejectAll(error: unknown): void {
    for (const request of [...this.#requests]) request.reject(error);
  }
}
