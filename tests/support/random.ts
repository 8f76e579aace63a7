/**
 * What the tests draw by chance: one generator, the file system's in memory, so that a seed does the same everywhere.
 */

import { mulberry32 } from "../../src/testing/memory_disk.ts";

export { mulberry32 };

/** Whole numbers from 0 up to `below`, chosen by a seed. */
export type SeededRandom = (below: number) => number;

/** Makes a generator of whole numbers. */
export function seededRandom(seed: number): SeededRandom {
  const random = mulberry32(seed);
  return (below) => Math.floor(random() * below);
}
