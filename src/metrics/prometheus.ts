/**
 * Figures of buffers and producers as a page for Prometheus, for programs without OpenTelemetry:
 * {@linkcode prometheusText} turns what `stats()` says into the text format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
 *
 * Metrics have the names that OpenTelemetry's get on their way into Prometheus, so that one dashboard fits both: dots
 * become underscores, the unit is added (`_seconds`, `_bytes`), and `_total` to a counter
 * (https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/, "OTLP Metric points to
 * Prometheus"). `sluice.buffer.queue.age` is `sluice_buffer_queue_age_seconds`. The module `@sluice/buffer/otel` lists all
 * of them. An exporter that leaves units out of names, as that of the SDK for JavaScript does, leaves out `_seconds` and
 * `_bytes`. Labels that say which library a metric is from, such as `otel_scope_name`, are not here.
 *
 * What isn't in `stats()` isn't here either. Of the durations of syncs there are number and sum, named as beside the
 * buckets of a histogram, but no buckets; the duration of attempts, reasons of failures, and errors are missing.
 *
 * ## Alerts
 *
 * What to be woken for. Put your own numbers in. The first one needs OpenTelemetry.
 *
 * | alert | when | then |
 * |---|---|---|
 * | the buffer has failed | `sluice_buffer_error_reported_total{error_type="BUFFER_FAILED"} > 0` | look at its error, and the disk; a restart recovers what is there |
 * | puts are rejected | `increase(sluice_buffer_put_rejected_total[5m]) > 0` | records don't get in: backlog or disk full, buffer failed, too large |
 * | the backlog runs full | `sluice_buffer_backlog_size_bytes / sluice_buffer_backlog_capacity_bytes > 0.8` | the target is too slow or away |
 * | records are dropped | `increase(sluice_buffer_record_dropped_total[15m]) > 0` | they are lost: that is what `"drop-oldest"` does |
 * | nothing is delivered | `sluice_buffer_queue_size > 0 and increase(sluice_buffer_batch_committed_total[15m]) == 0` | the target is away, or nobody takes batches |
 * | delivery is behind | `sluice_buffer_queue_age_seconds > 600` | the same; also while some of it still gets through |
 * | the producer stopped | `sluice_producer_status{sluice_producer_state="stopped"} == 1` | a record that can't be delivered, or a buffer that failed: `lastError` |
 * | dead letters | `increase(sluice_producer_record_dead_lettered_total[15m]) > 0` | look at them; they are not tried again by themselves |
 * | attempts fail | `rate(sluice_producer_attempt_failed_total[5m]) > 0`, for half an hour | `lastError`; with OpenTelemetry `error_type` says why |
 * | damage | `sluice_buffer_quarantined_bytes_total > 0` | records may be lost: see `recovery` and the event `damage`; a bad disk? |
 * | the disk is slow | `rate(sluice_buffer_sync_duration_seconds_sum[5m]) / rate(sluice_buffer_sync_duration_seconds_count[5m]) > 0.5` | with `fsync: "always"` every put waits for it |
 *
 * @example A page for Prometheus, with the servers of Deno and Bun
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { PROMETHEUS_CONTENT_TYPE, prometheusText } from "@sluice/buffer/prometheus";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>();
 *
 * function handle(request: Request): Response {
 *   if (new URL(request.url).pathname !== "/metrics") return new Response("not found", { status: 404 });
 *   const page = prometheusText([{ name: "clicks", stats: buffer.stats() }]);
 *   return new Response(page, { headers: { "content-type": PROMETHEUS_CONTENT_TYPE } });
 * }
 *
 * // In a program: what your HTTP server calls for each request
 * assertEquals(handle(new Request("http://localhost/metrics")).status, 200);
 * await buffer.close();
 * ```
 *
 * @example The same with the server of Node
 * ```ts
 * import { createServer, type Server } from "node:http";
 * import { MemoryBuffer, Producer, type RecordBuffer } from "@sluice/buffer";
 * import { PROMETHEUS_CONTENT_TYPE, prometheusText } from "@sluice/buffer/prometheus";
 * import { assertEquals } from "@std/assert";
 *
 * function metricsServer(buffer: RecordBuffer<string>, producer: Producer<string>): Server {
 *   return createServer((request, response) => {
 *     if (request.url !== "/metrics") return response.writeHead(404).end();
 *     const sources = [buffer, producer].map((source) => ({ name: "visits", stats: source.stats() }));
 *     response.setHeader("content-type", PROMETHEUS_CONTENT_TYPE).end(prometheusText(sources));
 *   });
 * }
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({ buffer, send: () => {} });
 * const server = metricsServer(buffer, producer); // in a program: server.listen(9464)
 * assertEquals(server.listening, false);
 * await producer.close();
 * await buffer.close();
 * ```
 *
 * @module
 */

