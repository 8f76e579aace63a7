/**
 * Has a buffer open, puts into it and commits, until it is killed: for the tests and the picture of `top`.
 *
 * Usage: `top_writer.ts PATH`. It says `ready` when its first status file is there.
 */

import { existsSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "@std/path/join";
import { FileBuffer } from "../../mod.ts";

const path = process.argv[2]!;
const buffer = await FileBuffer.open<{ n: number }>({ path, maxRecords: 20, statusMs: 100 });

async function deliver(): Promise<void> {
  for await (const batch of buffer.batches()) await buffer.commit(batch);
}

void deliver();
for (let n = 0, isTold = false;; n++) {
  await buffer.putMany([{ n }, { n: n + 0.5 }]);
  await sleep(5);
  if (isTold || !existsSync(join(path, "status.json"))) continue;
  process.stdout.write("ready\n");
  isTold = true;
}
