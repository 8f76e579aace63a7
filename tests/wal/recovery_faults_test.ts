/**
 * Recovery that is itself interrupted: killed, cut off the power or failed at each of its own operations, then made
 * again. The end is always the same as if nothing had happened.
 */

import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { FileSystemError } from "../../src/errors/mod.ts";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { Cursor } from "../../src/wal/cursor.ts";
import { assertSameBytes, concat, cut, flipBit, garbage } from "../support/bytes.ts";
import { InstrumentedDisk, trackHandles } from "../support/disk.ts";
import { sampleOf } from "../support/extent.ts";
import { framesOf } from "../support/frames.ts";
import {
  assertSound,
  commitBatches,
  copyOf,
  CURSOR_PATH,
  DIRECTORY,
  drainCopy,
  type Drained,
  drainLog,
  makeLog,
  openLog,
  segmentPath,
  segmentsOf,
  snapshot,
  texts,
} from "../support/logs.ts";

/** On Deno every operation is tried, the three others share them. */
const SAMPLE = sampleOf({ elsewhere: 3 });
const OPTIONS = { segmentBytes: 400, maxRecords: 4 };

interface Scenario {
  readonly name: string;
  readonly log: MemoryFileSystem;
}

/** Logs that give recovery something to do. */
async function makeScenarios(): Promise<Scenario[]> {
  const finish = { ...OPTIONS, ends: "closed" as const };
  const { fileSystem } = await makeLog(texts(14), {
    ...finish,
    finish: async (buffer) => {
      await commitBatches(buffer, 1);
      await buffer.emit();
    },
  });
  const unknown = await makeLog(texts(14), OPTIONS);
  const foreign = await makeLog(texts(9, "foreign"), finish);
  const path = `${DIRECTORY}/${segmentsOf(fileSystem).at(-1)}`;
  const last = fileSystem.readFile(path);
  const hit = flipBit(last, framesOf(last)[1]!.offset + 30);
  const tail = garbage(50, 1);
  const withoutHeader = (bytes: Uint8Array) => flipBit(flipBit(bytes, 40), 120);
  const noCursor = garbage(16_384, 2);
  const log = (name: string, files: Parameters<typeof copyOf>[1]): Scenario => ({
    name,
    log: copyOf(fileSystem, files),
  });
  return [
    log("nothing to do", {}),
    log("a torn tail", { [path]: concat(last, tail) }),
    log("damage and a torn tail", { [path]: concat(hit, tail) }),
    log("a newest segment without a header", { [path]: withoutHeader(last) }),
    {
      name: "a newest segment without a header, and a cursor that doesn't know of it",
      log: copyOf(unknown.fileSystem, { [path]: withoutHeader(unknown.fileSystem.readFile(path)) }),
    },
    log("an empty newest segment", { [segmentPath(15)]: cut(last, 70) }),
    log("a foreign newest segment", { [segmentPath(900)]: foreign.fileSystem.readFile(segmentPath(1)) }),
    log("a cursor ahead of the log", { [path]: cut(last, framesOf(last)[1]!.offset + 3) }),
    log("no cursor", { [CURSOR_PATH]: undefined }),
    log("no cursor and a torn tail", { [CURSOR_PATH]: undefined, [path]: concat(last, tail) }),
    log("a cursor that can't be read", { [CURSOR_PATH]: noCursor }),
    log("a cursor that can't be read, damage and a torn tail", { [CURSOR_PATH]: noCursor, [path]: concat(hit, tail) }),
    log("a cursor that can't be read, and a newest segment without a header", {
      [CURSOR_PATH]: noCursor,
      [path]: withoutHeader(last),
    }),
    log("a cursor that can't be read, and an empty newest segment", {
      [CURSOR_PATH]: noCursor,
      [segmentPath(15)]: cut(last, 70),
    }),
  ];
}