import { systemClock } from "../base/clock.ts";
import { describe } from "../base/validation.ts";
import type { BufferStats } from "../buffer/events.ts";
import type { ProducerStats } from "../producer/events.ts";
import {
  BUFFER_METRICS,
  isProducerStats,
  type Metric,
  type MetricSet,
  PRODUCER_METRICS,
  SYNC_DURATION,
} from "./definitions.ts";

/**
 * The content type of the page. Prometheus 3 refuses a page without one
 * (https://prometheus.io/docs/prometheus/latest/migration/#scrape-protocols).
 *
 * @example The answer to a scrape
 * ```ts
 * import { PROMETHEUS_CONTENT_TYPE, prometheusText } from "@sluice/buffer/prometheus";
 * import { assertEquals } from "@std/assert";
 *
 * const response = new Response(prometheusText([]), { headers: { "content-type": PROMETHEUS_CONTENT_TYPE } });
 * assertEquals(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
 * ```
 */
export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/**
 * A buffer or a producer of the page.
 *
 * @example A buffer and its producer
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type PrometheusSource, prometheusText } from "@sluice/buffer/prometheus";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({ buffer, send: () => {} });
 * const sources: PrometheusSource[] = [
 *   { name: "clicks", stats: buffer.stats() },
 *   { name: "clicks", stats: producer.stats(), labels: { target: "warehouse" } },
 * ];
 * assertStringIncludes(
 *   prometheusText(sources),
 *   'sluice_producer_batch_inflight{sluice_producer_name="clicks",target="warehouse"} 0\n',
 * );
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface PrometheusSource {
  /** What its `stats()` says now. */
  readonly stats: BufferStats | ProducerStats;
  /**
   * Tells it from the others; the label `sluice_buffer_name` or `sluice_producer_name`.
   *
   * @default {no label}
   */
  readonly name?: string;
  /**
   * Labels of each of its lines besides; names as Prometheus allows them, without `__` or `sluice_` at the beginning.
   *
   * @default {none}
   */
  readonly labels?: Readonly<Record<string, string>>;
}

/**
 * Options of {@linkcode prometheusText}.
 *
 * @example Figures of another time
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { type PrometheusOptions, prometheusText } from "@sluice/buffer/prometheus";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const stats = buffer.stats();
 * const options: PrometheusOptions = { now: stats.lastProgressAt + 1_500 };
 * assertStringIncludes(prometheusText([{ stats }], options), "sluice_buffer_idle_time_seconds 1.5\n");
 * await buffer.close();
 * ```
 */
export interface PrometheusOptions {
  /**
   * Wall time, in milliseconds since 1970, that the figures are of.
   *
   * @default {Date.now()}
   */
  readonly now?: number;
}

/** A source with its labels, as they stand in the page. */
interface Labelled<S> {
  readonly stats: S;
  /** `a="b",c="d"`, or nothing. */
  readonly labels: string;
}

/** What Prometheus calls a family. */
interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "summary";
  readonly help: string;
  readonly lines: readonly string[];
}

const RENDER = "render metrics";
/** What a unit becomes; one in braces becomes nothing. */
const UNIT_SUFFIXES: Readonly<Record<string, string>> = { s: "_seconds", By: "_bytes" };
const LABEL_NAME = /^(?!__|sluice_)[a-zA-Z_][a-zA-Z0-9_]*$/;

/**
 * Renders figures as a page for Prometheus.
 *
 * @param sources Buffers and producers, in any order. Those of one kind must differ in name or labels.
 * @returns The page, each line with its end.
 * @throws {TypeError} if a source is not what it must be, or two could not be told apart.
 *
 * @example Two lines of it
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { prometheusText } from "@sluice/buffer/prometheus";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>();
 * await buffer.putMany(["a", "b"]);
 * const text = prometheusText([{ name: "clicks", stats: buffer.stats() }]);
 * assertStringIncludes(text, "# TYPE sluice_buffer_record_put_total counter\n");
 * assertStringIncludes(text, 'sluice_buffer_record_put_total{sluice_buffer_name="clicks"} 2\n');
 * await buffer.close();
 * ```
 */
