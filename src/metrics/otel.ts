/**
 * Metrics of buffers and producers for OpenTelemetry: {@linkcode instrument} reports what `stats()` says, and how long syncs and
 * attempts take, to a meter.
 *
 * There is no dependency. The meter is yours, from `@opentelemetry/api` with any SDK behind it, and its type here is the few
 * methods that are used.
 *
 * ## Setting up an SDK
 *
 * Deno has one built in. It exports to a collector on port 4318 of the same machine unless told otherwise, and needs no
 * permission for that:
 *
 * ```sh
 * OTEL_DENO=true OTEL_SERVICE_NAME=visits deno run --allow-read=./visits.wal --allow-write=./visits.wal main.ts
 * ```
 *
 * On Node and Bun the SDK is a package, set up in a file of its own:
 *
 * ```mjs
 * // metrics.mjs, for: node --import ./metrics.mjs main.js, or bun --preload ./metrics.mjs main.ts
 * import { metrics } from "@opentelemetry/api";
 * import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
 * import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
 *
 * const reader = new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter() });
 * export const provider = new MeterProvider({ readers: [reader] });
 * metrics.setGlobalMeterProvider(provider);
 * ```
 *
 * `await provider.shutdown()` exports for the last time: call it at the end of the program, when the buffers are closed.
 *
 * ## What is reported
 *
 * Names and units follow the semantic conventions, which the head of `src/metrics/definitions.ts` cites. The page for
 * Prometheus has the same names; its module, `@sluice/buffer/prometheus`, also lists alerts.
 *
 * | `sluice.buffer.` | kind | unit | meaning |
 * |---|---|---|---|
 * | `queue.size` | up-down counter | `{record}` | records not yet committed, in flight included |
 * | `queue.payload.size` | up-down counter | `By` | their payload bytes |
 * | `queue.age` | gauge | `s` | age of the oldest record that is not in flight |
 * | `record.inflight` | up-down counter | `{record}` | records handed over and not yet committed |
 * | `backlog.size` | up-down counter | `By` | their part of `maxBacklogBytes`, payloads and framing |
 * | `backlog.capacity` | up-down counter | `By` | `maxBacklogBytes` |
 * | `segment.live` | up-down counter | `{segment}` | log files |
 * | `disk.size` | up-down counter | `By` | their bytes |
 * | `idle.time` | gauge | `s` | time since the last put, emit or commit |
 * | `record.put` | counter | `{record}` | records accepted |
 * | `put.rejected` | counter | `{put}` | puts rejected, for any reason |
 * | `record.dropped` | counter | `{record}` | records dropped by `whenFull: "drop-oldest"` |
 * | `record.expired` | counter | `{record}` | records dropped because they were older than `maxRecordAgeMs` |
 * | `batch.emitted` | counter | `{batch}` | batches handed over for the first time |
 * | `batch.redelivered` | counter | `{batch}` | batches handed over again |
 * | `batch.committed` | counter | `{batch}` | batches committed |
 * | `quarantined` | counter | `By` | damaged bytes that were set aside |
 * | `error.reported` | counter | `{error}` | warnings and the failure of the buffer, by code: `error.type` |
 * | `sync.duration` | histogram | `s` | how long syncs took |
 *
 * | `sluice.producer.` | kind | unit | meaning |
 * |---|---|---|---|
 * | `status` | up-down counter | `{producer}` | 1 for its state, `sluice.producer.state`: running, stopped, closing, closed |
 * | `batch.inflight` | up-down counter | `{batch}` | batches between buffer and target |
 * | `backoff.remaining` | gauge | `s` | time until something is tried again, 0 if nothing waits |
 * | `blocked.time` | gauge | `s` | time since the target takes nothing, whatever is sent; 0 if it takes records |
 * | `target.blocked` | counter | `{block}` | how often that was so: the events `blocked` |
 * | `attempt.started` | counter | `{attempt}` | deliveries sent |
 * | `attempt.repeated` | counter | `{attempt}` | those of them that resend records |
 * | `attempt.failed` | counter | `{attempt}` | those that failed, by reason: `error.type` |
 * | `attempt.target_fault` | counter | `{attempt}` | those that failed because of the target, whatever was sent |
 * | `attempt.timed_out` | counter | `{attempt}` | those that took longer than `timeoutMs` |
 * | `attempt.abandoned` | counter | `{attempt}` | those that ignored their signal, too |
 * | `attempt.duration` | histogram | `s` | how long attempts took; those that failed by `error.type` |
 * | `delivery.halved` | counter | `{delivery}` | deliveries that were too large, or refused because of some records |
 * | `record.delivered` | counter | `{record}` | records acknowledged by the target |
 * | `record.expired` | counter | `{record}` | records that were older than `maxRecordAgeMs` before they could be sent |
 * | `record.dead_lettered` | counter | `{record}` | records put into the dead-letter buffer |
 * | `batch.committed` | counter | `{batch}` | batches committed |
 * | `record.committed` | counter | `{record}` | records in them |
 *
 * `error.type` is `timeout`, `abandoned`, `too_large`, `target_fault`, `refused`, a code such as `ECONNREFUSED`, or the error's class: at most
 * 20 of them, then `_OTHER`. No attribute depends on a record, a batch or a delivery, so the number of series is fixed, except
 * for these reasons.
 *
 * The option `name` distinguishes buffers and producers; it becomes the attribute `sluice.buffer.name` or
 * `sluice.producer.name`. Several of them may share a meter: each has its own observations, of instruments that the SDK creates
 * once per name. Two with the same name and attributes overwrite each other's values.
 *
 * ## When
 *
 * A collection calls `stats()` once and takes all values from it, so they are consistent. Between collections, each sync and each
 * attempt records one number, and nothing else happens. Counters begin at 0 when the buffer is opened or the producer created;
 * histograms, reasons of failed attempts and a buffer's errors begin when `instrument()` is called.
 *
 * After `close()` the values stay the same: what a closed buffer has on disk is still there. So at the end of a program, close
 * first, then let the SDK collect for the last time. A program that continues without the buffer calls the function that
 * `instrument()` returned. From then on nothing is read or observed, and the buffer can be garbage-collected.
 *
 * Two things depend on the SDK. One is what it does with values that are no longer observed: the one for JavaScript (3.1) keeps
 * exporting the last ones, against the specification; Deno's (2.9) drops them. The other is whether it collects at the end of
 * a process: Deno's doesn't, so what a program does after the last interval is missing.
 *
 * @module
 */

