/** What programs that are going to be killed have in common: how they say what they have done. */

import { writeSync } from "node:fs";
import { setImmediate } from "node:timers";

/** Writes a line to standard output before anything else happens: what was said may not get lost with the process. */
export function say(line: string): void {
  let rest = new TextEncoder().encode(line + "\n");
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      // The pipe is full, and doesn't wait.
      if ((error as { code?: unknown }).code !== "EAGAIN") throw error;
    }
  }
}

/** Lets the event loop turn. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
