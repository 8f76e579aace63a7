/**
 * Wrote the logs in `tests/testdata/v2`, and what is in them: `deno run -A tests/testdata/generate_v2.ts`.
 *
 * Segments and cursors of version 2 differ from those of version 1 in what their headers say of the records before, of whose
 * they are and of what was promised: so there are logs here for that, and one of each kind besides; `v1` has the others. It
 * never writes over a file: logs that were written by version 2 must be read by all versions to come, so they are never made
 * anew.
 */

import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { setImmediate } from "node:timers";
import { fileURLToPath } from "node:url";
import { join } from "@std/path/join";
import { FileBuffer, type FileBufferOptions, jsonCodec, textCodec } from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/mod.ts";
import { cut, flipBit, overwrite, uint32 } from "../support/bytes.ts";
import { framesOf } from "../support/frames.ts";
import { DIRECTORY } from "../support/logs.ts";
import { dump, type DumpOptions, refusal } from "../wal/golden_dump.ts";

/** A log to be made. */
interface Plan {
  readonly name: string;
  readonly about: string;
  readonly open: DumpOptions;
  /** Makes it in that directory; what is open is left open, as by a process that is killed. */
  make(path: string): Promise<FileBuffer<unknown> | void>;
}

const target = fileURLToPath(new URL("v2/", import.meta.url));

/** Opens a buffer whose time stands still; closed only by whoever wants to. */
function open<T>(path: string, options: Omit<FileBufferOptions<T>, "path">): Promise<FileBuffer<T>> {
  return FileBuffer.open<T>({ clock: new ManualClock(), ...options, path });
}

const TEXTS = { codec: textCodec(), segmentBytes: 400, maxRecords: 5 };

/** Twenty texts in some segments, one put each. */
async function putTexts(path: string, fsync: "always" | "never"): Promise<FileBuffer<string>> {
  const buffer = await open<string>(path, { ...TEXTS, fsync });
  for (let i = 1; i <= 20; i++) await buffer.put(`text ${i} ${"+".repeat(i % 7)}`);
  return buffer;
}

/** The segments of a log, in order. */
function segmentsOf(path: string): string[] {
  return readdirSync(path).filter((name) => name.endsWith(".wal")).sort().map((name) => join(path, name));
}

function change(path: string, to: (bytes: Uint8Array) => Uint8Array): void {
  writeFileSync(path, to(new Uint8Array(readFileSync(path))));
}

/** Turns a bit of a frame's last byte over. */
function hit(segment: string, frame: number): void {
  change(segment, (bytes) => {
    const { offset, length } = framesOf(bytes).at(frame)!;
    return flipBit(bytes, offset + length - 1, 2);
  });
}

/**
 * A log of "always" whose syncs take for ever from the third record on: six more are written, one by one, and the process is
 * killed. In memory, because no disk is that slow.
 */
async function putUnsynced(path: string, segmentBytes: number): Promise<void> {
  let isSlow = false;
  const fileSystem = new MemoryFileSystem({ whileSyncing: () => isSlow ? new Promise(() => {}) : undefined });
  const buffer = await open<string>(DIRECTORY, { ...TEXTS, segmentBytes, fsync: "always", fileSystem, statusMs: 0 });
  for (const text of ["first", "second"]) await buffer.put(text);
  isSlow = true;
  for (let i = 3; i <= 8; i++) {
    buffer.put(`perhaps ${i}`).catch(() => {});
    await new Promise((resolve) => setImmediate(resolve));
  }
  const left = fileSystem.kill();
  mkdirSync(path);
  for (const file of left.paths().filter((one) => one.startsWith(DIRECTORY))) {
    writeFileSync(join(path, file.slice(DIRECTORY.length + 1)), left.readFile(file));
  }
}

const texts: DumpOptions = { codec: "text", maxRecords: 5 };

