/**
 * A log to be damaged, and the protocol of a table whose rows say how: which records must come out all the same, what
 * must be reported and set aside, and what `onDamage: "fail"` refuses, with nothing changed.
 */

import { assert, assertEquals } from "@std/assert";
import { DamagedLogError } from "../../src/errors/mod.ts";
import { assertSameBytes, flipBit } from "./bytes.ts";
import { framesOf } from "./frames.ts";
import {
  assertRecovers,
  commitBatches,
  copyOf,
  CURSOR_PATH,
  drain,
  type Files,
  type MadeLog,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  snapshot,
  texts,
} from "./logs.ts";

/** Records of a base. */
export const RECORDS = 24;
/** Its options. */
export const SMALL = { segmentBytes: 400, maxRecords: 5 };

/** A log of 24 records in five segments, closed, so that its cursor knows them all; and what tells its parts. */
export interface Base extends MadeLog {
  /** First sequences of the segments. */
  readonly firsts: readonly number[];
  readonly path: (segment: number) => string;
  readonly bytes: (segment: number) => Uint8Array;
  readonly cursor: Uint8Array;
}

/** Makes it, with so many batches of five committed. */
export async function makeBase(commits = 0): Promise<Base> {
  const finish: Parameters<typeof makeLog>[1] = {
    ...SMALL,
    ends: "closed",
    finish: (buffer) => commitBatches(buffer, commits),
  };
  const log = await makeLog(texts(RECORDS), finish);
  const firsts = segmentsOf(log.fileSystem).map((name) => Number.parseInt(name, 10));
  const path = (segment: number) => segmentPath(firsts.at(segment)!);
  const bytes = (segment: number) => log.fileSystem.readFile(path(segment));
  return { ...log, firsts, path, bytes, cursor: log.fileSystem.readFile(CURSOR_PATH) };
}

/** A log of another buffer, with the same sequences. */
export async function makeForeign(): Promise<Base> {
  const log = await makeLog(texts(RECORDS, "foreign"), { ...SMALL, ends: "closed" });
  const path = (segment: number) => `/buffer/${segmentsOf(log.fileSystem).at(segment)}`;
  const bytes = (segment: number) => log.fileSystem.readFile(path(segment));
  return { ...log, firsts: [], path, bytes, cursor: log.fileSystem.readFile(CURSOR_PATH) };
}

/** A way to change the files, and what must come out all the same. */
export interface Row {
  readonly name: string;
  /** The files that are changed. */
  readonly files: Files;
  /** Sequences that can't come out any more. */
  readonly lost?: readonly number[];
  /** Whether `onDamage: "fail"` refuses. */
  readonly isDamage?: boolean;
  /** The last sequence before the damage, if none is lost by it. */
  readonly lastBefore?: number;
  readonly truncatedBytes?: number;
  readonly cursorLost?: boolean;
  /** The sequence that comes next; 25 unless stated. */
  readonly next?: number;
  /** Files that must be in the quarantine, by their content. */
  readonly setAside?: readonly Uint8Array[];
}

/** All rows must recover, and with `onDamage: "fail"` be refused with nothing changed if they are damage. */
export async function assertRows(base: Base, rows: readonly Row[]): Promise<void> {
  for (const row of rows) {
    const { name: note, lost = [] } = row;
    const fileSystem = copyOf(base.fileSystem, row.files);
    const mayMiss = lost.map((sequence) => ({ first: sequence, last: sequence }));
    const drained = await assertRecovers(fileSystem, { acknowledged: base.acknowledged, mayMiss, note }, SMALL);
    const expected = base.acknowledged.map(({ sequence }) => sequence).filter((sequence) => !lost.includes(sequence));
    assertEquals(drained.records.map(({ sequence }) => sequence), expected, note);
    assertEquals(drained.report.truncatedBytes, row.truncatedBytes ?? 0, `${note}: bytes cut off`);
    assertEquals(drained.report.cursorLost, row.cursorLost ?? false, `${note}: cursor lost`);
    assertEquals(drained.nextSequence, row.next ?? RECORDS + 1, `${note}: next sequence`);
    const isDamage = row.isDamage ?? lost.length > 0;
    assertEquals(drained.regions.length > 0, isDamage, `${note}: reported ${JSON.stringify(drained.regions)}`);
    if (row.setAside !== undefined) await assertSetAside(fileSystem, row.setAside, note);
    const lastBefore = row.lastBefore ?? (lost.length > 0 ? Math.min(...lost) - 1 : Infinity);
    await assertRefusal(fileSystem, { isDamage, expected, lastBefore, note });
  }
}

/** A drain leaves these contents in the quarantine, and no other. */
export async function assertSetAside(
  log: MadeLog["fileSystem"],
  contents: readonly Uint8Array[],
  note: string,
): Promise<void> {
  const fileSystem = copyOf(log);
  const { buffer } = await openLog(fileSystem, SMALL);
  await drain(buffer);
  const paths = fileSystem.paths().filter((path) => /^\/buffer\/quarantine\/(?!losses\.json$)/.test(path));
  assertEquals(paths.length, contents.length, `${note}: ${paths}`);
  for (const content of contents) {
    const isThere = paths.some((path) => {
      const bytes = fileSystem.readFile(path);
      return bytes.length === content.length && bytes.every((byte, i) => byte === content[i]);
    });
    assert(isThere, `${note}: ${content.length} bytes are not set aside`);
  }
}

/** `onDamage: "fail"`: what comes before the damage comes out, then it is refused, and every segment is as it was. */
async function assertRefusal(
  log: MadeLog["fileSystem"],
  { isDamage, expected, lastBefore, note }: {
    isDamage: boolean;
    expected: readonly number[];
    lastBefore: number;
    note: string;
  },
): Promise<void> {
  const fileSystem = copyOf(log);
  const before = snapshot(fileSystem);
  const sequences: number[] = [];
  let refused: unknown;
  let isOpen = false;
  try {
    const { buffer } = await openLog(fileSystem, { ...SMALL, onDamage: "fail" });
    isOpen = true;
    for await (const batch of buffer.batches({ flush: true })) {
      for (let i = 0; i < batch.length; i++) sequences.push(batch.firstSequence + i);
      await buffer.commit(batch);
    }
  } catch (error) {
    refused = error;
  }
  assertEquals(refused instanceof DamagedLogError, isDamage, `${note}: refused with ${refused}`);
  assertEquals(sequences, expected.slice(0, sequences.length), `${note}: before the refusal`);
  assert(sequences.every((sequence) => sequence <= lastBefore), `${note}: ${sequences} is behind the damage`);
  if (!isDamage) assertEquals(sequences, expected, `${note}: not refused`);
  if (!isDamage || isOpen) return;
  assertEquals(Object.keys(snapshot(fileSystem)), Object.keys(before), `${note}: files`);
  for (const [path, bytes] of Object.entries(before)) {
    assertSameBytes(fileSystem.readFile(path), bytes, `${note}: ${path}`);
  }
}

/** Turns a bit in the payload of a frame over. */
export function hitFrame(segment: Uint8Array, frame: number): Uint8Array {
  const { offset, length } = framesOf(segment).at(frame)!;
  return flipBit(segment, offset + length - 1, 2);
}

/** The bytes of a frame. */
export function frameBytes(segment: Uint8Array, frame: number): Uint8Array {
  const { offset, length } = framesOf(segment).at(frame)!;
  return segment.slice(offset, offset + length);
}

/** Spoils both copies of the header. */
export function hitHeader(segment: Uint8Array): Uint8Array {
  return flipBit(flipBit(segment, 33), 80 + 65);
}

/** All whole numbers from `from` to `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}
