/**
 * The loop of a producer: takes due batches from the buffer, has them sent, and commits in order those that are delivered.
 *
 * Guarantees, and how:
 * - A batch is committed only when it is delivered, and when all batches before it are committed.
 * - Nothing polls: the loop is woken by what it waits for (records, age, an answer, the end of a backoff, a flush, the end
 *   of the producer). While records wait to be delivered it keeps the process alive; with none to deliver it doesn't.
 * - It ends when the producer is closed, or stopped by what it can't get past, and then rejects all that wait.
 *
 * @module
 */

import type { Batch } from "../buffer/batch.ts";
import type { RecordBuffer } from "../buffer/record_buffer.ts";
import {
  BatchMismatchError,
  BufferClosedError,
  BufferEmptyError,
  NoBatchBehindError,
  ProducerStoppedError,
} from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";
import type { BatchSender, BatchSenderDeps } from "./batch_sender.ts";
import { FlushWaiters } from "./flush_waiters.ts";
import { mayPass } from "./retry.ts";

/** Collaborators of a {@linkcode DeliveryLoop}. */
export interface DeliveryLoopDeps<T> extends Pick<BatchSenderDeps<T>, "backoff" | "reporter" | "shutdown"> {
  readonly buffer: RecordBuffer<T, never>;
  readonly sender: BatchSender<T>;
  readonly maxInFlight: number;
  /** Ids of batches that are delivered and not committed: they aren't sent again after a stop. */
  readonly delivered: Set<string>;
}

/** A batch between the buffer and the target. */
interface InFlightBatch<T> {
  readonly batch: Batch<T>;
  /** `"left"`: the producer ends before all of it is delivered. */
  state: "running" | "done" | "left";
}

/** Delivers what is in one buffer. */
export class DeliveryLoop<T> {
  readonly #deps: DeliveryLoopDeps<T>;
  readonly #flushWaiters: FlushWaiters;
  /** In the order of the buffer. */
  readonly #inFlight: InFlightBatch<T>[] = [];
  /** Something has happened since the last round. */
  #hasChanged = false;
  /** Ends the wait for a change. */
  #onChange: (() => void) | undefined;
  /** While a flush waits: nothing was left to take in the last round. */
  #isDry = false;
  /** How often in a row the buffer could not do its part. */
  #bufferFailures = 0;

  /** `run()` starts it. */
  constructor(deps: DeliveryLoopDeps<T>) {
    this.#deps = deps;
    this.#flushWaiters = new FlushWaiters(() => deps.buffer.stats().pendingRecords, () => deps.reporter.lastFailure);
  }

  /** Number of batches handed over by the buffer and not committed yet. */
  get inFlightBatches(): number {
    return this.#inFlight.length;
  }

  /** Runs until the producer ends; never rejects. */
  async run(): Promise<void> {
    const { reporter, shutdown } = this.#deps;
    try {
      await this.#deliver();
    } catch (error) {
      this.#stop(error);
    }
    shutdown.dispose();
    this.#flushWaiters.rejectAll(shutdown.refusal("flush", reporter.lastFailure));
  }

  /** Waits until everything is committed that was put before, by puts that `answered` waits for. */
  flush(answered: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
    const flushed = this.#flushWaiters.wait(answered, () => this.#takeAll(), signal);
    // Puts that wait for space are answered only when what is there goes, due or not.
    this.#takeAll();
    return flushed;
  }

  /** Something has happened: starts another round. */
  wake(): void {
    this.#hasChanged = true;
    this.#onChange?.();
  }