export function prometheusText(sources: readonly PrometheusSource[], options: PrometheusOptions = {}): string {
  const { now = systemClock.now() } = options;
  if (!Array.isArray(sources)) {
    throw new TypeError(`Cannot ${RENDER}: sources must be an array, got ${describe(sources)}`);
  }
  const buffers: Labelled<BufferStats>[] = [];
  const producers: Labelled<ProducerStats>[] = [];
  sources.forEach((source, i) => {
    const { stats } = checkSource(source, `sources[${i}]`);
    if (isProducerStats(stats)) producers.push({ stats, labels: labelsOf(source, PRODUCER_METRICS) });
    else buffers.push({ stats, labels: labelsOf(source, BUFFER_METRICS) });
  });
  checkDistinct("buffers", buffers);
  checkDistinct("producers", producers);
  return [
    ...BUFFER_METRICS.metrics.map((metric) => familyOf(metric, buffers, now)),
    syncFamily(buffers),
    ...PRODUCER_METRICS.metrics.map((metric) => familyOf(metric, producers, now)),
  ].map(textOf).join("");
}

function familyOf<S>(metric: Metric<S>, sources: readonly Labelled<S>[], now: number): Family {
  const isCounter = metric.kind === "counter";
  const name = nameOf(metric) + (isCounter ? "_total" : "");
  const lines = sources.flatMap(({ stats, labels }) =>
    metric.samples(stats, now).map(({ value, attributes = {} }) =>
      lineOf(name, [labels, ...Object.entries(attributes).map(label)], value)
    )
  );
  return { name, type: isCounter ? "counter" : "gauge", help: metric.description, lines };
}

/** A summary without quantiles: its two lines are called as a histogram's. */
function syncFamily(buffers: readonly Labelled<BufferStats>[]): Family {
  const name = nameOf(SYNC_DURATION);
  const lines = buffers.flatMap(({ stats, labels }) => [
    lineOf(`${name}_sum`, [labels], stats.syncMs / 1_000),
    lineOf(`${name}_count`, [labels], stats.syncs),
  ]);
  return { name, type: "summary", help: SYNC_DURATION.description, lines };
}

function textOf({ name, type, help, lines }: Family): string {
  if (lines.length === 0) return "";
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

function nameOf({ name, unit }: { readonly name: string; readonly unit: string }): string {
  return name.replaceAll(".", "_") + (UNIT_SUFFIXES[unit] ?? "");
}

function lineOf(name: string, labels: readonly string[], value: number): string {
  const list = labels.filter((one) => one !== "").join(",");
  return `${name}${list === "" ? "" : `{${list}}`} ${value}\n`;
}

function labelsOf<S>({ name, labels = {} }: PrometheusSource, { nameAttribute }: MetricSet<S>): string {
  const named: [string, string][] = name === undefined ? [] : [[nameAttribute, name]];
  // In one order, so that the same labels are the same text.
  return [...named, ...Object.entries(labels).sort()].map(label).join(",");
}

function label([name, value]: [string, string]): string {
  const escaped = value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
  return `${name.replaceAll(".", "_")}="${escaped}"`;
}

function checkSource(source: PrometheusSource, what: string): PrometheusSource {
  const { stats, name, labels = {} } = source ?? {};
  const figures = typeof stats === "object" && stats !== null ? stats : {};
  if (!("pendingRecords" in figures || "failedAttempts" in figures)) {
    throw new TypeError(`Cannot ${RENDER}: ${what}.stats must be what stats() gives, got ${describe(stats)}`);
  }
  if (name !== undefined && (typeof name !== "string" || name === "")) {
    throw new TypeError(`Cannot ${RENDER}: ${what}.name must be a string that isn't empty, got ${describe(name)}`);
  }
  if (typeof labels !== "object" || labels === null) {
    throw new TypeError(`Cannot ${RENDER}: ${what}.labels must be an object, got ${describe(labels)}`);
  }
  for (const [key, value] of Object.entries(labels)) {
    if (!LABEL_NAME.test(key)) throw new TypeError(`Cannot ${RENDER}: ${what}.labels must not have the name "${key}"`);
    if (typeof value === "string") continue;
    throw new TypeError(`Cannot ${RENDER}: ${what}.labels.${key} must be a string, got ${describe(value)}`);
  }
  return source;
}

/** Two lines with the same labels are undefined in the format, and Prometheus drops one of them. */
function checkDistinct<S>(what: string, sources: readonly Labelled<S>[]): void {
  const seen = new Set<string>();
  for (const { labels } of sources) {
    if (seen.has(labels)) throw new TypeError(`Cannot ${RENDER}: two ${what} have the same labels, {${labels}}`);
    seen.add(labels);
  }
}
