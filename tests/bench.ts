/**
 * What a record costs, beside the bare system calls: `deno task bench`, or this file on any one runtime.
 *
 * Each figure is a ratio measured in one run: ours and the raw calls in turn, several rounds, the median of the rounds'
 * ratios. "Raw" is a write call of bytes that are encoded already; "raw synced" is that and an fdatasync. The records are
 * JSON objects of 120 bytes. Times depend on machine, disk and file system, and are printed for orientation only.
 *
 * Options: `--rounds N` (5), `--records N` (50,000), `--path DIR` (a directory on the disk to be measured; default: the
 * system's temporary directory).
 */

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { FileBuffer, type FileBufferOptions } from "../mod.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    records: { type: "string", default: "50000" },
    path: { type: "string", default: tmpdir() },
  },
});
const rounds = Number(values.rounds);
const count = Number(values.records);
const directory = fs.mkdtempSync(join(values.path, "sluice-bench-"));

/** 120 bytes as JSON. */
const pool = Array.from({ length: 1000 }, (_, i) => ({
  id: `f3a9c0de-0000-4000-8000-${String(i).padStart(12, "0")}`,
  at: new Date(1_700_000_000_000 + i * 1000).toISOString(),
  value: 1000 + i,
  note: "xxxxxxxxxxxxxxxxxxxx",
}));
const payloads = pool.map((record) => new TextEncoder().encode(JSON.stringify(record)));

type Row = readonly [name: string, raw: () => number, ours: () => Promise<number>];

let files = 0;
const fresh = (): string => join(directory, String(files++));

/** Microseconds for each of `n` operations. */
async function time(n: number, body: () => void | Promise<void>): Promise<number> {
  const start = performance.now();
  await body();
  return (performance.now() - start) * 1000 / n;
}

function rawWrites(n: number, isSynced: boolean): number {
  const descriptor = fs.openSync(fresh(), "w");
  const start = performance.now();
  for (let i = 0; i < n; i++) {
    const bytes = payloads[i % pool.length];
    fs.writeSync(descriptor, bytes, 0, bytes.length);
    if (isSynced) fs.fdatasyncSync(descriptor);
  }
  const us = (performance.now() - start) * 1000 / n;
  fs.closeSync(descriptor);
  return us;
}

async function withBuffer<R>(
  options: Partial<FileBufferOptions<unknown>>,
  body: (buffer: FileBuffer<unknown>) => Promise<R>,
): Promise<R> {
  const path = fresh();
  const buffer = await FileBuffer.open({ path, fsync: "never", maxBacklogBytes: 2 ** 40, ...options });
  const result = await body(buffer);
  await buffer.close();
  fs.rmSync(path, { recursive: true });
  return result;
}

function putInGroups(n: number, size: number, options: Partial<FileBufferOptions<unknown>>): Promise<number> {
  return withBuffer(options, (buffer) =>
    time(n, async () => {
      for (let i = 0; i < n; i += size) {
        await Promise.all(Array.from({ length: size }, (_, k) => buffer.put(pool[(i + k) % pool.length])));
      }
    }));
}

function putOneByOne(n: number, options: Partial<FileBufferOptions<unknown>>): Promise<number> {
  return withBuffer(options, (buffer) =>
    time(n, async () => {
      for (let i = 0; i < n; i++) await buffer.put(pool[i % pool.length]);
    }));
}

function putEmitCommit(n: number, maxRecords: number): Promise<number> {
  return withBuffer({ maxRecords }, (buffer) =>
    time(n, async () => {
      for (let i = 0; i < n; i++) {
        await buffer.put(pool[i % pool.length]);
        if (buffer.shouldEmit()) await buffer.commit(touch(await buffer.emit()));
      }
    }));
}

function drain(n: number): Promise<number> {
  return withBuffer({}, async (buffer) => {
    for (let i = 0; i < n; i += pool.length) await buffer.putMany(pool);
    return await time(n, async () => {
      for await (const batch of buffer.batches({ flush: true })) await buffer.commit(touch(batch));
    });
  });
}

/** Makes sure that the records are decoded. */
function touch<B extends { readonly records: readonly unknown[] }>(batch: B): B {
  if (batch.records.length === 0) throw new Error("an empty batch");
  return batch;
}

const written = () => rawWrites(count, false);
const syncedCount = Math.max(200, Math.floor(count / 100));
const synced = () => rawWrites(syncedCount, true);
const rows: Row[] = [
  ['put, one by one, `fsync: "never"`, against raw', written, () => putOneByOne(count, {})],
  ["put, one by one, `fsync: 1000`, against raw", written, () => putOneByOne(count, { fsync: 1000 })],
  ['put, 16 at a time, `fsync: "never"`, against raw', written, () => putInGroups(count, 16, {})],
  [
    'put, one by one, `fsync: "always"`, against raw synced',
    synced,
    () => putOneByOne(syncedCount, { fsync: "always" }),
  ],
  [
    'put, 64 at a time, `fsync: "always"`, against raw synced',
    synced,
    () => putInGroups(syncedCount * 16, 64, { fsync: "always" }),
  ],
  ["put, emit and commit batches of 1000, against raw", written, () => putEmitCommit(count, 1000)],
  ["put, emit and commit batches of 3, against raw", written, () => putEmitCommit(count, 3)],
  ["drain after putMany, against raw", written, () => drain(count)],
];

const { deno, bun, node } = process.versions;
const runtime = deno !== undefined ? `Deno ${deno}` : bun !== undefined ? `Bun ${bun}` : `Node ${node}`;
console.log(`\n${runtime}, ${process.platform}, ${count} records of ${payloads[0].length} bytes, ${rounds} rounds\n`);
console.log("| what | times raw | us a record | us raw |\n|---|---:|---:|---:|");
try {
  await putOneByOne(count, {});
  for (const [name, raw, ours] of rows) {
    const results: { ratio: number; ours: number; raw: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      const base = raw();
      const cost = await ours();
      results.push({ ratio: cost / base, ours: cost, raw: base });
    }
    results.sort((a, b) => a.ratio - b.ratio);
    const median = results[Math.floor(results.length / 2)];
    console.log(`| ${name} | ${median.ratio.toFixed(3)} | ${median.ours.toFixed(2)} | ${median.raw.toFixed(2)} |`);
  }
} finally {
  fs.rmSync(directory, { recursive: true });
}
