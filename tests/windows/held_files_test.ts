/**
 * Files of a buffer that other programs keep open or mapped, on Windows: what scanners, backups and readers do. Nothing becomes
 * final by it, and nothing is lost.
 *
 * The other program is `holder.c`, whose executable SLUICE_HOLDER names. `deno task test:windows` runs these tests under Wine.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { textCodec } from "../../src/base/codec.ts";
import { FileBuffer, type FileBufferOptions } from "../../src/buffer/file_buffer.ts";
import { BufferLockedError, FileSystemError, NotABufferError } from "../../src/errors/mod.ts";
import { startChild } from "../support/children.ts";

const holder = process.env["SLUICE_HOLDER"] ?? "";
const skip = process.platform !== "win32"
  ? "only Windows keeps others from files that are open"
  : holder === "" && "no holder";

/** Holders that run. */
const children = new Set<ChildProcess>();

/** Runs `body` with a directory for a buffer, ends the holders that it has left, and removes the directory. */
async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const top = mkdtempSync(join(tmpdir(), "sluice-held-"));
  try {
    await body(join(top, "events.wal"));
  } finally {
    for (const child of children) child.kill();
    try {
      rmSync(top, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // A test that failed has left a buffer open: what it failed with counts.
    }
  }
}

const open = (path: string, options: Partial<FileBufferOptions<string>> = {}): Promise<FileBuffer<string>> =>
  FileBuffer.open<string>({ path, codec: textCodec(), fsync: "never", segmentBytes: 1024, ...options });

/** A closed buffer of ten records, in two segments or more. */
async function fill(directory: string): Promise<void> {
  const buffer = await open(directory);
  for (let i = 0; i < 10; i++) await buffer.put(`record ${i} `.padEnd(200));
  await buffer.close();
}

const segmentsIn = (directory: string): string[] =>
  readdirSync(directory).filter((name) => name.endsWith(".wal")).sort();

/** Keeps a file open until the result is called; the letters say what others may do, see `holder.c`. */
async function hold(path: string, letters: string): Promise<() => Promise<void>> {
  const child = spawn(holder, [path, letters], { stdio: ["pipe", "pipe", "inherit"] });
  children.add(child);
  child.once("close", () => children.delete(child));
  assertEquals(await firstLine(child), "held");
  return () =>
    new Promise((resolve) => {
      child.once("close", () => resolve());
      child.stdin!.end();
    });
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => child.stdout!.once("data", (data) => resolve(String(data).trim())));
}

async function drain(buffer: FileBuffer<string>): Promise<number> {
  let records = 0;
  for await (const batch of buffer.batches({ flush: true })) {
    records += batch.records.length;
    await buffer.commit(batch);
  }
  return records;
}

for (const letters of ["", "r", "rw", "rwd", "rwm", "rwdm"]) {
  const how = letters === "" ? "for itself" : `sharing ${letters}`;

  test(`FileBuffer.open() waits for a program that has one of its files open, ${how}`, { skip }, async () => {
    for (const name of ["owner.json", "cursor", "first", "last"]) {
      await inDirectory(async (directory) => {
        await fill(directory);
        const segments = segmentsIn(directory);
        const file = name === "first" ? segments[0]! : name === "last" ? segments.at(-1)! : name;
        const release = await hold(join(directory, file), letters);
        const [buffer] = await Promise.all([open(directory), release()]);
        assertEquals([await drain(buffer), buffer.recovery.damaged], [10, []]);
        await buffer.close();
      });
    }
  });
}

for (const letters of ["rw", "rwd", "rwm"]) {
  test(`FileBuffer.open() does without a new owner.json while a program has the old one open, sharing ${letters}`, {
    skip,
  }, async () => {
    await inDirectory(async (directory) => {
      await fill(directory);
      const release = await hold(join(directory, "owner.json"), letters);
      const buffer = await open(directory);
      assertEquals(await drain(buffer), 10);
      await assertRejects(() => open(directory), BufferLockedError);
      await buffer.close();
      await release();
    });
  });
}

test("FileBuffer.open() writes losses.json although a program has it open", { skip }, async () => {
  await inDirectory(async (directory) => {
    await fill(directory);
    const losses = join(directory, "quarantine", "losses.json");
    mkdirSync(join(directory, "quarantine"));
    writeFileSync(losses, "{}");
    const first = join(directory, segmentsIn(directory)[0]!);
    const bytes = readFileSync(first);
    bytes[200]! ^= 1;
    writeFileSync(first, bytes);
    const buffer = await open(directory);
    const release = await hold(losses, "rw");
    const [records] = await Promise.all([drain(buffer), release()]);
    await buffer.close();
    assert(records < 10);
    assert(JSON.parse(readFileSync(losses, "utf8")).lost.length > 0);
  });
});

