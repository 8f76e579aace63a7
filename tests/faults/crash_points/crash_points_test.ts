/**
 * Crash points, all of them: fixed scenarios are stopped at every operation on a file in turn, and in another round each
 * operation fails. After each, the log is recovered from what a kill leaves and from what a power cut may leave, and
 * held against what was promised, with the model and the judge of the simulation.
 *
 * What a power cut leaves is drawn by seeds; states that are alike are looked at once. For the small scenarios there are
 * so many seeds that every outcome of a few unsynced changes is among them, whole or torn at some byte.
 *
 * How many points there are is asserted, so that they can't become fewer unnoticed.
 */

import { createHash } from "node:crypto";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { FileSystemError, type Fsync, type SluiceError } from "../../../mod.ts";
import type { Fault, MemoryFileSystem, MemoryOperation } from "../../../src/testing/mod.ts";
import { OWNER_NAME, STATUS_NAME } from "../../../src/wal/names.ts";
import { sampleOf } from "../../support/extent.ts";
import { PATH, type Plan } from "../simulation/disk.ts";
import { judge } from "../simulation/judge.ts";
import { Life } from "../simulation/life.ts";
import { newWorld } from "../simulation/simulation.ts";
import type { LifeOptions, World } from "../simulation/world.ts";

/** What is done in a life, one after the other; what comes after its end is left out. */
type Step = (life: Life, world: World) => Promise<void> | void;

interface ScriptedLife {
  readonly options?: Partial<LifeOptions>;
  /** What happens to it when it is not the one that is enumerated. */
  readonly plan?: () => Plan;
  readonly steps: readonly Step[];
}

interface Scenario {
  readonly name: string;
  readonly lives: readonly ScriptedLife[];
  /** Power cuts tried at each point. */
  readonly powerSeeds: number;
  /** The least number of points over all lives and settings of `fsync`. */
  readonly leastPoints: number;
}

const OPTIONS: LifeOptions = {
  fsync: "always",
  segmentBytes: 300,
  maxRecords: 3,
  maxBytes: 200_000,
  maxAgeMs: 1_000,
  maxBacklogBytes: 2 ** 30,
  whenFull: "reject",
  codecVersion: 0,
  onDamage: "quarantine",
};
const INTERVAL_MS = 50;
/** Where an operation fails, fewer power cuts are tried. */
const POWER_SEEDS_AT_A_FAULT = 2;
/** On Deno all points are tried, on the others a few: the code and the file system are the same. */
const SAMPLE = sampleOf({ elsewhere: 9, quick: 45 });

let values = 0;

/** Texts of about so many bytes, no two alike. */
function texts(count: number, bytes: number, codecVersion: number): string[] {
  return Array.from({ length: count }, () => `${values++}:${"x".repeat(bytes)}#${codecVersion}`);
}

const put = (count = 1, bytes = 20): Step => async (life) => {
  for (const text of texts(count, bytes, life.options.codecVersion)) await life.put([text], { isGroup: false });
};
const putMany = (count: number, bytes = 10): Step => (life) =>
  life.put(texts(count, bytes, life.options.codecVersion), { isGroup: true });
const putAtOnce = (count: number): Step => async (life) => {
  await Promise.all(texts(count, 15, life.options.codecVersion).map((text) => life.put([text], { isGroup: false })));
};
const putSync = (count: number, bytes = 20): Step => async (life) => {
  for (const text of texts(count, bytes, life.options.codecVersion)) {
    await life.put([text], { isGroup: false, isSync: true });
  }
};
const flushSync: Step = (life) => life.flushSync();
const emit: Step = (life) => life.consumer.emit();
const fill = (most: number): Step => (life) => life.consumer.fill(most);
const commit: Step = (life) => life.consumer.commit(life.consumer.handed[0]);
const drain = (most: number): Step => (life) => life.consumer.drain(most);
const flush: Step = (life) => life.flush();
const clear: Step = (life) => life.consumer.clear();
const close: Step = (life) => life.close();
const pass: Step = async (life, { clock }) => {
  clock.advance(INTERVAL_MS);
  await life.idle();
};

