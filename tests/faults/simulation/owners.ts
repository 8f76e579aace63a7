/**
 * Simulation of owners that aren't alone: several `FileBuffer`s on one directory whose lock holds nobody out, on a disk whose
 * syncs take their time, while the directory is moved, replaced and put back. One seed decides everything.
 *
 * It takes nothing of the lock for granted, and holds the owners to what `wal/ownership.ts` promises:
 *
 * - *Nothing acknowledged is lost without a word*: a record that was acknowledged is committed, or comes out of the directory
 *   that its owner had; or its owner has named it in `OwnershipLostError.unconfirmed`. With "always" nothing is ever named.
 * - *Nothing twice*: a record comes out once, a sequence has one record, an id of a batch the same records, whoever hands it
 *   over.
 * - *Nothing after*: once another owner has opened the buffer, the one before hands nothing over and commits nothing; it
 *   acknowledges nothing with "always", and otherwise only for as long as it need not look. Once it has noticed, nothing.
 * - *Nothing of others*: a directory that took the name of one that was moved holds just what was put there.
 * - *Each call ends*, `flush()` within the sync under way and the next.
 *
 * The owners live in one process of the file system, which is kinder than two only in that names are looked up in one step.
 */

import { assert, assertEquals } from "@std/assert";
import {
  type Batch,
  FileBuffer,
  type FileSystem,
  type Fsync,
  OwnershipLostError,
  SluiceError,
  textCodec,
} from "../../../mod.ts";
import { ManualClock, MemoryFileSystem } from "../../../src/testing/mod.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";
import { mulberry32 } from "../../support/random.ts";

const PATH = "/data/buffer";
/** Nothing takes more turns of the event loop than this. */
const MAX_TURNS = 2_000;

/** What a run did. */
export interface OwnerTotals {
  operations: number;
  takeovers: number;
  moves: number;
  acknowledged: number;
  /** Records that a former owner has named, because the next one may have overlooked them, and has. */
  named: number;
  lost: number;
}

/** Nothing done yet. */
export function noOwnerTotals(): OwnerTotals {
  return { operations: 0, takeovers: 0, moves: 0, acknowledged: 0, named: 0, lost: 0 };
}

interface Put {
  readonly value: string;
  sequence: number | undefined;
}

/** One who has opened the buffer. */
class Owner {
  readonly name: string;
  readonly buffer: FileBuffer<string>;
  readonly fsync: Fsync;
  /** Those that were acknowledged. */
  readonly puts: Put[] = [];
  /** The directory that it has. */
  readonly place: Place;
  batch: Batch<string> | undefined;
  error: OwnershipLostError | undefined;
  isClosed = false;
  /** Whether another one is about to open the buffer, or has; or the directory has gone. */
  isContested = false;
  /** When another one had come, or the directory had gone. */
  replacedAt = Infinity;
  busy: Promise<void> = Promise.resolve();
  hasFlushed = false;
  open = 0;

  constructor(name: string, buffer: FileBuffer<string>, fsync: Fsync, place: Place) {
    this.name = name;
    this.buffer = buffer;
    this.fsync = fsync;
    this.place = place;
  }
}

/** A directory, wherever it is now: who has it, and what was committed in it. */
interface Place {
  path: string;
  owner: Owner | undefined;
  readonly committed: Set<string>;
  /** What a commit that failed may have committed. */
  readonly perhaps: Set<string>;
  /** Which record has a sequence. */
  readonly bySequence: Map<number, string>;
  readonly byBatch: Map<string, string>;
}

