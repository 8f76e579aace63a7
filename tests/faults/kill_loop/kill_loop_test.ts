/**
 * kill -9, again and again: processes that use one buffer, each killed at a moment that a seed chooses, each going on with
 * what the one before has left. `ledger.ts` says what must hold.
 *
 * Each life is recovery, use and death in one: it is killed from outside after some lines of its output, or kills itself
 * before, after or in the middle of one of its own file operations, which may be in its recovery. Between lives the last
 * segment may get a tail of garbage, as if a write had been torn. Every second life is on another runtime, where
 * others are there.
 *
 * `SLUICE_KILL_ROUNDS` says how many lives there are in each test, `SLUICE_KILL_SEED` which seed chooses; the numbers in
 * the output of the children need not be the same the next time, because where a kill hits, nobody decides.
 */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { join } from "@std/path/join";
import { FileBuffer, textCodec } from "../../../mod.ts";
import { garbage } from "../../support/bytes.ts";
import { availableRuntimes, currentRuntime, type Runtime, startChild } from "../../support/children.ts";
import { seededRandom } from "../../support/random.ts";
import { Ledger } from "./ledger.ts";

const PROGRAM = "tests/faults/kill_loop/child.ts";
const ROUNDS = Number(process.env["SLUICE_KILL_ROUNDS"] ?? 30);
const SEED = Number(process.env["SLUICE_KILL_SEED"] ?? 1);
/** A few milliseconds a life besides starting a runtime; Bun gives a test five seconds. */
const SLOW = { timeout: 60_000 + ROUNDS * 2_000 };

/** Every second life is on the current runtime, the others take turns. */
function runtimeOf(round: number): Runtime {
  const [current, ...others] = availableRuntimes();
  if (round % 2 === 0 || others.length === 0) return current!;
  return others[(round >> 1) % others.length]!;
}

/** One process, and what it has said. */
class Life {
  readonly round: number;
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  readonly #lines: string[] = [];
  #taken = 0;
  #rest = "";
  #errors = "";
  #isClosed = false;
  #isKilled = false;
  #wakes: (() => void)[] = [];

