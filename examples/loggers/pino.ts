/**
 * A destination for pino. A line is in the buffer when the call that logs it returns, also right before `process.exit()`.
 *
 *     const buffer = await FileBuffer.open({ path: "./log.wal", codec: textCodec() });
 *     const log = pino({}, pinoDestination(buffer));
 */

import process from "node:process";
import type { SyncRecordBuffer } from "@sluice/buffer";
import type { DestinationStream } from "pino";

export function pinoDestination(buffer: SyncRecordBuffer<string>): DestinationStream {
  return {
    write(line) {
      try {
        buffer.putSync(line.trimEnd());
      } catch {
        process.stderr.write(line); // the buffer is full, closed or has failed: no reason to throw into the program
      }
    },
  };
}
