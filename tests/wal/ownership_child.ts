/**
 * An owner of a buffer, for `ownership_processes_test.ts`: `ownership_child.ts PATH NAME FSYNC [USER]`. Opens the buffer, as
 * USER if that is given, says `open`, and then puts a record for each line that it reads. It says `ack VALUE` when one is
 * persisted and `err CODE` for each that isn't, and at the end of its input `closed`, or `err CODE`.
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { FileBuffer, type Fsync, SluiceError, textCodec } from "../../mod.ts";
import { detectFileSystem } from "../../src/fs/detect.ts";
import { say } from "../support/children.ts";

const [path = "", name = "", fsync = "", user] = process.argv.slice(2);
// Loaded before the rights are given up: this file may be where others can't read.
await detectFileSystem();
process.getBuiltinModule("node:sqlite");
if (user !== undefined) {
  process.setgid!(Number(user));
  process.setuid!(Number(user));
}

function tell(error: unknown): void {
  if (!(error instanceof SluiceError)) throw error;
  say(`err ${error.code} ${error.message}`);
}

try {
  const buffer = await FileBuffer.open<string>({
    path,
    codec: textCodec(),
    fsync: fsync === "always" || fsync === "never" ? fsync : Number(fsync) as Fsync,
    segmentBytes: 1024,
    maxRecords: 7,
  });
  say("open");
  let count = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "commit") await buffer.emit().then((batch) => buffer.commit(batch)).then(() => say("done"), tell);
    else await buffer.put(`${name}${++count}`).then(() => say(`ack ${name}${count}`), tell);
  }
  await buffer.close().then(() => say("closed"), tell);
} catch (error) {
  tell(error);
}