  constructor(path: string, { round, seed, dies }: { round: number; seed: number; dies: number }) {
    this.round = round;
    this.#child = startChild(PROGRAM, ["life", path, ...[round, seed, dies].map(String)], {
      runtime: runtimeOf(round),
    });
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => this.#errors += text);
    this.#child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      const parts = (this.#rest + text).split("\n");
      this.#rest = parts.pop()!;
      this.#lines.push(...parts);
      this.#wake();
    });
    this.#closed = once(this.#child, "close").then(() => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  /** Whether it has the buffer, as far as it has said. */
  get isOpen(): boolean {
    return this.#lines.some((line) => line.startsWith("open "));
  }

  /** The next line; `undefined` when it is dead and nothing is left. */
  async next(): Promise<string | undefined> {
    while (this.#taken === this.#lines.length && !this.#isClosed) await this.news();
    return this.#lines[this.#taken++];
  }

  /** Resolves when it has said something, or is dead. */
  news(): Promise<void> {
    return new Promise((resolve) => this.#wakes.push(resolve));
  }

  #wake(): void {
    for (const wake of this.#wakes.splice(0)) wake();
  }

  kill(): void {
    this.#isKilled = true;
    this.#child.kill("SIGKILL");
  }

  /** Sees to it that it is dead. */
  async bury(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed;
  }

  /** Waits for its end, which must be the one that was wished for. */
  async end(dies = 0): Promise<void> {
    await this.#closed;
    const { exitCode, signalCode } = this.#child;
    const where = `round ${this.round} on ${runtimeOf(this.round).name}`;
    assertEquals([this.#errors, exitCode, signalCode], ["", null, "SIGKILL"], where);
    assert(this.#isKilled || dies > 0, `${where} was not killed`);
  }
}

/** Puts garbage behind the last segment: what a torn write leaves. */
function tearTail(path: string, random: (below: number) => number): void {
  if (!existsSync(path)) return;
  const last = readdirSync(path).filter((name) => name.endsWith(".wal")).sort().at(-1);
  if (last !== undefined) appendFileSync(join(path, last), garbage(1 + random(100), random(1000)));
}

/** Takes everything out, in this process. */
async function drain(path: string, ledger: Ledger): Promise<void> {
  ledger.begin(ROUNDS);
  const buffer = await FileBuffer.open<string>({ path, codec: textCodec(), maxRecords: 100 });
  const { recoveredRecords, damaged, cursorLost } = buffer.recovery;
  ledger.take(`open ${recoveredRecords} ${damaged.length} ${cursorLost}`);
  for await (const batch of buffer.batches({ flush: true })) {
    ledger.batch(batch.id, batch.redelivered, batch.records);
    await buffer.commit(batch);
    ledger.commit(batch.id);
  }
  await buffer.close();
  ledger.end();
}

/** What a test works with. */
interface Scene {
  readonly path: string;
  readonly ledger: Ledger;
  /** Starts a process that is dead at the end, whatever happens. */
  readonly start: (life: { round: number; seed: number; dies: number }) => Life;
}

async function withBuffer(body: (scene: Scene) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-kills-"));
  const path = join(directory, "buffer");
  const lives: Life[] = [];
  const start: Scene["start"] = (options) => {
    const life = new Life(path, options);
    lives.push(life);
    return life;
  };
  try {
    await body({ path, ledger: new Ledger(), start });
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new Error(`SLUICE_KILL_SEED=${SEED} SLUICE_KILL_ROUNDS=${ROUNDS}: ${why}`, { cause: error });
  } finally {
    for (const life of lives) await life.bury();
    rmSync(directory, { recursive: true });
  }
}

function show(ledger: Ledger, what: string): void {
  const { acks, batches, redelivered } = ledger.figures;
  console.log(`${what}: ${acks} acknowledgements, ${batches} batches, ${redelivered} of them once more`);
  assertGreater(acks, ROUNDS);
  assertGreater(batches, ROUNDS / 4);
}

test(
  `FileBuffer loses nothing in ${ROUNDS} lives on ${currentRuntime().name} and its neighbours that end by kill -9`,
  SLOW,
  async () => {
    const deaths = { before: 0, open: 0 };
    await withBuffer(async ({ path, ledger, start }) => {
      const random = seededRandom(SEED);
      for (let round = 0; round < ROUNDS; round++) {
        if (random(3) === 0) tearTail(path, random);
        const kind = random(4);
        // By itself, in its recovery or soon after; or by us, as soon as it begins, or after some lines.
        const dies = kind === 0 ? 1 + random(12) : kind === 1 ? 1 + random(300) : 0;
        const lines = kind === 2 ? random(4) : random(60);
        const life = start({ round, seed: random(2 ** 31), dies });
        ledger.begin(round);
        let taken = 0;
        for (let line = await life.next(); line !== undefined; line = await life.next()) {
          ledger.take(line);
          if (dies === 0 && taken++ === lines) life.kill();
        }
        await life.end(dies);
        deaths[life.isOpen ? "open" : "before"]++;
      }
      await drain(path, ledger);
      show(ledger, `${deaths.before} killed before the buffer was open, ${deaths.open} later`);
      if (ROUNDS >= 30) assertGreater(Math.min(deaths.before, deaths.open), 2);
    });
  },
);

test("FileBuffer.open() lets one of two racing processes in, and the other one right after kill -9", SLOW, async () => {
  await withBuffer(async ({ path, ledger, start }) => {
    const random = seededRandom(SEED + 1);
    const next = (round: number) => start({ round, seed: random(2 ** 31), dies: 0 });
    let [one, other] = [next(0), next(1)];
    for (let round = 2; round < ROUNDS + 2; round++) {
      while (!one.isOpen && !other.isOpen) await Promise.race([one.news(), other.news()]);
      const [owner, waiting] = one.isOpen ? [one, other] : [other, one];
      ledger.begin(owner.round);
      const lines = random(40);
      let taken = 0;
      for (let line = await owner.next(); line !== undefined; line = await owner.next()) {
        ledger.take(line);
        if (taken++ !== lines) continue;
        assert(!waiting.isOpen, `rounds ${owner.round} and ${waiting.round} both have the buffer`);
        owner.kill();
      }
      await owner.end();
      [one, other] = [waiting, next(round)];
    }
    // The newer one first: if it has the buffer, the other one gets it now.
    for (const life of [other, one]) {
      life.kill();
      await life.end();
      if (life.isOpen) ledger.begin(life.round);
      for (let line = await life.next(); line !== undefined; line = await life.next()) ledger.take(line);
    }
    await drain(path, ledger);
    show(ledger, "two at a time");
  });
});
