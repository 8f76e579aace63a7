/**
 * Reading commands beside a writer that puts, commits, rotates and removes segments meanwhile: nothing is taken for damage that
 * is none, and nothing is overlooked that was there all the time.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import type { FileSystem } from "../../src/fs/file_system.ts";
import { scanLog } from "../../src/maintenance/scan.ts";
import type { ScanItem } from "../../src/maintenance/scan_items.ts";
import { readDirectory } from "../../src/maintenance/snapshot.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { runChild, startChild } from "../support/children.ts";
import { makeBase } from "../support/damaged_logs.ts";
import { HEADER_BYTES } from "../support/frames.ts";
import { copyOf, DIRECTORY } from "../support/logs.ts";
import { seededRandom } from "../support/random.ts";
import { read, readOnly } from "./reading.ts";

const SEEDS = 6;
const STEPS = 60;

const base = await makeBase(1);

/** A writer that does one thing after the other, as its seed says. */
class Writer {
  readonly fileSystem = new MemoryFileSystem();
  readonly #random: (below: number) => number;
  #buffer!: FileBuffer<number>;
  /** What was put and isn't committed or dropped, by sequence. */
  pending = new Map<number, number>();
  #inFlight: { readonly firstSequence: number; readonly lastSequence: number }[] = [];

  static async open(seed: number): Promise<Writer> {
    const writer = new Writer(seed);
    await writer.#open();
    return writer;
  }

  private constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  get stats(): ReturnType<FileBuffer<number>["stats"]> {
    return this.#buffer.stats();
  }

  async #open(): Promise<void> {
    this.#inFlight = [];
    this.#buffer = await FileBuffer.open<number>({
      path: DIRECTORY,
      fileSystem: this.fileSystem,
      segmentBytes: 300,
      maxRecords: 4,
      maxBacklogBytes: 2000,
      whenFull: "drop-oldest",
      fsync: this.#random(2) === 0 ? "always" : "never",
      onEvent: (event) => {
        if (event.type !== "records-dropped") return;
        for (let s = event.sequences.first; s <= event.sequences.last; s++) this.pending.delete(s);
      },
    });
  }

  async step(): Promise<void> {
    const dice = this.#random(20);
    if (dice < 8) await this.#put(1);
    else if (dice < 10) await this.#put(2 + this.#random(8));
    else if (dice < 13) await this.#emit();
    else if (dice < 18) await this.#commit();
    else if (dice < 19) await this.#restart();
    else await this.#clear();
  }

  async #put(count: number): Promise<void> {
    const values = Array.from({ length: count }, () => this.#random(1_000_000));
    const { first } = await this.#buffer.putMany(values);
    values.forEach((value, i) => this.pending.set(first + i, value));
  }

  async #emit(): Promise<void> {
    const { pendingRecords, inFlightRecords } = this.stats;
    if (pendingRecords === inFlightRecords || this.#inFlight.length > 0) return;
    this.#inFlight.push(await this.#buffer.emit());
  }

  async #commit(): Promise<void> {
    if (this.#inFlight.length === 0) await this.#emit();
    const batch = this.#inFlight.shift();
    if (batch === undefined) return;
    await this.#buffer.commit();
    for (let s = batch.firstSequence; s <= batch.lastSequence; s++) this.pending.delete(s);
  }

  async #restart(): Promise<void> {
    await this.#buffer.close();
    await this.#open();
  }

  async #clear(): Promise<void> {
    await this.#buffer.clear();
    this.#inFlight = [];
    this.pending.clear();
  }

  async close(): Promise<void> {
    await this.#buffer.close();
  }
}

function numberIn(payload: Uint8Array): number {
  return JSON.parse(new TextDecoder().decode(payload));
}

test("verify says sound, and inspect and dump agree with the buffer, after whatever it has done", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const writer = await Writer.open(seed);
    for (let step = 0; step < STEPS; step++) {
      const note = `seed ${seed}, step ${step}`;
      await writer.step();
      const { pendingRecords, pendingBytes } = writer.stats;
      const verified = await read(writer.fileSystem, ["verify", DIRECTORY]);
      assertEquals(verified.code, 0, `${note}: ${verified.output}${verified.errors}`);
      const inspected = await read(writer.fileSystem, ["inspect", DIRECTORY, "--json"]);
      const { pending } = JSON.parse(inspected.output);
      assertEquals(pending, { records: pendingRecords, payloadBytes: pendingBytes }, note);
      const dumped = await read(writer.fileSystem, ["dump", DIRECTORY, "--meta"]);
      const records = dumped.output.split("\n").slice(0, -1).map((line) => JSON.parse(line));
      assertEquals(records.map(({ sequence, record }) => [sequence, record]), [...writer.pending], note);
      assertEquals([inspected.code, dumped.code, dumped.errors], [0, 0, ""], note);
    }
    await writer.close();
  }
});

