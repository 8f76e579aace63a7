/**
 * Producers that die, one after the other, over one buffer, in front of a target that fails in every way: what was
 * acknowledged arrives exactly once, in order, at a target that keeps ids, and at least once at one that doesn't.
 * Chance decides everything; a seed does the same again.
 *
 * A FileBuffer's process is killed at any operation on its disk; a MemoryBuffer lives as long as its process, so there
 * only producers come and go. What a dead producer has sent may still arrive, also after the next one has begun.
 */

import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  type DeadLetter,
  deadLetterCodec,
  type Delivery,
  FileBuffer,
  MemoryBuffer,
  Producer,
  type RecordBuffer,
  type SendContext,
  textCodec,
} from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { yieldToEventLoop } from "../support/event_loop.ts";
import { isQuick } from "../support/extent.ts";
import { seededRandom } from "../support/random.ts";
import { type Arrival, ModelTarget } from "./model.ts";
import type { Kind } from "./tools.ts";

/** Seeds of each kind of buffer; SLUICE_PRODUCER_SEEDS: how many instead. */
const SEEDS = Number(process.env.SLUICE_PRODUCER_SEEDS ?? (isQuick ? 30 : 150));
const LIVES = 6;
const STEPS = 40;

/** What a seed has chosen once and for all. */
interface World {
  readonly random: (below: number) => number;
  readonly kind: Kind;
  readonly target: ModelTarget;
  readonly maxInFlight: number;
  /** Sent, and not arrived yet; perhaps by a producer that is dead. */
  readonly onTheWay: Arrival[];
  readonly put: string[];
  readonly acknowledged: Set<string>;
  fileSystem: MemoryFileSystem;
  memory: MemoryBuffer<string> | undefined;
  deadLetters: MemoryBuffer<DeadLetter<string>> | undefined;
  kills: number;
}

const isPoison = (record: string): boolean => Number(record) % 13 === 5;

function makeWorld(seed: number, kind: Kind): { world: World; keepsOrder: boolean } {
  const random = seededRandom(seed);
  const keepsOrder = random(3) > 0;
  const maxInFlight = random(3) > 0 ? 1 : 2 + random(4);
  const target = new ModelTarget({ random, maxRecords: 1 + random(5), isPoison, keepsOrder });
  const world: World = {
    random,
    kind,
    target,
    maxInFlight,
    onTheWay: [],
    put: [],
    acknowledged: new Set(),
    fileSystem: new MemoryFileSystem(),
    memory: undefined,
    deadLetters: undefined,
    kills: 0,
  };
  return { world, keepsOrder: keepsOrder && maxInFlight === 1 };
}

/** One process, or as much of it as there is with a MemoryBuffer. */
class Life {
  readonly clock = new ManualClock();
  isDead = false;
  buffer!: RecordBuffer<string>;
  producer!: Producer<string>;
  readonly #world: World;
  readonly #opened: AsyncDisposable[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** Begins; on a disk it is killed at one of its next operations. */
  async begin(isLast: boolean): Promise<void> {
    const { random, fileSystem, maxInFlight } = this.#world;
    const killedAt = isLast ? Infinity : random(120);
    const own: MemoryFileSystem = fileSystem.kill({
      onOperation: ({ index }) => {
        if (index < killedAt || this.isDead) return;
        this.isDead = true;
        this.#world.kills++;
        this.#world.fileSystem = own.kill();
      },
    });
    this.#world.fileSystem = own;
    const deadLetters = await this.#open(own);
    this.producer = new Producer<string>({
      buffer: this.buffer,
      send: (delivery, context) => this.#send(delivery, context),
      maxInFlight,
      deadLetters,
      retry: { firstDelayMs: 10, maxDelayMs: 100 },
      timeoutMs: 50,
      closeTimeoutMs: 20,
      clock: this.clock,
      random: () => random(1_000) / 1_000,
    });
  }

