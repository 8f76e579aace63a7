/**
 * One life of a simulated buffer, from `open()` to its end: each call goes to the buffer and, when it is settled, into
 * the model. What a call may answer depends on what was done to the disk: an error without a reason is a violation.
 *
 * Checked besides: every call is answered, in a dead process, too; a closed buffer has no file open; and at rest, what
 * `checks.ts` says.
 */

import { assert, assertEquals } from "@std/assert";
import { type BufferEvent, FileBuffer, SluiceError } from "../../../mod.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";
import { checkAtRest, type Counts } from "./checks.ts";
import { SimulatedConsumer } from "./consumer.ts";
import { needsNoSpace, PATH, type Plan } from "./disk.ts";
import type { Entry } from "./records.ts";
import { describeError, type LifeOptions, versionedCodec, type World } from "./world.ts";

/** Nothing takes more turns of the event loop than this. */
const MAX_TURNS = 500;
/** What an error of the disk looks like. */
const DISK_CODES: readonly string[] = ["FILE_SYSTEM", "NO_SPACE", "PERMISSION"];

/** A put that is not settled. */
interface PendingPut {
  readonly entries: readonly Entry[];
  readonly abort: AbortController;
  readonly isSync: boolean;
}

/** A buffer that is open, and what it was asked. */
export class Life {
  readonly options: LifeOptions;
  /** Takes what it hands over. */
  readonly consumer: SimulatedConsumer;
  readonly #world: World;
  readonly #buffer: FileBuffer<string>;
  readonly #violations: unknown[];
  readonly #startTime: number;
  readonly #startWall: number;
  readonly #startBacklogBytes: number;
  readonly #startSequence: number;
  /** Calls that aren't settled: puts, and the others. */
  readonly #puts = new Set<PendingPut>();
  #others = 0;
  readonly #acknowledged: Entry[] = [];
  #hasFailed = false;
  #isClosing = false;
  readonly #counts: Counts = { rejected: 0, dropped: 0, emitted: 0, committed: 0, redelivered: 0 };

