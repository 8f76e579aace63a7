/**
 * What a power cut leaves of a log with `fsync: "always"`: nothing that was acknowledged is lost, and so nothing is called
 * damage. With `onDamage: "fail"` every image opens, hands over what is there, and goes on with the sequence that follows
 * what was in flight; what was never acknowledged may be there or not, and where nobody can tell whether it was, that is
 * said, and no more than that. Damage to what was acknowledged is refused as before.
 */

import { createHash } from "node:crypto";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DamagedLogError, type DamagedRegion, type FileBuffer } from "../../../mod.ts";
import { MemoryFileSystem } from "../../../src/testing/mod.ts";
import { runCli } from "../../cli/tools.ts";
import { filledBytes, flipBit } from "../../support/bytes.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";
import { sampleOf } from "../../support/extent.ts";
import { framesOf } from "../../support/frames.ts";
import { copyOf, DIRECTORY, drain, openLog, segmentPath, segmentsOf } from "../../support/logs.ts";

/** Of the lives that follow a power cut; on Deno all are tried, the three others share them. */
const SAMPLE = sampleOf({ elsewhere: 3 });
/** Power cuts of each scene; images that are alike are looked at once. */
const CUTS = 3_000;
/** Thousands of images take some seconds, and Bun gives a test five. */
const SLOW = { timeout: 120_000 };

/** A log and what was asked of it; the same through all lives of the log. */
interface Told {
  /** Records that were acknowledged, by sequence. */
  readonly acknowledged: Map<number, string>;
  /** Records that were put, by sequence. */
  readonly put: Map<number, string>;
}

/** A life of a log: its syncs can be held up, and what is put then is written and not acknowledged. */
class Scene {
  readonly told: Told;
  readonly files: MemoryFileSystem;
  readonly buffer: FileBuffer<string>;
  readonly #hold: () => void;
  #isHeld = false;

  private constructor(told: Told, files: MemoryFileSystem, buffer: FileBuffer<string>, hold: () => void) {
    this.told = told;
    this.files = files;
    this.buffer = buffer;
    this.#hold = hold;
  }

  /** Opens a log, a new one or the one that a scene before has left. */
  static async open(options: { readonly segmentBytes?: number } = {}, before?: Scene): Promise<Scene> {
    let isHeld = false;
    const whileSyncing = () => isHeld ? new Promise<void>(() => {}) : undefined;
    const files = before?.files.kill({ whileSyncing }) ?? new MemoryFileSystem({ whileSyncing });
    const { buffer } = await openLog(files, { fsync: "always", ...options });
    const told = before?.told ?? { acknowledged: new Map(), put: new Map() };
    return new Scene(told, files, buffer, () => void (isHeld = true));
  }

  /** From now on no sync ends. */
  hold(): void {
    this.#isHeld = true;
    this.#hold();
  }

