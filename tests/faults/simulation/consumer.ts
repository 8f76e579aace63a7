/**
 * The consumer's side of a simulated life: asks for batches, one behind the other, commits and clears; each answer goes
 * into the model, and is held against it.
 *
 * What is asked of it need not be right: a batch may be asked for behind one that is committed, cleared or an earlier
 * life's, and a commit may name one that isn't the oldest. The answer has to be.
 */

import { assert, assertEquals } from "@std/assert";
import type { Batch, BatchMismatchError, FileBuffer } from "../../../mod.ts";
import type { Counts } from "./checks.ts";
import type { Attempt, Entry } from "./records.ts";
import { describeError, type LifeOptions, see, short, type World } from "./world.ts";

/** What is done with the batches of a life. */
export interface ConsumerHost {
  readonly world: World;
  readonly options: LifeOptions;
  readonly buffer: FileBuffer<string>;
  readonly counts: Counts;
  /** Whether anything can still be asked of the buffer. */
  readonly isAlive: () => boolean;
  readonly isClosing: () => boolean;
  /** The records of the puts that aren't settled. */
  readonly unsettled: () => Entry[];
  /** Runs a call to its end; what the model says against the answer is kept. One that is `recorded` may take its time. */
  readonly record: (outcome: Promise<void>) => Promise<void>;
  readonly settle: <R>(
    call: Promise<R>,
    onResult: (result: R) => void,
    onError: (error: unknown) => void,
  ) => Promise<void>;
  /** The code of an error, which must have a reason. */
  readonly codeOf: (error: unknown, allowed: readonly string[]) => string;
}

/** A call that asks for a batch. */
interface Request {
  readonly after: Batch<string> | undefined;
  readonly attempt: Attempt;
  /** How many puts had been called before, and what was pending. */
  readonly calls: number;
  readonly acknowledged: readonly Entry[];
}

/** Somebody who waits for a batch to be due. */
export interface Wait {
  /** Behind how many others in flight it would be. */
  readonly index: () => number;
  readonly flush: boolean;
}

/** Takes batches from a buffer. */
export class SimulatedConsumer {
  readonly #host: ConsumerHost;
  /** What this life was given and hasn't committed, the oldest first: those in flight, or the first of them. */
  #handed: readonly Batch<string>[] = [];
  /** What it was given, and is committed or cleared. */
  #done: readonly Batch<string>[] = [];
  readonly #waits = new Set<Wait>();

  /** For one life. */
  constructor(host: ConsumerHost) {
    this.#host = host;
  }

  /** The batches that can be asked behind, the oldest first. */
  get handed(): readonly Batch<string>[] {
    return this.#handed;
  }

  /** The batches that are committed or cleared. */
  get done(): readonly Batch<string>[] {
    return this.#done;
  }

