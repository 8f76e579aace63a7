/**
 * A model of a buffer, in plain arrays, and a driver that does seeded random things to both and compares: every
 * record, id, error, figure. What a crash does isn't here; a buffer that persists is closed and opened again.
 */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import {
  type Batch,
  BatchMismatchError,
  BufferEmptyError,
  BufferFullError,
  type BufferOptions,
  CodecError,
  type RecordBuffer,
  RecordTooLargeError,
  textCodec,
} from "../../mod.ts";
import type { Complete } from "../../src/base/validation.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { seededRandom } from "../support/random.ts";
import type { Subject } from "./subject.ts";

/** Can't be encoded by `textCodec()`: a lone surrogate. */
const UNENCODABLE = "\ud800";

interface ModelRecord {
  readonly sequence: number;
  readonly text: string;
  readonly putTime: number;
  /** Backlog bytes of everything ever put before the write unit that it came in. */
  readonly frameStart: number;
}

type Thresholds = Complete<Pick<BufferOptions<string>, "maxRecords" | "maxBytes" | "maxAgeMs" | "maxBacklogBytes">>;

/** What a call is expected to come to: a value, or an error. */
type Outcome = { readonly value: unknown } | { readonly error: abstract new (...args: never[]) => Error };

/** Everything that a buffer should know, kept in the simplest way. */
class Model {
  readonly #overhead: Subject["overheadBytes"];
  readonly #clock: ManualClock;
  options: Thresholds & Pick<BufferOptions<string>, "whenFull">;
  /** Record `i` has the sequence `i + 1`. */
  readonly records: ModelRecord[] = [];
  /** Sequences: everything below is committed; the batch in flight ends before; the next begins here. */
  committed = 1;
  boundary = 1;
  resume = 1;
  /** Whether this process has handed the batch in flight over. */
  handedOver = false;
  logBytes = 0;
  counts = { puts: 0, batchesEmitted: 0, batchesCommitted: 0, batchesRedelivered: 0, rejected: 0, dropped: 0 };
  lastProgressAt: number;
  /** Whether the next put joins the write unit of the one before. */
  #shares = false;
  #queue: { readonly texts: readonly string[]; readonly settle: (outcome: Outcome) => void }[] = [];

  constructor(overhead: Subject["overheadBytes"], clock: ManualClock, options: Model["options"]) {
    this.#overhead = overhead;
    this.#clock = clock;
    this.options = options;
    this.lastProgressAt = clock.now();
  }

  get end(): number {
    return this.records.length + 1;
  }

  get isInFlight(): boolean {
    return this.boundary > this.committed;
  }

  get backlogBytes(): number {
    const at = (sequence: number) => this.records[sequence - 1]?.frameStart ?? this.logBytes;
    return this.logBytes - at(this.resume) + at(this.boundary) - at(this.committed);
  }

  slice(from: number, to: number): ModelRecord[] {
    return this.records.slice(from - 1, to - 1);
  }

  static bytesOf(records: readonly ModelRecord[]): number {
    return records.reduce((sum, { text }) => sum + text.length, 0);
  }

  /** Where the next batch would end. */
  nextEnd(): number {
    const { maxRecords, maxBytes } = this.options;
    let end = this.resume;
    let bytes = 0;
    while (end < this.end && end - this.resume < maxRecords) {
      bytes += this.records[end - 1].text.length;
      if (end > this.resume && bytes > maxBytes) break;
      end++;
    }
    return end;
  }

  get isDue(): boolean {
    const pending = this.slice(this.resume, this.end);
    if (this.isInFlight) return true;
    if (pending.length === 0) return false;
    return pending.length >= this.options.maxRecords || Model.bytesOf(pending) >= this.options.maxBytes ||
      this.#clock.now() - pending[0].putTime >= this.options.maxAgeMs;
  }

