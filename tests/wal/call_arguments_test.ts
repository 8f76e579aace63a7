/**
 * More of something than a call takes arguments: no list whose length a directory decides is spread into a call.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { table } from "../../src/cli/shared/text.ts";
import { FileSystemError } from "../../src/errors/mod.ts";
import type { FileHandle, FileSystem } from "../../src/fs/file_system.ts";
import { segmentName } from "../../src/wal/names.ts";
import { planRecovery } from "../../src/wal/recovery/recovery_plan.ts";
import { garbage } from "../support/bytes.ts";
import { DIRECTORY } from "../support/logs.ts";
/** A directory of many segments that hold `content`, without the cost of files. */
function directoryOf(count: number, content: Uint8Array): FileSystem {
  const names = Array.from({ length: count }, (_, i) => segmentName(i + 1));
  const handle: Partial<FileHandle> = {
    size: () => content.length,
    read(into, position) {
      const part = content.subarray(position, position + into.length);
      into.set(part);
      return part.length;
    },
    close: () => {},
  };
  const files: Partial<FileSystem> = {
    list: () => names,
    open(path) {
      if (path.endsWith(".wal")) return handle as FileHandle;
      throw new FileSystemError({ errno: "ENOENT", operation: "open", path });
    },
  };
  return files as FileSystem;
}

test("recovery takes more segments without content, or of garbage, than a call takes arguments", () => {
  const count = 150_000;
  const empty = planRecovery({ fileSystem: directoryOf(count, new Uint8Array(0)), directory: DIRECTORY });
  assertEquals([empty.empty.length, empty.end.nextSequence], [count, count]);
  const unusable = planRecovery({ fileSystem: directoryOf(count, garbage(200, 1)), directory: DIRECTORY });
  assertEquals(unusable.unusable.length, count);
});

test("a table of the command line has more rows than a call takes arguments", () => {
  const count = 150_000;
  const rows = Array.from({ length: count }, (_, i) => [segmentName(i + 1)]);
  assertEquals(table([{ title: "segment" }], rows, 80).split("\n").length, count + 2);
});
