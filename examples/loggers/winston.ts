/**
 * A transport for winston. A line is in the buffer when the call that logs it returns, also right before `process.exit()`.
 *
 *     const buffer = await FileBuffer.open({ path: "./log.wal", codec: textCodec() });
 *     const log = winston.createLogger({ transports: [winstonTransport(buffer)] });
 */

import process from "node:process";
import type { SyncRecordBuffer } from "@sluice/buffer";
import Transport from "winston-transport";

const MESSAGE = Symbol.for("message"); // where winston has the formatted line

export function winstonTransport(buffer: SyncRecordBuffer<string>, level?: string): Transport {
  return new Transport({
    ...(level !== undefined && { level }),
    log(info, done) {
      try {
        buffer.putSync(info[MESSAGE]);
      } catch {
        process.stderr.write(`${info[MESSAGE]}\n`); // the buffer is full, closed or has failed
      }
      done();
    },
  });
}