  private constructor(world: World, options: LifeOptions, buffer: FileBuffer<string>, violations: unknown[]) {
    const { model, clock } = world;
    this.#world = world;
    this.options = options;
    this.#buffer = buffer;
    this.#violations = violations;
    this.#startTime = clock.monotonic();
    this.#startWall = Math.max(0, clock.now());
    this.#startBacklogBytes = buffer.stats().backlogBytes;
    this.#startSequence = Math.max(0, ...model.bySequence.keys()) + 1;
    this.consumer = new SimulatedConsumer({
      world,
      options,
      buffer,
      counts: this.#counts,
      isAlive: () => this.isAlive,
      isClosing: () => this.#isClosing,
      unsettled: () => [...this.#puts].flatMap(({ entries }) => entries),
      record: (outcome) => this.#record(outcome),
      settle: (call, onResult, onError) => this.#settle(call, onResult, onError),
      codeOf: (error, allowed) => this.#codeOf(error, allowed),
    });
  }

  /** Opens a buffer; `undefined` if what was done to the disk doesn't let it. */
  static async open(
    world: World,
    options: LifeOptions,
    plan: Plan,
  ): Promise<Life | undefined> {
    const { disk, clock, trace } = world;
    const violations: unknown[] = [];
    const { codecVersion, ...rest } = options;
    const early: BufferEvent[] = [];
    let life: Life | undefined;
    try {
      const buffer = await FileBuffer.open<string>({
        statusMs: 0,
        ...rest,
        path: PATH,
        codec: versionedCodec(codecVersion),
        fileSystem: disk.boot(plan),
        clock,
        onEvent(event) {
          try {
            if (life === undefined) early.push(event);
            else life.#onEvent(event);
          } catch (error) {
            violations.push(error);
          }
        },
      });
      life = new Life(world, options, buffer, violations);
      for (const event of early) life.#onEvent(event);
      return life;
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      world.told.push(error);
      trace(() => `open: ${describeError(error)}`);
      const isReason = disk.isDead || disk.faults > 0 || (error.code === "NO_SPACE" && !needsNoSpace(disk.files));
      assert(isReason, `open() fails without a reason: ${describeError(error)}`);
      if (!disk.isDead) assertEquals(disk.openFiles, 0, "files left open by a failed open()");
      return undefined;
    }
  }

  /** Whether anything can still be asked of it. */
  get isAlive(): boolean {
    return !this.#world.disk.isDead && !this.#hasFailed && !this.#isClosing;
  }

  /** How many puts wait. */
  get waitingPuts(): number {
    return this.#puts.size;
  }

  // --------------------------------------------------------------------------------------------------------------- calls

  /** Puts a value; several at once as a unit, or one within the call. */
  put(values: readonly string[], { isGroup, isSync = false }: { isGroup: boolean; isSync?: boolean }): Promise<void> {
    const { model, disk, clock, trace } = this.#world;
    const { codecVersion, fsync, maxBytes, maxRecords, whenFull } = this.options;
    const drop = whenFull === "drop-oldest" && !isSync ? model.attempt("drop", [], maxRecords) : undefined;
    const entries = model.call(values, {
      isGroup,
      codecVersion,
      putTime: this.#time(),
      wallTime: clock.now(),
    });
    const abort = new AbortController();
    const put: PendingPut = { entries, abort, isSync };
    const { signal } = abort;
    const isLate = this.#hasFailed || this.#isClosing;
    const { isLimited, resizes } = disk;
    const calledAt = clock.monotonic();
    const wallAtCall = clock.now();
    // Stamped when it gets in, which is some time after the call if it has to wait; the clock may be set meanwhile.
    const forgetTime = () => {
      const isLater = clock.monotonic() > calledAt || clock.now() !== wallAtCall;
      if (whenFull !== "reject" && isLater) { for (const entry of entries) entry.putTime = NaN; }
    };
    this.#puts.add(put);
    const first = isSync
      // The executor runs at once; what it throws is the answer.
      ? new Promise<number>((resolve) => resolve(this.#buffer.putSync(values[0]!)))
      : isGroup
      ? this.#buffer.putMany(values, { signal }).then((range) => {
        assertEquals(range.last - range.first + 1, values.length, "sequences of a putMany");
        return range.first;
      })
      : this.#buffer.put(values[0]!, { signal });
    return this.#record(first.then((sequence) => {
      this.#puts.delete(put);
      if (drop !== undefined) model.ended(drop, { isKnown: true });
      trace(() => `put ${values.join(" ")}: ${sequence}`);
      assert(entries.every(({ payloadBytes }) => payloadBytes <= maxBytes), "a record that is too large is accepted");
      model.acknowledge(entries, sequence, { isSafe: fsync === "always" });
      this.#acknowledged.push(...entries);
      forgetTime();
    }, (error) => {
      this.#puts.delete(put);
      forgetTime();
      this.#counts.rejected++;
      trace(() => `put ${values.join(" ")}: ${describeError(error)}`);
      // A drop for it may be under way, or have failed.
      const isFull = error instanceof SluiceError && error.code === "BUFFER_FULL" && !disk.isDead;
      if (drop !== undefined) model.ended(drop, { isKnown: isFull });
      this.#onPutRejected(put, error, { isLate, isLimited: isLimited || disk.resizes > resizes });
    }));
  }

  #onPutRejected(
    { entries, abort, isSync }: PendingPut,
    error: unknown,
    { isLate, isLimited }: { isLate: boolean; isLimited: boolean },
  ): void {
    const { model, disk } = this.#world;
    const { whenFull, maxBytes, fsync } = this.options;
    // A dead process doesn't tell.
    if (disk.isDead) return;
    if (abort.signal.aborted && error === abort.signal.reason) return model.refuse(entries, { isSafe: true });
    const code = this.#codeOf(error, ["BUFFER_FULL", "RECORD_TOO_LARGE", ...(isLimited ? ["NO_SPACE"] : [])]);
    // One within the call never waits, and gets in front of nobody.
    if (code === "BUFFER_FULL" && !isSync) {
      const { neededBytes, backlogBytes, maxBacklogBytes } = error as SluiceError & Record<string, number>;
      const isFull = neededBytes! + backlogBytes! > maxBacklogBytes!;
      assert(isFull || whenFull === "drop-oldest", `full: ${backlogBytes} + ${neededBytes} of ${maxBacklogBytes}`);
      assert(
        whenFull === "reject" || neededBytes! > maxBacklogBytes! || whenFull === "drop-oldest",
        "full, not blocked",
      );
    }
    if (code === "RECORD_TOO_LARGE") assert(entries.some((e) => e.payloadBytes > maxBytes), "not too large");
    // Whether it is there is not known then, unless the buffer had failed before.
    if (code === "BUFFER_FAILED" && !isLate) return;
    model.refuse(entries, { isSafe: !DISK_CODES.includes(code) || fsync === "always" });
  }

  /** Gives up one of the puts that wait. */
  abort(index: number): void {
    const put = [...this.#puts][index];
    put?.abort.abort(new Error(`gave up ${put.entries[0]!.value}`));
  }

  /** Syncs. */
  flush(): Promise<void> {
    const { model, trace } = this.#world;
    const covered = model.cover();
    return this.#settle(this.#buffer.flush(), () => {
      trace(() => "flush");
      model.secure(covered);
    }, (error) => {
      trace(() => `flush: ${describeError(error)}`);
      this.#codeOf(error, []);
    });
  }

  /** Syncs within the call. */
  flushSync(): Promise<void> {
    const { model, trace } = this.#world;
    const covered = model.cover();
    return this.#settle(new Promise((resolve) => resolve(this.#buffer.flushSync())), () => {
      trace(() => "flushSync");
      // The cursor isn't part of it: what is there stays there, and what is done may come back.
      const entries = covered.entries.filter(([, state]) => state !== "done");
      model.secure({ entries, inFlight: [], attempts: [] });
    }, (error) => {
      trace(() => `flushSync: ${describeError(error)}`);
      this.#codeOf(error, []);
    });
  }

  /** Closes the buffer; a second call waits for the first. */
  close(): Promise<void> {
    const { model, trace, disk } = this.#world;
    this.#isClosing = true;
    return this.#settle(this.#buffer.close(), () => {
      trace(() => "close");
      if (this.options.fsync !== "never" && !this.#hasFailed && !disk.isDead) model.secure(model.cover());
    }, (error) => {
      trace(() => `close: ${describeError(error)}`);
      this.#codeOf(error, []);
    }).then(() => {
      if (!disk.isDead) assertEquals(disk.openFiles, 0, "files left open by close()");
    });
  }

  /** Frees what the process has, after its death, and waits until every call is answered, in whatever way. */
  async finish(): Promise<void> {
    this.#isClosing = true;
    this.#buffer.close().catch(() => {});
    const { consumer } = this;
    for (let turns = 0; this.#puts.size + this.#others + consumer.waits.length > 0; turns++) {
      const others = this.#others + consumer.waits.length;
      assert(turns < MAX_TURNS, `${this.#puts.size} puts and ${others} other calls are never answered`);
      await yieldToEventLoop(1);
    }
    await yieldToEventLoop(1);
    this.#world.earlier.splice(0, Infinity, ...this.consumer.handed);
    this.check();
  }

  /** Waits until nothing is under way but puts that wait for space, then looks whether everything is as it should be. */
  async idle(): Promise<void> {
    await this.#untilIdle(() => this.#others === 0);
    this.check();
    this.#secureInterval();
    if (this.isAlive) this.#checkAtRest();
  }

  /** Waits until the puts that wait are those that have no room. */
  async settlePuts(): Promise<void> {
    await this.#untilIdle(() => true);
  }

  async #untilIdle(isDone: () => boolean): Promise<void> {
    const { disk } = this.#world;
    const mayWait = this.options.whenFull === "block";
    const isIdle = () => disk.openSyncs === 0 && (mayWait || this.#puts.size === 0) && isDone();
    for (let turns = 0, idle = 0; idle < 2; turns++) {
      assert(turns < MAX_TURNS, `${this.#puts.size} puts and ${this.#others} other calls never end`);
      await yieldToEventLoop(1);
      idle = disk.isDead || isIdle() ? idle + 1 : 0;
    }
  }

  /** Throws the first violation, if there is one. */
  check(): void {
    if (this.#violations.length > 0) throw this.#violations[0];
  }

  /** Runs a call to its end: the answer, or the error, goes into the model; what the model says against it is kept. */
  async #settle<R>(call: Promise<R>, onResult: (result: R) => void, onError: (error: unknown) => void): Promise<void> {
    this.#others++;
    await this.#record(call.then(onResult, onError));
    this.#others--;
  }

  async #record(outcome: Promise<void>): Promise<void> {
    try {
      await outcome;
    } catch (violation) {
      this.#violations.push(violation);
    }
  }

  /** The code of an error, which must have a reason. */
  #codeOf(error: unknown, allowed: readonly string[]): string {
    if (!(error instanceof SluiceError)) throw error;
    this.#world.told.push(error);
    const { isDead, faults } = this.#world.disk;
    const { code } = error;
    if (isDead || allowed.includes(code)) return code;
    if (code === "BUFFER_CLOSED") assert(this.#isClosing, "not closed");
    else if (code === "BUFFER_FAILED") assert(this.#hasFailed && faults > 0, `failed without a reason: ${error.cause}`);
    else assert(DISK_CODES.includes(code) && faults > 0, `an error without a reason: ${describeError(error)}`);
    return code;
  }

  #onEvent(event: BufferEvent): void {
    const { model, trace, disk } = this.#world;
    if ("error" in event) this.#world.told.push(event.error);
    // A drop that was made durable is one, whatever came then.
    if (disk.isDead && event.type !== "records-dropped") return;
    switch (event.type) {
      case "damage-found":
        trace(() => `damage: ${JSON.stringify(event.region)}`);
        if (event.region.missing !== undefined) model.miss(event.region.missing);
        break;
      case "records-dropped":
        trace(() => `drop ${event.sequences.first}-${event.sequences.last}`);
        assertEquals(event.records, event.sequences.last - event.sequences.first + 1, "dropped records");
        model.drop({ ...event.sequences, isSafe: this.options.fsync === "always" });
        if (this.options.fsync === "always") model.secureCursor();
        this.#counts.dropped += event.records;
        break;
      case "failed":
        trace(() => `failed: ${describeError(event.error)}`);
        this.#hasFailed = true;
        break;
      case "warned": {
        trace(() => `warning: ${describeError(event.error)}`);
        // There may be no room for the reserve, or for the list of what is lost.
        const isReason = disk.faults > 0 || (disk.isLimited && event.error.code === "NO_SPACE");
        assert(isReason, `a warning without a reason: ${describeError(event.error)}`);
        break;
      }
      case "reserve-used":
        trace(() => `reserve used, ${event.bytesLeft} left: ${describeError(event.error)}`);
        break;
      case "reserve-restored":
        trace(() => `reserve restored`);
        break;
      case "segment-created":
      case "segment-removed":
        trace(() => `${event.type} ${event.segment}`);
        break;
      case "recovered":
        trace(() => `recovered: ${JSON.stringify({ ...event.report, durationMs: 0 })}`);
    }
  }

  /** With an interval: what was settled so long ago must be on stable storage. */
  #secureInterval(): void {
    const { model, clock } = this.#world;
    const { fsync } = this.options;
    if (typeof fsync !== "number" || !this.isAlive) return;
    const before = clock.monotonic() - fsync;
    if (before >= this.#startTime) model.secure(model.cover(before));
  }

  /** The buffer's own time: ages are counted in it. */
  #time(): number {
    return Math.floor(this.#startWall + this.#world.clock.monotonic() - this.#startTime);
  }

  #checkAtRest(): void {
    const [waiting] = this.#puts;
    checkAtRest(this.#world, this.#buffer.stats(), this.#buffer.shouldEmit(), {
      options: this.options,
      counts: this.#counts,
      acknowledged: this.#acknowledged,
      waiting: waiting?.entries,
      waits: this.consumer.waits,
      startSequence: this.#startSequence,
      startBacklogBytes: this.#startBacklogBytes,
      openedAt: Math.floor(this.#startWall),
      now: this.#time(),
    });
  }
}
