/**
 * Random bytes, as good as those for keys.
 *
 * On Node they are read from the system's device: `crypto` takes Node 5 ms to load, a third of what opening a buffer takes. Where
 * there is no such device, or something else has its name, they come from `crypto` all the same.
 *
 * @module
 */

import { platformName, processOfNode, runtimeName } from "../base/runtime.ts";

/** Where they come from. An object, so that a test can put repeatable numbers in its place. */
export const randomSource: { fill(bytes: Uint8Array): void } = {
  fill(bytes) {
    if (runtimeName() !== "node" || platformName() === "win32" || !readDevice(bytes)) crypto.getRandomValues(bytes);
  },
};

/** Makes `length` random bytes; at most 65,536. */
export function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  randomSource.fill(bytes);
  return bytes;
}

/** A random number of 32 bits. */
export function randomWord(): number {
  return new DataView(randomBytes(4).buffer).getUint32(0);
}

/** Fills `bytes` from the device; `false` where it can't be read: Node's permission model and some containers have none. */
function readDevice(bytes: Uint8Array): boolean {
  const { openSync, fstatSync, readSync, closeSync } = processOfNode().getBuiltinModule("node:fs");
  let descriptor: number | undefined;
  try {
    descriptor = openSync("/dev/urandom", "r");
    // A script that saves a seed makes a file of that name where there is no device: that gives everybody the same bytes.
    return fstatSync(descriptor).isCharacterDevice() && readSync(descriptor, bytes) === bytes.length;
  } catch {
    return false;
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
