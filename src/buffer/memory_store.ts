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
import type { ReadBatch, ReadLimits, ReadResult } from "../wal/reader/log_view.ts";
import type { RecoveryReport } from "./events.ts";
import type { BlockingStore, RecordBuilder, RecordReader, StoreEvents, StoreFigures } from "./record_store.ts";

const NO_FIGURES: StoreFigures = { syncs: 0, syncMs: 0, segments: 0, diskBytes: 0, quarantinedBytes: 0 };

/** Committed records are released when there are this many, so that each of the others is moved once at most. */
const TRIM_RECORDS = 1024;

/** This many puts and reads, about a millisecond's worth, are answered before the event loop gets a turn. */
const STEPS_A_TURN = 500;

/** How records were encoded. */
type Encoding = Pick<ReadBatch, "codecVersion" | "isJson">;

/** A record in memory: its payload, when it was put, and its position. */
interface Entry {
  readonly payload: Uint8Array;
  readonly putTime: number;
  readonly position: LogPosition;
}

/** Records in an array, in all roles of a store. Everything accepted is acknowledged at once. */
export class MemoryStore implements BlockingStore, RecordBuilder, RecordReader {
  readonly uuid: string = crypto.randomUUID();
  readonly recovery: RecoveryReport = {
    recoveredRecords: 0,
    truncatedBytes: 0,
    damaged: [],
    cursorLost: false,
    durationMs: 0,
  };
  readonly appender: BlockingStore["appender"] = this;
  readonly builder: RecordBuilder = this;
  readonly reader: RecordReader = this;
  readonly health = { failure: undefined };
  readonly maxHeldLogBytes = Infinity;
  readonly ends: { acknowledged: LogPosition } = { acknowledged: LOG_START };
  commitState: CommitState = { committed: LOG_START, resume: LOG_START, boundaries: [] };
  readonly #time: () => number;
  readonly #encoding: Encoding;
  readonly #replies = new PacedReplies(STEPS_A_TURN);
  #events: StoreEvents | undefined;
  /** The accepted records, then those that were only added. */
  #entries: Entry[] = [];
  /** The sequence of the first one that is still here. */
  #firstSequence = 1;
  #savepoint = 0;

  constructor(time: () => number, encoding: Encoding) {
    this.#time = time;
    this.#encoding = encoding;
  }

  get acceptedLogBytes(): number {
    return this.#end.logBytes;
  }

  listen(events: StoreEvents): void {
    this.#events = events;
  }

  add<T>(codec: Codec<unknown, T>, record: T): number {
    const encoded = codec.encode(record);
    if (!(encoded instanceof Uint8Array)) throw new TypeError("encode() did not return a Uint8Array");
    this.#entries.push({ payload: encoded.slice(), putTime: this.#time(), position: this.#end });
    return encoded.length;
  }

  savepoint(): void {
    this.#savepoint = this.#entries.length;
  }

  rollback(): void {
    this.#entries.length = this.#savepoint;
  }

  withdraw(): Uint8Array[] {
    return this.#entries.splice(this.#savepoint).map(({ payload }) => payload);
  }

  beginGroup(): void {
    // Whatever is accepted together is one unit here.
  }

  endGroup(): void {
    // See beginGroup().
  }

  acceptBlocking(count: number): number {
    const end = this.ends.acknowledged = this.#end;
    const first = end.nextSequence - count;
    this.#events?.onVisible(this.#at(first).putTime);
    return first;
  }

  accept(count: number): Promise<number> {
    const first = this.acceptBlocking(count);
    if (!this.#replies.mustHold()) return Promise.resolve(first);
    return new Promise((resolve) => this.#replies.hold({ resolve: () => resolve(first) }));
  }

  writeAccepted(): LogPosition {
    return this.ends.acknowledged;
  }

  awaitAcknowledged(): void {
    // Everything is.
  }

  read(from: LogPosition, { maxRecords, maxBytes, before }: ReadLimits): MaybePromise<ReadResult> {
    const last = Math.min(before, this.ends.acknowledged.nextSequence, from.nextSequence + maxRecords);
    let end = from;
    while (end.nextSequence < last) {
      const next = positionAfter(this.#at(end.nextSequence));
      if (end !== from && next.payloadBytes - from.payloadBytes > maxBytes) break;
      end = next;
    }
    if (end === from) return { batch: undefined, next: from };
    const result = { batch: this.#batch(from, end), next: end };
    if (!this.#replies.mustHold()) return result;
    return new Promise((resolve) => this.#replies.hold({ resolve: () => resolve(result) }));
  }

  putTimeAt({ nextSequence }: LogPosition): number | undefined {
    return nextSequence < this.ends.acknowledged.nextSequence ? this.#at(nextSequence).putTime : undefined;
  }

  missingFrom(): number {
    return 0;
  }

  ensureDurable(): void {
    // Nothing here outlives the process.
  }

  saveCommit(state: CommitState): void {
    this.commitState = state;
    const done = state.committed.nextSequence - this.#firstSequence;
    if (done < Math.max(TRIM_RECORDS, this.#entries.length / 2)) return;
    this.#entries.splice(0, done);
    this.#firstSequence += done;
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  flushBlocking(): void {
    // As ensureDurable().
  }

  checkBlocking(): void {
    // There is nothing to sync.
  }

  figures(): StoreFigures {
    return NO_FIGURES;
  }

  close(): Promise<void> {
    this.#replies.flush();
    this.#entries = [];
    return Promise.resolve();
  }

  /** The position after the last record added, accepted or not. */
  get #end(): LogPosition {
    const last = this.#entries.at(-1);
    return last === undefined ? this.ends.acknowledged : positionAfter(last);
  }

  #at(sequence: number): Entry {
    return this.#entries[sequence - this.#firstSequence];
  }

  /** Copies the payloads between two positions into one piece, laid out as in a log. */
  #batch(start: LogPosition, end: LogPosition): ReadBatch {
    const payloadBytes = end.payloadBytes - start.payloadBytes;
    const count = end.nextSequence - start.nextSequence;
    const bytes = new Uint8Array(payloadBytes + count * RECORD_HEADER_BYTES + 1);
    const bounds: number[] = [];
    let at = 0;
    for (let sequence = start.nextSequence; sequence < end.nextSequence; sequence++) {
      const { payload } = this.#at(sequence);
      at += RECORD_HEADER_BYTES;
      bytes.set(payload, at);
      bounds.push(at, at + payload.length);
      at += payload.length;
    }
    const { nextSequence: firstSequence } = start;
    const content = { firstSequence, count, bytes, isShared: false, bounds, payloadBytes, checksum: undefined };
    return { ...this.#encoding, ...content, start, end };
  }
}

/** The position after a record. */
function positionAfter({ payload, position }: Entry): LogPosition {
  return {
    nextSequence: position.nextSequence + 1,
    payloadBytes: position.payloadBytes + payload.length,
    logBytes: position.logBytes + payload.length + RECORD_HEADER_BYTES,
  };
}
