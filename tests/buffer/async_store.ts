/**
 * A store whose log is elsewhere: a message takes a turn of the event loop, there or back.
 *
 * It shows that a buffer works on such a store as it does on one that is at hand. As over a network, one append is under way
 * at a time, what is put meanwhile goes with the next one, and the log outlives the buffer. The log may refuse to take
 * records; then what is on its way, and what waits behind it, is rejected and leaves nothing behind.
 */

import { setImmediate } from "node:timers";
import type { BufferOptions, Codec, RecoveryReport } from "../../mod.ts";
import { stampClock } from "../../src/base/clock.ts";
import { isJsonCodec } from "../../src/base/codec.ts";
import { BaseBuffer } from "../../src/buffer/base_buffer.ts";
import { MemoryStore } from "../../src/buffer/memory_store.ts";
import { resolveOptions } from "../../src/buffer/options.ts";
import type {
  RecordAppender,
  RecordBuilder,
  RecordReader,
  RecordStore,
  StoreEvents,
  StoreFigures,
} from "../../src/buffer/record_store.ts";
import { RECORD_HEADER_BYTES } from "../../src/wal/format.ts";
import type { CommitState, LogPosition } from "../../src/wal/position.ts";
import type { ReadLimits, ReadResult } from "../../src/wal/reader/log_view.ts";

