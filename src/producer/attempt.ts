/**
 * One attempt at something that the user's code does, within a time.
 *
 * Guarantees: an attempt always ends. When its time is over, or the producer is to end, its signal is aborted. Then its
 * answer is still waited for, because two attempts at one delivery must not run at the same time: the target could get the
 * later one first. An answer that comes late counts, success as well as failure. Only an attempt that doesn't answer its
 * signal either is abandoned, after a second wait: it may still be running when the next one begins, and what becomes of
 * it isn't seen any more.
 *
 * @module
 */

import type { Clock } from "../base/clock.ts";
import { DeliveryError } from "../errors/mod.ts";
import type { Shutdown } from "./shutdown.ts";

/** How long an attempt that was aborted because the producer ends may take to answer: a socket is closed in far less. */
const ABORT_GRACE_MS = 1_000;

/** How an attempt went. */
export type Outcome =
  | { readonly kind: "done" }
  /** `isTimeout`: its time was over before. */
  | { readonly kind: "failed"; readonly error: unknown; readonly isTimeout: boolean }
  /** It did not answer, and may still be running. */
  | { readonly kind: "abandoned"; readonly error: unknown };

/** What limits an attempt. */
export interface AttemptLimits {
  readonly clock: Clock;
  /** Milliseconds before its signal is aborted; as long again before it is abandoned. */
  readonly timeoutMs: number;
  readonly shutdown: Shutdown;
}

/** Runs `action`; never rejects. */
export function runAttempt(
  action: (signal: AbortSignal) => unknown,
  { clock, timeoutMs, shutdown }: AttemptLimits,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const controller = new AbortController();
    let timeout: DeliveryError | undefined;
    let cancelTimer: () => void;
    const setTimer = (callback: () => void, delayMs: number): void => {
      cancelTimer = clock.setTimer(callback, delayMs, { keepAlive: true });
    };
    const settle = (outcome: Outcome): void => {
      cancelTimer();
      shutdown.aborting.removeEventListener("abort", onAborting);
      resolve(outcome);
    };
    /** Tells the attempt to end within `graceMs`. */
    const abort = (reason: unknown, graceMs: number): void => {
      cancelTimer();
      setTimer(() => settle({ kind: "abandoned", error: reason }), graceMs);
      controller.abort(reason);
    };
    const onTimeout = (): void => {
      // Whatever is sent, an answer may be missing: that is no record's fault.
      timeout = new DeliveryError({ reason: `no answer within ${timeoutMs} ms`, scope: "target", retryable: true });
      abort(timeout, timeoutMs);
    };
    const onAborting = (): void => abort(shutdown.aborting.reason, ABORT_GRACE_MS);
    const onError = (error: unknown): void => {
      // "Aborted" is an echo of the timeout; what the target has said is more.
      const cause = timeout === undefined || error instanceof DeliveryError ? error : timeout;
      settle({ kind: "failed", error: cause, isTimeout: timeout !== undefined });
    };
    setTimer(onTimeout, timeoutMs);
    shutdown.aborting.addEventListener("abort", onAborting, { once: true });
    // The async function turns a throw into a rejection, and whatever is returned into one answer, given once.
    (async () => await action(controller.signal))().then(() => settle({ kind: "done" }), onError);
  });
}
