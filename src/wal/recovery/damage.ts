/**
 * What to say about a place in the log that can't be read: types only.
 *
 * @module
 */

import type { SequenceRange } from "../../base/sequences.ts";

/**
 * What to do about damage: set the bad bytes aside and deliver the rest, or refuse.
 *
 * @example The same damaged log, twice
 * ```ts
 * import { FileBuffer, type OnDamage } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * async function damagedLog(): Promise<MemoryFileSystem> {
 *   const fileSystem = new MemoryFileSystem();
 *   const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem });
 *   for (const record of ["first", "second", "third"]) await buffer.put(record);
 *   await buffer.close();
 *   const bytes = fileSystem.readFile("/b/00000000000000000001.wal");
 *   bytes[new TextDecoder("latin1").decode(bytes).indexOf("second")] ^= 1;
 *   fileSystem.writeFile("/b/00000000000000000001.wal", bytes);
 *   return fileSystem;
 * }
 *
 * async function whatComesOut(onDamage: OnDamage): Promise<readonly string[]> {
 *   const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem: await damagedLog(), onDamage });
 *   try {
 *     const { records } = await buffer.emit(); // up to the gap
 *     await buffer.commit();
 *     return [...records, ...await buffer.emit()];
 *   } finally {
 *     await buffer.close();
 *   }
 * }
 *
 * assertEquals(await whatComesOut("quarantine"), ["first", "third"]);
 * assertEquals(await whatComesOut("fail").catch((error) => error.code), "DAMAGED_LOG");
 * ```
 */
export type OnDamage = "quarantine" | "fail";

/**
 * A place in the log that could not be read.
 *
 * @example What is missing, and where its bytes are now
 * ```ts
 * import { type DamagedRegion, FileBuffer } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem });
 * for (const record of ["first", "second", "third"]) await buffer.put(record);
 * await buffer.close();
 * const bytes = fileSystem.readFile("/b/00000000000000000001.wal");
 * bytes[new TextDecoder("latin1").decode(bytes).indexOf("second")] ^= 1;
 * fileSystem.writeFile("/b/00000000000000000001.wal", bytes);
 *
 * const again = await FileBuffer.open<string>({ path: "/b", fileSystem });
 * const [region]: readonly DamagedRegion[] = again.recovery.damaged;
 * assertEquals(region.missing, { first: 2, last: 2 });
 * assert(region.quarantined);
 * const copy = fileSystem.paths().find((path) => path.startsWith("/b/quarantine/"))!;
 * assert(new TextDecoder("latin1").decode(fileSystem.readFile(copy)).includes("recond")); // readable, but not sound
 * await again.close();
 * ```
 */
export interface DamagedRegion {
  /** File name of the segment. */
  readonly segment: string;
  /** Where in it the bad bytes begin. */
  readonly offset: number;
  /** How many bytes are bad; 0 when whole frames are missing without a trace. */
  readonly length: number;
  /**
   * The sequences that can't be delivered because of it; `undefined` when none is missing. Where a whole segment can't be
   * read, nobody knows how many it held: then it is the most that fit.
   */
  readonly missing: SequenceRange | undefined;
  /** Whether the bad bytes are in the quarantine; not if that is full, or the disk is. */
  readonly quarantined: boolean;
  /**
   * Present if nothing proves that any of it was ever acknowledged, as where a power cut has taken one of several records
   * whose puts waited for a sync. With `fsync: "always"` nothing that was promised is lost then, unless the disk has
   * failed as well: so `onDamage: "fail"` doesn't refuse it.
   */
  readonly unproven?: true;
}
