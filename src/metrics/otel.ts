/**
 * Metrics of buffers and producers for OpenTelemetry: {@linkcode instrument} has a meter report what `stats()` says, and
 * how long syncs and attempts take.
 *
 * There is no dependency: the meter is yours, that of `@opentelemetry/api` with any SDK behind it, and typed here by the
 * few methods that are used.
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
 * | `sluice.buffer.` | kind | unit | what it tells |
 * |---|---|---|---|
 * | `queue.size` | up-down counter | `{record}` | records not yet committed, in flight included |
 * | `queue.payload.size` | up-down counter | `By` | their payload bytes |
 * | `queue.age` | gauge | `s` | age of the oldest record that is not in flight |
 * | `record.inflight` | up-down counter | `{record}` | records handed over and not yet committed |
 * | `backlog.size` | up-down counter | `By` | what all of them take of `maxBacklogBytes`, payloads and framing |
 * | `backlog.capacity` | up-down counter | `By` | `maxBacklogBytes` |
 * | `segment.live` | up-down counter | `{segment}` | log files |
 * | `disk.size` | up-down counter | `By` | their bytes |
 * | `idle.time` | gauge | `s` | time since the last put, emit or commit |
 * | `record.put` | counter | `{record}` | records accepted |
 * | `put.rejected` | counter | `{put}` | puts rejected, for any reason |
 * | `record.dropped` | counter | `{record}` | records dropped by `whenFull: "drop-oldest"` |
 * | `batch.emitted` | counter | `{batch}` | batches handed over for the first time |
 * | `batch.redelivered` | counter | `{batch}` | batches handed over again |
 * | `batch.committed` | counter | `{batch}` | batches committed |
 * | `quarantined` | counter | `By` | damaged bytes that were set aside |
 * | `error.reported` | counter | `{error}` | warnings and the failure of the buffer, by code: `error.type` |
 * | `sync.duration` | histogram | `s` | how long syncs took |
 *
 * | `sluice.producer.` | kind | unit | what it tells |
 * |---|---|---|---|
 * | `status` | up-down counter | `{producer}` | 1 for its state, `sluice.producer.state`: running, stopped, closing, closed |
 * | `batch.inflight` | up-down counter | `{batch}` | batches between buffer and target |
 * | `backoff.remaining` | gauge | `s` | time until something is tried again, 0 if nothing waits |
 * | `attempt.started` | counter | `{attempt}` | deliveries sent |
 * | `attempt.repeated` | counter | `{attempt}` | those of them with records that were sent before |
 * | `attempt.failed` | counter | `{attempt}` | those that failed, by reason: `error.type` |
 * | `attempt.timed_out` | counter | `{attempt}` | those that took longer than `timeoutMs` |
 * | `attempt.abandoned` | counter | `{attempt}` | those that did not answer their signal either |
 * | `attempt.duration` | histogram | `s` | how long attempts took; those that failed by `error.type` |
 * | `delivery.halved` | counter | `{delivery}` | deliveries that were too large |
 * | `record.delivered` | counter | `{record}` | records that the target has taken |
 * | `record.dead_lettered` | counter | `{record}` | records put into the dead-letter buffer |
 * | `batch.committed` | counter | `{batch}` | batches committed |
 * | `record.committed` | counter | `{record}` | records in them |
 *
 * `error.type` is `timeout`, `abandoned`, `too_large`, `refused`, a code such as `ECONNREFUSED`, or the error's class: at
 * most 20 of them, then `_OTHER`. Nothing that a record, a batch or a delivery brings along becomes an attribute, so that
 * is the only part of the number of series that isn't fixed.
 *
 * The option `name` tells a buffer or a producer from the others; it becomes the attribute `sluice.buffer.name` or
 * `sluice.producer.name`. Several may share a meter: each has observations of its own, of instruments that the SDK makes
 * once for a name. Two with the same name and attributes take each other's place; nobody can tell them apart then.
 *
 * ## When
 *
 * A collection calls `stats()` once and takes everything from it, so the values of one collection belong together.
 * Between collections the only work is to record a number at each sync and each attempt. Counters begin at 0 when the
 * buffer is opened or the producer made; histograms, reasons of failed attempts and the errors of a buffer begin when
 * `instrument()` is called.
 *
 * After `close()` the figures stay as they were: what a closed buffer has on disk is still there. So at the end of a
 * program close first, then let the SDK collect for the last time. A program that goes on without a buffer calls the
 * function that `instrument()` returned; from then on nothing is read or observed, and nothing holds the buffer.
 *
 * Two things depend on the SDK. Values that are no longer observed: the SDK for JavaScript (3.1) goes on exporting the
 * last ones, which the specification says it should not; Deno's (2.9) drops them. The end of a process: Deno's SDK
 * doesn't collect then, so that what a program does after the last interval is missing.
 *
 * @module
 */

import { systemClock } from "../base/clock.ts";
import { checkMethods, describe } from "../base/validation.ts";
import type { RecordBuffer } from "../buffer/record_buffer.ts";
import type { BufferErrorCode } from "../errors/mod.ts";
import type { Producer } from "../producer/producer.ts";
import {
  ATTEMPT_DURATION,
  BUFFER_METRICS,
  type BufferFigures,
  type DurationMetric,
  ERROR_TYPE,
  isProducerStats,
  type Metric,
  type MetricSet,
  PRODUCER_METRICS,
  type ProducerFigures,
  SYNC_DURATION,
} from "./definitions.ts";
import { ErrorTypeCounter } from "./error_type.ts";
import type { InstrumentDescription, MetricAttributes, MetricsMeter, Observations } from "./otel_meter.ts";

