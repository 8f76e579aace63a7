/**
 * Waiters for a flush: each waits until everything put before it is committed.
 *
 * A buffer that is put into all the time is never empty, so a flush waits for a number of records: those that were
 * pending when it was asked for. As batches are committed in order, these are the first ones. Records that go
 * another way (dropped, cleared, damaged) count as well: what a flush waits for is never more than what is pending.
 *
 * Guarantee: the cost of a commit depends on how many flushes it resolves, not on how many wait. They wait in groups, each
 * for a total of records committed. The groups are in order, because a later flush waits for as many records or more.
 *
 * @module
 */

import { AbortCalls } from "../base/abort_calls.ts";

/** A flush that waits. */
interface Request {
  /** `undefined` while its records have not been counted. */
  group: Group | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Flushes that wait for the same. */
interface Group {
  /** How many records have to be committed in all. */
  until: number;
  /** How many probes had begun when the last of them was counted. */
  probes: number;
  requests: Set<Request>;
}

/** The flushes that wait, of one producer. */
export class FlushWaiters {
  readonly #pendingRecords: () => number;
  readonly #lastFailure: () => unknown;
  readonly #requests = new Set<Request>();
  readonly #aborts = new AbortCalls();
  /** Not counted yet, although their puts have all been answered: what they put is pending by now, or never will be. */
  #answered: Request[] = [];
  /** In order; those before `#head` are gone. */
  #groups: Group[] = [];
  #head = 0;
  #committed = 0;
  #probes = 0;

  /**
   * `pendingRecords` says how many records of the buffer are not committed, `lastFailure` what went wrong last with those, if
   * anything has: it becomes the cause for those who give up waiting.
   */
  constructor(pendingRecords: () => number, lastFailure: () => unknown = () => undefined) {
    this.#pendingRecords = pendingRecords;
    this.#lastFailure = lastFailure;
  }

  /** Whether no flush waits. */
  get isEmpty(): boolean {
    return this.#requests.size === 0;
  }

  /**
   * Waits until all that was put before is committed; rejects when `signal` aborts.
   *
   * @param answered Resolves when all puts made before have been answered.
   * @param onAnswered Called then: it is time to count.
   */
  wait(answered: Promise<unknown>, onAnswered: () => void, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return Promise.reject(withCause(signal.reason, this.#lastFailure()));
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
        : this.#aborts.add(signal, () => request.reject(withCause(signal.reason, this.#lastFailure())));
      this.#requests.add(request);
      answered.then(() => {
        if (this.#requests.has(request)) this.#answered.push(request);
        onAnswered();
      });
    });
  }

  /**
   * Counts what there is to wait for. Not to be called while a commit is under way: its records might be among those
   * counted, and `onCommitted` would take them off twice.
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
    const group = { until: this.#committed + pending, probes: this.#probes, requests: new Set(requests) };
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

  /** Begins a probe, which finds out whether the buffer is empty: if it is, call what is returned. */
  beginProbe(): () => void {
    const before = this.#probes++;
    return () => this.#resolveFirst(({ probes }) => probes <= before);
  }

  /** Nothing more will be committed. */
  rejectAll(error: unknown): void {
    for (const request of [...this.#requests]) request.reject(error);
  }

  /** No flush waits for more than `until`: the last groups that do become one, as do those that wait for the same. */
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

  /** Resolves the first groups for which `isDone` holds. */
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

/** How deep causes are searched. */
const MAX_CAUSES = 10;

/**
 * Gives the reason of an abort a cause, if it is an error that has none. It stays the same object: callers compare it with the
 * reason of their signal. An attempt may have failed by that very reason, and then it gets none: a chain of causes must end.
 */
function withCause(reason: unknown, cause: unknown): unknown {
  if (cause === undefined || !(reason instanceof Error) || reason.cause !== undefined) return reason;
  let one: unknown = cause;
  for (let depth = 0; depth < MAX_CAUSES && one instanceof Error; depth++) {
    if (one === reason) return reason;
    one = one.cause;
  }
  if (!Object.isExtensible(reason)) return reason;
  return Object.defineProperty(reason, "cause", { value: cause, configurable: true, writable: true });
}

/** Two groups as one, which waits for what the later one does. */
function join(group: Group, later: Group): Group {
  // The few move to the many, so that none moves often.
  const [from, to] = group.requests.size < later.requests.size ? [group, later] : [later, group];
  for (const request of from.requests) {
    request.group = to;
    to.requests.add(request);
  }
  to.until = later.until;
  to.probes = later.probes;
  return to;
}