test("FileBuffer puts, rotates and closes while a program has mapped its segment", { skip }, async () => {
  await inDirectory(async (directory) => {
    const buffer = await open(directory, { fsync: "always", segmentBytes: 4096 });
    await buffer.put("first");
    const releases = [await hold(join(directory, segmentsIn(directory)[0]!), "rwdm")];
    for (let i = 1; i < 40; i++) await buffer.put(`record ${i} `.padEnd(200));
    releases.push(await hold(join(directory, segmentsIn(directory).at(-1)!), "rwdm"));
    await buffer.put("last");
    await buffer.close();
    const again = await open(directory);
    assertEquals(await drain(again), 41);
    await again.close();
    for (const release of releases) await release();
  });
});

test("FileBuffer.open() gets past a torn tail that a program has mapped", { skip }, async () => {
  await inDirectory(async (directory) => {
    await fill(directory);
    const last = join(directory, segmentsIn(directory).at(-1)!);
    appendFileSync(last, new Uint8Array(30).fill(7));
    const release = await hold(last, "rwdm");
    for (let i = 0; i < 2; i++) {
      const buffer = await open(directory);
      assertEquals(buffer.recovery.damaged, []);
      await buffer.put(`new ${i}`);
      await buffer.close();
    }
    await release();
    const buffer = await open(directory);
    assertEquals(await drain(buffer), 12);
    await buffer.close();
  });
});

test("FileBuffer.commit() removes the segments behind one that a program has open, and that one with the next", {
  skip,
}, async () => {
  for (const letters of ["rw", "rwm"]) {
    await inDirectory(async (directory) => {
      await fill(directory);
      const segments = segmentsIn(directory);
      assert(segments.length > 2);
      const warnings: string[] = [];
      const buffer = await open(directory, {
        onEvent: (event) => event.type === "warned" && warnings.push(event.error.code),
      });
      const release = await hold(join(directory, segments[0]!), letters);
      assertEquals(await drain(buffer), 10);
      await buffer.close();
      assertEquals(segmentsIn(directory), [segments[0]!, segments.at(-1)!]);
      assert(warnings.length > 0);
      await release();
      const again = await open(directory);
      assertEquals([await drain(again), again.recovery.damaged], [0, []]);
      await again.close();
      assertEquals(segmentsIn(directory), [segments.at(-1)!]);
    });
  }
});

test(
  "FileBuffer.flush() waits for a program that has a segment of an earlier process for itself",
  { skip },
  async () => {
    await inDirectory(async (directory) => {
      await fill(directory);
      const buffer = await open(directory, { fsync: 60_000 });
      const release = await hold(join(directory, segmentsIn(directory)[1]!), "r");
      await Promise.all([buffer.flush(), release()]);
      await buffer.put("new");
      assertEquals(await drain(buffer), 11);
      await buffer.close();
    });
  },
);

test("FileBuffer.open() succeeds right after its owner was killed", { skip }, async () => {
  await inDirectory(async (directory) => {
    const child = startChild("tests/wal/ownership_child.ts", [directory, "child", "never"]);
    assertEquals(await firstLine(child), "open");
    child.kill("SIGKILL");
    await (await open(directory)).close();
  });
});

test("FileBuffer.open() takes paths that are long, or end in a dot or a space", { skip }, async () => {
  await inDirectory(async (directory) => {
    const long = join(directory, "a".repeat(100), "b".repeat(100), "c".repeat(100));
    for (
      const path of [long, join(directory, "dot."), join(directory, "space "), directory.replaceAll("\\", "/") + "/x"]
    ) {
      await fill(path);
      const buffer = await open(path);
      await assertRejects(() => open(path), BufferLockedError);
      assertEquals(await drain(buffer), 10);
      await buffer.close();
    }
    assertEquals(readdirSync(directory).sort(), ["a".repeat(100), "dot", "space", "x"]);
    const tooLong = join(directory, ...Array.from({ length: 12 }, () => "d".repeat(100)));
    assertEquals((await assertRejects(() => open(tooLong), FileSystemError)).errno, "ENAMETOOLONG");
  });
});

test("FileBuffer.open() names the path that was given when a file is above it", { skip }, async () => {
  await inDirectory(async (directory) => {
    writeFileSync(directory, "a file");
    for (const path of [directory, join(directory, "a"), join(directory, "a", "b")]) {
      assertEquals((await assertRejects(() => open(path), NotABufferError)).path, path);
    }
  });
});
