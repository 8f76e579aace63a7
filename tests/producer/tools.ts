/**
 * What tests of a producer stand on: a target that does as it is told, a clock that is moved by hand, and a buffer of
 * either kind; at the end nothing may be left of any of them, and no record may be missing.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import {
  type BufferOptions,
  type DeadLetter,
  deadLetterCodec,
  type Delivery,
  FileBuffer,
  MemoryBuffer,
  Producer,
  type ProducerEvent,
  type ProducerOptions,
  type RecordBuffer,
  type SendContext,
} from "../../mod.ts";
import { MAX_LETTER_HEAD_BYTES } from "../../src/base/dead_letter.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { MIN_FRAME_BYTES } from "../../src/wal/format.ts";
import { settle } from "../support/event_loop.ts";

/** One call of `send`. */
export interface Call {
  readonly id: string;
  readonly batchId: string;
  readonly sequences: readonly number[];
  readonly records: readonly string[];
  readonly redelivered: boolean;
  readonly attempt: number;
  readonly signal: AbortSignal;
}

/** What the target does with one call: what it returns or throws is the answer. */
export type Answer = (delivery: Delivery<string>, context: SendContext) => unknown;

/** A target that takes everything, but for the calls that it was given an answer for. */
export class ScriptedTarget {
  /** All calls, in order. */
  readonly calls: Call[] = [];
  readonly #answers: Answer[] = [];

  /** The next calls get these answers, one each. */
  will(...answers: Answer[]): void {
    this.#answers.push(...answers);
  }

  /** The records of each call. */
  get records(): string[] {
    return this.calls.map(({ records }) => records.join(""));
  }

  /** To be given to a producer. */
  readonly send = (delivery: Delivery<string>, context: SendContext): Promise<void> => {
    const { id, batchId, sequences, redelivered } = delivery;
    const answer = this.#answers.shift();
    this.calls.push({ id, batchId, sequences, records: [...delivery.records], redelivered, ...context });
    return answer?.(delivery, context) as Promise<void>;
  };
}

/** An answer that rejects, or throws. */
export function fails(error: unknown = new Error("the target is away")): Answer {
  return () => Promise.reject(error);
}

/** An answer that is given later, by hand. */
export class Held {
  readonly #answer = Promise.withResolvers<void>();

  /** To be given to `ScriptedTarget.will()`. */
  readonly answer: Answer = () => this.#answer.promise;

  /** The target has taken it. */
  take(): void {
    this.#answer.resolve();
  }

  /** The target has refused it. */
  refuse(error: unknown): void {
    this.#answer.reject(error);
  }
}

/** An answer that never comes, but for one to its signal. */
export const hangs: Answer = (_delivery, { signal }) =>
  new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

/** An answer that never comes. */
export const ignoresSignal: Answer = () => new Promise(() => {});

/** The two kinds of buffer. */
export type Kind = "MemoryBuffer" | "FileBuffer";

/** Both kinds. */
export const KINDS: readonly Kind[] = ["MemoryBuffer", "FileBuffer"];

/** What a test gets. */
export interface Bench {
  readonly clock: ManualClock;
  readonly target: ScriptedTarget;
  readonly buffer: RecordBuffer<string>;
  readonly deadLetters: RecordBuffer<DeadLetter<string>>;
  readonly events: ProducerEvent[];
  /** The disk of a FileBuffer. */
  readonly fileSystem: MemoryFileSystem;
  /** Makes a producer on all of that; the bench closes it. Delays are the longest that chance allows. */
  make(options?: Partial<ProducerOptions<string>>): Producer<string>;
}

/** What a test asks for. */
export type BenchOptions = BufferOptions<string> & {
  /** Options of the buffer of dead letters. */
  readonly forDeadLetters?: BufferOptions<DeadLetter<string>>;
  readonly fileSystem?: MemoryFileSystem;
};

/** Gives `body` a bench and sees to it that nothing is left of it. */
export async function useBench(
  kind: Kind,
  options: BenchOptions,
  body: (bench: Bench) => Promise<void>,
): Promise<void> {
  const { forDeadLetters, fileSystem = new MemoryFileSystem(), ...forBuffer } = options;
  const clock = new ManualClock();
  const buffer = kind === "MemoryBuffer"
    ? await MemoryBuffer.open<string>({ clock, ...forBuffer })
    : await FileBuffer.open<string>({ path: "/buffer", fileSystem, clock, ...forBuffer });
  const codec = deadLetterCodec(forBuffer.codec);
  const deadLetters = await MemoryBuffer.open({ clock, codec, ...forDeadLetters });
  const target = new ScriptedTarget();
  const events: ProducerEvent[] = [];
  const producers: Producer<string>[] = [];
  const make = (given: Partial<ProducerOptions<string>> = {}): Producer<string> => {
    const onEvent = (event: ProducerEvent) => events.push(event);
    const producer = new Producer({ buffer, send: target.send, clock, random: () => 1, onEvent, ...given });
    producers.push(producer);
    return producer;
  };
  try {
    await body({ clock, target, buffer, deadLetters, events, fileSystem, make });
  } finally {
    for (const producer of producers) await finish(producer, clock);
    await buffer.close().catch(() => {});
    await deadLetters.close();
  }
  assertEquals(clock.timers, [], "a timer is left");
}

/** Closes a producer, whatever its target does. */
export async function finish(producer: Producer<string>, clock: ManualClock): Promise<void> {
  const closed = producer.close({ signal: AbortSignal.abort() });
  // Attempts that ignore their signals are left alone after a second.
  await settle();
  clock.advance(1_000);
  await closed;
}

/** A reason as long in JSON as one can be, and limits with which a buffer has room for one letter with it, and no other. */
export const LONG_REASON: string = "\u0001".repeat(1_000);
export const ONE_LETTER = {
  maxRecordBytes: 10,
  forDeadLetters: { maxBacklogBytes: MAX_LETTER_HEAD_BYTES + 10 + MIN_FRAME_BYTES },
} as const satisfies BenchOptions;

/** Registers a test for a buffer of each kind. */
export function benchTest(title: string, options: BenchOptions, body: (bench: Bench) => Promise<void>): void {
  for (const kind of KINDS) test(`${title} (${kind})`, () => useBench(kind, options, body));
}

/** Lets `ms` milliseconds pass, and whatever that sets going happen. */
export async function pass(clock: ManualClock, ms: number): Promise<void> {
  await settle();
  clock.advance(ms);
  await settle();
}

/** Everything uncommitted in a buffer, without committing it. */
export async function left<T>(buffer: RecordBuffer<T>): Promise<T[]> {
  const records: T[] = [];
  let after;
  for (;;) {
    try {
      after = await buffer.emit({ after });
    } catch {
      return records;
    }
    records.push(...after.records);
  }
}

/** The types of events, in order, without repeating "attempt" and "delivered" where they are of no interest. */
export function typesOf(events: readonly ProducerEvent[]): string[] {
  return events.map(({ type }) => type);
}
