/**
 * MemoryBuffer, FileBuffer in memory (with each setting of `fsync`) and on this runtime's own file system, and a buffer whose
 * log is elsewhere, against the one suite of what a buffer promises, and against the model.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { join } from "@std/path/join";
import { FileBuffer, type Fsync, jsonCodec, MemoryBuffer } from "../../mod.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { FRAME_HEADER_BYTES, RECORD_HEADER_BYTES } from "../../src/wal/format.ts";
import { isQuick } from "../support/extent.ts";
import { AsyncBuffer, type RemoteLog, remoteLogFor } from "./async_store.ts";
import { testRecordBuffer } from "./conformance.ts";
import { compareWithModel } from "./model.ts";
import type { Subject } from "./subject.ts";

const native = await detectFileSystem();

const ON_DISK = {
  overheadBytes: { alone: FRAME_HEADER_BYTES + RECORD_HEADER_BYTES, shared: RECORD_HEADER_BYTES },
  persists: true,
};

const memoryBuffer: Subject = {
  name: "MemoryBuffer",
  overheadBytes: { alone: RECORD_HEADER_BYTES, shared: RECORD_HEADER_BYTES },
  persists: false,
  setUp: () => ({
    open: (options) => MemoryBuffer.open(options),
    tearDown() {},
  }),
};

function fileBufferInMemory(fsync: Fsync): Subject {
  return {
    name: `FileBuffer(${fsync})`,
    ...ON_DISK,
    setUp() {
      const fileSystem = new MemoryFileSystem();
      return {
        open: (options) => FileBuffer.open({ path: "/buffer", fileSystem, fsync, segmentBytes: 1024, ...options }),
        tearDown() {},
      };
    },
  };
}

const fileBuffer: Subject = {
  name: `FileBuffer(${native.name})`,
  ...ON_DISK,
  setUp() {
    const path = mkdtempSync(join(tmpdir(), "sluice-buffer-"));
    return {
      open: (options) => FileBuffer.open({ path, ...options }),
      tearDown: () => rmSync(path, { recursive: true }),
    };
  },
};

/** Each step of its store takes a turn of the event loop. */
const asyncBuffer: Subject = {
  name: "AsyncBuffer",
  overheadBytes: memoryBuffer.overheadBytes,
  persists: true,
  setUp() {
    let log: RemoteLog | undefined;
    return {
      open(options) {
        log ??= remoteLogFor(options.codec ?? jsonCodec());
        return AsyncBuffer.open(options, log);
      },
      tearDown() {},
    };
  },
};

const inMemory = [memoryBuffer, ...(["always", 1000, "never"] as const).map(fileBufferInMemory), asyncBuffer];
const subjects = [...inMemory, fileBuffer];

for (const subject of subjects) testRecordBuffer(subject);

/** How many seeds, and which: a real file system takes its time, and so does the event loop. */
const SEEDS: readonly (readonly [Subject, number])[] = subjects.map((subject) => [
  subject,
  subject === fileBuffer ? 10 : isQuick || subject === asyncBuffer ? 40 : 200,
]);

for (const [subject, seeds] of SEEDS) {
  test(`${subject.name} does what the model does when ${seeds} seeds decide what is done`, async () => {
    for (let seed = 1; seed <= seeds; seed++) await compareWithModel(subject, seed);
  });
}
