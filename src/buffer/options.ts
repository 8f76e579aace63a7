/**
 * The options that all buffers share: their meaning, defaults and limits, and their check.
 *
 * @module
 */

import { type Clock, systemClock } from "../base/clock.ts";
import { type Codec, jsonCodec } from "../base/codec.ts";
import { isDeadLetterCodec, MAX_LETTER_HEAD_BYTES } from "../base/dead_letter.ts";
import { Listeners } from "../base/listeners.ts";
import { checkInteger, checkMethods, checkOneOf, type Complete, describe, MAX_TIMER_MS } from "../base/validation.ts";
import type { BufferEvent } from "./events.ts";

/** What to do with a put that doesn't fit the backlog. */
export type WhenFull = "reject" | "block" | "drop-oldest";

/**
 * Options that all buffers share. Every one is checked at `open()`: TypeError or RangeError names the option.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 */
export interface BufferOptions<T, In = T> {
  /**
   * Turns records into payloads and back.
   *
   * @default {jsonCodec()}
   */
  readonly codec?: Codec<T, In> | undefined;
  /**
   * A batch is full at this many records; 1 to 1,000,000.
   *
   * @default {1000}
   */
  readonly maxRecords?: number | undefined;
  /**
   * A batch never holds more payload bytes than this, and a larger record is refused; 1 to 2^30. Only a dead letter may be
   * larger: it is a batch of its own.
   *
   * @default {1_000_000}
   */
  readonly maxBytes?: number | undefined;
  /**
   * A batch is due this many milliseconds after its first record was put; 0 to 2^31 - 1.
   *
   * @default {5_000}
   */
  readonly maxAgeMs?: number | undefined;
  /**
   * How long a record is of use, in milliseconds since its put; 1 to 2^53 - 1. What is older when its batch would be handed over is
   * dropped, counted and reported as an event; a `Producer` makes dead letters of it, if it has a buffer for them. A batch that
   * has lost records to their age has another delivery id: a target that only remembers ids may get the others twice. By default
   * records are kept until they are committed.
   *
   * @default {Infinity}
   */
  readonly maxRecordAgeMs?: number | undefined;
  /**
   * The most bytes that one record's payload may have; 1 to 2^30. With `deadLetterCodec()` the default is more, and enough.
   *
   * @default {16 MiB}
   */
  readonly maxRecordBytes?: number | undefined;
  /**
   * The most bytes that uncommitted records may take, payloads and framing together; 1 to 2^53 - 1. With `deadLetterCodec()`
   * the default has room for the longest letter in addition.
   *
   * @default {1 GiB}
   */
  readonly maxBacklogBytes?: number | undefined;
  /**
   * What a put does when the backlog is full: `"reject"` throws BufferFullError, `"block"` waits for commits,
   * `"drop-oldest"` drops the oldest batch that is not in flight, counts it and reports it as an event.
   *
   * @default {"reject"}
   */
  readonly whenFull?: WhenFull | undefined;
  /**
   * Time and timers.
   *
   * @default {systemClock}
   */
  readonly clock?: Clock | undefined;
  /** Called with every event, synchronously, so it must be quick. What it throws, or rejects with, is an event: `listener-failed`. */
  readonly onEvent?: ((event: BufferEvent) => void) | undefined;
}

/** Records of a batch: enough to make the cost of a batch small, few enough for the limits of most targets. */
const DEFAULT_MAX_RECORDS = 1_000;

/** Payload bytes of a batch: what Kafka and NATS take in one request by default. */
const DEFAULT_MAX_BYTES = 1_000_000;

/** Age of a batch: what a person looking at the target still calls "now". */
const DEFAULT_MAX_AGE_MS = 5_000;

/** Longest payload. A larger one costs its multiple in memory while it is encoded, read and sent. */
const DEFAULT_MAX_RECORD_BYTES = 16 * 2 ** 20;

/** Backlog: an outage of a quarter of an hour at 1 MB/s, and no disk is filled by it. */
const DEFAULT_MAX_BACKLOG_BYTES = 2 ** 30;

/** A batch is held in memory, record by record. */
export const MAX_RECORDS = 1_000_000;

/** Lengths in the format have 32 bits; what is held in memory as one piece should stay well below. */
export const MAX_BYTES: number = 2 ** 30;