/** What recovery decides about: everything but the salt of a new segment and how often the cursor was written. */
function stateOf(fileSystem: MemoryFileSystem): { files: Record<string, Uint8Array>; cursor: unknown } {
  const { [CURSOR_PATH]: _, ...files } = snapshot(fileSystem);
  const { generation: __, ...cursor } = Cursor.read(copyOf(fileSystem), DIRECTORY)!;
  return { files, cursor };
}

/** What one undisturbed recovery of a scenario makes of it. */
interface Reference {
  readonly state: ReturnType<typeof stateOf>;
  readonly drained: Drained;
}

async function referenceOf(log: MemoryFileSystem): Promise<Reference> {
  const copy = copyOf(log);
  await openLog(copy, OPTIONS);
  return { state: stateOf(copy), drained: await drainCopy(copy.kill(), OPTIONS) };
}

/** Recovers once more and holds the end against the reference. */
async function assertSameEnd(fileSystem: MemoryFileSystem, { state, drained }: Reference, note: string): Promise<void> {
  await openLog(fileSystem, OPTIONS);
  const found = stateOf(fileSystem);
  assertEquals(Object.keys(found.files), Object.keys(state.files), `${note}: files`);
  for (const [path, bytes] of Object.entries(found.files)) {
    assertSameBytes(bytes, state.files[path]!, `${note}: ${path}`);
  }
  assertEquals(found.cursor, state.cursor, `${note}: cursor`);
  const again = await drainLog(fileSystem.kill(), OPTIONS);
  assertEquals(again.records, drained.records, `${note}: records`);
  assertEquals([again.batches, again.nextSequence], [drained.batches, drained.nextSequence], note);
}

test("FileBuffer.open() that is killed at any of its operations ends the next time as if it had not been", async () => {
  for (const { name, log } of await makeScenarios()) {
    const reference = await referenceOf(log);
    for (let at = 0, isDone = false; !isDone; at++) {
      if (!SAMPLE.has(at)) continue;
      let left: MemoryFileSystem | undefined;
      const dying: MemoryFileSystem = copyOf(log).kill({
        onOperation({ index }) {
          if (index === at) left = dying.kill();
        },
      });
      await openLog(dying, OPTIONS).catch((error) => assertInstanceOf(error, FileSystemError));
      isDone = left === undefined;
      if (isDone) assert(at > 10, `${name}: only ${at} operations`);
      await assertSameEnd(left ?? dying.kill(), reference, `${name}, killed at operation ${at}`);
    }
  }
});

test("FileBuffer.open() that loses the power at any of its operations ends the next time as if it had not", async () => {
  for (const { name, log } of await makeScenarios()) {
    const reference = await referenceOf(log);
    for (let at = 0, isDone = false; !isDone; at++) {
      if (!SAMPLE.has(at)) continue;
      for (let seed = 2 * at; seed < 2 * at + 2; seed++) {
        let left: MemoryFileSystem | undefined;
        const dying: MemoryFileSystem = copyOf(log).kill({
          onOperation({ index }) {
            if (index !== at) return;
            left = dying.crash({ seed });
            dying.kill();
          },
        });
        await openLog(dying, OPTIONS).catch((error) => assertInstanceOf(error, FileSystemError));
        isDone = left === undefined;
        await assertSameEnd(
          left ?? dying.crash({ seed }),
          reference,
          `${name}, power cut at operation ${at}, seed ${seed}`,
        );
      }
    }
  }
});

