/**
 * Parts of batches: their ids say which records they are, and nothing else.
 */

import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStrictEquals, assertThrows } from "@std/assert";
import { type Batch, type Codec, CodecError, FileBuffer, jsonCodec, MemoryBuffer, textCodec } from "../../mod.ts";
import { BatchPart } from "../../src/producer/batch_part.ts";
import { MemoryFileSystem } from "../../src/testing/mod.ts";
import { seededRandom } from "../support/random.ts";

async function batchOf(records: readonly string[]): Promise<Batch<string>> {
  const buffer = await MemoryBuffer.open<string>({ codec: textCodec() });
  await buffer.put("before");
  await buffer.commit(await buffer.emit());
  await buffer.putMany(records);
  const batch = await buffer.emit();
  await buffer.close();
  return batch;
}

test("Part is the batch, with its id, when it has all of its records", async () => {
  const batch = await batchOf(["a", "b", "c"]);
  const whole = new BatchPart(batch);
  for (const part of [whole, new BatchPart(batch, [0, 1, 2]), whole.pick([0, 1, 2])]) {
    assertEquals([part.id, part.batchId, part.length, part.byteLength], [batch.id, batch.id, 3, 3]);
    assertStrictEquals(part.records, batch.records);
    assertStrictEquals(part.payloads, batch.payloads);
    assertEquals(part.sequences, [2, 3, 4]);
  }
});

test("Part has the records that it was made for, and a name made of their sequences", async () => {
  const batch = await batchOf(["a", "bb", "ccc", "dddd", "eeeee"]);
  const part = new BatchPart(batch).pick([0, 2, 3]);
  assertEquals(part.id, `${batch.id}.2+4-5`);
  assertEquals([...part], ["a", "ccc", "dddd"]);
  assertEquals(part.payloads.map(({ length }) => length), [1, 3, 4]);
  assertEquals([part.length, part.byteLength, part.sequences], [3, 8, [2, 4, 5]]);
  const [first, second] = part.halves();
  assertEquals([first.id, second.id], [`${batch.id}.2+4`, `${batch.id}.5`]);
  assertEquals([[...first], [...second]], [["a", "ccc"], ["dddd"]]);
  assertEquals(second.decode(0), "dddd");
});

test("Part says of payloads that they are the JSON of their records only where they are", async () => {
  const fileSystem = new MemoryFileSystem();
  const jsonOf = async (codec: Codec<string>, text?: string): Promise<boolean> => {
    const options = { path: "/log", fileSystem, codec };
    const buffer = await FileBuffer.open<string>(options);
    if (text !== undefined) await buffer.put(text);
    const { json } = new BatchPart(await buffer.emit());
    await buffer.close();
    return json;
  };
  const json = jsonCodec<string>();
  assertEquals(await jsonOf(json, "a"), true);
  // Records are something else than their payloads: by another codec, by a codec that was changed, by a migration.
  assertEquals(await jsonOf(textCodec()), false);
  assertEquals(await jsonOf({ ...json, decode: (payload) => `${payload.length}` }), false);
  assertEquals(await jsonOf(jsonCodec<string>({ version: 1, migrate: (value) => `${value}!` })), false);
});

test("Part has the same id however it came about", async () => {
  const batch = await batchOf(["a", "b", "c", "d", "e", "f", "g", "h"]);
  const whole = new BatchPart(batch);
  const [, second] = whole.halves();
  const ids = [
    whole.pick([5, 6]),
    whole.pick([1, 5, 6]).pick([1, 2]),
    second.pick([1, 2]),
    whole.pick([5, 6, 7]).halves()[0],
    new BatchPart(batch, [5, 6]),
  ].map(({ id }) => id);
  assertEquals(new Set(ids), new Set([`${batch.id}.7-8`]));
});

test("Part has another id for other records, and a short one for many", async () => {
  const batch = await batchOf(Array.from({ length: 200 }, (_, i) => `${i}`));
  const random = seededRandom(1);
  const known = new Map<string, string>();
  const whole = new BatchPart(batch);
  for (let i = 0; i < 2_000; i++) {
    const density = 1 + random(200);
    const indexes = whole.sequences.map((_, index) => index).filter(() => random(200) < density);
    if (indexes.length === 0) continue;
    const { id, sequences } = whole.pick(indexes);
    const content = sequences.join();
    assertEquals(known.get(id) ?? content, content);
    known.set(id, content);
    assert(id.length <= batch.id.length + 65, id);
  }
  // Made once and written down: it must not change with a version of this package.
  const odd = whole.pick(whole.sequences.map((_, index) => index).filter((index) => index % 2 === 1));
  assertEquals(odd.id, `${batch.id}.3-201.97299dbf405da828a3b552839c9b38a6`);
  assertMatch(whole.pick([0, 2]).id, /\.2\+4$/);
});

test("Part spoils only the parts that a payload is in which does not decode", async () => {
  const buffer = await MemoryBuffer.open<string>({
    codec: {
      encode: textCodec().encode,
      decode(payload, version) {
        const text = textCodec().decode(payload, version);
        if (text === "bad") throw new Error("does not decode");
        return text;
      },
    },
  });
  await buffer.putMany(["a", "bad", "c"]);
  const whole = new BatchPart(await buffer.emit());
  await buffer.close();
  assertThrows(() => whole.records, CodecError);
  assertEquals(whole.pick([0, 2]).records, ["a", "c"]);
  assertThrows(() => whole.pick([1, 2]).records, CodecError);
});
