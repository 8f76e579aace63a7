/**
 * `dump`: which records, in which format, from whole and from damaged logs; and how all commands refuse bad input. Every file
 * system here refuses changes, and every file is compared byte for byte afterwards.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { bytesCodec, jsonCodec } from "../../src/base/codec.ts";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { encodeSegmentHeader } from "../../src/wal/format.ts";
import { overwrite, uint32 } from "../support/bytes.ts";
import { hitFrame, hitHeader, makeBase } from "../support/damaged_logs.ts";
import { headerOf } from "../support/frames.ts";
import { copyOf, type Files } from "../support/logs.ts";
import { linesOf, makeJsonLog, type ReadingOptions, readUnchanged } from "./reading.ts";

const base = await makeBase(1);
const { path, bytes } = base;
const jsonLog = await makeJsonLog();

function on(files: Files, args: readonly string[], options?: ReadingOptions): ReturnType<typeof readUnchanged> {
  return readUnchanged(copyOf(base.fileSystem, files), args, options);
}

const valuesFrom = (first: number, last = 24): string[] =>
  base.acknowledged.slice(first - 1, last).map((one) => one.value);

test("dump writes what is not committed, each record a line", async () => {
  const { code, output, errors } = await readUnchanged(jsonLog, ["dump", "/buffer"]);
  assertEquals(output, `[3]\nnull\n{"text":"fünf"}\n`);
  assertEquals([code, errors], [0, ""]);
});

test("dump --all, --from and --to choose by sequence", async () => {
  const dump = async (...args: string[]) =>
    linesOf((await readUnchanged(jsonLog, ["dump", "/buffer", ...args])).output);
  assertEquals(await dump("--all"), [`{"n":1}`, `"two"`, "[3]", "null", `{"text":"fünf"}`]);
  assertEquals(await dump("--from=2", "--to=3"), [`"two"`, "[3]"]);
  assertEquals(await dump("--to=3"), ["[3]"]);
  assertEquals(await dump("--from", "5"), [`{"text":"fünf"}`]);
  assertEquals(await dump("--from=6"), []);
});

test("dump --meta puts sequence and time beside each record, in every format that has a place for it", async () => {
  const dump = async (...args: string[]) =>
    linesOf((await readUnchanged(jsonLog, ["dump", "/buffer", ...args])).output);
  assertEquals(await dump("--meta"), [
    `{"sequence":3,"putTime":"2026-01-01T00:00:02.000Z","record":[3]}`,
    `{"sequence":4,"putTime":"2026-01-01T00:00:03.000Z","record":null}`,
    `{"sequence":5,"putTime":"2026-01-01T00:00:04.000Z","record":{"text":"fünf"}}`,
  ]);
  assertEquals(await dump("--json"), await dump("--meta"));
  assertEquals((await dump("--meta", "--format=text"))[0], "3\t2026-01-01T00:00:02.000Z\t[3]");
  assertEquals((await dump("--meta", "--format=base64"))[0], "3\t2026-01-01T00:00:02.000Z\tWzNd");
});

test("dump --format=raw puts the length before each payload", async () => {
  const fileSystem = new MemoryFileSystem();
  const records = [new Uint8Array([0, 255, 10]), new Uint8Array(0), new Uint8Array(300).fill(7)];
  const buffer = await FileBuffer.open({ path: "/buffer", fileSystem, codec: bytesCodec() });
  await buffer.putMany(records);
  await buffer.close();
  const { bytes } = await readUnchanged(fileSystem, ["dump", "/buffer", "--format=raw"]);
  const found: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
    found.push(new Uint8Array(bytes.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  assertEquals(found, records);
  const { output } = await readUnchanged(fileSystem, ["dump", "/buffer", "--format=base64"]);
  assertEquals(linesOf(output), ["AP8K", "", "Bwc" + "HBwc".repeat(99) + "H"]);
});

test("dump says which format to take for a payload that is no JSON, and writes what comes before it", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open({ path: "/buffer", fileSystem, codec: bytesCodec() });
  for (const text of ["[1]", '{\n  "two": 2\r\n}', "no json", "[4]"]) await buffer.put(new TextEncoder().encode(text));
  await buffer.put(new Uint8Array([0xff]));
  await buffer.close();
  const { code, output, errors } = await readUnchanged(fileSystem, ["dump", "/buffer"]);
  assertEquals(output, `[1]\n{   "two": 2  }\n`);
  assertEquals(
    errors,
    "sluice: Cannot decode the payload of sequence 3: it is no JSON text, take --meta, --format=text, base64 or raw\n",
  );
  assertEquals(code, 3);
  const meta = await readUnchanged(fileSystem, ["dump", "/buffer", "--meta"]);
  assertEquals(
    linesOf(meta.output).map((line) => JSON.parse(line)).map(({ record, text, base64 }) => record ?? text ?? base64),
    [
      [1],
      { two: 2 },
      "no json",
      [4],
      "/w==",
    ],
  );
  assertEquals(meta.code, 0);
});

test("dump goes on behind damage, says what is missing, and exits with 1", async () => {
  const files = { [path(1)]: hitFrame(bytes(1), 1), [path(2)]: hitHeader(bytes(2)) };
  const { code, output, errors } = await on(files, ["dump", "/buffer", "--format=text"]);
  assertEquals(linesOf(output), [...valuesFrom(6, 11), ...valuesFrom(13, 15), ...valuesFrom(21)]);
  assertEquals(linesOf(errors), [
    "sluice: damaged bytes in 00000000000000000011.wal at offset 205, 46 B, sequences 12",
    "sluice: header can't be read in 00000000000000000016.wal, 385 B",
    "sluice: records missing, sequences 16 to 20",
  ]);
  assertEquals(code, 1);
  const json = await on(files, ["dump", "/buffer", "--json"]);
  assertEquals(linesOf(json.errors).map((line) => JSON.parse(line).kind), ["damaged", "unusable", "missing"]);
  assertEquals(linesOf(json.output).length, 13);
});

test("dump ends where nobody reads any more, with the code of a closed pipe", async () => {
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem, codec: jsonCodec() });
  for (let i = 0; i < 40; i++) await buffer.put("x".repeat(100_000));
  await buffer.close();
  let writes = 0;
  const onWrite = () => void writes++;
  const { code, errors } = await readUnchanged(fileSystem, ["dump", "/buffer"], { closesAfter: 2, onWrite });
  assertEquals([code, errors], [141, ""]);
  assert(writes <= 4, `${writes} writes`);
});

test("dump ends when the user wants it to", async () => {
  const controller = new AbortController();
  const fileSystem = new MemoryFileSystem();
  const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem });
  for (let i = 0; i < 200; i++) await buffer.put("x".repeat(100_000));
  await buffer.close();
  const onWrite = () => controller.abort();
  const { code, bytes } = await readUnchanged(fileSystem, ["dump", "/buffer"], { signal: controller.signal, onWrite });
  assertEquals(code, 130);
  assert(bytes.length < 10_000_000, `${bytes.length} bytes`);
});

interface Refusal {
  readonly args: readonly string[];
  readonly code: number;
  readonly says: string;
}

const REFUSALS: readonly Refusal[] = [
  { args: ["inspect", "/nowhere"], code: 3, says: `Cannot read "/nowhere": there is no such directory` },
  { args: ["verify", "/empty"], code: 3, says: `Cannot read "/empty": the directory is empty` },
  {
    args: ["dump", "/other"],
    code: 3,
    says: `Cannot read "/other": no buffer is in that directory, but other files (a.txt, b.txt)`,
  },
  { args: ["verify", "/other/a.txt"], code: 3, says: `Cannot read "/other/a.txt": it is not a directory` },
  {
    args: ["inspect", "/newer"],
    code: 3,
    says: `Cannot read "/newer/00000000000000000001.wal": it has format version 9, this package reads up to 2`,
  },
  { args: ["inspect"], code: 2, says: "Cannot inspect: no PATH is given (inspect PATH [--json])" },
  { args: ["inspect", "/a", "/b"], code: 2, says: "Cannot inspect: one PATH is taken, also given: /b" },
  { args: ["dump", "/buffer", "--from=x"], code: 2, says: "Cannot use --from=x: it must be a whole number from 1" },
  { args: ["dump", "/buffer", "--from=0"], code: 2, says: "Cannot use --from=0: it must be a whole number from 1" },
  { args: ["dump", "/buffer", "--from", "--to=3"], code: 2, says: "Cannot use --from: it needs a value, --from=N" },
  { args: ["dump", "/buffer", "--from=3", "--to=2"], code: 2, says: "Cannot dump from 3 to 2: nothing is in between" },
  {
    args: ["dump", "/buffer", "--format=xml"],
    code: 2,
    says: "Cannot use --format=xml: it must be one of json, text, base64, raw",
  },
  {
    args: ["dump", "/buffer", "--format=raw", "--meta"],
    code: 2,
    says: "Cannot use --meta with --format=raw: raw has no place for it",
  },
  {
    args: ["dump", "/buffer", "--format=text", "--json"],
    code: 2,
    says: "Cannot use --json with --format=text: take --meta",
  },
  {
    args: ["dump", "/buffer", "--fromat=text"],
    code: 2,
    says: "Cannot use --fromat: dump has no such option, did you mean --format?",
  },
  { args: ["verify", "/buffer", "--meta"], code: 2, says: "Cannot use --meta: verify has no such option" },
  { args: ["verify", "/buffer", "--json=yes"], code: 2, says: "Cannot use --json=yes: --json takes no value" },
];

for (const { args, code, says } of REFUSALS) {
  test(`sluice ${args.join(" ")} is refused with ${code}`, async () => {
    const newer = overwrite(encodeSegmentHeader(headerOf()), 8, uint32(9));
    const fileSystem = copyOf(base.fileSystem, {
      "/other/a.txt": new Uint8Array(3),
      "/other/b.txt": new Uint8Array(500),
      "/newer/00000000000000000001.wal": overwrite(newer, 88, uint32(9)),
    });
    fileSystem.makeDirectory("/empty");
    const plain = await readUnchanged(fileSystem, args);
    const isJson = args.includes("--json");
    if (!isJson) assertEquals([plain.code, plain.output, plain.errors], [code, "", `sluice: ${says}\n`]);
    const json = await readUnchanged(fileSystem, [...args, "--json"]);
    const { error } = JSON.parse(json.errors);
    assertEquals([json.code, json.output], [code, ""]);
    assertEquals(error.message, says);
    if (code === 3) assertEquals(typeof error.path, "string");
    else assertEquals(error.code, "USAGE");
  });
}
