/**
 * What is written by hand first: a line of JSON for each record at the end of a file, which stays open.
 *
 * A batch is read from the file and parsed, a commit writes how far that was to a second file. There is no checksum, no
 * lock, no batch that stays the same, and the file never gets shorter.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import type { Item } from "../records.ts";
import type { Contender, OpenOptions } from "./contender.ts";

const CHUNK_BYTES = 262_144;

export function open({ cell: { isSynced, maxRecords }, directory }: OpenOptions): Contender {
  const path = join(directory, "records.jsonl");
  const positionPath = join(directory, "position");
  const file = fs.openSync(path, "a");
  const input = fs.openSync(path, "r");
  if (!fs.existsSync(positionPath)) fs.writeFileSync(positionPath, "0");
  let committed = Number(fs.readFileSync(positionPath, "latin1"));
  const positionFile = fs.openSync(positionPath, "r+");

  const chunk = new Uint8Array(CHUNK_BYTES);
  const decoder = new TextDecoder();
  let readTo = committed;
  let rest = "";
  let lines: string[] = [];
  let batch: string[] = [];
  let put = 0;
  let taken = 0;

  function write(text: string): void {
    fs.writeSync(file, text);
    if (isSynced) fs.fdatasyncSync(file);
  }

  /** Reads on; a last line that was cut stays out until its end is there. */
  function readMore(): boolean {
    const length = fs.readSync(input, chunk, 0, CHUNK_BYTES, readTo);
    readTo += length;
    const parts = (rest + decoder.decode(chunk.subarray(0, length), { stream: true })).split("\n");
    rest = parts.pop()!;
    lines = lines.concat(parts);
    return length > 0;
  }

  return {
    put(record) {
      write(JSON.stringify(record) + "\n");
      put++;
    },
    putMany(records) {
      let text = "";
      for (const record of records) text += JSON.stringify(record) + "\n";
      write(text);
      put += records.length;
    },
    shouldEmit: () => put - taken >= maxRecords,
    emit() {
      while (lines.length < maxRecords && readMore());
      batch = lines.slice(0, maxRecords);
      return batch.map((line) => JSON.parse(line) as Item);
    },
    commit() {
      lines.splice(0, batch.length);
      taken += batch.length;
      committed += new TextEncoder().encode(batch.join("\n")).length + 1;
      fs.writeSync(positionFile, String(committed).padStart(20), 0);
    },
    isEmpty: () => lines.length === 0 && !readMore(),
    close() {
      for (const one of [file, input, positionFile]) fs.closeSync(one);
    },
  };
}
