/**
 * Wrote the logs in `tests/testdata/v1`, and what is in them: `deno run -A tests/testdata/generate_v1.ts`.
 *
 * It is here to show how they were made, and to make others like them for a format to come. It never writes over a
 * file: logs that were written by version 1 must be read by all versions to come, so they are never made anew.
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
import { fileURLToPath } from "node:url";
import { join } from "@std/path/join";
import { bytesCodec, FileBuffer, type FileBufferOptions, jsonCodec, textCodec } from "../../mod.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { segmentName } from "../../src/wal/names.ts";
import { concat, cut, flipBit, garbage, overwrite, uint32 } from "../support/bytes.ts";
import { frameOf, framesOf, headerOf, segmentOf } from "../support/frames.ts";
import { dump, type DumpOptions, refusal } from "../wal/golden_dump.ts";

/** A log to be made. */
interface Plan {
  readonly name: string;
  readonly about: string;
  readonly open: DumpOptions;
  /** Makes it in that directory; what is open is left open, as by a process that is killed. */
  make(path: string): Promise<FileBuffer<unknown> | void>;
}

const target = fileURLToPath(new URL("v1/", import.meta.url));

/** Opens a buffer whose time stands still; closed only by whoever wants to. */
function open<T>(
  path: string,
  options: Omit<FileBufferOptions<T>, "path">,
): Promise<FileBuffer<T>> {
  return FileBuffer.open<T>({
    fsync: "never",
    clock: new ManualClock(),
    ...options,
    path,
  });
}

const SMALL = { codec: textCodec(), segmentBytes: 400, maxRecords: 5 };

/** Twenty texts in four segments, one put each. */
async function putTexts(path: string): Promise<FileBuffer<string>> {
  const buffer = await open<string>(path, SMALL);
  for (let i = 1; i <= 20; i++) {
    await buffer.put(`text ${i} ${"+".repeat(i % 7)}`);
  }
  return buffer;
}

async function closedTexts(path: string): Promise<void> {
  await (await putTexts(path)).close();
}

/** A `putMany` with a record that doesn't fit a frame that is shared. */
async function putThreeFrames(path: string): Promise<FileBuffer<string>> {
  const buffer = await open<string>(path, { codec: textCodec() });
  await buffer.put("before");
  await buffer.putMany(["x", "b".repeat(65_536), "y"]);
  await buffer.put("behind");
  return buffer;
}

