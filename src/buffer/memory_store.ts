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
import type {
  RecordAppender,
  RecordBuilder,
  RecordReader,
  RecordStore,
  StoreEvents,
  StoreFigures,
} from "./record_store.ts";

const NO_FIGURES: StoreFigures = { syncs: 0, syncMs: 0, segments: 0, diskBytes: 0, quarantinedBytes: 0 };

/** Committed entries are let go of when there are this many, so that each is moved once at most. */
const TRIM_ENTRIES = 1024;

/** This many puts and reads, about a millisecond's worth, are answered before the event loop gets a turn. */
const STEPS_A_TURN = 500;

/** How records were encoded. */
type Encoding = Pick<ReadBatch, "codecVersion" | "isJson">;

/** A record in memory: its payload, when it was put, and where it stands. */
interface Entry {
  readonly payload: Uint8Array;
  readonly putTime: number;
  readonly position: LogPosition;
}

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
  readonly health = { failure: undefined };
  readonly maxHeldLogBytes = Infinity;
  readonly appender: RecordAppender;
  readonly reader: RecordReader;
  readonly #entries = new Entries();
  readonly #replies = new PacedReplies(STEPS_A_TURN);
  #events: StoreEvents | undefined;
  #commit: CommitState = { committed: LOG_START, resume: LOG_START, boundaries: [] };

  constructor(time: () => number, encoding: Encoding) {
    const onVisible = (putTime: number): void => this.#events?.onVisible(putTime);
    this.appender = new MemoryAppender(this.#entries, this.#replies, { time, onVisible });
    this.reader = new MemoryReader(this.#entries, this.#replies, encoding);
  }

  get ends(): { readonly acknowledged: LogPosition } {
    return this.#entries;
  }

  get commitState(): CommitState {
    return this.#commit;
  }

  listen(events: StoreEvents): void {
    this.#events = events;
  }

  ensureDurable(): void {
    // Nothing here outlives the process.
  }

  saveCommit(state: CommitState): void {
    this.#commit = state;
    this.#entries.trim(state.committed.nextSequence);
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  figures(): StoreFigures {
    return NO_FIGURES;
  }

  close(): Promise<void> {
    this.#replies.flush();
    this.#entries.clear();
    return Promise.resolve();
  }
}

/** The array: accepted records up to `acknowledged`, then those that were added. */
class Entries {
  acknowledged: LogPosition = LOG_START;
  #entries: Entry[] = [];
  /** The sequence of the first one that is still here. */
  #firstSequence = 1;

  /** How many are here. */
  get length(): number {
    return this.#entries.length;
  }

  /** Behind the last record added, accepted or not. */
  get end(): LogPosition {
    const last = this.#entries.at(-1);
    return last === undefined ? this.acknowledged : positionBehind(last);
  }

  add(payload: Uint8Array, putTime: number): void {
    this.#entries.push({ payload, putTime, position: this.end });
  }

  at(sequence: number): Entry {
    return this.#entries[sequence - this.#firstSequence];
  }

  /** Takes out all behind the first `length`. */
  cut(length: number): Entry[] {
    return this.#entries.splice(length);
  }

  /** Lets go of those before `sequence`, if they are many. */
  trim(sequence: number): void {
    const done = sequence - this.#firstSequence;
    if (done < Math.max(TRIM_ENTRIES, this.#entries.length / 2)) return;
    this.#entries.splice(0, done);
    this.#firstSequence += done;
  }

  clear(): void {
    this.#entries = [];
  }
}

/** Adds to the array. */
class MemoryAppender implements RecordAppender, RecordBuilder {
  readonly #entries: Entries;
  readonly #replies: PacedReplies;
  readonly #time: () => number;
  readonly #onVisible: (putTime: number) => void;
  #savepoint = 0;

  constructor(
    entries: Entries,
    replies: PacedReplies,
    { time, onVisible }: { readonly time: () => number; readonly onVisible: (putTime: number) => void },
  ) {
    this.#entries = entries;
    this.#replies = replies;
    this.#time = time;
    this.#onVisible = onVisible;
  }

  get builder(): RecordBuilder {
    return this;
  }

  get acceptedLogBytes(): number {
    return this.#entries.end.logBytes;
  }

  add<T>(codec: Codec<T>, record: T): number {
    const encoded = codec.encode(record);
    if (!(encoded instanceof Uint8Array)) throw new TypeError("encode() did not return a Uint8Array");
    this.#entries.add(encoded.slice(), this.#time());
    return encoded.length;
  }

  savepoint(): void {
    this.#savepoint = this.#entries.length;
  }

  rollback(): void {
    this.#entries.cut(this.#savepoint);
  }

  withdraw(): Uint8Array[] {
    return this.#entries.cut(this.#savepoint).map(({ payload }) => payload);
  }

  beginGroup(): void {
    // Whatever is accepted together is one unit here.
  }

  endGroup(): void {
    // See beginGroup().
  }

  accept(count: number): Promise<number> {
    const end = this.#entries.acknowledged = this.#entries.end;
    const first = end.nextSequence - count;
    this.#onVisible(this.#entries.at(first).putTime);
    if (!this.#replies.mustHold()) return Promise.resolve(first);
    return new Promise((resolve) => this.#replies.hold({ resolve: () => resolve(first) }));
  }

  writeAccepted(): LogPosition {
    return this.#entries.acknowledged;
  }

  awaitAcknowledged(): void {
    // Everything is.
  }
}

/** Reads from the array. */
class MemoryReader implements RecordReader {
  readonly #entries: Entries;
  readonly #replies: PacedReplies;
  readonly #encoding: Encoding;

  constructor(entries: Entries, replies: PacedReplies, encoding: Encoding) {
    this.#entries = entries;
    this.#replies = replies;
    this.#encoding = encoding;
  }

  read(from: LogPosition, { maxRecords, maxBytes, before }: ReadLimits): MaybePromise<ReadResult> {
    const last = Math.min(before, this.#entries.acknowledged.nextSequence, from.nextSequence + maxRecords);
    let end = from;
    while (end.nextSequence < last) {
      const next = positionBehind(this.#entries.at(end.nextSequence));
      if (end !== from && next.payloadBytes - from.payloadBytes > maxBytes) break;
      end = next;
    }
    if (end === from) return { batch: undefined, next: from };
    const result = { batch: this.#batch(from, end), next: end };
    if (!this.#replies.mustHold()) return result;
    return new Promise((resolve) => this.#replies.hold({ resolve: () => resolve(result) }));
  }

  putTimeAt({ nextSequence }: LogPosition): number | undefined {
    const { acknowledged } = this.#entries;
    return nextSequence < acknowledged.nextSequence ? this.#entries.at(nextSequence).putTime : undefined;
  }

  missingFrom(): number {
    return 0;
  }

  /** Copies the payloads between two positions into one piece, laid out as in a log. */
  #batch(start: LogPosition, end: LogPosition): ReadBatch {
    const payloadBytes = end.payloadBytes - start.payloadBytes;
    const count = end.nextSequence - start.nextSequence;
    const bytes = new Uint8Array(payloadBytes + count * RECORD_HEADER_BYTES + 1);
    const bounds: number[] = [];
    let at = 0;
    for (let sequence = start.nextSequence; sequence < end.nextSequence; sequence++) {
      const { payload } = this.#entries.at(sequence);
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
function positionBehind({ payload, position }: Entry): LogPosition {
  return {
    nextSequence: position.nextSequence + 1,
    payloadBytes: position.payloadBytes + payload.length,
    logBytes: position.logBytes + payload.length + RECORD_HEADER_BYTES,
  };
}