  /** Puts texts, each in a write of its own. */
  async put(...texts: readonly string[]): Promise<void> {
    const { acknowledged, put } = this.told;
    for (const text of texts) {
      put.set(Math.max(0, ...put.keys()) + 1, text);
      const putting = this.buffer.put(text).then((sequence) => void acknowledged.set(sequence, text));
      if (this.#isHeld) await yieldToEventLoop(1);
      else await putting;
    }
  }

  /** Commits a batch: nobody asks for its records any more. */
  async commit(): Promise<void> {
    const batch = await this.buffer.emit();
    await this.buffer.commit(batch);
    batch.records.forEach((_, i) => this.told.acknowledged.delete(batch.firstSequence + i));
  }
}

/** What came out of an image. */
interface Outcome {
  readonly regions: readonly DamagedRegion[];
  readonly next: number;
}

/** Opens what a power cut has left with `onDamage: "fail"`, takes everything out, and puts one record. */
async function openImage(image: MemoryFileSystem, { acknowledged, put }: Told, note: string): Promise<Outcome> {
  const { buffer, events } = await openLog(image, { fsync: "always", onDamage: "fail" });
  const delivered = new Map<number, string>();
  for await (const batch of buffer.batches({ flush: true })) {
    batch.records.forEach((record, i) => delivered.set(batch.firstSequence + i, record));
    await buffer.commit(batch);
  }
  const next = await buffer.put("next");
  await buffer.close();
  for (const [sequence, record] of acknowledged) assertEquals(delivered.get(sequence), record, note);
  for (const [sequence, record] of delivered) assertEquals(record, put.get(sequence), note);
  return { next, regions: events.flatMap((e) => e.type === "damage-found" ? [e.region] : []) };
}

/** What different power cuts leave, each once. */
function* imagesOf({ files }: Scene, cuts: number): Generator<{ image: MemoryFileSystem; note: string }> {
  const seen = new Set<string>();
  for (let seed = 0; seed < cuts; seed++) {
    const image = files.crash({ seed });
    const hash = createHash("sha1");
    for (const path of image.paths()) {
      const bytes = image.readFile(path);
      hash.update(`${path} ${bytes.length} `).update(bytes.subarray(0, filledBytes(bytes)));
    }
    const digest = hash.digest("hex");
    if (!seen.has(digest)) yield { image, note: `power cut ${seed}` };
    seen.add(digest);
  }
}

/** Opens all images of a scene; asserts that none is refused, and no sequence is left out but those of what was put. */
async function assertImages(scene: Scene, cuts = CUTS): Promise<Outcome[]> {
  const { told } = scene;
  const outcomes: Outcome[] = [];
  const refused: string[] = [];
  const highest = Math.max(...told.put.keys());
  let images = 0;
  for (const { image, note } of imagesOf(scene, cuts)) {
    images++;
    try {
      outcomes.push(await openImage(image, told, note));
    } catch (error) {
      if (!(error instanceof DamagedLogError)) throw error;
      refused.push(`${note}: ${error.message}`);
    }
  }
  assertEquals(refused, [], `${refused.length} of ${images} images are refused, the first: ${refused[0]}`);
  const beyond = outcomes.filter(({ next }) => next > highest + 1);
  // Where a header is gone, and frames behind it are torn, only their length says how many records they can have held.
  assert(
    beyond.length <= images / 20,
    `${beyond.length} of ${images} images leave out sequences that nobody was given`,
  );
  for (const { next, regions } of outcomes) {
    const note = `${next} follows, ${highest} were put: ${JSON.stringify(regions)}`;
    assert(next <= highest + 1 || (next <= highest + 20 && regions.some(isWholeSegment)), note);
    for (const { missing, unproven } of regions) {
      assertEquals(unproven, true, note);
      for (let gone = missing?.first ?? next; gone < next && gone <= missing!.last; gone++) {
        assert(!told.acknowledged.has(gone), note);
      }
    }
  }
  return outcomes;
}

function isWholeSegment({ offset, length }: DamagedRegion): boolean {
  return offset === 0 && length > 0;
}

test('a power cut with "always" is no damage: the first segment, with space set aside, is torn', SLOW, async () => {
  const scene = await Scene.open();
  scene.hold();
  await scene.put("a");
  assertEquals(scene.files.readFile(segmentPath(1)).length > 2 ** 20, true, "space is set aside");
  const outcomes = await assertImages(scene);
  assertEquals(new Set(outcomes.map(({ next }) => next)), new Set([1, 2]));
});

test(
  'a power cut with "always" is no damage: of the records that follow a synced one, some are lost',
  SLOW,
  async () => {
    const scene = await Scene.open({ segmentBytes: 4096 });
    await scene.put("a");
    scene.hold();
    await scene.put("b", "c", "d");
    const outcomes = await assertImages(scene);
    assertEquals(outcomes.some(({ regions }) => regions.length > 0), true, "none had a gap");
  },
);

test(
  'a power cut with "always" is no damage: the end of a segment is lost, and the one behind it is there',
  SLOW,
  async () => {
    const scene = await Scene.open({ segmentBytes: 256 });
    await scene.put("a");
    scene.hold();
    await scene.put("b".repeat(40), "c".repeat(40), "d".repeat(40), "e".repeat(40), "f".repeat(40));
    assert(segmentsOf(scene.files).length >= 3);
    const outcomes = await assertImages(scene);
    assertEquals(outcomes.some(({ regions }) => regions.length > 0), true, "none had a gap");
  },
);

test(
  'a power cut with "always" is no damage: what a killed process left unsynced is lost, behind it is more',
  SLOW,
  async () => {
    for (const segmentBytes of [256, 2 ** 24]) {
      const first = await Scene.open({ segmentBytes });
      await first.put("a");
      first.hold();
      await first.put("b".repeat(40), "c".repeat(40), "d".repeat(40));
      const second = await Scene.open({ segmentBytes }, first);
      await second.put("e");
      await assertImages(second, 300);
      await second.commit();
      await second.put("f");
      second.hold();
      await second.put("g", "h");
      await assertImages(second, 300);
    }
  },
);

test('a power cut with "always" is no damage, in the lives that follow either', SLOW, async () => {
  for (const segmentBytes of [256, 2 ** 24]) {
    const scene = await Scene.open({ segmentBytes });
    await scene.put("a");
    scene.hold();
    await scene.put("b".repeat(40), "c".repeat(40), "d".repeat(40), "e".repeat(40));
    for (let seed = 0; seed < 300; seed++) {
      if (!SAMPLE.has(seed)) continue;
      const files = scene.files.crash({ seed });
      // Nothing is committed: what was lost is met again by each process.
      for (let life = 0; life < 3; life++) {
        const { buffer } = await openLog(files, { fsync: "always", onDamage: "fail" });
        await buffer.put(`life ${life}`);
        if (life === 1) await buffer.emit();
        await buffer.close();
      }
      const { buffer } = await openLog(files, { fsync: "always", onDamage: "fail" });
      const records = await drain(buffer);
      await buffer.close();
      assertEquals(records[0], "a", `power cut ${seed}`);
      assertEquals(records.slice(-3), ["life 0", "life 1", "life 2"], `power cut ${seed}`);
    }
  }
});

test('a power cut with "always" is no damage either where the recovery that follows it is killed', SLOW, async () => {
  const scene = await Scene.open();
  scene.hold();
  await scene.put("a", "b");
  let unreadable = 0;
  for (const { image, note } of imagesOf(scene, 100)) {
    const { regions } = await openImage(copyOf(image), scene.told, note);
    if (!regions.some(isWholeSegment)) continue;
    unreadable++;
    for (let at = 0, isOver = false; !isOver; at++) {
      let operations = 0;
      let left: MemoryFileSystem | undefined;
      const dying: MemoryFileSystem = copyOf(image).kill({
        onOperation: () => {
          if (operations++ === at) left = dying.kill();
          return undefined;
        },
      });
      const { buffer } = await openLog(dying, { fsync: "always" }).catch(() => ({ buffer: undefined }));
      await buffer?.close().catch(() => {});
      isOver = left === undefined;
      if (isOver) break;
      const again = await openImage(copyOf(left!), scene.told, note);
      assertEquals(again.regions.filter((region) => region.unproven !== true), [], `${note}, killed at ${at}`);
    }
  }
  assert(unreadable > 2, `${unreadable} images`);
});

test('a log of "always" is damaged where an acknowledged record is, as before', async () => {
  const scene = await Scene.open();
  await scene.put("a", "b", "c");
  const killed = copyOf(scene.files.kill());
  const segment = killed.readFile(segmentPath(1));
  const hit = (frame: number) => {
    const { offset, length } = framesOf(segment)[frame]!;
    return { [segmentPath(1)]: flipBit(segment, offset + length - 1) };
  };
  for (const [frame, missing] of [[0, 1], [1, 2]] as const) {
    await assertRejects(() => openImage(copyOf(killed, hit(frame)), scene.told, ""), DamagedLogError);
    const { buffer } = await openLog(copyOf(killed, hit(frame)), { fsync: "always" });
    assertEquals(buffer.recovery.damaged.map((region) => [region.missing, region.unproven]), [
      [{ first: missing, last: missing }, undefined],
    ]);
    await buffer.close();
  }
  // Nothing is behind the last one: it can't be told from a torn tail, unless the cursor knows of it.
  const { buffer } = await openLog(copyOf(killed, hit(2)), { fsync: "always", onDamage: "fail" });
  assertEquals(buffer.recovery.damaged, []);
  await buffer.close();
  const closing = (await openLog(killed, { fsync: "always" })).buffer;
  await closing.close();
  await assertRejects(() => openImage(copyOf(killed, hit(2)), scene.told, ""), DamagedLogError);
});

test(
  'verify says of what a power cut with "always" has left what open() would say, and that it is sound',
  SLOW,
  async () => {
    const scene = await Scene.open({ segmentBytes: 256 });
    await scene.put("a");
    scene.hold();
    await scene.put("b".repeat(40), "c".repeat(40), "d".repeat(40), "e".repeat(40));
    let gaps = 0;
    for (const { image, note } of imagesOf(scene, 300)) {
      const { code, output } = await runCli(copyOf(image), ["verify", DIRECTORY, "--json"]);
      const { sound, findings } = JSON.parse(output);
      const { regions } = await openImage(image, scene.told, note);
      assertEquals([code, sound], [0, true], `${note}: ${output}`);
      const unproven = findings.filter(({ isUnproven }: { isUnproven?: boolean }) => isUnproven === true);
      assertEquals(unproven.length > 0, regions.length > 0, `${note}: ${output}, ${JSON.stringify(regions)}`);
      gaps += unproven.length;
    }
    assert(gaps > 10, `${gaps} findings`);
  },
);

test("a frame and a segment say how many records before them were not acknowledged when they were written", async () => {
  const scene = await Scene.open({ segmentBytes: 300 });
  await scene.put("a", "b");
  scene.hold();
  await scene.put("c", "d", "e", "f");
  const said = segmentsOf(scene.files).map((name) => {
    const bytes = scene.files.readFile(`${DIRECTORY}/${name}`);
    return [bytes[62], ...framesOf(bytes).map(({ sequence, unacknowledged }) => [sequence, unacknowledged])];
  });
  assertEquals(said, [[0, [1, 0], [2, 0], [3, 0], [4, 1]], [2, [5, 2], [6, 3]]]);
});

test("where a put doesn't wait for a sync, all that is written counts as acknowledged", async () => {
  const files = new MemoryFileSystem({ whileSyncing: () => isHeld ? new Promise(() => {}) : undefined });
  let isHeld = false;
  const { buffer } = await openLog(files, { fsync: "never", segmentBytes: 80_000 });
  isHeld = true;
  await buffer.put("a");
  await buffer.putMany(["b", "c".repeat(70_000), "d"]);
  await buffer.put("e");
  for (const name of segmentsOf(files)) {
    const bytes = files.readFile(`${DIRECTORY}/${name}`);
    assertEquals([bytes[62], bytes[63]], [0, 0]);
    assertEquals(framesOf(bytes).filter(({ unacknowledged }) => unacknowledged > 0), []);
  }
});