import { systemClock } from "../base/clock.ts";
import { checkMethods, checkObject, checkOptions, wrongType } from "../base/validation.ts";
import type { RecordBuffer } from "../buffer/record_buffer.ts";
import type { SluiceErrorCode } from "../errors/mod.ts";
import type { Producer } from "../producer/producer.ts";
import {
  ATTEMPT_DURATION,
  BUFFER_METRICS,
  type BufferFigures,
  checkName,
  type DurationMetric,
  ERROR_TYPE,
  isProducerStats,
  type Metric,
  PRODUCER_METRICS,
  type ProducerFigures,
  SYNC_DURATION,
} from "./definitions.ts";
import { ErrorTypeCounter } from "./error_type.ts";
import type { InstrumentDescription, MetricAttributes, MetricsMeter, Observations } from "./otel_meter.ts";

export type { InstrumentDescription, MetricAttributes, MetricsMeter, Observations };

/** What the metrics need of a buffer. */
type MeasuredBuffer = Pick<RecordBuffer<unknown>, "stats" | "subscribe">;
/** What the metrics need of a producer. */
type MeasuredProducer = Pick<Producer<unknown>, "stats" | "subscribe">;

/** Options of {@linkcode instrument}. */
export interface InstrumentOptions {
  /** The meter, such as `metrics.getMeter("my-program")` of `@opentelemetry/api`. */
  readonly meter: MetricsMeter;
  /**
   * Distinguishes this buffer or producer from others of the process. It should be the same after a restart: "orders", not a
   * path with a date in it. A producer and its buffer may have the same name.
   *
   * @default {no attribute}
   */
  readonly name?: string | undefined;
  /**
   * Further attributes of every value.
   *
   * @default {none}
   */
  readonly attributes?: Readonly<MetricAttributes> | undefined;
}