/** The segments of a log, in order. */
function segmentsOf(path: string): string[] {
  return readdirSync(path).filter((name) => name.endsWith(".wal")).sort().map((
    name,
  ) => join(path, name));
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

const texts: DumpOptions = { codec: "text", maxRecords: 5 };
const json: DumpOptions = { codec: "json", maxRecords: 100 };

const plans: readonly Plan[] = [
  {
    name: "empty",
    about: "opened and closed",
    open: json,
    make: async (path) => await (await open(path, {})).close(),
  },
  {
    name: "one_segment",
    about: "records of all kinds that JSON knows, put one by one, and a putMany; closed",
    open: json,
    async make(path) {
      const buffer = await open<unknown>(path, {});
      for (
        const record of [
          { n: 1, nested: { list: [1, "two", null, true] } },
          "grüße, 世界 👋🏽",
          -1.5e300,
          null,
          [],
          "",
        ]
      ) {
        await buffer.put(record);
      }
      await buffer.putMany(["a", { b: "\u2028\0" }, false]);
      await buffer.close();
    },
  },
  {
    name: "binary",
    about: "payloads of all bytes, of none, of zeros; killed",
    open: { codec: "bytes", maxRecords: 2 },
    async make(path) {
      const buffer = await open<Uint8Array>(path, { codec: bytesCodec() });
      await buffer.put(Uint8Array.from({ length: 256 }, (_, i) => i));
      await buffer.putMany([new Uint8Array(0), new Uint8Array(700)]);
      await Promise.all([
        buffer.put(Uint8Array.of(0)),
        buffer.put(Uint8Array.of(0xff, 0xfe)),
      ]);
      return buffer;
    },
  },
  {
    name: "several_segments",
    about: "four segments, two batches committed and their segments removed; closed",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path);
      for (let i = 0; i < 2; i++) await buffer.commit(await buffer.emit());
      await buffer.close();
    },
  },
  {
    name: "in_flight",
    about: "one batch of three committed, the next of three in flight, other thresholds since; killed",
    open: { codec: "text", maxRecords: 7 },
    async make(path) {
      await closedTexts(path);
      const buffer = await open<string>(path, { ...SMALL, maxRecords: 3 });
      await buffer.commit(await buffer.emit());
      await buffer.emit();
      await buffer.put("behind");
      return buffer;
    },
  },
  {
    name: "all_committed",
    about: "everything committed, then one more record; killed",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path);
      for await (const batch of buffer.batches({ flush: true })) {
        await buffer.commit(batch);
      }
      await buffer.flush();
      await buffer.put("one more");
      return buffer;
    },
  },
  {
    name: "put_many",
    about: "a putMany of three frames between two records; closed",
    open: { codec: "text", maxRecords: 2 },
    async make(path) {
      await (await putThreeFrames(path)).close();
    },
  },
  {
    name: "put_many_torn",
    about: "killed in the middle of a putMany, behind its first frame",
    open: { codec: "text", maxRecords: 2 },
    async make(path) {
      const buffer = await putThreeFrames(path);
      change(
        segmentsOf(path)[0]!,
        (bytes) => cut(bytes, framesOf(bytes)[2]!.offset + 99),
      );
      return buffer;
    },
  },
  {
    name: "torn_tail",
    about: "killed in the middle of a write",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path);
      change(segmentsOf(path).at(-1)!, (bytes) => cut(bytes, bytes.length - 5));
      return buffer;
    },
  },
  {
    name: "zero_tail",
    about: "a file system that had made room for a write",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path);
      change(
        segmentsOf(path).at(-1)!,
        (bytes) => concat(bytes, new Uint8Array(4096)),
      );
      return buffer;
    },
  },
  {
    name: "begun_segment",
    about: "killed when a segment was begun: half a header",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path);
      writeFileSync(
        join(path, segmentName(21)),
        cut(readFileSync(segmentsOf(path)[0]!), 80),
      );
      return buffer;
    },
  },
  {
    name: "damaged_frames",
    about: "a bad bit in a frame of the second segment, and in one of the last",
    open: texts,
    async make(path) {
      await closedTexts(path);
      hit(segmentsOf(path)[1]!, 1);
      hit(segmentsOf(path).at(-1)!, 0);
    },
  },
  {
    name: "damaged_headers",
    about: "a bad bit in one copy of the second segment's header, and in both of the third's",
    open: texts,
    async make(path) {
      await closedTexts(path);
      const [, second, third] = segmentsOf(path);
      change(second!, (bytes) => flipBit(bytes, 70));
      change(third!, (bytes) => flipBit(flipBit(bytes, 40), 80 + 33));
    },
  },
  {
    name: "missing_segment",
    about: "the third segment is gone",
    open: texts,
    async make(path) {
      await closedTexts(path);
      rmSync(segmentsOf(path)[2]!);
    },
  },
  {
    name: "garbage",
    about: "the last segment's frames written over, garbage behind the second's",
    open: texts,
    async make(path) {
      await closedTexts(path);
      const [, second, , fourth] = segmentsOf(path);
      change(second!, (bytes) => concat(bytes, garbage(50, 1)));
      change(
        fourth!,
        (bytes) => overwrite(bytes, 160, garbage(bytes.length - 160, 2)),
      );
    },
  },
  {
    name: "lost_cursor",
    about: "one batch committed, one in flight, and the cursor is gone",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path);
      await buffer.commit(await buffer.emit());
      await buffer.emit();
      rmSync(join(path, "cursor"));
      return buffer;
    },
  },
  {
    name: "damaged_cursor",
    about: "the newest state of the cursor is bad: the one before says that the second batch is in flight",
    open: texts,
    async make(path) {
      const buffer = await putTexts(path);
      for (let i = 0; i < 2; i++) await buffer.commit(await buffer.emit());
      change(join(path, "cursor"), (bytes) => {
        const view = new DataView(bytes.buffer);
        const slots = [0, 4096, 8192].sort((a, b) => view.getUint32(b + 16, true) - view.getUint32(a + 16, true));
        return flipBit(bytes, slots[0]! + 50);
      });
      return buffer;
    },
  },
  {
    name: "codec_versions",
    about: "records of codec versions 0, 7 and 8",
    open: { codec: "migrating", maxRecords: 100 },
    async make(path) {
      for (const version of [0, 7, 8]) {
        const buffer = await open<unknown>(path, {
          codec: jsonCodec({ version }),
        });
        await buffer.putMany([`of version ${version}`, version]);
        await buffer.close();
      }
    },
  },
  {
    name: "high_sequences",
    about: "no cursor, sequences and totals of more than 32 bits, a batch over two segments",
    open: texts,
    make(path) {
      const [first, payloadBytesBefore, logBytesBefore] = [
        2 ** 40 + 1,
        2 ** 45,
        2 ** 46,
      ];
      const one = headerOf({
        firstSequence: first,
        payloadBytesBefore,
        logBytesBefore,
        salt: 1,
      });
      const frames = [["a", "bb"], ["ccc"]].map((payloads, i) =>
        frameOf({ sequence: first + 2 * i, payloads, salt: 1 })
      );
      const bytes = frames.reduce((sum, { length }) => sum + length, 0);
      const next = {
        firstSequence: first + 3,
        payloadBytesBefore: payloadBytesBefore + 6,
        logBytesBefore: logBytesBefore + bytes,
      };
      const other = headerOf({ ...next, salt: 0xffffffff });
      const last = frameOf({
        sequence: first + 3,
        payloads: ["dddd"],
        salt: 0xffffffff,
        putTime: 2 ** 41,
      });
      mkdirSync(path);
      writeFileSync(join(path, segmentName(first)), segmentOf(one, ...frames));
      writeFileSync(join(path, segmentName(first + 3)), segmentOf(other, last));
      return Promise.resolve();
    },
  },
  {
    name: "foreign_segment",
    about: "segments of another buffer among ours, and behind them",
    open: texts,
    async make(path) {
      await closedTexts(path);
      const other = join(path, "other");
      await closedTexts(other);
      const foreign = readFileSync(segmentsOf(other)[1]!);
      rmSync(other, { recursive: true });
      const first = Number.parseInt(segmentsOf(path)[1]!.slice(-24), 10);
      for (const sequence of [first + 1, 1000]) {
        writeFileSync(join(path, segmentName(sequence)), foreign);
      }
    },
  },
  {
    name: "newer_version",
    about: "a last segment of version 2",
    open: texts,
    async make(path) {
      await closedTexts(path);
      change(
        segmentsOf(path).at(-1)!,
        (bytes) => overwrite(overwrite(bytes, 8, uint32(2)), 88, uint32(2)),
      );
    },
  },
];

