/**
 * What happens in a simulation: draws the options of a life, what the disk does to it, and what is asked of the buffer.
 *
 * Everything comes from one source of numbers, so that a seed replays a run.
 */

import { assertEquals, assertRejects } from "@std/assert";
import { type Batch, FileBuffer, SluiceError } from "../../../mod.ts";
import type { Fault, MemoryOperation } from "../../../src/testing/mod.ts";
import { RESERVE_PART_BYTES } from "../../../src/wal/reserve.ts";
import { PATH, type Plan } from "./disk.ts";
import { MAX_IN_FLIGHT } from "./in_flight.ts";
import type { Life } from "./life.ts";
import type { LifeOptions, World } from "./world.ts";

/** A whole number from 0 up to `below`. */
export type Draw = (below: number) => number;

/** One of several. */
function oneOf<T>(draw: Draw, values: readonly T[]): T {
  return values[draw(values.length)]!;
}

/** Options of a life: small limits, so that a few records reach rotation, full batches and a full backlog. */
export function drawOptions(
  draw: Draw,
  { mayFail, isAlways, isLarge, copiesOnWrite }: {
    mayFail: boolean;
    isAlways: boolean;
    isLarge: boolean;
    copiesOnWrite: boolean;
  },
): LifeOptions {
  const hasLimit = draw(3) === 0;
  const scale = isLarge ? 500 : 1;
  return {
    fsync: isAlways ? "always" : oneOf(draw, ["always", "always", "never", 1 + draw(200)] as const),
    segmentBytes: (256 + draw(oneOf(draw, [100, 1500]))) * scale,
    // With batches of one record as many as may be are in flight before long.
    maxRecords: 1 + draw(oneOf(draw, [1, 3, 8])),
    maxBytes: (60 + draw(200)) * scale,
    maxAgeMs: draw(400),
    maxBacklogBytes: hasLimit ? (200 + draw(1500)) * scale : 2 ** 30,
    whenFull: oneOf(draw, ["reject", "block", "drop-oldest"] as const),
    codecVersion: draw(4) === 0 ? draw(3) : 0,
    // What a power cut has left half written may look like damage, but for "always"; what a kill leaves never does.
    onDamage: mayFail && draw(4) === 0 ? "fail" : "quarantine",
    // The last part may have a rest, which is all of it where there is one.
    ...(copiesOnWrite ? { reserveBytes: RESERVE_PART_BYTES * (1 + draw(2)) } : {}),
  };
}

/** When a process dies, what fails, how long a sync takes. */
export function drawPlan(draw: Draw, { neverFails }: { neverFails: boolean }): Plan {
  const diesAt = draw(10) < 7 ? draw(oneOf(draw, neverFails ? [60, 120, 250] : [20, 60, 250])) : Infinity;
  const isSlow = neverFails || draw(4) === 0;
  const tears = draw(3) === 0 ? { tears: (length: number) => draw(length) } : {};
  const turns = neverFails ? 12 : 4;
  const fault = neverFails ? {} : { fault: drawFaults(draw) };
  return { diesAt, ...tears, ...fault, syncTurns: () => isSlow ? draw(turns) : 0 };
}

/** One to three operations that fail, sometimes several in a row; or all of one kind, for a while. */
function drawFaults(draw: Draw): (operation: MemoryOperation) => Fault | undefined {
  const failing = new Set<number>();
  for (let i = draw(2) === 0 ? 0 : 1 + draw(3); i > 0; i--) {
    const at = draw(oneOf(draw, [30, 150]));
    for (let k = draw(3) === 0 ? 1 + draw(3) : 1; k > 0; k--) failing.add(at + k);
  }
  const kind = draw(8) === 0 ? oneOf(draw, ["write", "sync", "open", "read", "remove", "syncDirectory"]) : undefined;
  const from = draw(100);
  const until = from + draw(60);
  return (operation) => {
    const { index } = operation;
    const isTrouble = operation.operation === kind && from <= index && index < until;
    return isTrouble || failing.has(index) ? drawFault(draw, operation) : undefined;
  };
}

