/**
 * A sink for LogTape. A line is in the buffer when the call that logs it returns, also right before `process.exit()`.
 *
 *     const buffer = await FileBuffer.open({ path: "./log.wal", codec: textCodec() });
 *     await configure({
 *       sinks: { buffer: logTapeSink(buffer, jsonLinesFormatter) },
 *       loggers: [{ category: "shop", sinks: ["buffer"] }],
 *     });
 */

import process from "node:process";
import type { Sink, TextFormatter } from "@logtape/logtape";
import type { SyncRecordBuffer } from "@sluice/buffer";

export function logTapeSink(buffer: SyncRecordBuffer<string>, format: TextFormatter): Sink {
  return (record) => {
    const line = format(record);
    try {
      buffer.putSync(line.trimEnd());
    } catch {
      process.stderr.write(line); // the buffer is full, closed or has failed
    }
  };
}