/** The fifth write of a frame is left half done, and can't be cut off any more. */
function tearFifthWrite(): Plan {
  let writes = 0;
  return {
    fault({ operation, path, position, length }) {
      if (operation === "write" && path.endsWith(".wal") && position! > 0 && ++writes === 5) {
        return { kind: "torn", errno: "EIO", bytes: length! >> 1 };
      }
      return writes >= 5 && operation === "truncate" ? { kind: "fail", errno: "EIO" } : undefined;
    },
  };
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: "rotation, commits, removal of segments; then recovery with a batch in flight, other thresholds, clear",
    powerSeeds: 3,
    leastPoints: 450,
    lives: [
      { steps: [put(2), putMany(3), emit, put(), commit, putAtOnce(3), emit, commit, pass, emit, flush, put()] },
      {
        options: { maxRecords: 2, segmentBytes: 400, codecVersion: 1 },
        steps: [emit, put(2), commit, drain(1), emit, clear, putMany(2), emit, close],
      },
    ],
  },
  {
    name: "a torn tail, and its recovery",
    powerSeeds: 3,
    leastPoints: 450,
    lives: [
      { plan: tearFifthWrite, steps: [put(6, 40)] },
      { steps: [emit, put(), commit, drain(1), close] },
    ],
  },
  {
    name: "drop-oldest, with a batch in flight",
    powerSeeds: 3,
    leastPoints: 380,
    lives: [{
      options: { whenFull: "drop-oldest", maxBacklogBytes: 400 },
      steps: [put(6), emit, put(5), commit, putAtOnce(4), emit, commit, close],
    }],
  },
  {
    name: "three batches in flight, over segments; then recovery with other thresholds, a drop in between, clear",
    powerSeeds: 3,
    leastPoints: 450,
    lives: [
      { options: { maxRecords: 2 }, steps: [put(5, 40), fill(3), put(2), commit, fill(3), flush, commit, fill(3)] },
      {
        options: { maxRecords: 4, whenFull: "drop-oldest", maxBacklogBytes: 600, segmentBytes: 400, codecVersion: 1 },
        steps: [fill(3), put(8), emit, commit, fill(3), commit, commit, fill(2), clear, putMany(2), fill(2), close],
      },
    ],
  },
  {
    name: "puts and flushes within the call, beside others",
    powerSeeds: 3,
    leastPoints: 100,
    lives: [
      {
        options: { segmentBytes: 400 },
        steps: [putSync(3), putAtOnce(2), putSync(4), emit, flushSync, commit, putSync(2)],
      },
      { steps: [flushSync, putSync(1), emit, commit, putMany(2), putSync(1), emit] },
    ],
  },
  {
    name: "a putMany over several frames",
    powerSeeds: 40,
    leastPoints: 100,
    lives: [
      { options: { segmentBytes: 100_000 }, steps: [put(), putMany(3, 24_000), emit, put(), commit, emit] },
    ],
  },
  {
    name: "a few changes, in every outcome",
    powerSeeds: 150,
    leastPoints: 90,
    lives: [{ steps: [put(1, 2), emit, put(1, 2), commit] }],
  },
  {
    name: "commits before and behind a flush, in every outcome",
    powerSeeds: 60,
    leastPoints: 110,
    lives: [{ steps: [put(1, 2), emit, commit, put(1, 2), flush, emit, commit] }],
  },
  {
    name: "a status file that is written in between",
    powerSeeds: 1,
    leastPoints: 160,
    lives: [{ options: { statusMs: INTERVAL_MS }, steps: [put(1, 2), pass, emit, pass, commit, close] }],
  },
];

const SETTINGS: readonly Fsync[] = ["always", "never", INTERVAL_MS];
/** Between "never" and an interval, faults see no difference that a crash point doesn't see. */
const SETTINGS_FOR_FAULTS: readonly Fsync[] = ["always", INTERVAL_MS];