const METER_METHODS: readonly (keyof MetricsMeter)[] = [
  "createObservableGauge",
  "createObservableCounter",
  "createObservableUpDownCounter",
  "createHistogram",
  "addBatchObservableCallback",
  "removeBatchObservableCallback",
];
const OPTIONS: readonly (keyof InstrumentOptions | string)[] = ["meter", "name", "attributes"];
const INSTRUMENT = "instrument";

/**
 * Reports the metrics of a buffer or a producer to a meter.
 *
 * @param source The buffer or the producer.
 * @param options The meter, a name and attributes.
 * @returns A function that ends the reporting. A second call does nothing.
 * @throws {TypeError} if the source or an option has the wrong type, or an option is unknown.
 *
 * @example A buffer and its producer
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { instrument } from "@sluice/buffer/otel";
 * import { metrics } from "@opentelemetry/api";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({ buffer, send: () => {} });
 * const meter = metrics.getMeter("my-program");
 * const ends = [buffer, producer].map((source) => instrument(source, { meter, name: "clicks" }));
 *
 * await producer.put("a click");
 * await producer.flush();
 * assertEquals(buffer.stats().batchesCommitted, 1); // and so says sluice.buffer.batch.committed
 *
 * await producer.close();
 * await buffer.close();
 * for (const end of ends) end();
 * ```
 *
 * @example What a meter gets at a collection
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { instrument, type MetricsMeter, type Observations } from "@sluice/buffer/otel";
 * import { assertEquals } from "@std/assert";
 *
 * let collect = (_observations: Observations): void => {};
 * const create = (name: string) => ({ name });
 * const meter: MetricsMeter = { // in a program: metrics.getMeter() of @opentelemetry/api
 *   createObservableGauge: create,
 *   createObservableCounter: create,
 *   createObservableUpDownCounter: create,
 *   createHistogram: () => ({ record: () => {} }),
 *   addBatchObservableCallback: (callback) => void (collect = callback),
 *   removeBatchObservableCallback: () => void (collect = () => {}),
 * };
 *
 * const buffer = await MemoryBuffer.open<string>();
 * const end = instrument(buffer, { meter });
 * await buffer.putMany(["a", "b"]);
 * const values = new Map<string, number>();
 * collect({ observe: (instrument, value) => void values.set((instrument as { name: string }).name, value) });
 * assertEquals(values.get("sluice.buffer.record.put"), 2);
 * end();
 * await buffer.close();
 * ```
 */
export function instrument(
  source: Pick<RecordBuffer<unknown>, "stats" | "subscribe"> | Pick<Producer<unknown>, "stats" | "subscribe">,
  options: InstrumentOptions,
): () => void {
  checkMethods("the buffer or producer", source, ["stats", "subscribe"], INSTRUMENT);
  checkInstrumentOptions(options);
  const ends = isProducer(source) ? instrumentProducer(source, options) : instrumentBuffer(source, options);
  return () => {
    for (const end of ends.splice(0)) end();
  };
}

function isProducer(source: MeasuredBuffer | MeasuredProducer): source is MeasuredProducer {
  return isProducerStats(source.stats());
}

