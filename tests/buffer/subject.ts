/**
 * What the suite of `RecordBuffer` runs on: an implementation under test, and a buffer for each test.
 *
 * The buffer stands on a clock that doesn't move by itself, is closed at the end, and must not leave a timer behind.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { type Batch, type BufferEvent, type BufferOptions, type RecordBuffer, textCodec } from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";

/** An implementation under test. */
export interface Subject {
  /** For the names of the tests. */
  readonly name: string;
  /** Backlog bytes that a record takes besides its payload: in a write of its own, and behind others in one. */
  readonly overheadBytes: { readonly alone: number; readonly shared: number };
  /** Whether there are segments on disk, to be opened again. */
  readonly persists: boolean;
  /** Makes a place for one buffer. */
  setUp(): Place;
}

/** Where one buffer lives. */
export interface Place {
  /** Opens the buffer; again, after it was closed, if it is one that persists. */
  open<T>(options: BufferOptions<T>): Promise<RecordBuffer<T>>;
  /** Removes everything. */
  tearDown(): void;
}

/** What a test gets. */
export interface Context<T> {
  readonly buffer: RecordBuffer<T>;
  readonly clock: ManualClock;
  readonly events: readonly BufferEvent[];
}

/** Gives `body` a buffer and sees to it that nothing is left of it. */
export async function use<T>(
  subject: Subject,
  options: BufferOptions<T>,
  body: (context: Context<T>) => Promise<void>,
): Promise<void> {
  const place = subject.setUp();
  const clock = new ManualClock();
  const events: BufferEvent[] = [];
  try {
    const buffer = await place.open<T>({ clock, onEvent: (event) => events.push(event), ...options });
    try {
      await body({ buffer, clock, events });
    } finally {
      await buffer.close();
    }
    assertEquals(clock.timers, [], "a timer is left");
  } finally {
    place.tearDown();
  }
}

/** The sequences of a batch and its records. */
export function contentOf<T>(batch: Batch<T>): { first: number; last: number; records: readonly T[] } {
  return { first: batch.firstSequence, last: batch.lastSequence, records: batch.records };
}

/** Registers tests of one subject. */
export interface Suite {
  /** A test of a buffer of strings. */
  text(title: string, options: BufferOptions<string>, body: (context: Context<string>) => Promise<void>): void;
  /** A test of a buffer with the default codec. */
  json(title: string, options: BufferOptions<unknown>, body: (context: Context<unknown>) => Promise<void>): void;
}

/** The suite of `subject`: its name stands before the titles. */
export function suiteOf(subject: Subject): Suite {
  return {
    text(title, options, body) {
      test(`${subject.name}.${title}`, () => use(subject, { codec: textCodec(), ...options }, body));
    },
    json(title, options, body) {
      test(`${subject.name}.${title}`, () => use(subject, options, body));
    },
  };
}