/** Runs one seed; throws on a violation. */
export async function simulateOwners(seed: number, trace?: (line: string) => void): Promise<OwnerTotals> {
  const run = new OwnersRun(seed, trace);
  try {
    await run.run();
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
  return run.totals;
}

class OwnersRun {
  readonly totals: OwnerTotals = noOwnerTotals();
  readonly #draw: (below: number) => number;
  readonly #trace: (line: string) => void;
  readonly #clock = new ManualClock();
  readonly #memory: MemoryFileSystem;
  readonly #fileSystem: FileSystem;
  readonly #owners: Owner[] = [];
  readonly #places: Place[] = [];
  #values = 0;

  constructor(seed: number, trace: ((line: string) => void) | undefined) {
    const random = mulberry32(seed);
    this.#draw = (below) => Math.floor(random() * below);
    this.#trace = (line) => trace?.(line);
    const syncTurns = this.#draw(4);
    this.#memory = new MemoryFileSystem({
      whileSyncing: () => yieldToEventLoop(syncTurns === 0 ? 0 : 1 + this.#draw(syncTurns)),
    });
    this.#fileSystem = new Proxy<FileSystem>(this.#memory, {
      get: (target, name) => {
        if (name === "lock") return () => ({ release() {} });
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  async run(): Promise<void> {
    await this.#takeOver();
    for (let steps = 20 + this.#draw(80); steps > 0; steps--) {
      this.totals.operations++;
      await this.#step();
    }
    await this.#settle();
    for (const owner of this.#owners) await owner.buffer.close().catch((error) => this.#onError(owner, error));
    await this.#judge();
  }

  async #step(): Promise<void> {
    const draw = this.#draw(100);
    const owner = this.#owners[this.#draw(this.#owners.length)]!;
    if (draw < 45) this.#put(owner);
    else if (draw < 60) this.#consume(owner, () => this.#emit(owner));
    else if (draw < 72) this.#consume(owner, () => this.#commit(owner));
    else if (draw < 76) this.#consume(owner, () => this.#flush(owner));
    else if (draw < 84) await yieldToEventLoop(1 + this.#draw(3));
    else if (draw < 90) this.#clock.advance(this.#draw(400));
    else if (draw < 94) await this.#settle();
    else if (draw < 97 && this.#owners.length < 6) await this.#takeOver();
    else await this.#move();
  }

  /** Another one opens the buffer, whoever has it. */
  async #takeOver(): Promise<void> {
    let place = this.#places.find(({ path }) => path === PATH);
    if (place === undefined) {
      place = {
        path: PATH,
        owner: undefined,
        committed: new Set(),
        perhaps: new Set(),
        bySequence: new Map(),
        byBatch: new Map(),
      };
      this.#places.push(place);
    }
    const fsync = (["always", "always", "never", 1 + this.#draw(300)] as const)[this.#draw(4)]!;
    const name = `${this.#owners.length}`;
    const before = place.owner;
    if (before !== undefined) before.isContested = true;
    const buffer = await FileBuffer.open<string>({
      path: PATH,
      fileSystem: this.#fileSystem,
      clock: this.#clock,
      codec: textCodec(),
      fsync,
      segmentBytes: 256 + this.#draw(600),
      maxRecords: 1 + this.#draw(5),
      maxAgeMs: this.#draw(400),
      statusMs: this.#draw(3) === 0 ? 100 : 0,
      onEvent: (event) => {
        if (event.type !== "failed") return;
        const owner = this.#owners[Number(name)];
        assert(event.error instanceof OwnershipLostError, `owner ${name} fails: ${event.error}`);
        if (owner !== undefined) owner.error ??= event.error;
      },
    });
    if (before !== undefined) before.replacedAt = Math.min(before.replacedAt, this.#clock.monotonic());
    const owner = new Owner(name, buffer, fsync, place);
    place.owner = owner;
    this.#owners.push(owner);
    this.totals.takeovers += before === undefined ? 0 : 1;
    this.#trace(`owner ${name} opens, ${fsync}`);
  }

  /** The directory is moved away, or one that was moved comes back. */
  async #move(): Promise<void> {
    const here = this.#places.find(({ path }) => path === PATH);
    if (here !== undefined) {
      here.path = `/data/moved${++this.totals.moves}`;
      this.#memory.rename(PATH, here.path);
      const { owner } = here;
      if (owner !== undefined) {
        owner.isContested = true;
        // Of many writes of the cursor within one turn not all are preceded by a look.
        await yieldToEventLoop(1);
        owner.replacedAt = Math.min(owner.replacedAt, this.#clock.monotonic());
      }
      here.owner = undefined;
      this.#trace(`the directory is moved to ${here.path}`);
    }
    const away = this.#places.filter(({ path }) => path !== PATH);
    if (away.length > 0 && this.#draw(3) === 0) {
      const place = away[this.#draw(away.length)]!;
      this.#memory.rename(place.path, PATH);
      place.path = PATH;
      this.#trace("a directory comes back");
    }
    await this.#takeOver();
  }

  #put(owner: Owner): void {
    const value = `${owner.name}.${this.#values++}${"x".repeat(this.#draw(90))}`;
    const put: Put = { value, sequence: undefined };
    const calledAt = this.#clock.monotonic();
    const hadNoticed = owner.error !== undefined;
    owner.open++;
    owner.buffer.put(value).then((sequence) => {
      put.sequence = sequence;
      owner.puts.push(put);
      this.totals.acknowledged++;
      this.#trace(`owner ${owner.name} put ${value} at ${sequence}`);
      assert(!hadNoticed, `owner ${owner.name} acknowledges ${value} after it has failed`);
      const mayNotLookMs = owner.fsync === "never" ? 1000 : owner.fsync === "always" ? 0 : owner.fsync;
      assert(
        calledAt <= owner.replacedAt + mayNotLookMs,
        `owner ${owner.name} acknowledges ${value} long after another came`,
      );
    }).catch((error) => this.#onError(owner, error)).catch((error) => void this.#violations.push(error))
      .finally(() => owner.open--);
  }

  readonly #violations: unknown[] = [];

  #consume(owner: Owner, call: () => Promise<void>): void {
    owner.open++;
    owner.busy = owner.busy.then(call).catch((error) => this.#onError(owner, error))
      .catch((error) => void this.#violations.push(error)).finally(() => owner.open--);
  }

  async #emit(owner: Owner): Promise<void> {
    const isReplaced = owner.replacedAt < Infinity;
    const batch = await owner.buffer.emit();
    owner.batch = batch;
    this.#trace(`owner ${owner.name} emit ${batch.firstSequence}-${batch.lastSequence}`);
    assert(!isReplaced, `owner ${owner.name} hands over a batch after another owner came`);
    const records = batch.records.join();
    const known = owner.place.byBatch.get(batch.id);
    assert(known === undefined || known === records, `batch ${batch.id} has other records than before`);
    owner.place.byBatch.set(batch.id, records);
    batch.records.forEach((value, i) => this.#bind(owner.place, value, batch.firstSequence + i));
  }

  #bind(place: Place, value: string, sequence: number): void {
    const known = place.bySequence.get(sequence);
    assert(known === undefined || known === value, `sequence ${sequence} is ${known} and ${value}`);
    place.bySequence.set(sequence, value);
    assert(!place.committed.has(value), `${value} comes again, although it is committed`);
  }

  async #commit(owner: Owner): Promise<void> {
    const { batch } = owner;
    if (batch === undefined) return;
    owner.batch = undefined;
    const isReplaced = owner.replacedAt < Infinity;
    try {
      await owner.buffer.commit(batch);
    } catch (error) {
      // It may have been written before the other owner looked.
      if (error instanceof OwnershipLostError) { for (const value of batch.records) owner.place.perhaps.add(value); }
      throw error;
    }
    this.#trace(`owner ${owner.name} commit ${batch.firstSequence}-${batch.lastSequence}`);
    assert(!isReplaced, `owner ${owner.name} commits after another owner came`);
    for (const value of batch.records) owner.place.committed.add(value);
  }

  async #flush(owner: Owner): Promise<void> {
    const isReplaced = owner.replacedAt < Infinity;
    const before = owner.buffer.stats().syncs;
    await owner.buffer.flush();
    const syncs = owner.buffer.stats().syncs - before;
    // The first one has to wait for what earlier owners have left, while others are synced.
    const isFirst = !owner.hasFlushed;
    owner.hasFlushed = true;
    // One more, with nothing left to sync, may end in the microtasks between the end of the flush and here.
    assert(isFirst || syncs <= 3, `flush() took ${syncs} syncs`);
    assert(!isReplaced, `owner ${owner.name} says that it has flushed after another owner came`);
  }

  #onError(owner: Owner, error: unknown): void {
    this.#trace(`owner ${owner.name}: ${error instanceof SluiceError ? error.code : error}`);
    if (!(error instanceof SluiceError)) throw error;
    if (error instanceof OwnershipLostError) owner.error ??= error;
    const isLost = error.code === "OWNERSHIP_LOST" && owner.isContested;
    assert(isLost || ["BUFFER_EMPTY", "BATCH_MISMATCH"].includes(error.code), `owner ${owner.name}: ${error}`);
  }

  /** Waits until nobody has a call that isn't answered. */
  async #settle(): Promise<void> {
    for (let turns = 0; this.#owners.some(({ open }) => open > 0); turns++) {
      assert(turns < MAX_TURNS, "a call is never answered");
      await yieldToEventLoop(1);
    }
    if (this.#violations.length > 0) throw this.#violations[0];
  }

  /** Takes everything out of every directory. */
  async #judge(): Promise<void> {
    const cut = this.#draw(3) === 0 ? this.#memory.crash({ seed: this.#draw(2 ** 31) }) : undefined;
    for (const place of this.#places) {
      await this.#judgePlace(place, this.#memory, () => true);
      // After a power cut only "always" has promised anything.
      if (cut?.paths().some((path) => path.startsWith(`${place.path}/`))) {
        await this.#judgePlace(place, cut, ({ fsync }) => fsync === "always");
      }
    }
  }

  async #judgePlace(place: Place, memory: MemoryFileSystem, isPromised: (owner: Owner) => boolean): Promise<void> {
    const fileSystem = memory.crash({ seed: 0 });
    const left = memory === this.#memory ? copyOf(memory) : fileSystem;
    const there = new Set<string>();
    const buffer = await FileBuffer.open<string>({
      path: place.path,
      fileSystem: left,
      codec: textCodec(),
      clock: this.#clock,
      fsync: "never",
      statusMs: 0,
    });
    let last = 0;
    for await (const batch of buffer.batches({ flush: true })) {
      assert(batch.firstSequence > last, `sequence ${batch.firstSequence} after ${last}`);
      last = batch.lastSequence;
      for (const [i, value] of batch.records.entries()) {
        assert(!there.has(value), `${value} comes twice`);
        there.add(value);
        if (memory === this.#memory) this.#bind(place, value, batch.firstSequence + i);
      }
      await buffer.commit(batch);
    }
    await buffer.close();
    for (const value of there) {
      const owner = this.#owners[Number(value.split(".")[0])]!;
      assertEquals(owner.place, place, `${value} was put into another directory`);
    }
    for (const owner of this.#owners) {
      if (owner.place !== place || !isPromised(owner)) continue;
      const named = owner.error?.unconfirmed;
      assert(
        named === undefined || owner.fsync !== "always",
        `owner ${owner.name} with always has unconfirmed records`,
      );
      for (const { value, sequence } of owner.puts) {
        if (there.has(value) || place.committed.has(value) || place.perhaps.has(value)) continue;
        const isNamed = named !== undefined && named.first <= sequence! && sequence! <= named.last;
        assert(isNamed, `${value} at ${sequence}, acknowledged by owner ${owner.name}, is gone without a word`);
        this.totals.named++;
      }
      this.totals.lost += owner.error === undefined ? 0 : 1;
    }
  }
}

/** The same files on a disk of their own. */
function copyOf(memory: MemoryFileSystem): MemoryFileSystem {
  const copy = new MemoryFileSystem();
  for (const path of memory.paths()) copy.writeFile(path, memory.readFile(path));
  return copy;
}
