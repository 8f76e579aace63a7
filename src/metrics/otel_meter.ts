/**
 * The part of an OpenTelemetry meter that `otel.ts` uses, so that its type needs no package. A test checks with the types of
 * `@opentelemetry/api` that each of its meters fits.
 *
 * @module
 */

/** Attributes, which distinguish the values of one metric. */
export type MetricAttributes = Record<string, string | number | boolean>;

/** Describes an instrument: a part of `MetricOptions` of `@opentelemetry/api`. */
export interface InstrumentDescription {
  /** Its meaning. */
  description?: string;
  /** Its unit, in UCUM. */
  unit?: string;
  /** Default boundaries of a histogram. */
  advice?: { explicitBucketBoundaries?: number[] };
}

/** Receives the values of a collection: a part of `BatchObservableResult` of `@opentelemetry/api`. */
export interface Observations {
  /** Observes a value of an instrument that the meter created. */
  observe(instrument: object, value: number, attributes?: MetricAttributes): void;
}

/**
 * The part of `Meter` of `@opentelemetry/api` that is used. A method that creates an instrument returns the existing one, if there
 * is one with that name.
 */
export interface MetricsMeter {
  /** Creates an instrument for values that can't be summed, such as an age. */
  createObservableGauge(name: string, options?: InstrumentDescription): object;
  /** Creates an instrument for values that only grow. */
  createObservableCounter(name: string, options?: InstrumentDescription): object;
  /** Creates an instrument for values that can be summed and may shrink. */
  createObservableUpDownCounter(name: string, options?: InstrumentDescription): object;
  /** Creates an instrument for a distribution. */
  createHistogram(
    name: string,
    options?: InstrumentDescription,
  ): { record(value: number, attributes?: MetricAttributes): void };
  /** Calls `callback` at each collection; it may observe these instruments. */
  addBatchObservableCallback(callback: (result: Observations) => void, instruments: object[]): void;
  /** Undoes `addBatchObservableCallback()` with the same arguments. */
  removeBatchObservableCallback(callback: (result: Observations) => void, instruments: object[]): void;
}
