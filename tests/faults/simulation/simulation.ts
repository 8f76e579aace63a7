/**
 * Simulation: a `FileBuffer` on a disk that fails and dies at any operation, against a model of what it has promised.
 *
 * One seed decides everything: the options of each life, what is asked of the buffer, what fails, when the process is
 * killed or the power cut, and what of the unsynced rest is left then. A seed replays a run exactly: time is moved by
 * hand, there is no other source of chance, and the two that the buffer itself uses, its uuid and the salts of its
 * segments, decide nothing (but for a checksum that is right by accident, one in 2^32).
 *
 * ## What is checked
 *
 * - `model.ts`: what is promised when, under which `fsync`; sequences; each batch as it is handed over, also
 *   behind others in flight (`in_flight.ts`).
 * - `life.ts`: the answer to each call, those of the consumer in `consumer.ts`; the figures, those who
 *   wait, and the segments whenever nothing is under way.
 * - `judge.ts`: after each life, on copies, what recovery brings back; and the exceptions, with reasons.
 *   Recovery is made in several ways, which have to agree (`recovery.ts`).
 *
 * | fsync | a kill | a power cut |
 * |---|---|---|
 * | always | costs nothing acknowledged | costs nothing acknowledged: put, commit, drop, clear, batch handed over |
 * | interval | costs nothing acknowledged | costs at most what was done in the last interval |
 * | never | costs nothing acknowledged | costs at most what was done since the last `flush()` |
 *
 * A full disk rejects puts and nothing else; one that copies on write (`copyOnWrite`) only while the buffer has a
 * reserve: that is so in each life until all of it is given up, and for each copy that is judged and has a part of it, on a
 * disk with no byte to spare.
 *
 * `fsync` changes from life to life. What an earlier life has left unsynced, a later one with "always" has to
 * make safe before it hands it over, but not before.
 *
 * A sync that fails in the way of Linux (fault `"lost"`) makes the system take unsynced pages for clean: they read well,
 * the next sync succeeds, and they are gone after a power cut. The buffer says that it has failed; nobody, in this
 * process or a later one, can know which records these were. So those that were not safe by then can't become safe.
 */

import process from "node:process";
import { assertEquals } from "@std/assert";
import { ManualClock } from "../../../src/testing/mod.ts";
import { mulberry32 } from "../../support/random.ts";
import { segmentsIn, SimulationDisk } from "./disk.ts";
import { judge } from "./judge.ts";
import { Life } from "./life.ts";
import { Model } from "./model.ts";
import { Actor, type Draw, drawOptions, drawPlan } from "./scenario.ts";
import type { World } from "./world.ts";

/** A simulation that doesn't end within this time hangs. */
const MAX_MS = 30_000;
/** So many other outcomes of a power cut are judged where nothing may be called damage: what shows there is rare. */
const MORE_CUTS = 3;
/** Lives of a seed: enough for what one leaves behind to be met by another, and by a third. */
const LIVES = 5;

/** What a run did. */
export interface Totals {
  /** Calls and other steps. */
  operations: number;
  /** Operations of the file system. */
  fileOperations: number;
  lives: number;
  kills: number;
  powerCuts: number;
  /** Operations of the file system that were made to fail. */
  faults: number;
  /** Records put. */
  records: number;
  /** Batches found by recovery. */
  batches: number;
}

/** Nothing done yet. */
export function noTotals(): Totals {
  return { operations: 0, fileOperations: 0, lives: 0, kills: 0, powerCuts: 0, faults: 0, records: 0, batches: 0 };
}

/** How a seed is run. */
export interface SimulationOptions {
  /** @default {5} */
  readonly lives?: number;
  /** Whether the disk is one that copies on write, and fills up more often. */
  readonly copyOnWrite?: boolean;
  /** Is told what happens, line by line. */
  readonly trace?: ((line: string) => void) | undefined;
}

/** Runs one seed; throws on a violation. */
export async function simulate(seed: number, options: SimulationOptions = {}): Promise<Totals> {
  const simulation = new Simulation(seed, options);
  const unheard: unknown[] = [];
  const onUnheard = (error: unknown) => unheard.push(error);
  process.on("unhandledRejection", onUnheard);
  try {
    await inTime(simulation.run(options.lives ?? LIVES));
    if (unheard.length > 0) throw unheard[0];
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`seed ${seed}, life ${simulation.totals.lives}: ${message}`, { cause: error });
  } finally {
    process.off("unhandledRejection", onUnheard);
  }
  return simulation.totals;
}

/** Adds what one run did to the totals of several. */
export function addTotals(sum: Totals, more: Totals): void {
  for (const key of Object.keys(sum) as (keyof Totals)[]) sum[key] += more[key];
}

/** Waits for `run`, but not for ever. */
async function inTime(run: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it hangs")), MAX_MS);
  });
  try {
    await Promise.race([run, hang]);
  } finally {
    clearTimeout(timer);
  }
}