const plans: readonly Plan[] = [
  {
    name: "always_closed",
    about: "fsync always, two batches committed and their segments removed; closed",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path, "always");
      for (let i = 0; i < 2; i++) await buffer.commit(await buffer.emit());
      await buffer.close();
    },
  },
  {
    name: "always_damaged",
    about: "fsync always, a bad bit in an acknowledged record: the one behind it proves that",
    open: texts,
    async make(path) {
      await (await putTexts(path, "always")).close();
      hit(segmentsOf(path).at(-1)!, 0);
    },
  },
  {
    name: "always_in_flight",
    about: "fsync always, one batch of three committed, the next of three in flight; killed",
    open: { codec: "text", maxRecords: 7 },
    async make(path) {
      await (await putTexts(path, "always")).close();
      const buffer = await open<string>(path, { ...TEXTS, fsync: "always", maxRecords: 3 });
      await buffer.commit(await buffer.emit());
      await buffer.emit();
      await buffer.put("behind");
      return buffer;
    },
  },
  {
    name: "codec_versions",
    about: "fsync never, records of codec versions 0, 7 and 8",
    open: { codec: "migrating", maxRecords: 100 },
    async make(path) {
      for (const version of [0, 7, 8]) {
        const buffer = await open<unknown>(path, { codec: jsonCodec({ version }), fsync: "never" });
        await buffer.putMany([`of version ${version}`, version]);
        await buffer.close();
      }
    },
  },
  {
    name: "interval_damaged",
    about: "fsync never, a bad bit in a record: the one behind it proves that it was acknowledged",
    open: texts,
    async make(path) {
      await (await putTexts(path, "never")).close();
      hit(segmentsOf(path).at(-1)!, 0);
    },
  },
  {
    name: "newer_version",
    about: "a last segment of the newest version that there can be",
    open: texts,
    async make(path) {
      await (await putTexts(path, "never")).close();
      const newer = uint32(0xffff);
      change(segmentsOf(path).at(-1)!, (bytes) => overwrite(overwrite(bytes, 8, newer), 88, newer));
    },
  },
  {
    name: "put_many",
    about: "fsync never, a putMany of three frames between two records; closed",
    open: { codec: "text", maxRecords: 2 },
    async make(path) {
      const buffer = await open<string>(path, { codec: textCodec(), fsync: "never" });
      await buffer.put("before");
      await buffer.putMany(["x", "b".repeat(65_536), "y"]);
      await buffer.put("behind");
      await buffer.close();
    },
  },
  {
    name: "torn_header",
    about: "fsync always, power lost with the first segment's header, and space that is set aside behind it",
    open: texts,
    async make(path) {
      await (await open<string>(path, { ...TEXTS, fsync: "always" })).close();
      writeFileSync(join(path, "00000000000000000001.wal"), overwrite(new Uint8Array(400), 3, uint32(0x49554c53)));
    },
  },
  {
    name: "torn_tail",
    about: "fsync never, killed in the middle of a write",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path, "never");
      change(segmentsOf(path).at(-1)!, (bytes) => cut(bytes, bytes.length - 5));
      return buffer;
    },
  },
  {
    name: "unproven_frame",
    about: "fsync always, of six records that no sync has covered the second is lost",
    open: texts,
    async make(path) {
      await putUnsynced(path, 4096);
      hit(segmentsOf(path)[0]!, 3);
    },
  },
  {
    name: "unproven_header",
    about: "fsync always, of six records that no sync has covered the last are in a segment whose header is lost",
    open: texts,
    async make(path) {
      await putUnsynced(path, 320);
      change(segmentsOf(path).at(-1)!, (bytes) => bytes.fill(0, 0, 160));
    },
  },
  {
    name: "unproven_segments",
    about: "fsync always, of six records that no sync has covered those at the end of the first segment are lost",
    open: texts,
    async make(path) {
      await putUnsynced(path, 320);
      const [first] = segmentsOf(path);
      change(first!, (bytes) => cut(bytes, framesOf(bytes).at(-1)!.offset));
    },
  },
];

/** The files of a log that are kept. */
function keep(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    if (name === "cursor" || name.endsWith(".wal")) copyFileSync(join(from, name), join(to, name));
  }
}

/** What is in the log, found on copies of it. */
async function expectation({ name, about, open }: Plan, scratch: string): Promise<unknown> {
  keep(join(target, name), join(scratch, "dumped"));
  keep(join(target, name), join(scratch, "refused"));
  const refused = await refusal(join(scratch, "refused"), open);
  const isReadable = refused?.code !== "UNSUPPORTED_VERSION";
  return { about, open, refusal: refused, ...isReadable ? await dump(join(scratch, "dumped"), open) : {} };
}

if (existsSync(target)) {
  console.error(`Cannot generate the logs of version 2: ${target} is there, and they are never made anew`);
  process.exit(1);
}
mkdirSync(target);
const sums: string[] = [];
for (const plan of plans) {
  const scratch = mkdtempSync(join(tmpdir(), "sluice-generate-"));
  try {
    const left = await plan.make(join(scratch, "made"));
    keep(join(scratch, "made"), join(target, plan.name));
    const expected = await expectation(plan, scratch);
    writeFileSync(join(target, `${plan.name}.json`), JSON.stringify(expected, undefined, 2) + "\n");
    await left?.close();
  } finally {
    rmSync(scratch, { recursive: true });
  }
  const files = readdirSync(join(target, plan.name)).sort().map((name) => `${plan.name}/${name}`);
  for (const file of [...files, `${plan.name}.json`]) {
    sums.push(`${createHash("sha256").update(readFileSync(join(target, file))).digest("hex")}  ${file}\n`);
  }
}
writeFileSync(join(target, "SHA256SUMS"), sums.join(""));
console.log(`${plans.length} logs, ${sums.length} files in ${target}`);
