/**
 * What is in a log, as JSON: for the expectations beside the logs in `tests/testdata`, and to hold logs against them.
 *
 * Texts and bytes that are long stand there as their length and CRC-32. Durations are left out.
 */

import { crc32 } from "node:zlib";
import { bytesCodec, type Codec, FileBuffer, jsonCodec, SluiceError, textCodec } from "../../mod.ts";
import { drain } from "../support/logs.ts";

/** How a log is opened to be dumped. */
export interface DumpOptions {
  readonly codec: "bytes" | "json" | "migrating" | "text";
  readonly maxRecords: number;
}

/** What an expectation says; `JSON.parse(JSON.stringify(dump))` is equal to it. */
export interface Dump {
  /** Batches in order, each committed before the next. */
  readonly batches: readonly { readonly id: string; readonly redelivered: boolean; readonly records: unknown[] }[];
  /** `recovery` without its duration. */
  readonly recovery: unknown;
  /** Damage that was met later than in `open()`. */
  readonly damage: readonly unknown[];
  /** The sequence of a record that is put then. */
  readonly next: number;
}

/** A log that isn't opened. */
export interface Refusal {
  readonly by: "emit" | "open";
  readonly code: string;
  readonly segment?: string;
  readonly offset?: number;
  readonly length?: number;
  readonly version?: number;
}

const LONG = 64;

// deno-lint-ignore no-explicit-any
const CODECS: Readonly<Record<DumpOptions["codec"], Codec<any>>> = {
  bytes: bytesCodec(),
  json: jsonCodec(),
  migrating: jsonCodec({ version: 9, migrate: (record, fromVersion) => ({ fromVersion, record }) }),
  text: textCodec(),
};

/** Opens the log in `path`, which changes it, takes everything out and puts one record. */
export async function dump(path: string, { codec, maxRecords }: DumpOptions): Promise<Dump> {
  const damage: unknown[] = [];
  const buffer = await FileBuffer.open({
    path,
    codec: CODECS[codec],
    maxRecords,
    onEvent: (event) => event.type === "damage-found" && damage.push(event.region),
  });
  const { durationMs: _, ...recovery } = buffer.recovery;
  const known = damage.splice(0).length;
  const batches: Dump["batches"][number][] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    const records = batch.records.map(shorten);
    batches.push({ id: batch.id, redelivered: batch.redelivered, records });
    await buffer.commit(batch);
  }
  if (known !== recovery.damaged.length) {
    throw new Error(`${known} regions were told, ${recovery.damaged.length} found`);
  }
  const example = codec === "bytes" ? Uint8Array.of(1) : "one more";
  const next = await buffer.put(example);
  await buffer.close();
  return { batches, recovery, damage, next };
}

/** Opens and drains the log in `path` with `onDamage: "fail"`; gives what it is refused with, `null` if it isn't. */
export async function refusal(path: string, { codec, maxRecords }: DumpOptions): Promise<Refusal | null> {
  let buffer: FileBuffer<unknown> | undefined;
  try {
    buffer = await FileBuffer.open<unknown>({ path, codec: CODECS[codec], maxRecords, onDamage: "fail" });
    await drain(buffer);
    return null;
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    const { code, segment, offset, length, version } = error as SluiceError & Partial<Refusal>;
    return JSON.parse(
      JSON.stringify({ by: buffer === undefined ? "open" : "emit", code, segment, offset, length, version }),
    );
  } finally {
    await buffer?.close();
  }
}

/** A value with what is long in it replaced. */
function shorten(value: unknown): unknown {
  if (value instanceof Uint8Array) {
    const digits = Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return value.length <= LONG ? digits : { bytes: value.length, crc32: crc32(value) };
  }
  if (typeof value === "string" && value.length > LONG) return { characters: value.length, crc32: crc32(value) };
  return value;
}
