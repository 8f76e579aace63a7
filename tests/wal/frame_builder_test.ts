/**
 * `FrameBuilder`: what it builds is what the format's page describes, whatever was encoded, taken back or refused on the
 * way there.
 */

import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { bytesCodec, type Codec, textCodec } from "../../src/base/codec.ts";
import { FrameBuilder } from "../../src/wal/writer/frame_builder.ts";
import { assertSameBytes, bytesOf, concat, garbage } from "../support/bytes.ts";
import { CONTINUED, CONTINUES, frameOf } from "../support/frames.ts";
import { seededRandom } from "../support/random.ts";

const SALT = 0x5a17ab1e;
const PUT_TIME = 1_700_000_000_123;
const SHARED_BYTES = 64 * 1024;
const bytes = bytesCodec();
const text = textCodec();

/** A codec without `encodeInto`. */
const plain: Codec<Uint8Array> = { encode: (record) => record, decode: (payload) => payload };

/** The bytes that `builder` would write now, as the first write of a log. */
function sealed(builder: FrameBuilder, sequence = 1): Uint8Array {
  builder.seal({ sequence, putTime: PUT_TIME, salt: SALT, acknowledged: Infinity });
  return builder.bytes.slice();
}

/** Frames made by hand; each row is one of them. */
function frames(...rows: readonly { payloads: (string | Uint8Array)[]; flags?: number }[]): Uint8Array {
  let sequence = 1;
  return concat(...rows.map(({ payloads, flags = 0 }) => {
    const frame = frameOf({ sequence, payloads, flags, salt: SALT, putTime: PUT_TIME });
    sequence += payloads.length;
    return frame;
  }));
}

function assertFigures(
  builder: FrameBuilder,
  figures: { records: number; payloadBytes: number; length: number },
): void {
  const { records, payloadBytes, length } = builder;
  assertEquals({ records, payloadBytes, length }, figures);
}

test("FrameBuilder.add() packs the records of a tick into one frame", () => {
  const builder = new FrameBuilder();
  assertFigures(builder, { records: 0, payloadBytes: 0, length: 0 });
  assertEquals(builder.add(text, "one"), 3);
  assertEquals(builder.add(text, ""), 0);
  assertEquals(builder.add(plain, bytesOf("three")), 5);
  assertSameBytes(sealed(builder), frames({ payloads: ["one", "", "three"] }));
  assertFigures(builder, { records: 3, payloadBytes: 8, length: 28 + 3 * 4 + 8 });
});

test("FrameBuilder.add() starts a new frame where one of several records would be longer than 64 KiB", () => {
  const [a, b] = [garbage(30_000, 1), garbage(SHARED_BYTES - 28 - 4 - 30_000 - 4, 2)];
  const rows: [name: string, payloads: Uint8Array[], frames: Uint8Array[][]][] = [
    ["exactly 64 KiB", [a, b], [[a, b]]],
    ["a byte more", [a, concat(b, bytesOf("x"))], [[a], [concat(b, bytesOf("x"))]]],
    ["an empty one behind a full frame", [a, b, new Uint8Array()], [[a, b], [new Uint8Array()]]],
    ["one that is longer", [a, garbage(70_000, 3), a], [[a], [garbage(70_000, 3)], [a]]],
    ["the first is longer", [garbage(70_000, 3), a, b], [[garbage(70_000, 3)], [a, b]]],
    ["1 MiB", [a, garbage(2 ** 20, 4)], [[a], [garbage(2 ** 20, 4)]]],
  ];
  for (const [name, payloads, expected] of rows) {
    for (const codec of [bytes, plain]) {
      const builder = new FrameBuilder();
      for (const payload of payloads) builder.add(codec, payload);
      assertSameBytes(sealed(builder), frames(...expected.map((payloads) => ({ payloads }))), name);
    }
  }
});

