/**
 * `SegmentList`: what is in the list is on the disk, whoever looks at it meanwhile.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { Quarantine } from "../../src/wal/recovery/quarantine.ts";
import { SegmentList } from "../../src/wal/writer/segment_list.ts";
import { garbage } from "../support/bytes.ts";
import { UUID_A } from "../support/frames.ts";
import { DIRECTORY, segmentPath } from "../support/logs.ts";

test("SegmentList.remove() never leaves a segment in the list whose file is moved away", async () => {
  let looks = 0;
  const fileSystem = new MemoryFileSystem({
    whileSyncing: async () => {
      looks++;
      for (const { name } of list.ordered.toArray()) assert(fileSystem.paths().includes(`${DIRECTORY}/${name}`), name);
      await Promise.resolve();
    },
  });
  fileSystem.writeFile(segmentPath(1), garbage(200, 1));
  // There is no room for a copy of what can't be read, so the file itself is moved.
  fileSystem.capacityBytes = fileSystem.usedBytes;
  const [name] = fileSystem.list(DIRECTORY);
  const segment = { name: name!, firstSequence: 1 };
  const quarantine = new Quarantine(fileSystem, DIRECTORY);
  const none = { ownership: { verify: () => {} }, report: () => {}, inherited: undefined };
  const options = { fileSystem, directory: DIRECTORY, uuid: UUID_A, quarantine, ...none };
  const sizes = [{ segment, bytes: 200, logBytesBefore: undefined }];
  const end = { nextSequence: 2, payloadBytes: 0, logBytes: 0 };
  const list = new SegmentList({ ...options, segments: [segment], sizes, end });
  assertEquals(list.usage.bytes, 200);
  await list.remove(segment);
  assertEquals([list.ordered.toArray(), list.usage.bytes], [[], 0]);
  assertEquals(fileSystem.paths(), [`${DIRECTORY}/quarantine/${name}`]);
  assertEquals(looks, 4);
});