  /** The unit's texts get in, or are refused, or wait; `settle` is told what comes of it. */
  put(texts: readonly string[], isMany: boolean, settle: (outcome: Outcome) => void): void {
    const refuse = (error: abstract new (...args: never[]) => Error): void => {
      this.counts.rejected++;
      settle({ error });
    };
    if (texts.length === 0) return refuse(RangeError);
    for (const text of texts) {
      if (text === UNENCODABLE) return refuse(CodecError);
      if (text.length > this.options.maxBytes) return refuse(RecordTooLargeError);
    }
    if (this.#queue.length === 0 && this.#accept(texts, !isMany && this.#shares)) {
      this.#shares = !isMany;
      settle({ value: this.#resultOf(texts, isMany) });
    } else if (this.options.whenFull === "reject" || this.#costOf(texts, false) > this.options.maxBacklogBytes) {
      refuse(BufferFullError);
    } else {
      this.#queue.push({
        texts,
        settle: (outcome) => {
          if ("error" in outcome) this.counts.rejected++;
          settle("error" in outcome ? outcome : { value: this.#resultOf(texts, isMany) });
        },
      });
    }
  }

  /** The tick is over: what waits gets in, at the cost of the oldest batches. */
  endTick(): void {
    this.#shares = false;
    for (const { texts, settle } of this.#queue.splice(0)) {
      while (!this.#accept(texts, false) && this.resume < this.end) {
        const end = this.nextEnd();
        this.counts.dropped += end - this.resume;
        if (!this.isInFlight) this.committed = this.boundary = end;
        this.resume = end;
      }
      const isIn = this.records.at(-1)?.text === texts.at(-1);
      settle(isIn ? { value: undefined } : { error: BufferFullError });
    }
  }

  emit(): Outcome {
    if (this.isInFlight) {
      this.counts.batchesRedelivered++;
    } else {
      if (this.resume === this.end) return { error: BufferEmptyError };
      this.boundary = this.resume = this.nextEnd();
      this.counts.batchesEmitted++;
    }
    this.handedOver = true;
    this.lastProgressAt = this.#clock.now();
    return { value: this.slice(this.committed, this.boundary) };
  }

  commit(): Outcome {
    if (!this.isInFlight || !this.handedOver) return { error: BatchMismatchError };
    this.committed = this.boundary = this.resume;
    this.handedOver = false;
    this.counts.batchesCommitted++;
    this.lastProgressAt = this.#clock.now();
    return { value: undefined };
  }

  clear(): void {
    this.committed = this.boundary = this.resume = this.end;
    this.handedOver = false;
  }

  reopen(): void {
    this.handedOver = false;
    this.counts = { puts: 0, batchesEmitted: 0, batchesCommitted: 0, batchesRedelivered: 0, rejected: 0, dropped: 0 };
    this.lastProgressAt = this.#clock.now();
  }

  #resultOf(texts: readonly string[], isMany: boolean): unknown {
    return isMany ? { first: this.end - texts.length, last: this.end - 1 } : this.end - 1;
  }

  #costOf(texts: readonly string[], shares: boolean): number {
    const { alone, shared } = this.#overhead;
    const bytes = texts.reduce((sum, text) => sum + text.length, 0);
    return bytes + (texts.length - 1) * shared + (shares ? shared : alone);
  }

  #accept(texts: readonly string[], shares: boolean): boolean {
    const cost = this.#costOf(texts, shares);
    if (this.backlogBytes + cost > this.options.maxBacklogBytes) return false;
    const isFramed = this.#overhead.alone > this.#overhead.shared;
    let frameStart = shares && isFramed ? this.records[this.records.length - 1].frameStart : this.logBytes;
    for (const text of texts) {
      this.records.push({ sequence: this.end, text, putTime: this.#clock.now(), frameStart });
      if (!isFramed) frameStart += text.length + this.#overhead.shared;
    }
    this.logBytes += cost;
    this.counts.puts += texts.length;
    this.lastProgressAt = this.#clock.now();
    return true;
  }
}

/** Drives a buffer and the model through one seed. */
class Run {
  readonly #subject: Subject;
  readonly #random: (below: number) => number;
  readonly #clock = new ManualClock();
  readonly #trace: string[];
  readonly #model: Model;
  #buffer!: RecordBuffer<string>;
  #uuid: string | undefined;
  #stale: Batch<string> | undefined;
  #counter = 0;