  async #open(fileSystem: MemoryFileSystem): Promise<RecordBuffer<DeadLetter<string>>> {
    const { random, kind } = this.#world;
    const { clock } = this;
    const options = { clock, codec: textCodec(), maxRecords: 1 + random(6), maxAgeMs: random(100), segmentBytes: 400 };
    if (kind === "MemoryBuffer") {
      const { segmentBytes: _, ...forMemory } = options;
      // It lives longer than the clock that it is opened with, so what is there is always due.
      this.buffer = this.#world.memory ??= await MemoryBuffer.open<string>({ ...forMemory, maxAgeMs: 0 });
      return this.#world.deadLetters ??= await MemoryBuffer.open({ clock, codec: deadLetterCodec(textCodec()) });
    }
    const fsync = (["always", "never", 20] as const)[random(3)];
    const codec = deadLetterCodec(textCodec());
    const letters = await FileBuffer.open({ path: "/dead", fileSystem, clock, fsync, statusMs: 0, codec });
    this.#opened.push(letters);
    this.buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem, fsync, statusMs: 0, ...options });
    this.#opened.push(this.buffer);
    return letters;
  }

  /** Does something; what it begins may not have ended when it returns. */
  async step(): Promise<void> {
    const { random, target, onTheWay } = this.#world;
    switch (random(6)) {
      case 0:
      case 1:
        for (let i = random(4); i >= 0; i--) this.#put(1);
        break;
      case 2:
        this.#put(1 + random(8));
        break;
      case 3:
        this.producer.flush().catch(() => {});
        break;
      case 4:
        this.clock.advance(random(120));
        break;
      case 5: {
        const [late] = onTheWay.splice(random(onTheWay.length), 1);
        if (late !== undefined) quietly(() => target.arrive(late));
      }
    }
    await yieldToEventLoop(random(4));
  }

  /** Ends, if it wasn't killed, in one way or another. */
  async end(): Promise<void> {
    const { random } = this.#world;
    const isHurried = this.isDead || random(2) === 0;
    const closed = this.producer?.close(isHurried ? { signal: AbortSignal.abort() } : {});
    if (!isHurried) { for (let i = 0; i < 10; i++) await this.#pass(10); }
    // Attempts that ignore their signals, and letters that are put on a disk that is gone.
    await this.#pass(1_000);
    await closed;
    this.isDead = true;
    for (const one of this.#opened.reverse()) await one[Symbol.asyncDispose]().then(() => {}, () => {});
    if (this.#world.kind === "FileBuffer") assertEquals(this.clock.timers, [], "a timer is left");
  }

  async #pass(ms: number): Promise<void> {
    await yieldToEventLoop(6);
    this.clock.advance(ms);
    await yieldToEventLoop(6);
  }

  /** Delivers all that is there. */
  async drain(): Promise<void> {
    let isFlushed = false;
    const flushed = this.producer.flush().then(() => isFlushed = true);
    for (let i = 0; i < 500 && !isFlushed; i++) await this.#pass(50);
    assert(isFlushed, "stuck");
    await flushed;
  }

  #put(count: number): void {
    const { put, acknowledged } = this.#world;
    const records = Array.from({ length: count }, (_, i) => `${put.length + i}`);
    put.push(...records);
    const answer = count === 1 ? this.producer.put(records[0]) : this.producer.putMany(records);
    answer.then(() => records.forEach((record) => acknowledged.add(record)), () => {});
  }

  async #send({ id, records }: Delivery<string>, { signal }: SendContext): Promise<void> {
    const { random, target, onTheWay } = this.#world;
    const arrival = { id, records: [...records] };
    if (this.isDead) return await new Promise(() => {});
    const fate = target.isCalm ? 9 : random(12);
    if (fate === 0) throw new Error("no connection");
    if (fate <= 2) {
      // It is sent, and either arrives some day or never.
      if (random(2) === 0) onTheWay.push(arrival);
      return await new Promise((_, reject) => {
        if (fate === 1) signal.addEventListener("abort", () => reject(signal.reason));
      });
    }
    if (fate <= 5) {
      await yieldToEventLoop(random(6));
      if (this.isDead && random(2) === 0) return;
    }
    target.arrive(arrival);
    // Taken, but the answer is lost.
    if (fate === 3 || fate === 6) throw new Error("connection lost");
  }
}