test("scanLog() takes nothing for damage, and overlooks nothing, while the log changes between two items", async () => {
  let [gone, segments] = [0, 0];
  for (let seed = 100; seed < 100 + SEEDS; seed++) {
    const writer = await Writer.open(seed);
    for (let i = 0; i < 40; i++) await writer.step();
    for (let round = 0; round < 6; round++) {
      const note = `seed ${seed}, round ${round}`;
      const before = new Map(writer.pending);
      const found = new Map<number, number>();
      for (const item of scanLog(readOnly(writer.fileSystem), DIRECTORY)) {
        if (item.kind === "frame") {
          item.payloads().forEach((payload, i) => found.set(item.firstSequence + i, numberIn(payload)));
        } else if (item.kind === "segment") segments++;
        else if (item.kind === "gone") gone++;
        else assert(isHarmlessBesideWriter(item), `${note}: ${JSON.stringify(item)}`);
        await writer.step();
      }
      for (const [sequence, value] of before) {
        if (writer.pending.has(sequence)) assertEquals(found.get(sequence), value, `${note}: record ${sequence}`);
      }
    }
    await writer.close();
  }
  // Otherwise the test has tested little.
  assertGreater(gone, 10);
  assertGreater(segments, 40);
});

function isHarmlessBesideWriter(item: ScanItem): boolean {
  return (item.kind === "torn" && item.isZero) || (item.kind === "unusable" && item.why === "empty");
}

test("scanLog() looks twice at bad bytes at the end: a write may be under way", () => {
  const { fileSystem, path, bytes } = base;
  const whole = bytes(-1);
  const last = path(-1);
  // As a reader sees it that was overtaken: a page of before in the middle, one of after behind it.
  const half = whole.slice();
  half.fill(0, 250, 280);
  for (const [name, seen] of [["middle", half], ["end", whole.slice().fill(0, 300)]] as const) {
    let reads = 0;
    const watched: FileSystem = {
      ...readOnly(fileSystem),
      open(path, mode) {
        const handle = fileSystem.open(path, mode);
        return {
          size: () => handle.size(),
          close: () => handle.close(),
          write: () => {},
          truncate: () => {},
          sync: () => Promise.resolve(),
          read(into, position) {
            const length = handle.read(into, position);
            // The header's bytes are always there.
            if (path === last && position >= HEADER_BYTES && reads++ === 0) {
              into.set(seen.subarray(position, position + length));
            }
            return length;
          },
        };
      },
    };
    const items = [...scanLog(watched, DIRECTORY)];
    const findings = items.filter(({ kind }) => kind !== "frame" && kind !== "segment");
    assertEquals(findings, [], name);
    assertGreater(reads, 1, name);
    assertEquals(
      items.filter((item) => item.kind === "frame" && `${DIRECTORY}/${item.segment}` === last).length,
      4,
      name,
    );
  }
});

test("readDirectory() looks again when segments go between the list and a look at them", () => {
  for (const goes of ["the first", "all, and another is there"] as const) {
    const fileSystem = copyOf(base.fileSystem);
    const watched: FileSystem = {
      ...readOnly(fileSystem),
      list(path) {
        const names = fileSystem.list(path);
        lists++;
        // The second list is the one whose names are opened.
        if (path !== DIRECTORY || lists !== 2 || goes === "the first") return names;
        const newest = fileSystem.readFile(base.path(-1));
        for (let i = 0; i < base.firsts.length; i++) fileSystem.remove(base.path(i));
        fileSystem.writeFile(base.path(0), newest);
        return names.filter((name) => !base.path(0).endsWith(name));
      },
      open(path, mode) {
        if (path === base.path(0) && ++opens === 2 && goes === "the first") fileSystem.remove(path);
        return readOnly(fileSystem).open(path, mode);
      },
    };
    let [lists, opens] = [0, 0];
    const picture = readDirectory(watched, DIRECTORY);
    assertGreater(lists, 2, goes);
    assertEquals(picture.segments.length, goes === "the first" ? 3 : 1, goes);
  }
});

test("verify and dump in processes of their own, beside a process that writes", { timeout: 120_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-cli-"));
  const path = join(directory, "buffer");
  const writer = startChild("tests/cli/writer_child.ts", [path]);
  try {
    const ended = new Promise((resolve) => writer.on("close", resolve));
    // It says so when it has removed its first segments.
    await new Promise((resolve, reject) => {
      writer.stdout!.once("data", resolve);
      ended.then(() => reject(new Error("the writer has ended")));
    });
    for (const args of [["verify", path, "--json"], ["dump", path], ["verify", path, "--json"]]) {
      const { code, stdout, stderr } = await runChild("src/cli/sluice.ts", args, { permissions: ["-R"] });
      const note = `${args[0]}: ${stdout.slice(0, 2000)}${stderr}`;
      if (args[0] === "verify") {
        const { sound, totals, findings } = JSON.parse(stdout);
        const kinds = findings.filter(({ harmless }: { harmless: boolean }) => !harmless);
        assertEquals([sound, kinds], [true, []], note);
        assertGreater(totals.records, 0, note);
      } else {
        const sequences = stdout.split("\n").slice(0, -1).map((line) => JSON.parse(line).n);
        const isWhole = sequences.every((n, i) => i === 0 || n === sequences[i - 1] + 1);
        assert(isWhole || stderr !== "", note);
      }
      // A writer that is fast may have removed a segment that was to be read next.
      assertEquals(stderr.replace(/^sluice: committed and removed meanwhile in \d{20}\.wal\n/gm, ""), "", note);
      assertEquals(code, 0, note);
    }
    writer.kill("SIGKILL");
    await ended;
    const { code, stdout } = await runChild("src/cli/sluice.ts", ["verify", path]);
    assertEquals(code, 0, `after a kill: ${stdout}`);
  } finally {
    writer.kill("SIGKILL");
    rmSync(directory, { recursive: true });
  }
});