  constructor(subject: Subject, seed: number, trace: string[]) {
    this.#subject = subject;
    this.#random = seededRandom(seed);
    this.#trace = trace;
    this.#model = new Model(subject.overheadBytes, this.#clock, this.#someOptions());
  }

  async run(): Promise<void> {
    const place = this.#subject.setUp();
    try {
      await this.#open(place.open);
      const steps = 20 + this.#random(60);
      for (let i = 0; i < steps; i++) {
        await this.#step(place.open);
        this.#checkFigures();
      }
      this.#trace.push("drain");
      await this.#drain(Infinity);
      this.#checkFigures();
      assertEquals(this.#buffer.stats().pendingRecords, 0);
    } finally {
      await this.#buffer.close();
      place.tearDown();
    }
    assertEquals(this.#clock.timers, []);
  }

  #someOptions(): Model["options"] {
    return {
      maxRecords: 1 + this.#random(6),
      maxBytes: 20 + this.#random(40),
      maxAgeMs: this.#random(3) * 25,
      maxBacklogBytes: this.#random(3) === 0 ? 2 ** 20 : 100 + this.#random(500),
      whenFull: this.#random(2) === 0 ? "reject" : "drop-oldest",
    };
  }

  async #open(open: <T>(options: BufferOptions<T>) => Promise<RecordBuffer<T>>): Promise<void> {
    this.#trace.push(`open ${JSON.stringify(this.#model.options)}`);
    this.#buffer = await open({ codec: textCodec(), clock: this.#clock, ...this.#model.options });
    const { recoveredRecords, ...rest } = this.#buffer.recovery;
    const { end, resume, boundary, committed } = this.#model;
    assertEquals(recoveredRecords, end - resume + boundary - committed);
    assertEquals({ ...rest, durationMs: 0 }, { truncatedBytes: 0, damaged: [], cursorLost: false, durationMs: 0 });
  }

  async #step(open: <T>(options: BufferOptions<T>) => Promise<RecordBuffer<T>>): Promise<void> {
    const dice = this.#random(100);
    if (dice < 45) return await this.#burst(dice < 25 ? 1 : 2 + this.#random(6));
    if (dice < 60) return await this.#emit(dice < 55 ? 1 : 2);
    if (dice < 75) return await this.#commit();
    if (dice < 84) {
      const ms = 1 + this.#random(30);
      this.#trace.push(`advance ${ms}`);
      return this.#clock.advance(ms);
    }
    if (dice < 90) {
      this.#trace.push("drain some");
      return await this.#drain(1 + this.#random(3));
    }
    if (dice < 93) {
      this.#trace.push("clear");
      this.#model.clear();
      return await this.#buffer.clear();
    }
    if (dice < 95 || !this.#subject.persists) {
      this.#trace.push("flush");
      return await this.#buffer.flush();
    }
    this.#trace.push("close");
    await this.#buffer.close();
    this.#model.reopen();
    this.#model.options = this.#someOptions();
    await this.#open(open);
  }

