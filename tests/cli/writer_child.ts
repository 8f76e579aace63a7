/**
 * A program that puts, emits, commits, rotates and removes segments until it is killed: what reading commands have to bear
 * beside them. It says "ready" once it has removed a segment.
 */

import process from "node:process";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";

const buffer = await FileBuffer.open<{ n: number; text: string }>({
  path: process.argv[2]!,
  segmentBytes: 64 * 1024,
  maxRecords: 500,
  fsync: 5,
  onEvent: ({ type }) => {
    if (type === "segment-removed") process.stdout.write("ready\n");
  },
});
for (let n = 0;; n += 100) {
  await buffer.putMany(Array.from({ length: 100 }, (_, i) => ({ n: n + i, text: "x".repeat((n + i) % 50) })));
  if (buffer.stats().pendingRecords > 5000) await buffer.commit(await buffer.emit());
  // The reader needs a processor, too.
  await new Promise((resolve) => setTimeout(resolve, 1));
}