/** The files of a log that are kept. */
function keep(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    if (name === "cursor" || name.endsWith(".wal")) {
      copyFileSync(join(from, name), join(to, name));
    }
  }
}

/** What is in the log, found on copies of it. */
async function expectation(
  { name, about, open }: Plan,
  scratch: string,
): Promise<unknown> {
  keep(join(target, name), join(scratch, "dumped"));
  keep(join(target, name), join(scratch, "refused"));
  const refused = await refusal(join(scratch, "refused"), open);
  const isReadable = refused?.code !== "UNSUPPORTED_VERSION";
  return {
    about,
    open,
    refusal: refused,
    ...isReadable ? await dump(join(scratch, "dumped"), open) : {},
  };
}

if (existsSync(target)) {
  console.error(
    `Cannot generate the logs of version 1: ${target} is there, and they are never made anew`,
  );
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
    writeFileSync(
      join(target, `${plan.name}.json`),
      JSON.stringify(expected, undefined, 2) + "\n",
    );
    await left?.close();
  } finally {
    rmSync(scratch, { recursive: true });
  }
  for (
    const file of [
      ...readdirSync(join(target, plan.name)).sort().map((name) => `${plan.name}/${name}`),
      `${plan.name}.json`,
    ]
  ) {
    sums.push(
      `${
        createHash("sha256").update(readFileSync(join(target, file))).digest(
          "hex",
        )
      }  ${file}\n`,
    );
  }
}
writeFileSync(join(target, "SHA256SUMS"), sums.join(""));
console.log(`${plans.length} logs, ${sums.length} files in ${target}`);