test("FrameBuilder.endGroup() keeps a group in frames of its own, tied together if there are several", () => {
  const builder = new FrameBuilder();
  const long = garbage(40_000, 1);
  const group = (...records: Uint8Array[]) => {
    builder.beginGroup();
    for (const record of records) builder.add(bytes, record);
    builder.endGroup();
  };
  builder.add(text, "alone");
  group(bytesOf("two"), bytesOf("three"));
  builder.add(text, "four");
  builder.add(text, "five");
  group(long, long, bytesOf("8"), long);
  group(bytesOf("ten"));
  builder.add(text, "last");
  const expected = frames(
    { payloads: ["alone"] },
    { payloads: ["two", "three"] },
    { payloads: ["four", "five"] },
    { payloads: [long], flags: CONTINUES },
    { payloads: [long, "8"], flags: CONTINUES | CONTINUED },
    { payloads: [long], flags: CONTINUED },
    { payloads: ["ten"] },
    { payloads: ["last"] },
  );
  assertSameBytes(sealed(builder), expected);
});

test("FrameBuilder.rollback() takes back everything since savepoint(), and nothing else", () => {
  const actions: [name: string, act: (builder: FrameBuilder) => void][] = [
    ["a record", (builder) => builder.add(text, "gone")],
    ["a record in a frame of its own", (builder) => builder.add(bytes, garbage(SHARED_BYTES, 1))],
    ["a group", (builder) => {
      builder.beginGroup();
      for (let i = 0; i < 5; i++) builder.add(bytes, garbage(30_000, i));
      builder.endGroup();
    }],
    ["a group that isn't finished", (builder) => {
      builder.beginGroup();
      builder.add(bytes, garbage(90_000, 1));
      builder.add(text, "gone");
    }],
    ["nothing", () => {}],
  ];
  for (const [name, act] of actions) {
    for (const before of [[], ["one"], ["one", "two"]]) {
      const builder = new FrameBuilder();
      for (const record of before) builder.add(text, record);
      builder.savepoint();
      act(builder);
      builder.rollback();
      const payloadBytes = before.join("").length;
      const length = before.length === 0 ? 0 : 28 + 4 * before.length + payloadBytes;
      assertFigures(builder, { records: before.length, payloadBytes, length });
      builder.add(text, "next");
      assertSameBytes(sealed(builder), frames({ payloads: [...before, "next"] }), `${name} after ${before.length}`);
    }
  }
});

test("FrameBuilder.withdraw() takes back what was added since savepoint(), and copies the payloads", () => {
  const long = garbage(40_000, 1);
  for (const before of [[], ["one"], ["one", "two"]]) {
    const builder = new FrameBuilder();
    for (const record of before) builder.add(text, record);
    builder.savepoint();
    assertEquals(builder.withdraw(), []);
    const records = [bytesOf("three"), new Uint8Array(), long, long, bytesOf("six")];
    for (const record of records) builder.add(bytes, record);
    const payloads = builder.withdraw();
    assertEquals(builder.records, before.length);
    builder.add(bytes, garbage(100_000, 2));
    assertEquals(payloads.length, records.length);
    payloads.forEach((payload, i) => assertSameBytes(payload, records[i]!, `record ${i} after ${before.length}`));
  }
});

test("FrameBuilder.add() leaves nothing of a record that its codec refuses", () => {
  const failing: Codec<string>[] = [
    {
      ...text,
      encodeInto: (_, into) => {
        into.fill(0xff, 0, 100);
        throw new Error("refused");
      },
    },
    {
      encode: () => {
        throw new Error("refused");
      },
      decode: text.decode,
    },
    {
      ...text,
      encodeInto: () => -1,
      encode: () => {
        throw new Error("refused");
      },
    },
  ];
  for (const codec of failing) {
    for (const before of [[], ["one"]]) {
      const builder = new FrameBuilder();
      for (const record of before) builder.add(text, record);
      assertThrows(() => builder.add(codec, "gone"), Error, "refused");
      assertEquals(builder.records, before.length);
      builder.add(text, "next");
      const expected = frames({ payloads: [...before, "next"] });
      assertSameBytes(sealed(builder), expected);
    }
  }
});

