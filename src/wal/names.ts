/**
 * The name of every file in a buffer's directory.
 *
 * They are all defined here, so that a buffer recognises each of its own files, and takes no foreign file for one of them.
 * A file that is to replace another one is first written as `NAME.new`; see `../fs/replace_file.ts`.
 *
 * @module
 */

export const CURSOR_NAME = "cursor";
/** A new cursor file, before it is renamed. */
export const NEW_CURSOR_NAME = "cursor.new";
export const LOCK_NAME = "lock";
/** Describes the owner of the directory. */
export const OWNER_NAME = "owner.json";
export const NEW_OWNER_NAME = "owner.json.new";
/** The statistics of an open buffer. */
export const STATUS_NAME = "status.json";
/** The directory for damaged bytes and segments that recovery copies or moves away. */
export const QUARANTINE_NAME = "quarantine";
/** In the quarantine: the losses that are known. */
export const LOSSES_NAME = "losses.json";
/** In the quarantine: suffix of a file whose records were restored into the log. */
export const RESTORED_SUFFIX = ".restored";

const FIXED_NAMES: ReadonlySet<string> = new Set([
  CURSOR_NAME,
  NEW_CURSOR_NAME,
  LOCK_NAME,
  OWNER_NAME,
  NEW_OWNER_NAME,
  QUARANTINE_NAME,
  STATUS_NAME,
]);

/** The highest first sequence of a segment. A file named for a higher one is foreign: too few sequences would follow it. */
const MAX_FIRST_SEQUENCE = 2 ** 52;

/** The file name of the segment that begins with `firstSequence`. */
export function segmentName(firstSequence: number): string {
  return String(firstSequence).padStart(20, "0") + ".wal";
}

/** The first sequence in the name of a segment; `undefined` if it isn't the name of a segment. */
export function parseSegmentName(name: string): number | undefined {
  if (!/^\d{20}\.wal$/.test(name)) return undefined;
  const sequence = Number(name.slice(0, 20));
  return sequence > 0 && sequence <= MAX_FIRST_SEQUENCE ? sequence : undefined;
}

/** The file name of a part of the reserve, counted from 1. */
export function reserveName(part: number): string {
  return `reserve-${part}`;
}

/** The number in the name of a part of the reserve; `undefined` if it isn't the name of one. */
export function parseReserveName(name: string): number | undefined {
  const digits = /^reserve-([1-9]\d{0,5})$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Whether a buffer uses that name for a file other than a segment. */
export function isBufferFile(name: string): boolean {
  return FIXED_NAMES.has(name) || parseReserveName(name) !== undefined;
}

/** Whether a file of that name shows that the directory holds a log: a cursor or a segment. */
export function isLogFile(name: string): boolean {
  return name === CURSOR_NAME || parseSegmentName(name) !== undefined;
}