  /** Several puts in one tick. */
  async #burst(size: number): Promise<void> {
    const expected: Outcome[] = [];
    const actual: Promise<unknown>[] = [];
    for (let i = 0; i < size; i++) {
      const isMany = this.#random(3) === 0;
      const texts = Array.from({ length: isMany ? this.#random(5) : 1 }, () => this.#someText());
      this.#trace.push(`${isMany ? "putMany" : "put"} ${JSON.stringify(texts)}`);
      this.#model.put(texts, isMany, (outcome) => expected[i] = outcome);
      actual.push(isMany ? this.#buffer.putMany(texts) : this.#buffer.put(texts[0]));
    }
    this.#model.endTick();
    const results = await Promise.allSettled(actual);
    for (const [i, result] of results.entries()) check(result, expected[i]);
  }

  #someText(): string {
    const dice = this.#random(40);
    if (dice === 0) return UNENCODABLE;
    if (dice === 1) return "x".repeat(this.#model.options.maxBytes + 1);
    return `${++this.#counter} `.padEnd(this.#random(Math.min(30, this.#model.options.maxBytes)), ".");
  }

  async #emit(times: number): Promise<void> {
    this.#trace.push(`emit x${times}`);
    const emits = Array.from({ length: times }, () => this.#buffer.emit());
    for (const result of await Promise.allSettled(emits)) {
      const redelivered = this.#model.isInFlight;
      const expected = this.#model.emit();
      if ("error" in expected) check(result, expected);
      else this.#checkBatch(result, expected.value as ModelRecord[], redelivered);
    }
  }

  #checkBatch(
    result: PromiseSettledResult<Batch<string>>,
    records: readonly ModelRecord[],
    redelivered: boolean,
  ): void {
    if (result.status === "rejected") throw result.reason;
    const batch = result.value;
    const first = records[0].sequence;
    const last = first + records.length - 1;
    this.#uuid ??= batch.id.slice(0, 36);
    assertEquals(
      [batch.firstSequence, batch.lastSequence, batch.length, batch.byteLength, batch.redelivered],
      [first, last, records.length, Model.bytesOf(records), redelivered],
    );
    assert(batch.id.startsWith(`${this.#uuid}-`) && batch.id.endsWith(`-${first}-${last}`), batch.id);
    assertEquals(batch.records, records.map(({ text }) => text));
    this.#stale = batch;
  }

  async #commit(): Promise<void> {
    const batch = this.#random(2) === 0 ? undefined : this.#stale;
    this.#trace.push(`commit ${batch?.id.split("-").slice(-2).join("-") ?? ""}`);
    const { committed, boundary } = this.#model;
    const isCurrent = batch === undefined || (batch.firstSequence === committed && batch.lastSequence === boundary - 1);
    const expected: Outcome = isCurrent ? this.#model.commit() : { error: BatchMismatchError };
    check((await Promise.allSettled([this.#buffer.commit(batch)]))[0], expected);
  }

  async #drain(batches: number): Promise<void> {
    let left = batches;
    for await (const batch of this.#buffer.batches({ flush: true })) {
      const redelivered = this.#model.isInFlight;
      const { value } = this.#model.emit() as { value: ModelRecord[] };
      this.#checkBatch({ status: "fulfilled", value: batch }, value, redelivered);
      if (--left < 0) return;
      this.#model.commit();
      await this.#buffer.commit(batch);
    }
    assertEquals([this.#model.isInFlight, this.#model.end], [false, this.#model.resume]);
  }

  #checkFigures(): void {
    const model = this.#model;
    const pending = model.slice(model.resume, model.end);
    const inFlight = model.slice(model.committed, model.boundary);
    const { segments, diskBytes, syncs, syncMs, ...figures } = this.#buffer.stats();
    assertEquals(figures, {
      pendingRecords: pending.length + inFlight.length,
      pendingBytes: Model.bytesOf(pending) + Model.bytesOf(inFlight),
      backlogBytes: model.backlogBytes,
      maxBacklogBytes: model.options.maxBacklogBytes,
      inFlightRecords: inFlight.length,
      oldestAgeMs: pending.length > 0 ? this.#clock.now() - pending[0].putTime : 0,
      lastSequence: model.end - 1,
      ...model.counts,
      expired: 0,
      quarantinedBytes: 0,
      lastProgressAt: model.lastProgressAt,
    });
    assert(diskBytes >= segments && segments >= 0 && syncs >= 0 && syncMs >= 0, "no such figures");
    assertEquals(this.#buffer.shouldEmit(), model.isDue);
  }
}

function check(result: PromiseSettledResult<unknown>, expected: Outcome): void {
  if ("error" in expected) {
    assertEquals(result.status, "rejected", `expected ${expected.error.name}`);
    assertInstanceOf((result as PromiseRejectedResult).reason, expected.error as new () => Error);
    return;
  }
  if (result.status === "rejected") throw result.reason;
  assertEquals(result.value, expected.value);
}

/** Does what `seed` says to a buffer and to the model; throws, naming the seed and what was done, if they differ. */
export async function compareWithModel(subject: Subject, seed: number): Promise<void> {
  const trace: string[] = [];
  try {
    await new Run(subject, seed, trace).run();
  } catch (cause) {
    throw new Error(`${subject.name}, seed ${seed}: ${(cause as Error).message}\n${trace.join("\n")}`, { cause });
  }
}