function drawFault(draw: Draw, { operation, path, length }: MemoryOperation): Fault | undefined {
  // Where we may not look into the directories above the buffer's, or sync them, nothing can be done about it.
  const isAbove = !path.startsWith(PATH) || (path === PATH && operation === "list");
  const errno = oneOf(draw, isAbove ? ["EIO"] : ["EIO", "ENOSPC", "EACCES"]);
  if (operation === "write" && draw(2) === 0) return { kind: "torn", errno, bytes: draw(length!) };
  if (operation === "sync" && draw(2) === 0) return { kind: "lost", errno };
  return { kind: draw(4) === 0 ? "after" : "fail", errno };
}

/** Asks things of a buffer. */
export class Actor {
  readonly #draw: Draw;
  readonly #world: World;
  readonly #life: Life;
  readonly #weights: readonly (readonly [number, () => Promise<void> | void])[];
  readonly #isLarge: boolean;
  #nextValue: () => number;
  /** What was asked of the consumer's side and is under way. */
  #busy: Promise<void> = Promise.resolve();
  steps = 0;

  constructor(draw: Draw, world: World, life: Life, options: { isLarge: boolean; nextValue: () => number }) {
    this.#draw = draw;
    this.#world = world;
    this.#life = life;
    this.#isLarge = options.isLarge;
    this.#nextValue = options.nextValue;
    const eager = 1 + draw(3);
    const { consumer } = life;
    this.#weights = [
      [40, () => this.#put(1, false)],
      [20, () => this.#put(1 + draw(6), true)],
      [10, () => void life.put([this.#value()], { isGroup: false, isSync: true })],
      [2, () => void life.flushSync()],
      [12, () => this.#burst()],
      [14 * eager, () => this.#consume(() => consumer.emit(this.#after()))],
      [6 * eager, () => this.#consume(() => consumer.fill(1 + draw(oneOf(draw, [3, MAX_IN_FLIGHT + 1]))))],
      [14 * eager, () => this.#consume(() => consumer.commit(this.#committed()))],
      [4, () => consumer.wait(this.#after(), draw(2) === 0)],
      [4 * eager, () => this.#consume(() => consumer.drain(1 + draw(4)))],
      [6, () => this.#consume(() => this.#atOnce())],
      [4, () => this.#consume(() => life.flush())],
      [2, () => this.#consume(() => this.#clear())],
      [8, () => life.idle()],
      [10, () => this.#advance()],
      [3, () => this.#jump()],
      [life.options.whenFull === "block" ? 8 : 0, () => life.abort(draw(life.waitingPuts))],
      [world.disk.copiesOnWrite ? 12 : 3, () => this.#resizeDisk()],
      [1, () => this.#openAgain()],
    ];
  }

  /** Does something; `false` when the life is over. */
  async step(): Promise<boolean> {
    if (!this.#life.isAlive) return false;
    this.steps++;
    let at = this.#draw(this.#weights.reduce((sum, [weight]) => sum + weight, 0));
    const [, act] = this.#weights.find(([weight]) => (at -= weight) < 0)!;
    await act();
    this.#life.check();
    return this.#life.isAlive;
  }

  /** Waits until nothing is under way. */
  async rest(): Promise<void> {
    await this.#busy;
    await this.#life.idle();
  }

  #value(): string {
    const draw = this.#draw;
    const most = this.#isLarge && draw(2) === 0 ? 40_000 : draw(4) === 0 ? 80 : 12;
    // One in some hundred is longer than a batch may be.
    const length = draw(200) === 0 ? this.#life.options.maxBytes : draw(most);
    return `${this.#nextValue()}:${"x".repeat(length)}#${this.#life.options.codecVersion}`;
  }

  async #put(count: number, isGroup: boolean): Promise<void> {
    const put = this.#life.put(Array.from({ length: count }, () => this.#value()), { isGroup });
    // One that waits for space would wait for ever.
    if (this.#life.options.whenFull !== "block" && this.#draw(2) === 0) await put;
  }

  #burst(): void {
    for (let i = 1 + this.#draw(8); i > 0; i--) {
      const isGroup = this.#draw(5) === 0;
      const count = isGroup ? 1 + this.#draw(3) : 1;
      void this.#life.put(Array.from({ length: count }, () => this.#value()), { isGroup });
    }
  }

  /** One call after the other; the next step need not wait for it. */
  async #consume(call: () => Promise<void>): Promise<void> {
    await this.#busy;
    if (!this.#life.isAlive) return;
    this.#busy = call();
    if (this.#draw(3) > 0) await this.#busy;
  }

  /** What a batch is asked for behind: mostly the last one in flight, or nothing; now and then one that isn't any more. */
  #after(): Batch<string> | undefined {
    const { handed, done } = this.#life.consumer;
    const behind = this.#draw(10);
    if (behind < 3) return undefined;
    if (behind < 7) return handed.at(-1);
    if (behind < 8 && handed.length > 0) return oneOf(this.#draw, handed);
    if (behind < 9 && done.length > 0) return oneOf(this.#draw, done);
    return oneOf(this.#draw, [...handed, ...this.#world.earlier, undefined]);
  }

  /** What a commit names: mostly the oldest batch in flight, or none; now and then one that can't be committed. */
  #committed(): Batch<string> | undefined {
    const { handed, done } = this.#life.consumer;
    const which = this.#draw(10);
    if (which < 3) return undefined;
    return which < 8 ? handed[0] : oneOf(this.#draw, [...handed, ...done, ...this.#world.earlier, undefined]);
  }

  /** Calls that overlap. */
  async #atOnce(): Promise<void> {
    const { consumer } = this.#life;
    const [oldest, second] = consumer.handed;
    const last = consumer.handed.at(-1);
    const calls = oneOf(this.#draw, [
      () => [consumer.emit(), consumer.emit()],
      () => [consumer.emit(last), consumer.emit(last)],
      () => [consumer.emit(last), consumer.emit(oldest), consumer.emit()],
      () => [consumer.commit(), consumer.emit()],
      () => [consumer.commit(oldest), consumer.emit(last), consumer.emit(oldest)],
      () => [consumer.emit(last), consumer.commit(oldest), consumer.emit(last), consumer.commit(second)],
      () => [consumer.commit(), consumer.commit()],
      () => [consumer.commit(second), consumer.commit(oldest), consumer.commit(second)],
      () => [consumer.emit(last), this.#life.flush()],
      () => [this.#life.flush(), consumer.commit(), this.#life.flush()],
      () => [consumer.commit(), consumer.drain(2)],
    ]);
    await Promise.all(calls());
  }

  async #clear(): Promise<void> {
    if (this.#life.options.whenFull !== "reject") await this.#life.settlePuts();
    if (this.#life.isAlive) await this.#life.consumer.clear();
  }

  async #advance(): Promise<void> {
    const { clock, trace } = this.#world;
    const ms = this.#draw(300);
    trace(() => `${ms} ms pass`);
    clock.advance(ms);
    if (this.#draw(2) === 0) await this.rest();
  }

  #jump(): void {
    const { clock, trace } = this.#world;
    const ms = (this.#draw(5) - 2) * 1_800_000;
    trace(() => `the clock is set by ${ms} ms`);
    clock.setWall(Math.max(0, clock.now() + ms));
  }

  /** Fills the disk up, or makes it larger. */
  #resizeDisk(): void {
    const { disk, trace } = this.#world;
    const room = this.#draw(this.#isLarge ? 100_000 : 600);
    const bytes = disk.isLimited && this.#draw(2) === 0 ? Infinity : disk.files.usedBytes + room;
    trace(() => `the disk has ${bytes} bytes`);
    disk.resize(bytes);
  }

  /** A second opener is refused. */
  async #openAgain(): Promise<void> {
    const { disk, trace, clock } = this.#world;
    await this.#busy;
    trace(() => "open again");
    const second = FileBuffer.open({ path: PATH, fileSystem: disk.processFiles, clock });
    const error = await assertRejects(() => second, SluiceError);
    if (!disk.isDead && disk.faults === 0) assertEquals(error.code, "BUFFER_LOCKED");
  }
}
