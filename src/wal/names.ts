/**
 * The names of everything in a buffer's directory, in one place, so that nothing of ours is taken for a stranger's, and
 * nothing of a stranger's for ours.
 *
 * A file that is to take the place of another is written as `NAME.new` first; see `../fs/replace_file.ts`.
 *
 * @module
 */

/** The cursor. */
export const CURSOR_NAME = "cursor";
/** The cursor of the next owner, before it is renamed. */
export const NEW_CURSOR_NAME = "cursor.new";
/** The file that is locked. */
export const LOCK_NAME = "lock";
/** Who owns the directory. */
export const OWNER_NAME = "owner.json";
/** The next owner's file, before it is renamed. */
export const NEW_OWNER_NAME = "owner.json.new";
/** The figures of a buffer that is open. */
export const STATUS_NAME = "status.json";
/** The directory with copies of what recovery has cut or moved. */
export const QUARANTINE_NAME = "quarantine";
/** In the quarantine: the losses that were reported. */
export const LOSSES_NAME = "losses.json";
/** In the quarantine: how a copy ends whose records are in the log again. */
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

/** A file named for a higher sequence strayed in: behind it no sequences would be left to give out. */
const MAX_FIRST_SEQUENCE = 2 ** 52;

/** The segment that begins with `firstSequence`. */
export function segmentName(firstSequence: number): string {
  return String(firstSequence).padStart(20, "0") + ".wal";
}

/** The first sequence that a file name states, or `undefined` if it isn't the name of a segment. */
export function parseSegmentName(name: string): number | undefined {
  if (!/^\d{20}\.wal$/.test(name)) return undefined;
  const sequence = Number(name.slice(0, 20));
  return sequence > 0 && sequence <= MAX_FIRST_SEQUENCE ? sequence : undefined;
}

/** A part of the reserve, counted from 1. */
export function reserveName(part: number): string {
  return `reserve-${part}`;
}

/** The part of the reserve that a file name states, or `undefined` if it isn't the name of one. */
export function parseReserveName(name: string): number | undefined {
  const digits = /^reserve-([1-9]\d{0,5})$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Whether a name is one that a buffer gives, to anything but a segment. */
export function isReservedName(name: string): boolean {
  return FIXED_NAMES.has(name) || parseReserveName(name) !== undefined;
}

/** Whether a file of that name says that a buffer was here. */
export function isLogFileName(name: string): boolean {
  return name === CURSOR_NAME || parseSegmentName(name) !== undefined;
}
