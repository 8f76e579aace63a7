/**
 * Metrics of buffers and producers as a page for Prometheus, for programs without OpenTelemetry: {@linkcode prometheusText}
 * renders what `stats()` says in the text format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
 *
 * The names are those that OpenTelemetry's metrics get in Prometheus, so that one dashboard fits both: dots become underscores,
 * the unit is appended (`_seconds`, `_bytes`), and `_total` for a counter
 * (https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/, "OTLP Metric points to Prometheus").
 * `sluice.buffer.queue.age` is `sluice_buffer_queue_age_seconds`. The module `@sluice/buffer/otel` lists all of them. Some
 * exporters, such as the one of the SDK for JavaScript, omit the units. Labels for a metric's library, such as
 * `otel_scope_name`, are not included.
 *
 * The page has only what `stats()` has. The durations of syncs have a count and a sum, named like those of a histogram, but no
 * buckets. The durations of attempts, the reasons of failures, and errors are missing.
 *
 * ## Alerts
 *
 * Adjust the numbers. The first alert needs OpenTelemetry.
 *
 * | alert | when | then |
 * |---|---|---|
 * | the buffer has failed | `sluice_buffer_error_reported_total{error_type="BUFFER_FAILED"} > 0` | look at its error and the disk; a restart recovers what is there |
 * | puts are rejected | `increase(sluice_buffer_put_rejected_total[5m]) > 0` | records are refused: backlog or disk full, buffer failed, too large |
 * | the backlog runs full | `sluice_buffer_backlog_size_bytes / sluice_buffer_backlog_capacity_bytes > 0.8` | the target is too slow or away |
 * | records are dropped | `increase(sluice_buffer_record_dropped_total[15m]) > 0` | they are lost, as `"drop-oldest"` says |
 * | nothing is delivered | `sluice_buffer_queue_size > 0 and increase(sluice_buffer_batch_committed_total[15m]) == 0` | the target is away, or nobody takes batches |
 * | delivery is behind | `sluice_buffer_queue_age_seconds > 600` | the same, also while some records still get through |
 * | the target takes nothing | `sluice_producer_blocked_time_seconds > 300` | a password, a permission, a table, a server: `lastError`; then `retryNow()` |
 * | the producer stopped | `sluice_producer_status{sluice_producer_state="stopped"} == 1` | a record that can't be delivered, or a buffer that failed: `lastError` |
 * | dead letters | `increase(sluice_producer_record_dead_lettered_total[15m]) > 0` | look at them; nothing retries them automatically |
 * | attempts fail | `rate(sluice_producer_attempt_failed_total[5m]) > 0`, for half an hour | `lastError`; with OpenTelemetry `error_type` says why |
 * | damage | `sluice_buffer_quarantined_bytes_total > 0` | records may be lost: see `recovery` and the event `damage-found`; a bad disk? |
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
import { checkObject, wrongType } from "../base/validation.ts";
import type { BufferStats } from "../buffer/events.ts";
import type { ProducerStats } from "../producer/events.ts";
import {
  BUFFER_METRICS,
  checkName,
  isProducerStats,
  type Metric,
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

/** A buffer or a producer on the page. */
export interface PrometheusSource {
  /** What its `stats()` returned. */
  readonly stats: BufferStats | ProducerStats;
  /**
   * Distinguishes it from the others; the label `sluice_buffer_name` or `sluice_producer_name`.
   *
   * @default {no label}
   */
  readonly name?: string | undefined;
  /**
   * Further labels of each of its lines. Names must be valid in Prometheus, and not begin with `__` or `sluice_`.
   *
   * @default {none}
   */
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** Options of {@linkcode prometheusText}. */
export interface PrometheusOptions {
  /**
   * The wall time of the statistics, in milliseconds since 1970.
   *
   * @default {Date.now()}
   */
  readonly now?: number | undefined;
}

/** A source with its rendered labels. */
interface Labelled<S> {
  readonly stats: S;
  /** `a="b",c="d"`, or empty. */
  readonly labels: string;
}

const RENDER = "render metrics";
/** The suffix for a unit; a unit in braces has none. */
const UNIT_SUFFIXES: Readonly<Record<string, string>> = { s: "_seconds", By: "_bytes" };
const LABEL_NAME = /^(?!__|sluice_)[a-zA-Z_][a-zA-Z0-9_]*$/;

/**
 * Renders statistics as a page for Prometheus.
 *
 * @param sources Buffers and producers, in any order. Those of one kind must differ in name or labels.
 * @param options The time of the statistics.
 * @returns The page; each line ends with a line feed.
 * @throws {TypeError} if a source has the wrong type, or two of one kind have the same labels.
 *
 * @example Two lines of the page
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
  if (!Array.isArray(sources)) throw wrongType("sources", "an array", sources, RENDER);
  const buffers: Labelled<BufferStats>[] = [];
  const producers: Labelled<ProducerStats>[] = [];
  sources.forEach((source, i) => {
    const { stats } = checkSource(source, `sources[${i}]`);
    if (isProducerStats(stats)) producers.push({ stats, labels: renderLabels(source, PRODUCER_METRICS.nameAttribute) });
    else buffers.push({ stats, labels: renderLabels(source, BUFFER_METRICS.nameAttribute) });
  });
  checkDistinct("buffers", buffers);
  checkDistinct("producers", producers);
  return [
    ...BUFFER_METRICS.metrics.map((metric) => renderMetric(metric, buffers, now)),
    renderSyncs(buffers),
    ...PRODUCER_METRICS.metrics.map((metric) => renderMetric(metric, producers, now)),
  ].join("");
}

function renderMetric<S>(metric: Metric<S>, sources: readonly Labelled<S>[], now: number): string {
  const [type, suffix] = metric.kind === "counter" ? ["counter", "_total"] : ["gauge", ""];
  const name = toPrometheusName(metric) + suffix;
  const lines = sources.flatMap(({ stats, labels }) =>
    metric.samples(stats, now).map(({ value, attributes = {} }) =>
      renderLine(name, [labels, ...Object.entries(attributes).map(renderLabel)], value)
    )
  );
  return renderFamily(`${name} ${metric.description}`, `${name} ${type}`, lines);
}

/** A summary without quantiles: its two lines have the names of a histogram's. */
function renderSyncs(buffers: readonly Labelled<BufferStats>[]): string {
  const name = toPrometheusName(SYNC_DURATION);
  const lines = buffers.flatMap(({ stats, labels }) => [
    renderLine(`${name}_sum`, [labels], stats.syncMs / 1_000),
    renderLine(`${name}_count`, [labels], stats.syncs),
  ]);
  return renderFamily(`${name} ${SYNC_DURATION.description}`, `${name} summary`, lines);
}

/** A metric with all its lines: a family, in Prometheus's term. */
function renderFamily(help: string, type: string, lines: readonly string[]): string {
  return lines.length === 0 ? "" : `# HELP ${help}\n# TYPE ${type}\n${lines.join("")}`;
}

function toPrometheusName({ name, unit }: { readonly name: string; readonly unit: string }): string {
  return name.replaceAll(".", "_") + (UNIT_SUFFIXES[unit] ?? "");
}

function renderLine(name: string, labels: readonly string[], value: number): string {
  const list = labels.filter((one) => one !== "").join(",");
  return `${name}${list === "" ? "" : `{${list}}`} ${value}\n`;
}

function renderLabels({ name, labels = {} }: PrometheusSource, nameAttribute: string): string {
  const named: [string, string][] = name === undefined ? [] : [[nameAttribute, name]];
  // Sorted, so that the same labels give the same text.
  return [...named, ...Object.entries(labels).sort()].map(renderLabel).join(",");
}

function renderLabel([name, value]: [string, string]): string {
  const escaped = value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
  return `${name.replaceAll(".", "_")}="${escaped}"`;
}

function checkSource(source: PrometheusSource, what: string): PrometheusSource {
  const { stats, name, labels = {} } = source ?? {};
  const figures = typeof stats === "object" && stats !== null ? stats : {};
  if (!("pendingRecords" in figures || "failedAttempts" in figures)) {
    throw wrongType(`${what}.stats`, "what stats() returns", stats, RENDER);
  }
  checkName(`${what}.name`, name, RENDER);
  checkObject(`${what}.labels`, labels, RENDER);
  for (const [key, value] of Object.entries(labels)) {
    if (!LABEL_NAME.test(key)) throw new TypeError(`Cannot ${RENDER}: ${what}.labels must not have the name "${key}"`);
    if (typeof value !== "string") throw wrongType(`${what}.labels.${key}`, "a string", value, RENDER);
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