/** An empty disk, and a model of the buffer that is to be on it. */
export function newWorld(
  { trace, copyOnWrite = false }: Pick<SimulationOptions, "trace" | "copyOnWrite"> = {},
): World {
  const clock = new ManualClock();
  const model = new Model(() => clock.monotonic());
  const say = (line: () => string) => trace?.(line());
  const disk = new SimulationDisk({
    onOperation({ operation, path, index, position, length }, fault) {
      say(() => {
        const where = position === undefined ? "" : ` ${position}+${length}`;
        return `    ${index} ${operation} ${path.split("/").at(-1)}${where}${
          fault ? ` ${fault.kind} ${fault.errno}` : ""
        }`;
      });
    },
    onDeath: ({ index, operation, path }) =>
      say(() => `    ${index} ${operation} ${path.split("/").at(-1)}: dies here`),
    onForgotten(first) {
      const next = segmentsIn(disk.files).find(({ firstSequence }) => firstSequence > first)?.firstSequence;
      model.forget(first, (next ?? Infinity) - 1);
    },
  }, { copyOnWrite });
  return { model, disk, clock, trace: say, told: [], earlier: [] };
}

class Simulation {
  readonly totals: Totals = noTotals();
  readonly #draw: Draw;
  readonly #world: World;
  #values = 0;
  /**
   * Whether all lives have `fsync: "always"`, on a slow disk that never fails; and whether that is how it was, by intent or by
   * chance: then nothing is damage.
   */
  readonly #isAlways: boolean;
  #isStrict = true;

  constructor(seed: number, options: SimulationOptions) {
    const random = mulberry32(seed);
    this.#draw = (below) => Math.floor(random() * below);
    this.#world = newWorld(options);
    this.#isAlways = seed % 4 === 3;
  }

  async run(lives: number): Promise<void> {
    for (let i = 0; i < lives; i++) {
      await this.#live();
      this.totals.lives++;
    }
  }

  async #live(): Promise<void> {
    const { disk, trace } = this.#world;
    const draw = this.#draw;
    const isLarge = draw(60) === 0;
    const mayFail = disk.powerCuts === 0 || (this.#isAlways && this.#isStrict);
    const { copiesOnWrite } = disk;
    const options = drawOptions(draw, { mayFail, isAlways: this.#isAlways, isLarge, copiesOnWrite });
    this.#isStrict &&= options.fsync === "always";
    trace(() => `life ${this.totals.lives}: ${JSON.stringify(options)}`);
    const life = await Life.open(this.#world, options, drawPlan(draw, { neverFails: this.#isAlways }));
    let isClosed = false;
    if (life !== undefined) {
      await this.#act(life, isLarge);
      if (!disk.isDead && draw(2) === 0) {
        await life.close();
        isClosed = !disk.isDead;
      }
    }
    this.totals.faults += disk.injectedFaults;
    this.#isStrict &&= !disk.hasEverFailed;
    this.totals.fileOperations += disk.operations;
    disk.kill();
    await life?.finish();
    await this.#die(isClosed);
  }

  async #act(life: Life, isLarge: boolean): Promise<void> {
    const actor = new Actor(this.#draw, this.#world, life, { isLarge, nextValue: () => this.#values++ });
    for (let steps = this.#draw(40); steps > 0 && await actor.step(); steps--);
    this.totals.operations += actor.steps;
    if (this.#draw(2) === 0) await actor.rest();
  }

  async #die(isClosed: boolean): Promise<void> {
    const { disk, model, clock, trace } = this.#world;
    const draw = this.#draw;
    const { isCursorReliable } = disk;
    const { isAtRisk } = model;
    const isPower = draw(2) === 0;
    const isStrict = this.#isStrict;
    for (let i = 0; isStrict && i < MORE_CUTS; i++) {
      const left = disk.files.crash({ seed: draw(2 ** 31) });
      await judge(model, { isPower: true, isCursorReliable, isStrict, left }, { clock, trace, isThorough: false });
    }
    trace(() =>
      isPower ? `the power goes, the cursor is ${isCursorReliable ? "" : "not "}reliable` : "the process ends"
    );
    if (isPower) disk.cutPower(draw(2 ** 31));
    if (isPower) this.totals.powerCuts++;
    else if (!isClosed) this.totals.kills++;
    const isThorough = draw(4) === 0;
    const death = { isPower, isCursorReliable, isStrict, left: disk.files };
    const found = await judge(model, death, { clock, trace, isThorough });
    if (!isPower && disk.powerCuts === 0) assertEquals(found.damaged, [], "damage that a kill has made");
    // Where there is no room to write down what was found, the next process takes it for damage.
    if (disk.isLimited && found.damaged.length > 0) this.#isStrict = false;
    model.adopt(found.batches, { next: found.next, isPower });
    model.isDented ||= found.damaged.length > 0 || (isPower && isAtRisk);
    for (const range of found.missing) model.miss(range);
    this.totals.records = model.calls;
    this.totals.batches += found.batches.length;
  }
}
