/**
 * The metrics of a buffer and of a producer: each one's name, kind, unit and meaning, and how it follows from `stats()`. Pure tables,
 * which `otel.ts` reports to OpenTelemetry and `prometheus.ts` prints, so that both agree.
 *
 * The names follow OpenTelemetry's semantic conventions:
 * - Naming (https://opentelemetry.io/docs/specs/semconv/general/naming/): what is counted comes first, what happened to it
 *   second (`record.dropped`); no plural in a namespace or in an up-down counter; no unit and no `total` in a name;
 *   `error.type` for reasons, with `_OTHER` for those without a name.
 * - Kinds and units (https://opentelemetry.io/docs/specs/semconv/general/metrics/): UCUM without prefixes, seconds for
 *   durations, `{record}` in the singular for counts.
 * - Queues (https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/): `queue.size`, `size` beside `capacity`, `inflight`,
 *   `live`, all up-down counters, as in `otel.sdk.processor.span.queue.size`, `otel.sdk.exporter.span.inflight` and
 *   `otel.sdk.span.live`; a name for each component that survives a restart. None ends in `count`, which Prometheus reserves
 *   for histograms.
 * - Attempts (https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/): a histogram of seconds with
 *   `error.type` for failures, like `messaging.client.operation.duration`, with its boundaries.
 *
 * The number of series is bounded: no attribute depends on a record, a batch or a delivery.
 *
 * @module
 */

import { wrongType } from "../base/validation.ts";
import type { BufferStats } from "../buffer/events.ts";
import type { ProducerStats } from "../producer/events.ts";

/** Attribute with the reason of a failure. */
export const ERROR_TYPE = "error.type";
/** Its value for a reason without a name. */
export const OTHER_ERROR = "_OTHER";
/** Attribute with the state of a producer. */
const STATE = "sluice.producer.state";
const STATES: readonly ProducerStats["state"][] = ["running", "stopped", "closing", "closed"];

export interface Sample {
  readonly value: number;
  /** Distinguishes it from the metric's other values of the same source. */
  readonly attributes?: Readonly<Record<string, string>>;
}

/** A metric that follows from statistics of type `S`. */
export interface Metric<S> {
  readonly name: string;
  /** A `"counter"` only grows. An `"up-down-counter"` can be summed over several sources, a `"gauge"` can't. */
  readonly kind: "counter" | "up-down-counter" | "gauge";
  /** In UCUM's case-sensitive notation. */
  readonly unit: string;
  readonly description: string;
  /** Its values; `now` is the wall time in milliseconds. */
  readonly samples: (stats: S, now: number) => readonly Sample[];
}

/** A distribution of durations in seconds, recorded from events. */
export interface DurationMetric extends Pick<Metric<never>, "name" | "unit" | "description"> {
  /** Upper bounds of its buckets, except the last. */
  readonly boundaries: readonly number[];
}

/** A buffer's statistics, and its errors if a listener has counted them. */
export type BufferFigures = BufferStats & {
  readonly errors?: ReadonlyMap<string, number>;
};

/** A producer's statistics, and the reasons of failed attempts if a listener has counted them. */
export type ProducerFigures = ProducerStats & {
  readonly failures?: ReadonlyMap<string, number>;
};

/** The metrics of one kind of source. */
export interface MetricSet<S> {
  readonly nameAttribute: string;
  readonly metrics: readonly Metric<S>[];
}

export const BUFFER_METRICS: MetricSet<BufferFigures> = metricSet("sluice.buffer", [
  upDown("queue.size", "{record}", "Records accepted and not yet committed, in flight included", "pendingRecords"),
  upDown("queue.payload.size", "By", "Payload bytes of the records not yet committed", "pendingBytes"),
  gauge(
    "queue.age",
    "Age of the oldest record that is not in flight; 0 without one",
    ({ oldestAgeMs }) => oldestAgeMs,
  ),
  upDown("record.inflight", "{record}", "Records handed over and not yet committed", "inFlightRecords"),
  upDown("backlog.size", "By", "What uncommitted records take of the backlog, payloads and framing", "backlogBytes"),
  upDown("backlog.capacity", "By", "The most that uncommitted records may take", "maxBacklogBytes"),
  upDown("segment.live", "{segment}", "Segments on disk", "segments"),
  upDown("disk.size", "By", "Bytes of all segments on disk", "diskBytes"),
  gauge(
    "idle.time",
    "Time since the last put, emit or commit that succeeded, or since the start",
    ({ lastProgressAt }, now) => Math.max(0, now - lastProgressAt),
  ),
  counter("record.put", "{record}", "Records accepted", "puts"),
  counter("put.rejected", "{put}", "Puts rejected, for whatever reason", "rejected"),
  counter("record.dropped", "{record}", "Records dropped to make room for newer ones", "dropped"),
  counter("record.expired", "{record}", "Records dropped because they were too old", "expired"),
  counter("batch.emitted", "{batch}", "Batches handed over for the first time", "batchesEmitted"),
  counter("batch.redelivered", "{batch}", "Batches handed over again", "batchesRedelivered"),
  counter("batch.committed", "{batch}", "Batches committed", "batchesCommitted"),
  counter("quarantined", "By", "Damaged bytes that were set aside", "quarantinedBytes"),
  {
    name: "error.reported",
    kind: "counter",
    unit: "{error}",
    description: "Errors that the buffer has told of: that it has failed, and warnings",
    samples: ({ errors }) => toSamples(errors ?? new Map()),
  },
]);