export type { InstrumentDescription, MetricAttributes, MetricsMeter, Observations };

/** What can be measured of a buffer. */
type MeasuredBuffer = Pick<RecordBuffer<unknown>, "stats" | "subscribe">;
/** What can be measured of a producer. */
type MeasuredProducer = Pick<Producer<unknown>, "stats" | "subscribe">;

/**
 * Options of {@linkcode instrument}.
 *
 * @example Options for everything of one program
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { instrument, type InstrumentOptions } from "@sluice/buffer/otel";
 * import { metrics } from "@opentelemetry/api";
 * import { assertEquals } from "@std/assert";
 *
 * const options: InstrumentOptions = { meter: metrics.getMeter("clicks"), attributes: { "app.zone": "north" } };
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer<string>({ buffer, send: () => {} });
 * instrument(buffer, { ...options, name: "clicks" });
 * instrument(producer, { ...options, name: "clicks" });
 * assertEquals(producer.stats().state, "running"); // and so says sluice.producer.status
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface InstrumentOptions {
  /** Whose instruments are used: `metrics.getMeter("my-program")` of `@opentelemetry/api`. */
  readonly meter: MetricsMeter;
  /**
   * Tells this buffer or producer from others of the process. It should stay the same when the process starts anew:
   * "orders", not a path with a date in it. A producer and its buffer may have the same one.
   *
   * @default {no attribute}
   */
  readonly name?: string;
  /**
   * Attributes of every value besides.
   *
   * @default {none}
   */
  readonly attributes?: Readonly<MetricAttributes>;
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
 * Has a meter report what a buffer or a producer does.
 *
 * @returns Ends it: nothing is observed any more. A second call does nothing.
 * @throws {TypeError} if the source or an option is not what it must be, or an option is unknown.
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
 */
export function instrument(
  source: Pick<RecordBuffer<unknown>, "stats" | "subscribe"> | Pick<Producer<unknown>, "stats" | "subscribe">,
  options: InstrumentOptions,
): () => void {
  checkMethods("the buffer or producer", source, ["stats", "subscribe"], INSTRUMENT);
  checkOptions(options);
  const ends = isProducer(source) ? instrumentProducer(source, options) : instrumentBuffer(source, options);
  return () => {
    for (const end of ends.splice(0)) end();
  };
}

function isProducer(source: MeasuredBuffer | MeasuredProducer): source is MeasuredProducer {
  return isProducerStats(source.stats());
}

function instrumentBuffer(buffer: MeasuredBuffer, options: InstrumentOptions): (() => void)[] {
  const attributes = attributesOf(options, BUFFER_METRICS);
  const syncs = createHistogram(options.meter, SYNC_DURATION);
  // The one to be woken for is there from the start: a series that begins with 1 has not grown.
  const errors = new Map<BufferErrorCode, number>([["BUFFER_FAILED", 0]]);
  const leave = buffer.subscribe((event) => {
    if (event.type === "synced") syncs.record(event.durationMs / 1_000, attributes);
    if (event.type !== "failed" && event.type !== "warning") return;
    const { code } = event.error;
    errors.set(code, 1 + (errors.get(code) ?? 0));
  });
  const read = (): BufferFigures => ({ ...buffer.stats(), errors });
  return [leave, observe(options.meter, BUFFER_METRICS.metrics, attributes, read)];
}

function instrumentProducer(producer: MeasuredProducer, options: InstrumentOptions): (() => void)[] {
  const attributes = attributesOf(options, PRODUCER_METRICS);
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

/** Has `metrics` observed at each collection, all from one reading; the function that ends it. */
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

/** What stands at each value. The name comes last: no attribute can take its place. */
function attributesOf<S>({ name, attributes }: InstrumentOptions, { nameAttribute }: MetricSet<S>): MetricAttributes {
  return { ...attributes, ...(name === undefined ? {} : { [nameAttribute]: name }) };
}

function checkOptions(options: InstrumentOptions): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot ${INSTRUMENT}: options must be an object, got ${describe(options)}`);
  }
  for (const option of Object.keys(options)) {
    if (!OPTIONS.includes(option)) throw new TypeError(`Cannot ${INSTRUMENT}: unknown option ${option}`);
  }
  const { meter, name, attributes = {} } = options;
  checkMethods("meter", meter, METER_METHODS, INSTRUMENT);
  if (name !== undefined && (typeof name !== "string" || name === "")) {
    throw new TypeError(`Cannot ${INSTRUMENT}: name must be a string that isn't empty, got ${describe(name)}`);
  }
  if (typeof attributes !== "object" || attributes === null) {
    throw new TypeError(`Cannot ${INSTRUMENT}: attributes must be an object, got ${describe(attributes)}`);
  }
  for (const [key, value] of Object.entries(attributes)) {
    if (["string", "number", "boolean"].includes(typeof value)) continue;
    throw new TypeError(
      `Cannot ${INSTRUMENT}: attributes.${key} must be a string, a number or a boolean, got ${describe(value)}`,
    );
  }
}
