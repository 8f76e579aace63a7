/**
 * Checks and completes the options that all buffers share. Every option is checked once, at `open()`; an error names the
 * option, what it must be, and what was given.
 *
 * @module
 */

import type { BufferEvent, BufferOptions, WhenFull } from "./record_buffer.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { type Codec, jsonCodec } from "../base/codec.ts";
import { Listeners } from "../base/listeners.ts";

/** Records of a batch: enough to make the cost of a batch small, few enough for the limits of most targets. */
const DEFAULT_MAX_RECORDS = 1_000;
/** Payload bytes of a batch: what Kafka and NATS take in one request by default. */
const DEFAULT_MAX_BYTES = 1_000_000;
/** Age of a batch: what a person looking at the target still calls "now". */
const DEFAULT_MAX_AGE_MS = 5_000;
/** Longest payload. A larger one costs its multiple in memory while it is encoded, read and sent. */
const DEFAULT_MAX_RECORD_BYTES: number = 16 * 2 ** 20;
/** Backlog: an outage of a quarter of an hour at 1 MB/s, and no disk is filled by it. */
const DEFAULT_MAX_BACKLOG_BYTES: number = 2 ** 30;

/** A batch is held in memory, record by record. */
const MOST_RECORDS = 1_000_000;
/** Lengths in the format have 32 bits; what is held in memory as one piece should stay well below. */
const MOST_BYTES: number = 2 ** 30;
/** Timers of all runtimes take 31 bits. */
export const MOST_MS: number = 2 ** 31 - 1;

const SHARED_OPTIONS: readonly (keyof BufferOptions<unknown> | string)[] = [
  "codec",
  "maxRecords",
  "maxBytes",
  "maxAgeMs",
  "maxRecordBytes",
  "maxBacklogBytes",
  "whenFull",
  "clock",
  "onEvent",
];

/** The shared options, complete and checked. */
export interface ResolvedOptions<T> {
  readonly codec: Codec<T>;
  readonly maxRecords: number;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
  readonly maxRecordBytes: number;
  readonly maxBacklogBytes: number;
  readonly whenFull: WhenFull;
  readonly clock: Clock;
  /** Those who want to know what happens. */
  readonly listeners: Listeners<BufferEvent>;
}

/**
 * Completes the shared options.
 *
 * @param known Names of the options that the buffer has besides; any other is a mistake.
 * @throws {TypeError} for a value of the wrong type or an unknown option.
 * @throws {RangeError} for a number out of range.
 */
export function resolveOptions<T>(options: BufferOptions<T>, known: readonly string[] = []): ResolvedOptions<T> {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot open buffer: options must be an object, got ${describe(options)}`);
  }
  const { codec = jsonCodec<T>(), clock = systemClock, whenFull = "reject", onEvent } = options;
  checkMethods("codec", codec, ["encode", "decode"]);
  if (codec.encodeInto !== undefined) checkMethods("codec", codec, ["encodeInto"]);
  if (codec.version !== undefined) checkInteger("codec.version", codec.version, 0, 2 ** 32 - 1);
  checkMethods("clock", clock, ["now", "monotonic", "setTimer"]);
  checkOneOf("whenFull", whenFull, ["reject", "block", "drop-oldest"]);
  if (onEvent !== undefined && typeof onEvent !== "function") {
    throw new TypeError(`Cannot open buffer: onEvent must be a function, got ${describe(onEvent)}`);
  }
  const resolved: ResolvedOptions<T> = {
    codec,
    maxRecords: integer(options, "maxRecords", DEFAULT_MAX_RECORDS, 1, MOST_RECORDS),
    maxBytes: integer(options, "maxBytes", DEFAULT_MAX_BYTES, 1, MOST_BYTES),
    maxAgeMs: integer(options, "maxAgeMs", DEFAULT_MAX_AGE_MS, 0, MOST_MS),
    maxRecordBytes: integer(options, "maxRecordBytes", DEFAULT_MAX_RECORD_BYTES, 1, MOST_BYTES),
    maxBacklogBytes: integer(options, "maxBacklogBytes", DEFAULT_MAX_BACKLOG_BYTES, 1, Number.MAX_SAFE_INTEGER),
    whenFull,
    clock,
    listeners: new Listeners(onEvent),
  };
  for (const name of Object.keys(options)) {
    if (SHARED_OPTIONS.includes(name) || known.includes(name)) continue;
    throw new TypeError(`Cannot open buffer: unknown option ${name}`);
  }
  return resolved;
}

function integer<O extends object>(options: O, name: keyof O & string, fallback: number, least: number, most: number) {
  const given: unknown = options[name];
  const value = given === undefined ? fallback : given;
  checkInteger(name, value, least, most);
  return value;
}

/** Throws unless `value` is a whole number in the range; `doing` is what can't be done with it. */
export function checkInteger(
  name: string,
  value: unknown,
  least: number,
  most: number,
  doing = "open buffer",
): asserts value is number {
  if (typeof value !== "number") {
    throw new TypeError(`Cannot ${doing}: ${name} must be a number, got ${describe(value)}`);
  }
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`Cannot ${doing}: ${name} must be a whole number from ${least} to ${most}, got ${value}`);
  }
}

/** Throws unless `value` is one of the strings. */
export function checkOneOf(name: string, value: unknown, allowed: readonly string[]): void {
  if (typeof value === "string" && allowed.includes(value)) return;
  const list = allowed.map((one) => `"${one}"`).join(", ");
  throw new TypeError(`Cannot open buffer: ${name} must be one of ${list}, got ${describe(value)}`);
}

/** Throws unless `value` is an object with these methods; `doing` is what can't be done without. */
export function checkMethods(name: string, value: unknown, methods: readonly string[], doing = "open buffer"): void {
  for (const method of methods) {
    const found = typeof value === "object" && value !== null ? Reflect.get(value, method) : undefined;
    if (typeof found !== "function") {
      throw new TypeError(`Cannot ${doing}: ${name} must have a method ${method}(), got ${describe(value)}`);
    }
  }
}

/** A value, for messages. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
