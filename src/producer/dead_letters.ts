/**
 * Dead letters: undeliverable records, kept in another buffer with the reason. `base/dead_letter.ts` says what a letter is.
 *
 * Guarantees: a letter is in that buffer, as durably as it promises, before the record's batch is committed. If the
 * process dies in between, the batch comes again and so does the letter: at least once, with the same key each time. A
 * dead-letter buffer that can't take a letter now (it is full, or its disk is) is asked again, with backoff and without
 * end; one that never will (it is closed, has failed, refuses the letter) stops the producer. Either way the
 * batch stays where it is, and nothing is lost.
 *
 * @module
 */

import type { Clock } from "../base/clock.ts";
import type { DeadLetter } from "../base/dead_letter.ts";
import type { RecordBuffer } from "../buffer/record_buffer.ts";
import { CodecError, ProducerStoppedError } from "../errors/mod.ts";
import { errorText } from "../errors/text.ts";
import { runAttempt } from "./attempt.ts";
import type { Backoff } from "./backoff.ts";
import type { BatchPart } from "./batch_part.ts";
import type { Reporter } from "./events.ts";
import type { Undeliverable } from "./failure.ts";
import { mayPass } from "./retry.ts";
import type { Shutdown } from "./shutdown.ts";

/** The most letters put at a time: they share writes and syncs, and a full buffer makes only few be put again. */
const LETTERS_AT_A_TIME = 100;

/** Collaborators of {@linkcode DeadLetters}. */
export interface DeadLettersDeps {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly shutdown: Shutdown;
  readonly backoff: Backoff;
  readonly reporter: Reporter;
}

/** The dead letters of one producer. */
export class DeadLetters<T> {
  readonly #buffer: RecordBuffer<DeadLetter<T>>;
  readonly #parts: DeadLettersDeps;

  /** Letters go into `buffer`. */
  constructor(buffer: RecordBuffer<DeadLetter<T>>, parts: DeadLettersDeps) {
    this.#buffer = buffer;
    this.#parts = parts;
  }

  /**
   * Puts a letter for each of the records, in order.
   *
   * @returns True when all are persisted, false if the producer ends before.
   * @throws {ProducerStoppedError} if the dead-letter buffer will never take them.
   */
  async put(part: BatchPart<T>, undeliverable: readonly Undeliverable[], attempts: number): Promise<boolean> {
    for (let i = 0; i < undeliverable.length; i += LETTERS_AT_A_TIME) {
      const some = undeliverable.slice(i, i + LETTERS_AT_A_TIME);
      const letters = some.map((one) => letterOf(part, one, attempts, this.#parts.clock.now()));
      if (!await this.#putAll(letters)) return false;
    }
    return true;
  }

  /** Puts letters, those that were refused again and again. */
  async #putAll(letters: readonly DeadLetter<T>[]): Promise<boolean> {
    const { shutdown, backoff, reporter } = this.#parts;
    let left = letters;
    for (let tries = 1;; tries++) {
      const { refused, error } = await this.#putOnce(left);
      left = refused;
      if (left.length === 0) return true;
      if (shutdown.stopping.aborted) return false;
      if (!mayPass(error)) throw stopped(left, error);
      reporter.tell({ type: "buffer-call-failed", what: "dead-letter", batchId: left[0].batchId, error });
      if (!await backoff.waitForBuffer(tries)) return false;
    }
  }

  /** Puts letters once; those that were refused, and the first reason. */
  async #putOnce(letters: readonly DeadLetter<T>[]): Promise<{ refused: readonly DeadLetter<T>[]; error: unknown }> {
    const refused = new Set(letters);
    let firstError: unknown;
    const put = async (letter: DeadLetter<T>, signal: AbortSignal): Promise<void> => {
      try {
        await this.#buffer.put(letter, { signal });
      } catch (error) {
        firstError ??= error;
        return;
      }
      refused.delete(letter);
      const { key, batchId, sequence, error } = letter;
      this.#parts.reporter.tell({ type: "dead-lettered", key, batchId, sequence, error });
    };
    const outcome = await runAttempt((signal) => Promise.all(letters.map((one) => put(one, signal))), this.#parts);
    const isSilent = firstError === undefined && outcome.kind !== "done";
    return { refused: [...refused], error: isSilent ? outcome.error : firstError };
  }
}

function letterOf<T>(
  part: BatchPart<T>,
  { index, reason }: Undeliverable,
  attempts: number,
  time: number,
): DeadLetter<T> {
  const { batchId, codecVersion } = part;
  const sequence = part.sequences[index];
  const payload = part.payloads[index];
  const key = `${batchId}.${sequence}`;
  const letter = { key, payload, codecVersion, error: reason, attempts, sequence, batchId, time };
  try {
    return { ...letter, record: part.decode(index) };
  } catch (error) {
    if (!(error instanceof CodecError)) throw error;
    return letter;
  }
}

function stopped<T>(letters: readonly DeadLetter<T>[], cause: unknown): ProducerStoppedError {
  const { batchId } = letters[0];
  const sequences = letters.map(({ sequence }) => sequence);
  const reason = `the dead-letter buffer does not take sequence ${sequences[0]} of batch ${batchId}: ${
    errorText(cause)
  }`;
  return new ProducerStoppedError({ reason, batchId, sequences }, { cause });
}
