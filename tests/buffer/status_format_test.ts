/**
 * The format of status.json: that it is read as it was written, and that a reader never takes a torn one for whole.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  decodeStatus,
  encodeStatus,
  readStatus,
  STATUS_BYTES,
  type StatusProblem,
} from "../../src/buffer/status_format.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { STATUS_NAME } from "../../src/wal/names.ts";
import { statusWith } from "../cli/top_tools.ts";
import { passing, PATH } from "./status_tools.ts";

const FILE = `${PATH}/${STATUS_NAME}`;
const SAMPLE = statusWith({ stats: { puts: 12, syncMs: 13.5 } });

test("encodeStatus() makes a file of JSON, of one length, that decodeStatus() gives back", () => {
  const bytes = encodeStatus(SAMPLE);
  assertEquals(bytes.length, STATUS_BYTES);
  const { crc32, ...rest } = JSON.parse(new TextDecoder().decode(bytes));
  assertEquals([typeof crc32, rest], ["string", SAMPLE]);
  assertEquals(decodeStatus(bytes), { kind: "status", status: SAMPLE });
  assertEquals(bytes.at(-1), 0x0a);
});

test("decodeStatus() takes no file for whole that is cut, half written, or has a changed byte", () => {
  const before = encodeStatus({ ...SAMPLE, at: 1_000 });
  const after = encodeStatus({ ...SAMPLE, at: 2_000, state: "closed" });
  for (let length = 0; length <= STATUS_BYTES; length++) {
    const torn = before.slice();
    torn.set(after.subarray(0, length));
    const result = decodeStatus(torn);
    const isOneOfThem = result.kind === "status" && [1_000, 2_000].includes(result.status.at);
    assert(result.kind === "bad" || isOneOfThem, `${length} bytes`);
    if (result.kind === "status") assertEquals(torn, result.status.at === 1_000 ? before : after, `${length} bytes`);
    if (length < STATUS_BYTES) assertEquals(decodeStatus(before.subarray(0, length)).kind, "bad", `${length} bytes`);
  }
  for (let i = 0; i < STATUS_BYTES; i++) {
    const changed = before.slice();
    changed[i] ^= 1;
    assertEquals(decodeStatus(changed).kind, "bad", `byte ${i}`);
  }
});

test("encodeStatus() leaves out the oldest problems when they don't fit", () => {
  const problem = (at: number): StatusProblem => ({ type: "warning", message: "ü\u2028\0".repeat(60), at, count: at });
  const problems = Array.from({ length: 10 }, (_, i) => problem(10 - i));
  const bytes = encodeStatus({ ...SAMPLE, problems });
  assertEquals(bytes.length, STATUS_BYTES);
  const result = decodeStatus(bytes);
  assert(result.kind === "status");
  const { length } = result.status.problems;
  assert(length > 1 && length < 10, `${length} problems`);
  assertEquals(result.status.problems, problems.slice(0, length));
});

test("readStatus() says why there is no status", () => {
  const fileSystem = new MemoryFileSystem();
  assertEquals(readStatus(fileSystem, PATH), { kind: "missing" });
  fileSystem.writeFile(FILE, new TextEncoder().encode("{}"));
  assertEquals(readStatus(fileSystem, PATH), { kind: "bad" });
  fileSystem.writeFile(FILE, encodeStatus({ ...SAMPLE, version: 2 }));
  assertEquals(readStatus(fileSystem, PATH), { kind: "version", version: 2 });
  const refusing = fileSystem.kill({
    onOperation: () => ({ kind: "fail", errno: "EACCES" }),
  });
  const reading = readStatus(refusing, PATH);
  assertEquals(reading.kind === "unreadable" && reading.error.code, "PERMISSION");
});

test("readStatus() reads again when the file is being written", () => {
  const fileSystem = new MemoryFileSystem();
  let reads = 0;
  fileSystem.writeFile(FILE, new Uint8Array(STATUS_BYTES));
  const reading = readStatus({
    ...passing(fileSystem),
    open(path, mode) {
      if (++reads === 2) fileSystem.writeFile(FILE, encodeStatus(SAMPLE));
      return fileSystem.open(path, mode);
    },
  }, PATH);
  assertEquals([reading, reads], [{ kind: "status", status: SAMPLE }, 2]);
});
