/**
 * What the parts of a simulation share: the world, the options of a life, and how they look at batches and errors.
 */

import { assert, assertEquals } from "@std/assert";
import { type Batch, type Codec, type Fsync, type OnDamage, SluiceError, type WhenFull } from "../../../mod.ts";
import type { ManualClock } from "../../../src/testing/mod.ts";
import type { SimulationDisk } from "./disk.ts";
import type { Model } from "./model.ts";
import type { SeenBatch } from "./records.ts";

/** What a buffer is opened with. */
export interface LifeOptions {
  readonly fsync: Fsync;
  readonly segmentBytes: number;
  readonly maxRecords: number;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
  readonly maxBacklogBytes: number;
  readonly whenFull: WhenFull;
  readonly codecVersion: number;
  readonly onDamage: OnDamage;
  /** On a disk that copies on write. */
  readonly reserveBytes?: number;
  /** Off by default: it adds operations to every life, and no guarantee rests on it. */
  readonly statusMs?: number;
}

/** What all lives of a simulation share. */
export interface World {
  readonly model: Model;
  readonly disk: SimulationDisk;
  readonly clock: ManualClock;
  /** Is told what happens, for people. */
  readonly trace: (line: () => string) => void;
  /** Every error that reached a caller, or whoever listens to events. */
  readonly told: unknown[];
  /** What the life before had in flight when it ended, as far as it had asked for it. */
  readonly earlier: Batch<string>[];
}

/** Texts that end in `#<codec version>`; a payload that is decoded as another version is an error. */
export function versionedCodec(version: number): Codec<string> {
  return {
    version,
    encode: (text) => new TextEncoder().encode(text),
    decode(payload, codecVersion) {
      const text = new TextDecoder().decode(payload);
      assert(text.endsWith(`#${codecVersion}`), `${text} is decoded as version ${codecVersion}`);
      return text;
    },
  };
}

/** What the model sees of a batch. */
export function see(batch: Batch<string>): SeenBatch {
  const values = [...batch];
  assertEquals(batch.length, values.length, "length of the batch");
  const { id, firstSequence, lastSequence, redelivered, byteLength } = batch;
  return { id, firstSequence, lastSequence, redelivered, byteLength, values };
}

/** `<first>-<last>`: a batch's id without uuid and checksum, which are others each time. */
export function short(id: string): string {
  return id.split("-").slice(-2).join("-");
}

/** An error in a line, without uuids and checksums: they are others each time. */
export function describeError(error: unknown): string {
  if (!(error instanceof SluiceError)) return String(error);
  const what = error.cause instanceof SluiceError ? `(${error.cause.message})` : error.message;
  return `${error.code} ${what.replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{8}-/g, "")}`;
}