/** The durations of a buffer's syncs. Their number is `stats().syncs`, their sum `syncMs`. */
export const SYNC_DURATION: DurationMetric = {
  name: "sluice.buffer.sync.duration",
  unit: "s",
  description: "How long a sync to stable storage took, all files of it together",
  // From a tenth of a millisecond, a drive with its own battery, to a disk that hangs.
  boundaries: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
};

export const PRODUCER_METRICS: MetricSet<ProducerFigures> = metricSet("sluice.producer", [
  {
    name: "status",
    kind: "up-down-counter",
    unit: "{producer}",
    description: "1 for the state that the producer is in, 0 for the others",
    samples: ({ state }) => STATES.map((one) => ({ value: one === state ? 1 : 0, attributes: { [STATE]: one } })),
  },
  upDown("batch.inflight", "{batch}", "Batches handed over by the buffer and not yet committed", "inFlightBatches"),
  gauge(
    "backoff.remaining",
    "Time until something that waits is tried again; 0 if nothing waits",
    ({ backoffUntil }, now) => Math.max(0, (backoffUntil ?? now) - now),
  ),
  gauge(
    "blocked.time",
    "Time since the target takes nothing, so that everything waits; 0 if it takes records",
    ({ blockedSince }, now) => Math.max(0, now - (blockedSince ?? now)),
  ),
  counter("target.blocked", "{block}", "How often the target took nothing, so that everything waited", "blocks"),
  counter("attempt.started", "{attempt}", "Deliveries sent", "attempts"),
  counter("attempt.repeated", "{attempt}", "Attempts at records that were sent before", "retries"),
  {
    name: "attempt.failed",
    kind: "counter",
    unit: "{attempt}",
    description: "Attempts that failed, in part or as a whole",
    samples: failedAttempts,
  },
  counter("attempt.target_fault", "{attempt}", "Attempts that failed because of the target", "targetFaults"),
  counter("attempt.timed_out", "{attempt}", "Attempts that took longer than they may", "timeouts"),
  counter("attempt.abandoned", "{attempt}", "Attempts that did not answer their signal either", "abandoned"),
  counter(
    "delivery.halved",
    "{delivery}",
    "Deliveries halved: too large, or refused because of some records",
    "halved",
  ),
  counter("record.delivered", "{record}", "Records that the target has taken", "deliveredRecords"),
  counter("record.expired", "{record}", "Records that were too old before they could be sent", "expiredRecords"),
  counter("record.dead_lettered", "{record}", "Records put into the dead-letter buffer", "deadLetters"),
  counter("batch.committed", "{batch}", "Batches committed", "committedBatches"),
  counter("record.committed", "{record}", "Records in batches committed", "committedRecords"),
]);

/** The durations of a producer's attempts, with the reason if they failed. */
export const ATTEMPT_DURATION: DurationMetric = {
  name: "sluice.producer.attempt.duration",
  unit: "s",
  description: "How long an attempt at a delivery took",
  // As for messaging.client.operation.duration, and two more, because an attempt may take 30 seconds by default.
  boundaries: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60],
};

/** All failures, each counted once. Those that no listener saw have no reason. */
function failedAttempts({ failedAttempts, failures }: ProducerFigures): readonly Sample[] {
  if (failures === undefined) return [{ value: failedAttempts }];
  const samples = new Map(failures);
  let unexplained = failedAttempts;
  for (const count of failures.values()) unexplained -= count;
  if (unexplained > 0) samples.set(OTHER_ERROR, unexplained + (samples.get(OTHER_ERROR) ?? 0));
  return toSamples(samples);
}

function toSamples(counts: ReadonlyMap<string, number>): readonly Sample[] {
  return Array.from(counts, ([type, value]) => ({ value, attributes: { [ERROR_TYPE]: type } }));
}

/** The metrics of one kind of source; their names begin with `prefix`. */
function metricSet<S>(prefix: string, metrics: readonly Metric<S>[]): MetricSet<S> {
  return {
    nameAttribute: `${prefix}.name`,
    metrics: metrics.map((metric) => ({ ...metric, name: `${prefix}.${metric.name}` })),
  };
}

/** The statistics that are numbers. */
type Count<S> = { [K in keyof S]: S[K] extends number ? K : never }[keyof S];

function counter<S>(name: string, unit: string, description: string, count: Count<S>): Metric<S> {
  return { name, kind: "counter", unit, description, samples: (stats) => [{ value: Number(stats[count]) }] };
}

function upDown<S>(name: string, unit: string, description: string, count: Count<S>): Metric<S> {
  return { ...counter(name, unit, description, count), kind: "up-down-counter" };
}

/** All gauges are times; `readMs` gives milliseconds. */
function gauge<S>(name: string, description: string, readMs: (stats: S, now: number) => number): Metric<S> {
  return {
    name,
    kind: "gauge",
    unit: "s",
    description,
    samples: (stats, now) => [{ value: readMs(stats, now) / 1_000 }],
  };
}

/** Whether statistics are a producer's. */
export function isProducerStats(stats: BufferStats | ProducerStats): stats is ProducerStats {
  return "failedAttempts" in stats;
}

/** Throws unless the name of a source is a string that isn't empty, or missing. */
export function checkName(what: string, name: unknown, doing: string): void {
  if (name === undefined || (typeof name === "string" && name !== "")) return;
  throw wrongType(what, "a string that isn't empty", name, doing);
}