test("FrameBuilder.add() refuses an encodeInto() that returns no length, and an encode() that returns no bytes", () => {
  const values: unknown[] = [NaN, undefined, null, "3", 1.5, Infinity, 65_537, 2 ** 32];
  for (const value of values) {
    const builder = new FrameBuilder();
    const codec: Codec<string> = { ...text, encodeInto: () => value as number };
    assertThrows(() => builder.add(codec, "gone"), RangeError, "encodeInto", String(value));
    builder.add(text, "next");
    assertSameBytes(sealed(builder), frames({ payloads: ["next"] }), String(value));
  }
  for (const value of [undefined, "text", [1, 2], new ArrayBuffer(2)]) {
    const builder = new FrameBuilder();
    const codec: Codec<string> = { encode: () => value as unknown as Uint8Array, decode: text.decode };
    assertThrows(() => builder.add(codec, "gone"), TypeError, "encode", String(value));
    assertEquals(builder.length, 0);
  }
});

test("FrameBuilder.seal() can be called again with other values", () => {
  const builder = new FrameBuilder();
  builder.add(text, "one");
  builder.seal({ sequence: 99, putTime: 1, salt: 2, acknowledged: 97 });
  assertSameBytes(sealed(builder), frames({ payloads: ["one"] }));
});

test("FrameBuilder.reset() forgets everything, also a group that isn't finished", () => {
  const builder = new FrameBuilder();
  builder.beginGroup();
  builder.add(bytes, garbage(5 * 2 ** 20, 1));
  builder.reset();
  assertFigures(builder, { records: 0, payloadBytes: 0, length: 0 });
  builder.add(text, "one");
  builder.add(text, "two");
  builder.endGroup();
  assertSameBytes(sealed(builder), frames({ payloads: ["one", "two"] }));
});

test("FrameBuilder builds what a list of records and groups says, whatever is taken back in between", () => {
  for (let seed = 1; seed <= 25; seed++) {
    const random = seededRandom(seed);
    const builder = new FrameBuilder();
    const expected: { payloads: Uint8Array[]; flags: number }[] = [];
    let mayShare = false;
    const expect = (payload: Uint8Array) => {
      const last = expected.at(-1);
      const size = last === undefined ? 0 : last.payloads.reduce((sum, { length }) => sum + 4 + length, 28);
      if (last !== undefined && mayShare && size + 4 + payload.length <= SHARED_BYTES) last.payloads.push(payload);
      else expected.push({ payloads: [payload], flags: 0 });
      mayShare = true;
    };
    const length = () => random(4) === 0 ? random(80_000) : random(50);
    for (let step = 0; step < 15; step++) {
      const group = random(3) === 0;
      const records = Array.from({ length: group ? 1 + random(6) : 1 }, () => garbage(length(), random(1000)));
      const isKept = random(3) > 0;
      const from = expected.length;
      builder.savepoint();
      if (group) builder.beginGroup();
      for (const record of records) builder.add(random(2) === 0 ? bytes : plain, record);
      if (group) builder.endGroup();
      if (!isKept) {
        builder.rollback();
        continue;
      }
      if (group) mayShare = false;
      for (const record of records) expect(record);
      if (!group) continue;
      mayShare = false;
      for (let i = from; i < expected.length; i++) {
        if (i > from) expected[i]!.flags |= CONTINUED;
        if (i + 1 < expected.length) expected[i]!.flags |= CONTINUES;
      }
    }
    assert(sealed(builder).length === builder.length, `seed ${seed}: length`);
    assertSameBytes(sealed(builder), frames(...expected), `seed ${seed}`);
  }
});

test("FrameBuilder keeps the memory of large writes while they come, and gives it back afterwards", () => {
  const builder = new FrameBuilder();
  const memory = () => builder.bytes.buffer.byteLength;
  const write = (length: number) => {
    builder.add(bytesCodec(), new Uint8Array(length));
    builder.reset();
  };
  write(10);
  const small = memory();
  write(20_000_000);
  const large = memory();
  assert(large > 20_000_000);
  for (let i = 0; i < 100; i++) {
    for (let k = 0; k < 10; k++) write(10);
    assertEquals(memory(), large);
    write(20_000_000);
  }
  for (let k = 0; k < 20; k++) write(10);
  assertEquals(memory(), small);
});