function instrumentBuffer(buffer: MeasuredBuffer, options: InstrumentOptions): (() => void)[] {
  const attributes = mergeAttributes(options, BUFFER_METRICS.nameAttribute);
  const syncs = createHistogram(options.meter, SYNC_DURATION);
  // The code to alert on is there from the start: a series that begins with 1 has no increase.
  const errors = new Map<SluiceErrorCode, number>([["BUFFER_FAILED", 0]]);
  const leave = buffer.subscribe((event) => {
    if (event.type === "synced") syncs.record(event.durationMs / 1_000, attributes);
    if (event.type !== "failed" && event.type !== "warned") return;
    const { code } = event.error;
    errors.set(code, 1 + (errors.get(code) ?? 0));
  });
  const read = (): BufferFigures => ({ ...buffer.stats(), errors });
  return [leave, observe(options.meter, BUFFER_METRICS.metrics, attributes, read)];
}

function instrumentProducer(producer: MeasuredProducer, options: InstrumentOptions): (() => void)[] {
  const attributes = mergeAttributes(options, PRODUCER_METRICS.nameAttribute);
  const failures = new ErrorTypeCounter();
  const attempts = createHistogram(options.meter, ATTEMPT_DURATION);
  const leave = producer.subscribe((event) => {
    if (event.type === "delivered") attempts.record(event.durationMs / 1_000, attributes);
    if (event.type !== "attempt-failed") return;
    attempts.record(event.durationMs / 1_000, { ...attributes, [ERROR_TYPE]: failures.count(event) });
  });
  const read = (): ProducerFigures => ({ ...producer.stats(), failures: failures.counts });
  return [leave, observe(options.meter, PRODUCER_METRICS.metrics, attributes, read)];
}

/** Observes `metrics` at each collection, all from one reading. Returns a function that ends it. */
function observe<S>(
  meter: MetricsMeter,
  metrics: readonly Metric<S>[],
  attributes: MetricAttributes,
  read: () => S,
): () => void {
  const observed = metrics.map((metric) => ({ metric, instrument: createObserved(meter, metric) }));
  const instruments = observed.map(({ instrument }) => instrument);
  const callback = (result: Observations): void => {
    const figures = read();
    const now = systemClock.now();
    for (const { metric, instrument } of observed) {
      for (const sample of metric.samples(figures, now)) {
        result.observe(instrument, sample.value, { ...attributes, ...sample.attributes });
      }
    }
  };
  meter.addBatchObservableCallback(callback, instruments);
  return () => meter.removeBatchObservableCallback(callback, instruments);
}

function createObserved<S>(meter: MetricsMeter, { name, kind, unit, description }: Metric<S>): object {
  switch (kind) {
    case "counter":
      return meter.createObservableCounter(name, { unit, description });
    case "up-down-counter":
      return meter.createObservableUpDownCounter(name, { unit, description });
    case "gauge":
      return meter.createObservableGauge(name, { unit, description });
  }
}

function createHistogram(meter: MetricsMeter, metric: DurationMetric): ReturnType<MetricsMeter["createHistogram"]> {
  const { name, unit, description, boundaries } = metric;
  return meter.createHistogram(name, { unit, description, advice: { explicitBucketBoundaries: [...boundaries] } });
}

/** The attributes of each value. The name comes last, so that no other attribute replaces it. */
function mergeAttributes({ name, attributes }: InstrumentOptions, nameAttribute: string): MetricAttributes {
  return { ...attributes, ...(name === undefined ? {} : { [nameAttribute]: name }) };
}

function checkInstrumentOptions(options: InstrumentOptions): void {
  checkOptions("options", options, OPTIONS, INSTRUMENT);
  const { meter, name, attributes = {} } = options;
  checkMethods("meter", meter, METER_METHODS, INSTRUMENT);
  checkName("name", name, INSTRUMENT);
  checkObject("attributes", attributes, INSTRUMENT);
  for (const [key, value] of Object.entries(attributes)) {
    if (["string", "number", "boolean"].includes(typeof value)) continue;
    throw wrongType(`attributes.${key}`, "a string, a number or a boolean", value, INSTRUMENT);
  }
}
