/**
 * What a put is made of, one part added after the other, up to the whole: where each part of its microsecond goes. The
 * same pieces of code that a buffer uses, without the buffer around them; the last step is the buffer.
 *
 * All steps run in one process, in turns, because what counts are differences of a tenth of a microsecond.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { FileBuffer, jsonCodec } from "../../mod.ts";
import { FrameBuilder } from "../../src/wal/writer/frame_builder.ts";
import { PutGroup } from "../../src/wal/writer/put_group.ts";
import { type Measures, median } from "./measures.ts";
import type { Item, Records } from "./records.ts";

const ROUNDS = 5;
const SALT = 0xdeadbeef;

/** Does one put, or as much of it as is measured. */
type Step = (record: Item, index: number) => Promise<unknown> | void;

/** The steps, by the name of their measure; each does what the one before does, and something more. */
function stepsOf(directory: string, records: Records, buffer: FileBuffer<Item>): [string, Step][] {
  const file = fs.openSync(join(directory, "parts"), "w");
  const encoder = new TextEncoder();
  const arena = new Uint8Array(64 * 1024);
  const texts = records.pool.map((record) => encoder.encode(JSON.stringify(record)));
  const codec = jsonCodec<Item>();
  const builder = new FrameBuilder();
  const tick = Promise.resolve();
  let group: PutGroup | undefined;
  let sequence = 0;
  let characters = 0;
  const writeFrame = (putTime: number): void => {
    builder.seal({ sequence: ++sequence, putTime, salt: SALT, acknowledged: sequence });
    fs.writeSync(file, builder.bytes);
    builder.reset();
  };
  const add = (record: Item): void => {
    builder.savepoint();
    builder.add(codec, record);
  };
  return [
    ["writeUs", (_, index) => void fs.writeSync(file, texts[index % texts.length]!)],
    ["stringifyUs", (record, index) => {
      characters += JSON.stringify(record).length;
      fs.writeSync(file, texts[index % texts.length]!);
    }],
    ["encodeUs", (record) => {
      const { written } = encoder.encodeInto(JSON.stringify(record), arena);
      fs.writeSync(file, arena, 0, written);
    }],
    ["builderUs", (record) => {
      add(record);
      fs.writeSync(file, builder.bytes);
      builder.reset();
    }],
    ["sealUs", (record) => {
      add(record);
      writeFrame(1);
    }],
    ["timeUs", (record) => {
      add(record);
      writeFrame(Math.floor(performance.now()));
    }],
    ["promiseUs", (record) => {
      add(record);
      const mine = group ??= new PutGroup();
      return tick.then(() => {
        if (mine === group) {
          group = undefined;
          writeFrame(Math.floor(performance.now()));
          mine.resolve();
        }
        return mine.answer(sequence);
      });
    }],
    ["putUs", (record) => buffer.put(record)],
  ];
}

/** Microseconds a record with each step; `most` records are put in a round of a step. */
export async function measureParts(directory: string, records: Records, most: number): Promise<Measures> {
  const buffer = await FileBuffer.open<Item>({ path: join(directory, "buffer"), fsync: "never" });
  const steps = stepsOf(directory, records, buffer);
  const times = new Map<string, number[]>();
  let next = 0;
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [name, step] of steps) {
      const start = performance.now();
      for (let i = 0; i < most; i++, next++) {
        const done = step(records.make(next), next);
        if (done !== undefined) await done;
      }
      // The first round warms up.
      if (round > 0) times.set(name, [...times.get(name) ?? [], (performance.now() - start) * 1000 / most]);
    }
  }
  await buffer.close();
  return Object.fromEntries([...times].map(([name, one]) => [name, median(one)!]));
}