  /** Who waits for a batch. */
  get waits(): readonly Wait[] {
    return [...this.#waits];
  }

  /** Begins to wait for a batch. */
  wait(after: Batch<string> | undefined, flush: boolean): void {
    const wait: Wait = { index: () => this.#indexBehind(after), flush };
    this.#waits.add(wait);
    const { buffer, world: { trace }, isClosing, record, codeOf } = this.#host;
    void record(
      buffer.waitUntilDue({ after, flush }).then((isDue) => {
        trace(() => `waited: ${isDue}`);
        assert(isDue || flush || isClosing(), "waited for nothing");
      }, (error) => {
        trace(() => `waited: ${describeError(error)}`);
        codeOf(error, after === undefined ? [] : ["BATCH_MISMATCH"]);
      }).finally(() => this.#waits.delete(wait)),
    );
  }

  /** Asks for the oldest batch, or the one behind another. */
  async emit(after?: Batch<string>): Promise<void> {
    const request = this.#request(after, this.#host.world.model.calls);
    await this.#hand(this.#host.buffer.emit(after === undefined ? undefined : { after }), request);
  }

  /** Asks for batches, each behind the one before, until there is none or `most` are in flight. */
  async fill(most: number): Promise<void> {
    while (this.#host.isAlive() && this.#handed.length < most) {
      const before = this.#handed.length;
      await this.emit(this.#handed.at(-1));
      if (this.#handed.length === before) return;
    }
  }

  /** Takes batches out by `batches({ flush: true })`, at most so many, and commits each. */
  async drain(most: number): Promise<void> {
    // A commit may fail, and no time passes in here that would end a pause.
    const batches = this.#host.buffer.batches({ flush: true, redelivery: { firstDelayMs: 0 } });
    const next = async () => {
      const { done, value } = await batches.next();
      return done === true ? undefined : value;
    };
    for (let i = 0; i < most && this.#host.isAlive(); i++) {
      // What is put while it waits may join.
      if (!await this.#hand(next(), this.#request(undefined, Infinity))) break;
      await this.commit(this.#handed[0]);
    }
    await batches.return?.();
  }

  /** Commits a batch, by default whichever is the oldest in flight. */
  commit(batch?: Batch<string>): Promise<void> {
    const { world: { model, disk, trace }, options: { maxRecords, fsync }, buffer, counts } = this.#host;
    const attempt = model.attempt("commit", [], maxRecords);
    const isRight = () => {
      const [oldest] = this.#handed;
      const isHanded = oldest !== undefined && oldest.id === model.inFlight.oldest?.id;
      return isHanded && (batch === undefined || batch.id === oldest.id);
    };
    return this.#host.settle(buffer.commit(batch), () => {
      trace(() => `commit ${short(model.inFlight.oldest?.id ?? "")}`);
      assert(isRight(), "a commit of something that isn't the oldest in flight");
      model.ended(attempt, { isKnown: true });
      model.commit();
      if (fsync === "always") model.secureCursor();
      counts.committed++;
      const [oldest, ...rest] = this.#handed;
      this.#done = [...this.#done, oldest!];
      this.#handed = rest;
    }, (error) => {
      trace(() => `commit${batch === undefined ? "" : ` ${short(batch.id)}`}: ${describeError(error)}`);
      const isMismatch = this.#host.codeOf(error, ["BATCH_MISMATCH"]) === "BATCH_MISMATCH" && !disk.isDead;
      model.ended(attempt, { isKnown: isMismatch, entries: isRight() ? model.inFlight.oldest!.entries : [] });
      if (!isMismatch) return;
      assert(!isRight(), "the oldest batch in flight can't be committed");
      assertEquals((error as BatchMismatchError).actual, batch?.id, "the batch that is refused");
      assertEquals((error as BatchMismatchError).expected, this.#handed[0]?.id, "the oldest batch in flight");
    });
  }

  /** Drops everything that was put; in a buffer in which puts wait, only when nothing else is under way. */
  clear(): Promise<void> {
    const { world: { model, trace }, options: { maxRecords, fsync, whenFull }, buffer } = this.#host;
    const entries = [...model.pending, ...(whenFull === "reject" ? this.#host.unsettled() : [])];
    const attempt = model.attempt("clear", entries, maxRecords);
    return this.#host.settle(buffer.clear(), () => {
      trace(() => "clear");
      model.ended(attempt, { isKnown: true });
      model.clear(entries);
      if (fsync === "always") model.secureCursor();
      this.#done = [...this.#done, ...this.#handed];
      this.#handed = [];
    }, (error) => {
      trace(() => `clear: ${describeError(error)}`);
      this.#host.codeOf(error, []);
      model.ended(attempt, { isKnown: false });
    });
  }

  #request(after: Batch<string> | undefined, calls: number): Request {
    const { model } = this.#host.world;
    const attempt = model.attempt("emit", [], this.#host.options.maxRecords);
    return { after, attempt, calls, acknowledged: model.pending };
  }

  /** Takes a batch, or `undefined` for none; resolves with whether there was one. */
  async #hand(source: Promise<Batch<string> | undefined>, request: Request): Promise<boolean> {
    const { world: { model, disk, trace }, settle, codeOf } = this.#host;
    const { after, attempt } = request;
    const name = after === undefined ? "emit" : `emit after ${short(after.id)}`;
    let isHanded = false;
    await settle(source, (batch) => {
      trace(() => `${name}: ${batch === undefined ? "none" : short(batch.id) + (batch.redelivered ? ", again" : "")}`);
      if (batch === undefined) return this.#onEmpty(request);
      this.#onBatch(batch, request);
      isHanded = true;
    }, (error) => {
      trace(() => `${name}: ${describeError(error)}`);
      const known = after === undefined ? ["BUFFER_EMPTY"] : ["BUFFER_EMPTY", "NO_BATCH_BEHIND", "BATCH_MISMATCH"];
      const code = codeOf(error, known);
      if ((code === "BUFFER_EMPTY" || code === "NO_BATCH_BEHIND") && !disk.isDead) return this.#onEmpty(request);
      model.ended(attempt, { isKnown: code === "BATCH_MISMATCH" && !disk.isDead });
      if (code !== "BATCH_MISMATCH" || disk.isDead) return;
      const isKnown = [...this.#handed, ...this.#done].some(({ id }) => id === after!.id);
      assert(!isKnown, "a batch that was handed over is said to be foreign");
    });
    return isHanded;
  }

  /** Behind how many in flight a batch was asked for. What isn't in flight any more has none before it. */
  #indexBehind(after: Batch<string> | undefined): number {
    return after === undefined ? 0 : this.#handed.findIndex(({ id }) => id === after.id) + 1;
  }

  #onBatch(batch: Batch<string>, { after, attempt, calls, acknowledged }: Request): void {
    const { world: { model, disk }, options: { maxRecords, maxBytes, fsync }, counts } = this.#host;
    const index = this.#indexBehind(after);
    const isNew = index === model.inFlight.length;
    const isExact = disk.faults === 0 && !disk.mayHaveLeftovers && !model.hasGaps;
    model.handOver(see(batch), { index, bounds: { maxRecords, maxBytes }, calls, acknowledged, isExact });
    model.ended(attempt, { isKnown: true });
    if (fsync === "always" && isNew) model.secureCursor();
    if (fsync === "always") model.secureHanded(index);
    if (isNew) counts.emitted++;
    else counts.redelivered++;
    this.#handed = this.#handed.toSpliced(index, 1, batch);
  }

  #onEmpty({ after, attempt, acknowledged }: Request): void {
    const { world: { model }, isClosing } = this.#host;
    model.ended(attempt, { isKnown: true });
    const inFlight = new Set(model.inFlight.entries);
    if (inFlight.size === 0) model.passGaps();
    if (isClosing()) return;
    // A clear that was called before may have ended, and not told us yet.
    const isTaken = (entry: Entry) => model.attempts.some(({ isOpen, entries }) => isOpen && entries.has(entry));
    const behind = model.inFlight.at(this.#indexBehind(after));
    assert(behind === undefined || behind.entries.some(isTaken), `${short(behind?.id ?? "")} is in flight`);
    if (model.mayCut !== true) return;
    const left = acknowledged.filter((entry) => entry.state === "pending" && !inFlight.has(entry) && !isTaken(entry));
    assertEquals(left.map(({ value }) => value), [], "said to be empty");
  }
}
