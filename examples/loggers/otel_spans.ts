/**
 * An exporter for the spans of OpenTelemetry. With a `SimpleSpanProcessor` a span is in the buffer when `end()` returns, also right
 * before `process.exit()`; a `BatchSpanProcessor` would keep it in memory. Each export is a request of OTLP in JSON.
 *
 *     const buffer = await FileBuffer.open({ path: "./spans.wal", codec: textCodec() });
 *     const spanProcessors = [new SimpleSpanProcessor({ exporter: spanExporter(buffer) })];
 *     const tracer = new TracerProvider({ spanProcessors }).getTracer("shop");
 *
 * To a collector: `httpSink("http://127.0.0.1:4318/v1/traces", { contentType: "application/json", body: tracesRequest })`.
 */

import process from "node:process";
import { JsonTraceSerializer } from "@opentelemetry/otlp-transformer";
import type { SpanExporter } from "@opentelemetry/sdk-trace";
import type { SyncRecordBuffer } from "@sluice/buffer";

export const spanExporter = (buffer: SyncRecordBuffer<string>): SpanExporter => ({
  export(spans, done) {
    const request = new TextDecoder().decode(JsonTraceSerializer.serializeRequest(spans));
    try {
      buffer.putSync(request);
      done({ code: 0 });
    } catch (error) {
      process.stderr.write(`${request}\n`); // the buffer is full, closed or has failed
      done({ code: 1, error: error as Error });
    }
  },
  shutdown: async () => {}, // nothing is held back
});

/** One request made of those in a delivery. */
export function tracesRequest({ records }: { readonly records: readonly string[] }): string {
  return JSON.stringify({ resourceSpans: records.flatMap((request) => JSON.parse(request).resourceSpans) });
}
