/**
 * The store of a {@linkcode MemoryBuffer}: records in memory, nothing on disk.
 *
 * @module
 */

import type { Codec } from "../base/codec.ts";
import { PacedReplies } from "../base/event_loop.ts";
import type { MaybePromise } from "../base/maybe_promise.ts";
import { newUuid } from "../wal/encoding.ts";
import { type CommitState, LOG_START, type LogPosition } from "../wal/position.ts";
import type { ReadBatch, ReadLimits, ReadResult } from "../wal/reader/log_view.ts";
import type { RecoveryReport } from "./events.ts";
import { MemoryRecords } from "./memory_records.ts";
import type { BlockingStore, RecordBuilder, RecordReader, StoreEvents, StoreFigures } from "./record_store.ts";

const NO_FIGURES: StoreFigures = { syncs: 0, syncMs: 0, segments: 0, diskBytes: 0, quarantinedBytes: 0 };

/** This many puts and reads, about a millisecond's worth, are answered before the event loop gets a turn. */
const STEPS_A_TURN = 500;

/** How records were encoded. */
type Encoding = Pick<ReadBatch, "codecVersion" | "isJson">;

/** Records in memory, in all roles of a store. Everything accepted is acknowledged at once. */
export class MemoryStore implements BlockingStore, RecordBuilder, RecordReader {
  readonly uuid: string = newUuid();
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
  readonly canSyncBlocking = true;
  readonly canPutBlocking = true;
  readonly ends: { acknowledged: LogPosition } = { acknowledged: LOG_START };
  commitState: CommitState = { committed: LOG_START, resume: LOG_START, boundaries: [] };
  readonly #time: () => number;
  readonly #encoding: Encoding;
  readonly #replies = new PacedReplies(STEPS_A_TURN);
  /** What held replies wait for. */
  #turn: Promise<void> | undefined;
  #events: StoreEvents | undefined;
  /** The accepted records, then those that were only added. */
  readonly #records = new MemoryRecords();
  /** When the first of the records was put that are accepted next. */
  #acceptedFrom = 0;

  constructor(time: () => number, encoding: Encoding) {
    this.#time = time;
    this.#encoding = encoding;
  }

  get acceptedLogBytes(): number {
    return this.#records.end.logBytes;
  }

  listen(events: StoreEvents): void {
    this.#events = events;
  }

  add<T>(codec: Codec<unknown, T>, record: T): number {
    const putTime = this.#time();
    if (this.#records.end === this.ends.acknowledged) this.#acceptedFrom = putTime;
    return this.#records.add(codec, record, putTime);
  }

  savepoint(): void {
    this.#records.savepoint();
  }

  rollback(): void {
    this.#records.rollback();
  }

  withdraw(): Uint8Array[] {
    return this.#records.withdraw();
  }

  beginGroup(): void {
    // Whatever is accepted together is one unit here.
  }

  endGroup(): void {
    // See beginGroup().
  }

  acceptBlocking(count: number): number {
    const { nextSequence } = this.ends.acknowledged = this.#records.end;
    this.#events?.onVisible(this.#acceptedFrom);
    return nextSequence - count;
  }

  accept(count: number): Promise<number> {
    const first = this.acceptBlocking(count);
    return this.#replies.mustHold() ? this.#nextTurn().then(() => first) : Promise.resolve(first);
  }

  writeAccepted(): LogPosition {
    return this.ends.acknowledged;
  }

  awaitAcknowledged(): void {
    // Everything is.
  }

  read(from: LogPosition, { maxRecords, maxBytes, before }: ReadLimits): MaybePromise<ReadResult> {
    const last = Math.min(before, this.ends.acknowledged.nextSequence);
    const read = this.#records.read(from, { maxRecords, maxBytes, before: last });
    if (read === undefined) return { batch: undefined, next: from };
    const result = { batch: { ...read, ...this.#encoding }, next: read.end };
    return this.#replies.mustHold() ? this.#nextTurn().then(() => result) : result;
  }

  putTimeAt(position: LogPosition): number | undefined {
    const isHere = position.nextSequence < this.ends.acknowledged.nextSequence;
    return isHere ? this.#records.putTimeAt(position) : undefined;
  }

  timeOf(_sequence: number, putTime: number): number {
    return putTime;
  }

  missingFrom(): number {
    return 0;
  }

  ensureDurable(): void {
    // Nothing here outlives the process.
  }

  saveCommit(state: CommitState): void {
    this.commitState = state;
    this.#records.release(state.committed);
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  flushBlocking(): void {
    // As ensureDurable().
  }

  /** Resolves when replies go on: one promise for all that are held until then. */
  #nextTurn(): Promise<void> {
    return this.#turn ??= new Promise((resolve) => {
      this.#replies.hold({
        resolve: () => {
          this.#turn = undefined;
          resolve();
        },
      });
    });
  }

  figures(): StoreFigures {
    return NO_FIGURES;
  }

  close(): Promise<void> {
    this.#replies.flush();
    this.#records.clear();
    return Promise.resolve();
  }
}