/** The time that a message takes, to the log or back. */
function message(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

const payloadCodec: Codec<Uint8Array> = { encode: (payload) => payload, decode: (payload) => payload };

/** The log, elsewhere: a store in memory that is never closed. */
export class RemoteLog {
  readonly store: MemoryStore;
  /** Why it takes no records now, if so. */
  refusal: Error | undefined;
  #putTime = 0;

  constructor(encoding: ConstructorParameters<typeof MemoryStore>[1]) {
    this.store = new MemoryStore(() => this.#putTime, encoding);
  }

  /** Stores records that belong together; returns where they end. */
  append(payloads: readonly Uint8Array[], putTime: number): LogPosition {
    if (this.refusal !== undefined) throw this.refusal;
    const { appender, ends } = this.store;
    this.#putTime = putTime;
    for (const payload of payloads) appender.builder.add(payloadCodec, payload);
    void appender.accept(payloads.length);
    return ends.acknowledged;
  }
}

/** What was put as one. */
interface Unit {
  readonly firstSequence: number;
  readonly payloads: readonly Uint8Array[];
  readonly putTime: number;
  readonly resolve: (firstSequence: number) => void;
  readonly reject: (error: unknown) => void;
  /** Resolves when it is acknowledged or rejected. */
  readonly settled: Promise<void>;
}

/** Sends records to the log. */
class AsyncAppender implements RecordAppender, RecordBuilder {
  readonly ends: { acknowledged: LogPosition };
  readonly #log: RemoteLog;
  readonly #time: () => number;
  events: StoreEvents | undefined;
  /** What was added and is not accepted yet. */
  readonly #added: Uint8Array[] = [];
  #savepoint = 0;
  /** Behind the last record accepted. */
  #accepted: LogPosition;
  /** Accepted, and neither acknowledged nor rejected; in order. */
  readonly #units: Unit[] = [];
  #isSending = false;

  constructor(log: RemoteLog, time: () => number) {
    this.#log = log;
    this.#time = time;
    const { acknowledged } = log.store.ends;
    this.ends = { acknowledged };
    this.#accepted = acknowledged;
  }

  get builder(): RecordBuilder {
    return this;
  }

  get acceptedLogBytes(): number {
    return behind(this.#accepted, this.#added).logBytes;
  }

  add<T>(codec: Codec<T>, record: T): number {
    const encoded = codec.encode(record);
    if (!(encoded instanceof Uint8Array)) throw new TypeError("encode() did not return a Uint8Array");
    this.#added.push(encoded.slice());
    return encoded.length;
  }

  savepoint(): void {
    this.#savepoint = this.#added.length;
  }

  rollback(): void {
    this.#added.length = this.#savepoint;
  }

  withdraw(): Uint8Array[] {
    return this.#added.splice(this.#savepoint);
  }

  beginGroup(): void {
    // What is accepted together is one unit.
  }

  endGroup(): void {
    // See beginGroup().
  }

  accept(count: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const payloads = this.#added.splice(this.#added.length - count);
    const { nextSequence: firstSequence } = this.#accepted;
    const settled = promise.then(() => {}, () => {});
    this.#units.push({ firstSequence, payloads, putTime: this.#time(), resolve, reject, settled });
    this.#accepted = behind(this.#accepted, payloads);
    if (!this.#isSending) void this.#send();
    return promise;
  }

  writeAccepted(): LogPosition {
    return this.#accepted;
  }

  awaitAcknowledged(): Promise<void> {
    return this.#units.at(-1)?.settled ?? message();
  }

  /** Sends what waits, and then what has come meanwhile. */
  async #send(): Promise<void> {
    this.#isSending = true;
    while (this.#units.length > 0) {
      const { length } = this.#units;
      await message();
      for (let i = 0; i < length && this.#units.length > 0; i++) this.#sendFirst();
    }
    this.#isSending = false;
  }

  #sendFirst(): void {
    const { firstSequence, payloads, putTime, resolve } = this.#units[0]!;
    try {
      this.ends.acknowledged = this.#log.append(payloads, putTime);
    } catch (error) {
      const rejected = this.#units.splice(0);
      this.#accepted = this.ends.acknowledged;
      for (const unit of rejected) unit.reject(error);
      this.events?.onRejected(rejected.length);
      return;
    }
    this.#units.shift();
    this.events?.onVisible(putTime);
    resolve(firstSequence);
  }
}

/** Asks the log for records. */
class AsyncReader implements RecordReader {
  readonly #log: RemoteLog;

  constructor(log: RemoteLog) {
    this.#log = log;
  }

  async read(from: LogPosition, limits: ReadLimits): Promise<ReadResult> {
    await message();
    const result = await this.#log.store.reader.read(from, limits);
    await message();
    return result;
  }

  async putTimeAt(position: LogPosition): Promise<number | undefined> {
    await message();
    const putTime = await this.#log.store.reader.putTimeAt(position);
    await message();
    return putTime;
  }

  timeOf(_sequence: number, putTime: number): number {
    return putTime;
  }

  missingFrom(): number {
    return 0;
  }
}

/** The log as one buffer has it. */
export class AsyncStore implements RecordStore {
  readonly uuid: string;
  readonly recovery: RecoveryReport;
  readonly health = { failure: undefined };
  readonly maxHeldLogBytes = Infinity;
  readonly appender: AsyncAppender;
  readonly reader: RecordReader;
  readonly ends: { readonly acknowledged: LogPosition };
  readonly #log: RemoteLog;
  #commitState: CommitState;

  constructor(log: RemoteLog, time: () => number) {
    const { uuid, ends, commitState } = log.store;
    const { committed, resume, boundaries } = commitState;
    // What was dropped behind those in flight is gone.
    const inFlight = (boundaries.at(-1) ?? committed).nextSequence - committed.nextSequence;
    const recoveredRecords = ends.acknowledged.nextSequence - resume.nextSequence + inFlight;
    this.uuid = uuid;
    this.recovery = { recoveredRecords, truncatedBytes: 0, damaged: [], cursorLost: false, durationMs: 0 };
    this.appender = new AsyncAppender(log, time);
    this.reader = new AsyncReader(log);
    this.ends = this.appender.ends;
    this.#log = log;
    this.#commitState = commitState;
  }

  get commitState(): CommitState {
    return this.#commitState;
  }

  listen(events: StoreEvents): void {
    this.appender.events = events;
  }

  async ensureDurable(): Promise<void> {
    await message();
  }

  async saveCommit(state: CommitState): Promise<void> {
    await message();
    this.#log.store.saveCommit(state);
    // It counts when the answer is here, not before.
    await message();
    this.#commitState = state;
  }

  async flush(): Promise<void> {
    await this.appender.awaitAcknowledged();
  }

  figures(): StoreFigures {
    const { logBytes: diskBytes } = this.ends.acknowledged;
    return { syncs: 0, syncMs: 0, segments: diskBytes > 0 ? 1 : 0, diskBytes, quarantinedBytes: 0 };
  }

  async close(): Promise<void> {
    await this.flush();
    await message();
  }
}

/** A buffer on such a store. */
export class AsyncBuffer<T> extends BaseBuffer<T> {
  /** A buffer that may be used before it knows how old its first record is. */
  static over<T>(options: BufferOptions<T>, log: RemoteLog): AsyncBuffer<T> {
    const resolved = resolveOptions(options);
    const time = stampClock(resolved.clock);
    return new AsyncBuffer<T>({ store: new AsyncStore(log, time), options: resolved, time });
  }

  /** A buffer that knows. */
  static async open<T>(options: BufferOptions<T>, log: RemoteLog): Promise<AsyncBuffer<T>> {
    const buffer = AsyncBuffer.over(options, log);
    // There and back: the answer to what it has asked is here before.
    await message();
    await message();
    return buffer;
  }
}

/** A log for what a codec encodes. */
export function remoteLogFor<T>(codec: Codec<T>): RemoteLog {
  return new RemoteLog({ codecVersion: codec.version ?? 0, isJson: isJsonCodec(codec) });
}

/** The position behind records that stand at another one. */
function behind(position: LogPosition, payloads: readonly Uint8Array[]): LogPosition {
  const bytes = payloads.reduce((sum, payload) => sum + payload.length, 0);
  return {
    nextSequence: position.nextSequence + payloads.length,
    payloadBytes: position.payloadBytes + bytes,
    logBytes: position.logBytes + bytes + payloads.length * RECORD_HEADER_BYTES,
  };
}
