/**
 * Exactly once, the whole way: records from a `FileBuffer` into a file by `fileSink()`, both on one disk, stopped at every
 * operation on it in turn, by a kill and by power cuts. After each, the next process opens both and goes on; it is stopped
 * in turn, too, at a moment that a seed draws. At the end the file holds each record once, in order, and no byte more.
 *
 * How many points there are is asserted, so that they can't become fewer unnoticed.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { BufferEmptyError } from "../../src/errors/mod.ts";
import { fileSink } from "../../src/sinks/file.ts";
import { readJournal } from "../../src/sinks/file_journal.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fsync } from "../../src/wal/writer/log.ts";
import { textOf } from "../fs/memory_outcomes.ts";
import { contextOf } from "../support/deliveries.ts";
import { sampleOf } from "../support/extent.ts";
import { mulberry32 } from "../support/random.ts";

const BUFFER = "/buffer";
const PATH = "/out/records.ndjson";
const RECORDS = 7;
/** Power cuts tried at each point. */
const POWER_SEEDS = 12;
/** On Deno every point is tried, the three others share a half of them. */
const SAMPLE = sampleOf({ elsewhere: 6 });

const expected = Array.from(
  { length: RECORDS },
  (_, i) => `${JSON.stringify({ n: i + 1, text: "x".repeat(i * 97) })}\n`,
)
  .join("");

/** The buffer with all records in it, durable, and the sink's directory, with a file that was rotated if wished. */
async function begin(isRotated: boolean): Promise<MemoryFileSystem> {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile("/out/other", new Uint8Array());
  if (isRotated) {
    const sink = await fileSink<unknown>(PATH, { fileSystem });
    const buffer = await openBuffer(fileSystem, "always");
    await buffer.put("before the rotation");
    await deliver(buffer, sink);
    await buffer.close();
    await sink.close();
    fileSystem.rename(PATH, "/out/rotated");
    await fileSystem.syncDirectory("/out");
  }
  const buffer = await openBuffer(fileSystem, "always");
  await buffer.putMany(expected.trimEnd().split("\n").map((line) => JSON.parse(line)));
  await buffer.close();
  return fileSystem;
}

function openBuffer(fileSystem: MemoryFileSystem, fsync: Fsync): Promise<FileBuffer<unknown>> {
  return FileBuffer.open<unknown>({ path: BUFFER, fileSystem, fsync, maxRecords: 2, statusMs: 0 });
}

/** What a producer does: sends each batch as a delivery until it is taken, then commits it. */
async function deliver(buffer: FileBuffer<unknown>, send: Awaited<ReturnType<typeof fileSink<unknown>>>) {
  for (;;) {
    try {
      const batch = await buffer.emit();
      const { id, records, payloads, putTimes, length, byteLength, redelivered } = batch;
      const sequences = records.map((_, i) => batch.firstSequence + i);
      const iterator = () => batch[Symbol.iterator]();
      await send(
        {
          id,
          batchId: id,
          sequences,
          records,
          payloads,
          putTimes,
          length,
          byteLength,
          redelivered,
          [Symbol.iterator]: iterator,
        },
        contextOf(),
      );
      await buffer.commit(batch);
    } catch (error) {
      if (error instanceof BufferEmptyError) return;
      throw error;
    }
  }
}

/** A process from its start to the end of its work. */
async function live(fileSystem: MemoryFileSystem, fsync: Fsync): Promise<void> {
  const buffer = await openBuffer(fileSystem, fsync);
  const sink = await fileSink<unknown>(PATH, { fileSystem });
  await deliver(buffer, sink);
  await buffer.close();
  await sink.close();
}

/**
 * A process that is stopped before its operation number `moment`, if it has so many.
 *
 * @returns What it left behind; `undefined` if it came to its end.
 */
async function liveUntil(
  disk: MemoryFileSystem,
  moment: number,
  { fsync, powerSeed }: { fsync: Fsync; powerSeed: number | undefined },
): Promise<MemoryFileSystem | undefined> {
  let left: MemoryFileSystem | undefined;
  const fileSystem: MemoryFileSystem = disk.kill({
    onOperation({ index }) {
      if (index !== moment) return;
      const after = powerSeed === undefined ? undefined : fileSystem.crash({ seed: powerSeed });
      const killed = fileSystem.kill();
      left = after ?? killed;
    },
  });
  try {
    await live(fileSystem, fsync);
  } catch (error) {
    if (left === undefined) throw error;
  }
  if (left === undefined) assertEquals(textOf(fileSystem, PATH), expected);
  return left;
}

/** What has to hold at every moment: whole deliveries once and in order, and behind them at most a part of the next. */
function assertBeginning(fileSystem: MemoryFileSystem, note: string): void {
  const found = textOf(fileSystem, PATH);
  if (found === "(none)") return;
  const stated = readJournal(fileSystem, `${PATH}.deliveries`)?.size ?? 0;
  assert(found.length >= stated, `${note}: the journal states what isn't there`);
  assertEquals(found.slice(0, stated), expected.slice(0, stated), note);
}

interface Scenario {
  readonly fsync: Fsync;
  readonly powerSeeds: number;
  readonly isRotated: boolean;
  readonly leastPoints: number;
}

const SCENARIOS: readonly Scenario[] = [
  { fsync: "always", powerSeeds: POWER_SEEDS, isRotated: false, leastPoints: 75 },
  { fsync: "always", powerSeeds: POWER_SEEDS, isRotated: true, leastPoints: 75 },
  // A killed process loses nothing on any setting; a power cut may lose commits, which only makes batches come again.
  { fsync: "never", powerSeeds: POWER_SEEDS, isRotated: false, leastPoints: 60 },
];

for (const { fsync, powerSeeds, isRotated, leastPoints } of SCENARIOS) {
  const what = `fsync "${fsync}"${isRotated ? ", a file that was moved away" : ""}`;
  test(`each record is in the file once, wherever the process is stopped (${what})`, async () => {
    const seed = 20260;
    console.log(`seed ${seed}`);
    const random = mulberry32(seed);
    let points = 0;
    for (let moment = 0, isOver = false; !isOver; moment++) {
      if (!SAMPLE.has(moment)) continue;
      for (let power = -1; power < powerSeeds; power++) {
        const powerSeed = power < 0 ? undefined : moment * powerSeeds + power;
        const note = `moment ${moment}, power seed ${powerSeed}`;
        const left = await liveUntil(await begin(isRotated), moment, { fsync, powerSeed });
        isOver = left === undefined;
        if (left === undefined) break;
        assertBeginning(left, note);
        points++;
        // The next one is stopped, too, often while it recovers; the third comes to its end.
        const second = Math.floor(random() * 60);
        const powerSeed2 = random() < 0.5 ? undefined : Math.floor(random() * 1e6);
        const left2 = await liveUntil(left, second, { fsync, powerSeed: powerSeed2 });
        if (left2 === undefined) continue;
        assertBeginning(left2, `${note}, then ${second}, power seed ${powerSeed2}`);
        assertEquals(await liveUntil(left2, Infinity, { fsync, powerSeed: undefined }), undefined, note);
      }
    }
    assert(points >= Math.floor(leastPoints / SAMPLE.step) * (powerSeeds + 1), `only ${points} points`);
  });
}
