/**
 * The store of a {@linkcode MemoryBuffer}: records in an array, nothing on disk.
 *
 * @module
 */

import type { Codec } from "../base/codec.ts";
import { PacedReplies } from "../base/event_loop.ts";
import type { MaybePromise } from "../base/maybe_promise.ts";
import { RECORD_HEADER_BYTES } from "../wal/format.ts";
import { type CommitState, LOG_START, type LogPosition } from "../wal/position.ts";
import type { ReadBatch, ReadLimits } from "../wal/reader/log_view.ts";
import type { RecoveryReport } from "./events.ts";
import type { RecordStore, StoreEvents, StoreFigures } from "./record_store.ts";

/** A record in memory: its payload, when it was put, and where it stands. */
export interface Entry {
  readonly payload: Uint8Array;
  readonly putTime: number;
  readonly position: LogPosition;
}

export const NO_FIGURES: StoreFigures = { syncs: 0, syncMs: 0, segments: 0, diskBytes: 0, quarantinedBytes: 0 };

/** Committed entries are let go of when there are this many, so that each is moved once at most. */
export const TRIM_ENTRIES = 1024;

/** So many puts and reads, about a millisecond's worth, are answered before the event loop gets a turn. */
export const STEPS_A_TURN = 500;

/** Records in an array. Everything accepted is acknowledged at once. */
export class MemoryStore implements RecordStore {
  readonly uuid: string = crypto.randomUUID();
  readonly recovery: RecoveryReport = {
    recoveredRecords: 0,
    truncatedBytes: 0,
    damaged: [],
    cursorLost: false,
    durationMs: 0,
  };
  readonly failure = undefined;
  readonly #time: () => number;
  readonly #encoding: Pick<ReadBatch, "codecVersion" | "isJson">;
  #listener: StoreEvents | undefined;
  /** The records from the sequence `#firstSequence` on: accepted ones up to `#end`, then those that were added. */
  #entries: Entry[] = [];
  #firstSequence = 1;
  #begun = 0;
  readonly #answers = new PacedReplies(STEPS_A_TURN);
  #end: LogPosition = LOG_START;
  #position: LogPosition = LOG_START;
  #commit: CommitState = { committed: LOG_START, resume: LOG_START, boundaries: [] };

  constructor(time: () => number, encoding: Pick<ReadBatch, "codecVersion" | "isJson">) {
    this.#time = time;
    this.#encoding = encoding;
  }

  get end(): LogPosition {
    return this.#end;
  }

  get acceptedLogBytes(): number {
    return this.#added().logBytes;
  }

  get commitState(): CommitState {
    return this.#commit;
  }

  get position(): LogPosition {
    return this.#position;
  }

  listen(events: StoreEvents): void {
    this.#listener = events;
  }

  missingFrom(): number {
    return 0;
  }

  add<T>(codec: Codec<T>, record: T): number {
    const encoded = codec.encode(record);
    if (!(encoded instanceof Uint8Array)) throw new TypeError("encode() did not return a Uint8Array");
    this.#entries.push({ payload: encoded.slice(), putTime: this.#time(), position: this.#added() });
    return encoded.length;
  }

  savepoint(): void {
    this.#begun = this.#entries.length;
  }

  rollback(): void {
    this.#entries.length = this.#begun;
  }

  withdraw(): Uint8Array[] {
    return this.#entries.splice(this.#begun).map(({ payload }) => payload);
  }

  beginGroup(): void {
    // Whatever is accepted together is one unit here.
  }

  endGroup(): void {
    // See beginGroup().
  }

  accept(count: number): Promise<number> {
    const { putTime } = this.#entries[this.#entries.length - count];
    this.#end = this.#added();
    this.#listener?.onVisible(putTime);
    const first = this.#end.nextSequence - count;
    if (!this.#answers.mustHold()) return Promise.resolve(first);
    return new Promise((resolve) => this.#answers.hold({ resolve: () => resolve(first) }));
  }

  writeAccepted(): LogPosition {
    return this.#end;
  }

  awaitAcknowledged(): undefined {
    return undefined;
  }

  seek(position: LogPosition): void {
    this.#position = position;
  }

  read({ maxRecords, maxBytes, before }: ReadLimits): MaybePromise<ReadBatch | undefined> {
    const start = this.#position;
    const last = Math.min(before, this.#end.nextSequence, start.nextSequence + maxRecords);
    let end = start;
    while (end.nextSequence < last) {
      const next = this.#behind(end.nextSequence);
      if (end !== start && next.payloadBytes - start.payloadBytes > maxBytes) break;
      end = next;
    }
    if (end === start) return undefined;
    this.#position = end;
    const batch = this.#batch(start, end);
    if (!this.#answers.mustHold()) return batch;
    return new Promise((resolve) => this.#answers.hold({ resolve: () => resolve(batch) }));
  }

  nextPutTime(): number | undefined {
    const { nextSequence } = this.#position;
    return nextSequence < this.#end.nextSequence ? this.#entryAt(nextSequence).putTime : undefined;
  }

  ensureDurable(): undefined {
    return undefined;
  }

  saveCommit(state: CommitState): undefined {
    this.#commit = state;
    const done = state.committed.nextSequence - this.#firstSequence;
    if (done >= Math.max(TRIM_ENTRIES, this.#entries.length / 2)) {
      this.#entries.splice(0, done);
      this.#firstSequence += done;
    }
    return undefined;
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  figures(): StoreFigures {
    return NO_FIGURES;
  }

  close(): Promise<void> {
    this.#answers.flush();
    this.#entries = [];
    return Promise.resolve();
  }

  #entryAt(sequence: number): Entry {
    return this.#entries[sequence - this.#firstSequence];
  }

  /** Behind the last record added, accepted or not. */
  #added(): LogPosition {
    const last = this.#entries.at(-1);
    return last === undefined ? this.#end : positionBehind(last);
  }

  #behind(sequence: number): LogPosition {
    return positionBehind(this.#entryAt(sequence));
  }

  /** Copies the payloads between two positions into one piece, laid out as in a log. */
  #batch(start: LogPosition, end: LogPosition): ReadBatch {
    const payloadBytes = end.payloadBytes - start.payloadBytes;
    const count = end.nextSequence - start.nextSequence;
    const bytes = new Uint8Array(payloadBytes + count * RECORD_HEADER_BYTES + 1);
    const bounds: number[] = [];
    let at = 0;
    for (let sequence = start.nextSequence; sequence < end.nextSequence; sequence++) {
      const { payload } = this.#entryAt(sequence);
      at += RECORD_HEADER_BYTES;
      bytes.set(payload, at);
      bounds.push(at, at + payload.length);
      at += payload.length;
    }
    const { nextSequence: firstSequence } = start;
    return {
      ...this.#encoding,
      firstSequence,
      count,
      bytes,
      isShared: false,
      bounds,
      payloadBytes,
      checksum: undefined,
      start,
      end,
    };
  }
}

/** The position behind a record. */
export function positionBehind({ payload, position }: Entry): LogPosition {
  return {
    nextSequence: position.nextSequence + 1,
    payloadBytes: position.payloadBytes + payload.length,
    logBytes: position.logBytes + payload.length + RECORD_HEADER_BYTES,
  };
}