test("FileBuffer.open() that fails at any of its operations gives everything back, and ends the next time as if it had not", async () => {
  for (const { name, log } of await makeScenarios()) {
    const reference = await referenceOf(log);
    for (const [kind, errno] of [["fail", "EIO"], ["fail", "ENOSPC"], ["after", "EIO"]] as const) {
      for (let at = 0, isDone = false; !isDone; at++) {
        if (!SAMPLE.has(at)) continue;
        const disk = new InstrumentedDisk(copyOf(log));
        const { fileSystem, openPaths } = trackHandles(disk.fileSystem);
        disk.fail({ index: at }, { kind, errno });
        const note = `${name}, ${errno} ${kind} at operation ${at}`;
        let isOpen = false;
        try {
          const { buffer } = await openLog(fileSystem, OPTIONS);
          isOpen = true;
          await buffer.close();
        } catch (error) {
          assertInstanceOf(error, FileSystemError, `${note}: ${error}`);
          assertEquals(error.errno, errno, note);
        }
        const { operation, path } = disk.operations[at] ?? {};
        isDone = operation === undefined || isOpen && disk.plannedFaults > 0;
        assertEquals(openPaths(), [], `${note} (${operation} ${path}): still open`);
        // In the same process: the lock must be free.
        const drained = await drainCopy(disk.fileSystem, OPTIONS);
        assertEquals(drained.records, reference.drained.records, `${note} (${operation} ${path})`);
        assertEquals(drained.nextSequence, reference.drained.nextSequence, `${note} (${operation} ${path})`);
        if (!isOpen) await openLog(disk.fileSystem, OPTIONS);
      }
    }
  }
});

test("FileBuffer.open() and emit() deliver everything that is good when nothing can be set aside", async () => {
  const { fileSystem: base, acknowledged } = await makeLog(texts(14), { ...OPTIONS, ends: "closed" });
  const [first, , last] = segmentsOf(base).map((name) => `${DIRECTORY}/${name}`) as [string, string, string];
  const hit = (path: string) => {
    const bytes = base.readFile(path);
    return flipBit(bytes, framesOf(bytes)[1]!.offset + 30);
  };
  const log = copyOf(base, { [first]: hit(first), [last]: concat(hit(last), garbage(50, 1)) });
  const missing = [first, last].map((path) => framesOf(base.readFile(path))[1]!.sequence);
  const mayMiss = missing.map((sequence) => ({ first: sequence, last: sequence }));
  for (const operation of ["makeDirectory", "write", "sync", "open", "list", "syncDirectory"] as const) {
    const disk = new InstrumentedDisk(copyOf(log));
    const broken: MemoryFileSystem = disk.fileSystem.kill({
      onOperation(one) {
        if (one.operation === operation && one.path.includes("/quarantine")) return { kind: "fail", errno: "EROFS" };
      },
    });
    const drained = await drainLog(broken, OPTIONS);
    assertSound(drained, { acknowledged, mayMiss, note: operation });
    assertEquals(drained.regions.map(({ missing }) => missing), [...mayMiss].reverse(), operation);
    assertEquals(drained.regions.map(({ quarantined }) => quarantined), [false, false], operation);
  }
});

test("FileBuffer.open() and emit() deliver everything that is good on a full disk", async () => {
  for (const { name, log } of await makeScenarios()) {
    if (name.startsWith("no cursor")) continue;
    const reference = await referenceOf(log);
    const fileSystem = copyOf(log);
    fileSystem.writeFile("/full", new Uint8Array(10));
    fileSystem.capacityBytes = fileSystem.usedBytes;
    const { buffer } = await openLog(fileSystem, OPTIONS);
    const sequences: number[] = [];
    for await (const batch of buffer.batches({ flush: true })) {
      for (let i = 0; i < batch.length; i++) sequences.push(batch.firstSequence + i);
      await buffer.commit(batch);
    }
    assertEquals(sequences, reference.drained.records.map(({ sequence }) => sequence), name);
    fileSystem.capacityBytes = Infinity;
    assertEquals(await buffer.put("there is space again"), reference.drained.nextSequence, name);
    await buffer.close();
  }
});

test("FileBuffer.open() cuts a torn tail for good: no power cut brings it back behind what is put next", async () => {
  const { fileSystem } = await makeLog(texts(5));
  const path = segmentPath(1);
  const torn = copyOf(fileSystem, { [path]: concat(fileSystem.readFile(path), garbage(50, 1)) });
  const { buffer } = await openLog(torn, { fsync: "always" });
  await buffer.put("next");
  for (let seed = 0; seed < 30; seed++) {
    const { records } = await drainLog(torn.crash({ seed }), { onDamage: "fail" });
    assertEquals(records.length, 6, `seed ${seed}`);
  }
  await buffer.close();
});