  /** There may be something to take that is not due. */
  #takeAll(): void {
    this.#isDry = false;
    this.wake();
  }

  /**
   * Commits what is delivered, takes what is due. All that a round decides on is read without a pause between that and the
   * wait, and whatever changes later ends the wait, so that no change is missed.
   */
  async #deliver(): Promise<void> {
    const { shutdown, maxInFlight } = this.#deps;
    for (;;) {
      this.#hasChanged = false;
      this.#flushWaiters.count();
      const head = this.#inFlight.at(0);
      if (head?.state === "done") await this.#commit(head);
      else if (shutdown.stopping.aborted) {
        if (!this.#inFlight.some(({ state }) => state === "running")) return;
        await this.#nextChange();
      } else if (this.#inFlight.length < maxInFlight) await this.#take();
      else await this.#nextChange();
    }
  }

  #nextChange(): Promise<void> {
    if (this.#hasChanged) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onChange = resolve;
    });
  }

  /** Takes the next batch if there is one, or waits for it or for a change. */
  async #take(): Promise<void> {
    const after = this.#inFlight.at(-1)?.batch;
    const onEmpty = !this.#flushWaiters.isEmpty && !this.#isDry ? this.#flushWaiters.beginProbe() : undefined;
    try {
      if (onEmpty === undefined && !await this.#waitUntilDue(after)) return;
      this.#send(await this.#deps.buffer.emit({ after, expired: "keep" }));
      this.#bufferFailures = 0;
    } catch (error) {
      const isNoBatch = error instanceof BufferEmptyError || error instanceof NoBatchBehindError;
      if (!isNoBatch) return await this.#onBufferError("emit", error);
      if (onEmpty === undefined) return;
      if (this.#inFlight.length === 0) onEmpty();
      // What a change has brought meanwhile wasn't asked for.
      this.#isDry = !this.#hasChanged;
    }
  }

  /** Waits; true when the next batch is due, false after a change. */
  async #waitUntilDue(after: Batch<T> | undefined): Promise<boolean> {
    const wait = new AbortController();
    this.#onChange = () => wait.abort();
    try {
      if (await this.#deps.buffer.waitUntilDue({ after, signal: wait.signal })) return true;
    } catch (error) {
      if (!wait.signal.aborted) throw error;
      return false;
    } finally {
      this.#onChange = undefined;
    }
    throw new BufferClosedError("go on delivering");
  }

  #send(batch: Batch<T>): void {
    const sending: InFlightBatch<T> = { batch, state: "running" };
    this.#inFlight.push(sending);
    const { delivered, sender } = this.#deps;
    if (delivered.has(batch.id)) {
      sending.state = "done";
      return;
    }
    sender.deliver(batch).then(
      (isDelivered) => {
        sending.state = isDelivered ? "done" : "left";
        if (isDelivered) delivered.add(batch.id);
      },
      (error) => {
        sending.state = "left";
        this.#stop(error);
      },
    ).then(() => this.wake());
  }

  /** Commits the oldest batch, which is delivered. */
  async #commit(sending: InFlightBatch<T>): Promise<void> {
    const { buffer, delivered, reporter, shutdown } = this.#deps;
    const { batch } = sending;
    try {
      await buffer.commit(batch);
      reporter.tell({ type: "committed", batchId: batch.id, records: batch.length });
    } catch (error) {
      if (!(error instanceof BatchMismatchError)) {
        await this.#onBufferError("commit", error, batch.id);
        // It isn't committed, so none behind it can be.
        if (shutdown.stopping.aborted) sending.state = "left";
        return;
      }
      reporter.tell({ type: "commit-skipped", batchId: batch.id });
    }
    this.#bufferFailures = 0;
    delivered.delete(batch.id);
    this.#inFlight.shift();
    this.#flushWaiters.onCommitted(batch.length);
    this.#isDry = false;
  }

  /** The buffer could not do its part: it is asked again later, or the producer stops. */
  async #onBufferError(what: "emit" | "commit", error: unknown, batchId?: string): Promise<void> {
    const { backoff, reporter, shutdown } = this.#deps;
    if (shutdown.stopping.aborted) return;
    if (!mayPass(error)) return this.#stop(error);
    reporter.tell({ type: "buffer-call-failed", what, batchId, error });
    await backoff.waitForBuffer(++this.#bufferFailures);
  }

  /** Stops the producer: the first reason counts. */
  #stop(cause: unknown): void {
    const { reporter, shutdown } = this.#deps;
    if (shutdown.stopping.aborted) return;
    const error = cause instanceof ProducerStoppedError
      ? cause
      : new ProducerStoppedError({ reason: errorText(cause) }, { cause });
    shutdown.stop(error);
    reporter.tell({ type: "stopped", error });
    this.wake();
  }
}