const SHARED_OPTIONS: readonly string[] = [
  "codec",
  "maxRecords",
  "maxBytes",
  "maxAgeMs",
  "maxRecordAgeMs",
  "maxRecordBytes",
  "maxBacklogBytes",
  "whenFull",
  "clock",
  "onEvent",
];

/** The shared options, complete and checked. */
export interface ResolvedOptions<T, In = T> extends Complete<Omit<BufferOptions<T, In>, "onEvent">> {
  /** The longest payload of a put: the least of the limits. A dead letter may be longer than a batch. */
  readonly maxPayloadBytes: number;
  /** `onEvent`, and those who subscribe. */
  readonly listeners: Listeners<BufferEvent>;
}

/**
 * Completes the shared options.
 *
 * @param known Names of further options of this buffer; any other is a mistake.
 * @throws {TypeError} for a value of the wrong type or an unknown option.
 * @throws {RangeError} for a number out of range.
 */
export function resolveOptions<T, In>(
  options: BufferOptions<T, In>,
  known: readonly string[] = [],
): ResolvedOptions<T, In> {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot open buffer: options must be an object, got ${describe(options)}`);
  }
  const { codec = jsonCodec<T, In>(), clock = systemClock, whenFull = "reject", onEvent } = options;
  checkMethods("codec", codec, ["encode", "decode"]);
  if (codec.encodeInto !== undefined) checkMethods("codec", codec, ["encodeInto"]);
  if (codec.version !== undefined) checkInteger("codec.version", codec.version, 0, 2 ** 32 - 1);
  checkMethods("clock", clock, ["now", "monotonic", "setTimer"]);
  checkOneOf("whenFull", whenFull, ["reject", "block", "drop-oldest"]);
  if (onEvent !== undefined && typeof onEvent !== "function") {
    throw new TypeError(`Cannot open buffer: onEvent must be a function, got ${describe(onEvent)}`);
  }
  const maxBytes = integer(options, "maxBytes", DEFAULT_MAX_BYTES, 1, MAX_BYTES);
  // A letter about the longest record fits, also one about a record that was put with larger limits than today's.
  const letterBytes = isDeadLetterCodec(codec) ? MAX_BYTES + MAX_LETTER_HEAD_BYTES : undefined;
  const defaultBacklogBytes = DEFAULT_MAX_BACKLOG_BYTES + (letterBytes ?? 0);
  const maxBacklogBytes = integer(options, "maxBacklogBytes", defaultBacklogBytes, 1, Number.MAX_SAFE_INTEGER);
  const defaultRecordBytes = letterBytes ?? DEFAULT_MAX_RECORD_BYTES;
  const maxRecordBytes = integer(options, "maxRecordBytes", defaultRecordBytes, 1, letterBytes ?? MAX_BYTES);
  const resolved: ResolvedOptions<T, In> = {
    codec,
    maxRecords: integer(options, "maxRecords", DEFAULT_MAX_RECORDS, 1, MAX_RECORDS),
    maxBytes,
    maxAgeMs: integer(options, "maxAgeMs", DEFAULT_MAX_AGE_MS, 0, MAX_TIMER_MS),
    maxRecordAgeMs: [undefined, Infinity].includes(options.maxRecordAgeMs)
      ? Infinity
      : integer(options, "maxRecordAgeMs", Infinity, 1, Number.MAX_SAFE_INTEGER),
    maxRecordBytes,
    maxPayloadBytes: letterBytes === undefined ? Math.min(maxRecordBytes, maxBytes) : maxRecordBytes,
    maxBacklogBytes,
    whenFull,
    clock,
    listeners: new Listeners<BufferEvent>(onEvent),
  };
  for (const name of Object.keys(options)) {
    if (SHARED_OPTIONS.includes(name) || known.includes(name)) continue;
    throw new TypeError(`Cannot open buffer: unknown option ${name}`);
  }
  return resolved;
}

export function integer<O extends object>(
  options: O,
  name: keyof O & string,
  fallback: number,
  least: number,
  most: number,
) {
  const given: unknown = options[name];
  const value = given === undefined ? fallback : given;
  checkInteger(name, value, least, most);
  return value;
}
