/**
 * A meter of OpenTelemetry, by the few methods that `otel.ts` uses, so that no package is needed to type one. That each
 * `Meter` of `@opentelemetry/api` is one, a test shows with that package's own types.
 *
 * @module
 */

/**
 * What tells the values of one metric apart.
 *
 * @example Where a program runs
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { instrument, type MetricAttributes } from "@sluice/buffer/otel";
 * import { metrics } from "@opentelemetry/api";
 * import { assertEquals } from "@std/assert";
 *
 * const attributes: MetricAttributes = { "app.zone": "north", "app.shard": 3 };
 * const buffer = await MemoryBuffer.open<string>();
 * const end = instrument(buffer, { meter: metrics.getMeter("clicks"), name: "clicks", attributes });
 * assertEquals(Object.keys(attributes).length, 2); // and the name is a third one
 * end();
 * await buffer.close();
 * ```
 */
export type MetricAttributes = Record<string, string | number | boolean>;

/**
 * What an instrument is: a part of `MetricOptions` of `@opentelemetry/api`.
 *
 * @example What is said of the durations of syncs
 * ```ts
 * import type { InstrumentDescription } from "@sluice/buffer/otel";
 * import { assertEquals } from "@std/assert";
 *
 * const duration: InstrumentDescription = {
 *   description: "How long a sync took",
 *   unit: "s",
 *   advice: { explicitBucketBoundaries: [0.001, 0.01, 0.1, 1] },
 * };
 * assertEquals(duration.advice?.explicitBucketBoundaries?.length, 4); // five buckets
 * ```
 */
export interface InstrumentDescription {
  /** Its meaning. */
  description?: string;
  /** Its unit, in UCUM. */
  unit?: string;
  /** Boundaries that a histogram should have, if nobody says otherwise. */
  advice?: { explicitBucketBoundaries?: number[] };
}

/**
 * Takes what is observed at a collection: a part of `BatchObservableResult` of `@opentelemetry/api`.
 *
 * @example Adding up what is observed
 * ```ts
 * import type { Observations } from "@sluice/buffer/otel";
 * import { assertEquals } from "@std/assert";
 *
 * let sum = 0;
 * const observations: Observations = { observe: (_instrument, value) => void (sum += value) };
 * observations.observe({}, 2, { "sluice.buffer.name": "clicks" });
 * observations.observe({}, 3, { "sluice.buffer.name": "orders" });
 * assertEquals(sum, 5);
 * ```
 */
export interface Observations {
  /** Says a value of an instrument, which is one that the meter has made. */
  observe(instrument: object, value: number, attributes?: MetricAttributes): void;
}

/**
 * The part of `Meter` of `@opentelemetry/api` that is used. Any such meter is one. A method that creates gives what is
 * there, if there is an instrument of that name.
 *
 * @example A meter of one's own, which knows the last collection
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { instrument, type MetricsMeter, type Observations } from "@sluice/buffer/otel";
 * import { assertEquals } from "@std/assert";
 *
 * let collect = (_observations: Observations): void => {};
 * const create = (name: string) => ({ name });
 * const meter: MetricsMeter = {
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
export interface MetricsMeter {
  /** Makes an instrument for what doesn't add up, such as an age. */
  createObservableGauge(name: string, options?: InstrumentDescription): object;
  /** Makes an instrument for what only grows. */
  createObservableCounter(name: string, options?: InstrumentDescription): object;
  /** Makes an instrument for what adds up, and may shrink. */
  createObservableUpDownCounter(name: string, options?: InstrumentDescription): object;
  /** Makes an instrument for a distribution. */
  createHistogram(
    name: string,
    options?: InstrumentDescription,
  ): { record(value: number, attributes?: MetricAttributes): void };
  /** Has `callback` called at each collection; it may observe these instruments. */
  addBatchObservableCallback(callback: (result: Observations) => void, instruments: object[]): void;
  /** Takes back what `addBatchObservableCallback()` did with the same arguments. */
  removeBatchObservableCallback(callback: (result: Observations) => void, instruments: object[]): void;
}
