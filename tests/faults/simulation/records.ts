/**
 * What a simulation knows of records and batches: types only. What the states mean stands at the head of
 * `model.ts`.
 */

/** What became of a record. */
export type State = "called" | "pending" | "done" | "refused";

/** One record. No two have the same value. */
export interface Entry {
  readonly value: string;
  readonly payloadBytes: number;
  /** The `putMany` that it came with. */
  readonly group: number | undefined;
  /** Puts are numbered as they are called. */
  readonly call: number;
  readonly codecVersion: number;
  /** When it was put, in the time of the buffer that took it; NaN if that isn't known. */
  putTime: number;
  /** What it is stamped with: the time by the wall clock. */
  readonly wallTime: number;
  state: State;
  isSafe: boolean;
  isForgotten: boolean;
  /** Dropped or cleared before its put could say that it is there. */
  isGone: boolean;
  /** Rejected, and brought back by a power cut. */
  isBack: boolean;
  /** When it came into its state, on the monotonic clock. */
  since: number;
  sequence: number | undefined;
}

/** A batch in flight. */
export interface HandedOver {
  readonly id: string;
  readonly entries: readonly Entry[];
  /** Whether its end is promised to outlive a power cut. */
  isSafe: boolean;
  since: number;
}

/** Something that may be on the disk although it didn't succeed. */
export interface Attempt {
  readonly kind: "commit" | "clear" | "drop" | "emit";
  /** What it would take away; unknown for a drop, and for a commit that is still under way. */
  entries: ReadonlySet<Entry>;
  /** The most records of a batch at the time. */
  readonly maxRecords: number;
  /** Still under way. */
  isOpen: boolean;
  /** A later state of the cursor was written in its place. */
  isOverwritten: boolean;
}

/** What a promise of durability covers: what there was when it was asked for. */
export interface Covered {
  readonly entries: readonly (readonly [Entry, State])[];
  readonly inFlight: readonly HandedOver[];
  readonly attempts: readonly Attempt[];
}

/** A batch, as far as the model is concerned. */
export interface SeenBatch {
  readonly id: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly redelivered: boolean;
  readonly byteLength: number;
  readonly values: readonly string[];
}

/** The thresholds of a batch. */
export interface Bounds {
  readonly maxRecords: number;
  readonly maxBytes: number;
}
