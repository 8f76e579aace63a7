/**
 * An exporter for the log records of OpenTelemetry. With a `SimpleLogRecordProcessor` a record is in the buffer when `emit()` returns,
 * also right before `process.exit()`; a `BatchLogRecordProcessor` would keep it in memory. Each export is a request of OTLP in JSON.
 *
 *     const buffer = await FileBuffer.open({ path: "./log.wal", codec: textCodec() });
 *     const processors = [new SimpleLogRecordProcessor({ exporter: logRecordExporter(buffer) })];
 *     const log = new LoggerProvider({ processors }).getLogger("shop");
 *
 * To a collector: `httpSink("http://127.0.0.1:4318/v1/logs", { contentType: "application/json", body: logsRequest })`.
 */

import process from "node:process";
import { JsonLogsSerializer } from "@opentelemetry/otlp-transformer";
import type { LogRecordExporter } from "@opentelemetry/sdk-logs";
import type { SyncRecordBuffer } from "@sluice/buffer";

export const logRecordExporter = (buffer: SyncRecordBuffer<string>): LogRecordExporter => ({
  export(logs, done) {
    const request = new TextDecoder().decode(JsonLogsSerializer.serializeRequest(logs));
    try {
      buffer.putSync(request);
      done({ code: 0 });
    } catch (error) {
      process.stderr.write(`${request}\n`); // the buffer is full, closed or has failed
      done({ code: 1, error: error as Error });
    }
  },
  forceFlush: async () => {}, // nothing is held back
  shutdown: async () => {},
});

/** One request made of those in a delivery. */
export function logsRequest({ records }: { readonly records: readonly string[] }): string {
  return JSON.stringify({ resourceLogs: records.flatMap((request) => JSON.parse(request).resourceLogs) });
}
