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
  /** All puts made before have been answered: what they put is pending now, or never. */
  isAnswered: boolean;
  /** Records that are still to be committed; `undefined` while they have not been counted. */
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
   * @param answered Resolves when all puts made before have been answered.
   * @param onAnswered Is called then: it is time to count.
   * @param signal Ends the wait.
   */
  wait(answered: Promise<unknown>, onAnswered: () => void, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#requests.delete(request);
        signal?.removeEventListener("abort", onAbort);
      };
      const request: Request = {
        isAnswered: false,
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
        request.isAnswered = true;
        onAnswered();
      });
    });
  }

  /**
   * Counts what there is to wait for. Not to be called while a commit is under way: nobody could say whether its
   * records are among those counted, and `onCommitted` would take them off twice.
   */
  count(): void {
    if (this.#requests.size === 0) return;
    const pending = this.#pendingRecords();
    for (const request of [...this.#requests]) {
      if (!request.isAnswered || request.left !== undefined) continue;
      request.left = pending;
      if (pending === 0) request.resolve();
    }
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