/** Plays a scenario up to life number `last`, which has a plan of its own. */
async function play(scenario: Scenario, fsync: Fsync, last: number, plan: Plan): Promise<World> {
  values = 0;
  const world = newWorld();
  for (let i = 0; i <= last; i++) {
    if (i > 0) await adopt(world);
    await live(world, scenario.lives[i]!, fsync, i === last ? plan : scenario.lives[i]!.plan?.() ?? {});
  }
  return world;
}

/** The next life begins with what the one before has left. */
async function adopt(world: World): Promise<void> {
  const { model, disk } = world;
  const death = { isPower: false, isCursorReliable: true, isStrict: false, left: disk.files };
  const found = await judge(model, death, { ...world, isThorough: false });
  model.adopt(found.batches, { next: found.next, isPower: false });
}

async function live(world: World, { options, steps }: ScriptedLife, fsync: Fsync, plan: Plan): Promise<void> {
  const { disk } = world;
  world.told.length = 0;
  const life = await Life.open(world, { ...OPTIONS, ...options, fsync }, plan);
  for (const step of steps) {
    if (life?.isAlive !== true) break;
    await step(life, world);
    life.check();
  }
  disk.kill();
  await life?.finish();
}

/** Judges what a kill leaves, and what power cuts may leave. Returns how many states there were. */
async function judgeAll(
  world: World,
  { fsync, powerSeeds, point, note }: { fsync: Fsync; powerSeeds: number; point: number; note: string },
): Promise<number> {
  const { model, disk } = world;
  const isStrict = fsync === "always" && !disk.hasEverFailed;
  const { isCursorReliable } = disk;
  const states: { readonly seed: number | undefined; readonly left: MemoryFileSystem }[] = [
    { seed: undefined, left: disk.files },
  ];
  const seen = new Set<string>();
  // Others at each point, so that few at each are many in all.
  for (let seed = point * powerSeeds; seed < (point + 1) * powerSeeds; seed++) {
    const left = disk.files.crash({ seed });
    const digest = digestOf(left);
    if (!seen.has(digest)) states.push({ seed, left });
    seen.add(digest);
  }
  for (const [i, { seed, left }] of states.entries()) {
    try {
      const death = { isPower: seed !== undefined, isCursorReliable, isStrict, left };
      await judge(model, death, { ...world, isThorough: i % 8 === 0 });
    } catch (cause) {
      const how = seed === undefined ? "killed" : `power cut ${seed}`;
      throw new Error(`${note}, ${how}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }
  return states.length;
}

function digestOf(files: MemoryFileSystem): string {
  const hash = createHash("sha1");
  for (const path of files.paths()) hash.update(path).update(files.readFile(path));
  return hash.digest("hex");
}

/** How many operations a life has when nothing happens to it. */
async function countOperations(scenario: Scenario, fsync: Fsync, last: number): Promise<number> {
  const { disk } = await play(scenario, fsync, last, {});
  return disk.operations;
}

for (const scenario of SCENARIOS) {
  test(`every crash point: ${scenario.name}`, async () => {
    let points = 0;
    let tried = 0;
    let states = 0;
    for (const fsync of SETTINGS) {
      for (let last = 0; last < scenario.lives.length; last++) {
        const operations = await countOperations(scenario, fsync, last);
        for (let diesAt = 0; diesAt <= operations; diesAt++) {
          if (!SAMPLE.has(points + diesAt)) continue;
          const note = `fsync ${fsync}, life ${last}, operation ${diesAt}`;
          const world = await play(scenario, fsync, last, { diesAt });
          assertEquals(world.disk.isDead, true, note);
          tried++;
          states += await judgeAll(world, { fsync, powerSeeds: scenario.powerSeeds, point: diesAt, note });
        }
        points += operations + 1;
      }
    }
    console.log(`${tried} of ${points} crash points, ${states} states judged`);
    assert(points >= scenario.leastPoints, `only ${points} points`);
    assert(
      tried >= Math.floor(points / SAMPLE.step) && states >= 2 * tried,
      `only ${states} states at ${tried} points`,
    );
  });
}

/** How an operation may fail: before it, after it if that makes a difference, halfway. */
function faultsOf({ operation, mode, length = 0 }: MemoryOperation): Fault[] {
  const faults: Fault[] = [{ kind: "fail", errno: "EIO" }];
  const changes = ["makeDirectory", "remove", "rename", "sync", "syncDirectory", "truncate", "write"];
  if (changes.includes(operation) || mode === "create") faults.push({ kind: "after", errno: "EIO" });
  if (operation === "write") faults.push({ kind: "torn", errno: "EIO", bytes: length >> 1 });
  if (operation === "sync") faults.push({ kind: "lost", errno: "EIO" });
  return faults;
}

/** Whether nobody has to be told that an operation failed, and why. `before`: the operation before it. */
function maySilently({ operation, path, mode }: MemoryOperation, { kind }: Fault, before?: MemoryOperation): boolean {
  // What was to be removed wasn't there, what was to be created was: that came first.
  if (kind === "after" && (operation === "remove" || mode === "create")) return true;
  const name = path.slice(PATH.length + 1);
  // The system takes the descriptor back all the same, and what counts was synced.
  if (operation === "close") return true;
  // A look ahead, to know the age of the next record; whoever reads it looks again.
  if (name.endsWith(".wal") && ["open", "read", "size"].includes(operation)) return true;
  // The same look ahead, and the status file's: whether the directory is still ours. Whoever acts on it looks again.
  if (name === OWNER_NAME && operation === "identify") return true;
  // For those who watch from outside: a buffer never fails by it.
  if (name === STATUS_NAME) return true;
  // Setting aside never keeps anybody from his records; the region's `quarantined` says whether it worked.
  return name.startsWith("quarantine") || before?.operation === "makeDirectory";
}

for (const scenario of SCENARIOS) {
  test(`every operation fails once: ${scenario.name}`, async () => {
    let points = 0;
    for (const fsync of SETTINGS_FOR_FAULTS) {
      for (let last = 0; last < scenario.lives.length; last++) {
        const operations = await countOperations(scenario, fsync, last);
        for (let failing = 0; failing < operations; failing++) {
          if (SAMPLE.has(failing + last)) points += await failAt(scenario, fsync, last, failing);
        }
      }
    }
    console.log(`${points} faults`);
    assert(points >= Math.floor(scenario.leastPoints / SAMPLE.step), `only ${points} points`);
  });
}

/** Lets one operation fail in every way; each time it must reach somebody, and what was promised must be kept. */
async function failAt(scenario: Scenario, fsync: Fsync, last: number, failing: number): Promise<number> {
  let count = 1;
  for (let kind = 0; kind < count; kind++) {
    let failed: MemoryOperation | undefined;
    let before: MemoryOperation | undefined;
    const fault = (operation: MemoryOperation): Fault | undefined => {
      if (operation.index === failing - 1) before = operation;
      if (operation.index !== failing) return undefined;
      failed = operation;
      const faults = faultsOf(operation);
      count = faults.length;
      return faults[kind];
    };
    const world = await play(scenario, fsync, last, { fault });
    const note =
      `fsync ${fsync}, life ${last}, operation ${failing}, fault ${kind} of ${failed?.operation} ${failed?.path}`;
    assert(failed !== undefined, `${note}: never reached`);
    const isSilent = maySilently(failed, faultsOf(failed)[kind]!, before);
    assert(world.told.some(isOurs) || isSilent, `${note}: nobody was told`);
    await judgeAll(world, { fsync, powerSeeds: POWER_SEEDS_AT_A_FAULT, point: failing, note });
  }
  return count;
}

/** Whether an error is the injected one, or was caused by it. */
function isOurs(error: unknown): boolean {
  if (error instanceof FileSystemError && error.errno === "EIO") return true;
  return error instanceof Error && isOurs((error as SluiceError).cause);
}
