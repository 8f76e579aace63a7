/**
 * Waiters for a flush: each waits until everything put before it is committed.
 *
 * A buffer that is put into all the time is never empty, so a flush waits for a number of records: those that were
 * pending when it was asked for. As batches are committed in order, these are the first ones. Records that go
 * another way (dropped, cleared, damaged) count as well: what a flush waits for is never more than what is pending.
 *
 * Guarantee: a commit costs as much as it resolves flushes, not as many as wait. They wait in groups, each for a total of
 * records committed; the groups are in order, because who asks later waits for as many or more.
 *
 * @module
 */

import { AbortCalls } from "../base/abort_calls.ts";

/** One who waits. */
interface Request {
  /** The group that it waits in; `undefined` while its records have not been counted. */
  group: Group | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Those who wait for the same. */
interface Group {
  /** How many records have to be committed in all. */
  until: number;
  /** The look that was begun last when the last of them was counted. */
  look: number;
  requests: Set<Request>;
}

/** Those who wait, in one producer. */
export class FlushWaiters {
  readonly #pendingRecords: () => number;
  readonly #requests = new Set<Request>();
  readonly #aborts = new AbortCalls();
  /** Those whose puts have all been answered, what they put is pending now, or never; not counted yet. */
  #answered: Request[] = [];
  /** In order; those before `#head` are gone. */
  #groups: Group[] = [];
  #head = 0;
  #committed = 0;
  #looks = 0;

  /** `pendingRecords` says how many records of the buffer are not committed. */
  constructor(pendingRecords: () => number) {
    this.#pendingRecords = pendingRecords;
  }

  /** Whether nobody waits. */
  get isEmpty(): boolean {
    return this.#requests.size === 0;
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
        request.group?.requests.delete(request);
        forgetAbort?.();
      };
      const request: Request = {
        group: undefined,
        resolve() {
          leave();
          resolve();
        },
        reject(error) {
          leave();
          reject(error);
        },
      };
      const forgetAbort = signal === undefined
        ? undefined
        : this.#aborts.add(signal, () => request.reject(signal.reason));
      this.#requests.add(request);
      answered.then(() => {
        if (this.#requests.has(request)) this.#answered.push(request);
        onAnswered();
      });
    });
  }

  /**
   * Counts what there is to wait for. Not to be called while a commit is under way: nobody could say whether its
   * records are among those counted, and `onCommitted` would take them off twice.
   */
  count(): void {
    if (this.#answered.length === 0) return;
    const requests = this.#answered.filter((request) => this.#requests.has(request));
    this.#answered = [];
    const pending = this.#pendingRecords();
    if (pending === 0) {
      for (const request of requests) request.resolve();
      return;
    }
    const group = { until: this.#committed + pending, look: this.#looks, requests: new Set(requests) };
    for (const request of requests) request.group = group;
    this.#groups.push(group);
    this.#limit(group.until);
  }

  /** `records` records were committed. */
  onCommitted(records: number): void {
    if (this.#requests.size === 0) return;
    this.#committed += records;
    this.#limit(this.#committed + this.#pendingRecords());
    this.#resolveFirst(({ until }) => until <= this.#committed);
  }

  /** Begins to look whether the buffer is empty: if it turns out to be, call what is returned. */
  beginLook(): () => void {
    const look = this.#looks++;
    return () => this.#resolveFirst((group) => group.look <= look);
  }

  /** Nobody's records will be committed any more. */
  rejectAll(error: unknown): void {
    for (const request of [...this.#requests]) request.reject(error);
  }

  /** Nobody waits for more than `until`: the last groups that do become one, and so do those that wait for the same. */
  #limit(until: number): void {
    let last = this.#groups.at(-1);
    if (last === undefined || this.#head === this.#groups.length) return;
    last.until = Math.min(last.until, until);
    for (;;) {
      const before = this.#groups.length - 2;
      const other = this.#groups[before];
      if (before < this.#head || (other.until < last.until && other.requests.size > 0)) return;
      last = this.#groups[before] = join(other, last);
      this.#groups.pop();
    }
  }

  /** Resolves those of the first groups, as long as `isDone` says so. */
  #resolveFirst(isDone: (group: Group) => boolean): void {
    while (this.#head < this.#groups.length && isDone(this.#groups[this.#head])) {
      const { requests } = this.#groups[this.#head++];
      for (const request of requests) request.resolve();
    }
    if (this.#head <= this.#groups.length / 2) return;
    this.#groups = this.#groups.slice(this.#head);
    this.#head = 0;
  }
}

/** Two groups as one, which waits for what the later one does. */
function join(group: Group, later: Group): Group {
  // The few move to the many, so that nobody moves often.
  const [from, to] = group.requests.size < later.requests.size ? [group, later] : [later, group];
  for (const request of from.requests) {
    request.group = to;
    to.requests.add(request);
  }
  to.until = later.until;
  to.look = later.look;
  return to;
}