/** All lives of a seed. */
async function run(seed: number, kind: Kind): Promise<World> {
  const { world, keepsOrder } = makeWorld(seed, kind);
  for (let i = 0; i <= LIVES; i++) {
    const isLast = i === LIVES;
    const life = new Life(world);
    try {
      await life.begin(isLast);
      for (let step = 0; step < STEPS && !life.isDead; step++) await life.step();
      if (isLast) {
        world.target.isCalm = true;
        await life.drain();
      }
    } catch (error) {
      // It died while it was opening its buffers.
      if (!life.isDead) throw error;
    }
    await life.end();
  }
  await judge(world, keepsOrder);
  return world;
}

/** Holds what the target has against what was promised. */
async function judge(world: World, keepsOrder: boolean): Promise<void> {
  const { target, acknowledged, put } = world;
  const letters = await lettersOf(world);
  const dead = new Set(letters.values());
  const stored = new Set(target.stored);
  const received = new Set(target.received);
  assertEquals(target.stored.length, stored.size, "stored twice");
  assertEquals(dead.size, letters.size, "two keys for one record");
  for (const record of acknowledged) {
    if (isPoison(record)) assert(dead.has(record), `no letter for ${record}`);
    else assert(stored.has(record) && received.has(record), `${record} is lost`);
  }
  for (const record of dead) assert(isPoison(record) && !stored.has(record), `a letter for ${record}`);
  const known = new Set(put);
  assert(target.stored.every((record) => known.has(record)), "invented");
  if (keepsOrder) assertEquals(target.stored, [...target.stored].sort((a, b) => Number(a) - Number(b)), "order");
}

/** The dead letters, each key once, with its record. */
async function lettersOf({ kind, fileSystem, deadLetters }: World): Promise<Map<string, string>> {
  const buffer = kind === "MemoryBuffer" ? deadLetters : await FileBuffer.open({
    path: "/dead",
    fileSystem: fileSystem.kill(),
    codec: deadLetterCodec(textCodec()),
  });
  const letters = new Map<string, string>();
  if (buffer === undefined) return letters;
  for await (const batch of buffer.batches({ flush: true })) {
    for (const { key, record } of batch) letters.set(key, record!);
    await buffer.commit(batch);
  }
  await buffer.close();
  return letters;
}

function quietly(action: () => void): void {
  try {
    action();
  } catch {
    // Nobody is there to be told.
  }
}

for (const kind of ["MemoryBuffer", "FileBuffer"] as const) {
  test(
    `Producer delivers exactly once whatever dies, in ${SEEDS} lives by seeds (${kind})`,
    { timeout: Math.max(120_000, 100 * SEEDS) },
    async () => {
      const sums = { acknowledged: 0, stored: 0, received: 0, duplicates: 0, faults: 0, kills: 0 };
      for (let seed = 1; seed <= SEEDS; seed++) {
        try {
          const { acknowledged, target, kills } = await run(seed, kind);
          sums.acknowledged += acknowledged.size;
          sums.stored += target.stored.length;
          sums.received += target.received.length;
          sums.duplicates += target.duplicates;
          sums.faults += target.faults;
          sums.kills += kills;
        } catch (cause) {
          throw new Error(`seed ${seed}`, { cause });
        }
      }
      console.log(JSON.stringify(sums));
      // That a seed does something is a part of what is tested.
      assert(sums.acknowledged > 50 * SEEDS && sums.duplicates > SEEDS && sums.received > sums.stored + SEEDS);
      assert(sums.faults > SEEDS, "the target was ill");
      if (kind === "FileBuffer") assert(sums.kills > 2 * SEEDS);
    },
  );
}
