/**
 * The limit: a `write` of bytes that are encoded already, and an `fdatasync` if it has to be synced.
 *
 * No name, no checksum, no record boundary: nobody who goes through the operating system one record at a time is
 * faster. For W3 this is the put alone, since a file knows nothing of batches.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import type { Contender, OpenOptions } from "./contender.ts";

export function open({ cell, directory, pool }: OpenOptions): Contender {
  const file = fs.openSync(join(directory, "raw"), "a");
  const encoder = new TextEncoder();
  const encoded = pool.map((record) => encoder.encode(JSON.stringify(record)));
  const together = encoder.encode(pool.map((record) => JSON.stringify(record)).join(""));

  function write(bytes: Uint8Array): void {
    for (let written = 0; written < bytes.length;) {
      written += fs.writeSync(file, bytes, written, bytes.length - written);
    }
    if (cell.isSynced) fs.fdatasyncSync(file);
  }

  return {
    put: (_record, index) => write(encoded[index % encoded.length]!),
    putMany: () => write(together),
    close: () => fs.closeSync(file),
  };
}
