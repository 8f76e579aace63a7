/**
 * Metrics of buffers and producers for OpenTelemetry: {@linkcode instrument} has a meter report what `stats()` says, and
 * how long syncs and attempts take.
 *
 * There is no dependency: the meter is yours, that of `@opentelemetry/api` with whichever SDK is behind it, and typed here
 * by the few methods that are used. Deno has an SDK built in; `OTEL_DENO=true` turns it on.
 *
 * ## What is reported
 *
 * The README's section "Metrics" lists names, units and meaning. They follow the semantic conventions, which the head of
 * `src/metrics/definitions.ts` cites. Each buffer and each producer is told from the others by its name, the option `name`, which
 * becomes the attribute `sluice.buffer.name` or `sluice.producer.name`. Nothing that a record, a batch or a delivery
 * brings along becomes an attribute, so the number of series is fixed, but for the reasons why attempts fail: 21 at most.
 *
 * Several may share a meter: each has observations of its own, of instruments that the SDK makes once for a name. Two
 * with the same name and attributes take each other's place; nobody can tell them apart then.
 *
 * ## When
 *
 * A collection calls `stats()` once and takes everything from it, so the values of one collection belong together.
 * Between collections a number is noted at each sync and each attempt, and nothing else is done. Counters begin at 0 when
 * the buffer is opened or the producer made; histograms and the errors of a buffer when `instrument()` is called.
 *
 * After `close()` the figures stay what they were: what a closed buffer has on disk is still there. So at the end of a
 * program close first, then let the SDK collect for the last time. A program that goes on without a buffer calls the
 * function that `instrument()` gave; from then on nothing is read or observed, and nothing holds the buffer any more.
 *
 * Two things are up to the SDK. What it makes of values that aren't observed any more: that for JavaScript (3.1) goes on
 * exporting the last ones, which the specification says it should not; Deno's (2.9) drops them. And whether it observes at
 * the end of a process: Deno's doesn't, so that what a program does after the last interval is missing.
 *
 * @module
 */

import { systemClock } from "../base/clock.ts";
import { checkMethods, describe } from "../base/validation.ts";
import type { RecordBuffer } from "../buffer/record_buffer.ts";
import type { SluiceErrorCode } from "../errors/mod.ts";
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
  readonly name?: string | undefined;
  /**
   * Attributes of every value besides.
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
