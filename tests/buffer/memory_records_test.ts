/**
 * The records of a MemoryBuffer against a plain array: what is added, taken back, read and released, in any order and of any length.
 */

import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { bytesCodec, type Codec } from "../../mod.ts";
import { MemoryRecords } from "../../src/buffer/memory_records.ts";
import { LOG_START, type LogPosition } from "../../src/wal/position.ts";
import { seededRandom } from "../support/random.ts";

const PIECE_BYTES = 256 * 1024;
const ALL = { maxRecords: Infinity, maxBytes: Infinity, before: Infinity };
/** It has no `encodeInto()`. */
const copying: Codec<Uint8Array> = { encode: (record) => record, decode: (payload) => payload };
const inPlace = bytesCodec();

interface ModelRecord {
  readonly payload: Uint8Array;
  readonly putTime: number;
  readonly position: LogPosition;
}

function payloadOf(length: number, seed: number): Uint8Array {
  return new Uint8Array(length).fill(seed % 251);
}

function payloadsOf(read: ReturnType<MemoryRecords["read"]>): Uint8Array[] {
  const { bytes, bounds } = read!;
  return bounds.flatMap((from, i) => i % 2 === 0 ? [bytes.subarray(from, bounds[i + 1])] : []);
}

function positionAfter({ payload, position }: ModelRecord): LogPosition {
  return {
    nextSequence: position.nextSequence + 1,
    payloadBytes: position.payloadBytes + payload.length,
    logBytes: position.logBytes + payload.length + 4,
  };
}

test("MemoryRecords does what an array would do, whatever the order of calls", () => {
  for (let seed = 1; seed <= 12; seed++) {
    const upTo = seededRandom(seed);
    const lengths = [0, 1, 40, 50, 60, 5_000, 70, PIECE_BYTES - 4, PIECE_BYTES - 3, PIECE_BYTES / 3, 3 * PIECE_BYTES];
    const records = new MemoryRecords();
    let model: ModelRecord[] = [];
    let savepoint = 0;
    let putTime = 1000;
    let end = LOG_START;
    for (let step = 0; step < 150; step++) {
      const kind = upTo(20);
      if (kind < 12) {
        const payload = payloadOf(lengths[upTo(lengths.length)], step);
        putTime += upTo(2);
        assertEquals(records.add(kind % 2 === 0 ? inPlace : copying, payload, putTime), payload.length);
        model.push({ payload, putTime, position: end });
        end = positionAfter(model.at(-1)!);
      } else if (kind === 12) {
        records.savepoint();
        savepoint = model.length;
      } else if (kind <= 14) {
        const withdrawn = model.splice(savepoint);
        end = withdrawn[0]?.position ?? end;
        if (kind === 13) records.rollback();
        else assertEquals(records.withdraw(), withdrawn.map(({ payload }) => payload));
        records.savepoint();
      } else if (kind === 15) {
        const done = upTo(model.length + 1);
        records.release(model[done]?.position ?? end);
        model = model.slice(done);
        records.savepoint();
        savepoint = model.length;
      } else if (model.length > 0) {
        const from = upTo(model.length);
        const { position, putTime } = model[from];
        const before = model[0].position.nextSequence + from + upTo(model.length - from + 1);
        const limits = { maxRecords: 1 + upTo(10), maxBytes: upTo(2 * PIECE_BYTES), before };
        let bytes = 0;
        const expected = model.slice(from, from + limits.maxRecords).filter(({ payload, position }, i) =>
          position.nextSequence < before && ((bytes += payload.length) <= limits.maxBytes || i === 0)
        );
        const read = records.read(position, limits);
        assertEquals(records.putTimeAt(position), putTime, `seed ${seed}`);
        if (expected.length === 0) {
          assertEquals(read, undefined);
          continue;
        }
        assertEquals(payloadsOf(read), expected.map(({ payload }) => payload), `seed ${seed}`);
        assertEquals([read!.start, read!.end], [position, positionAfter(expected.at(-1)!)], `seed ${seed}`);
        assertEquals([read!.count, read!.bytes.length], [expected.length, read!.bounds.at(-1)! + 1]);
      }
      assertEquals(records.end, end, `seed ${seed}`);
    }
  }
});

test("MemoryRecords keeps nothing of a record that its codec refuses", () => {
  const records = new MemoryRecords();
  records.add(inPlace, payloadOf(3, 1), 1);
  const wrong = "not bytes" as unknown as Uint8Array;
  for (const codec of [inPlace, copying]) assertThrows(() => records.add(codec, wrong, 2), TypeError);
  assertThrows(
    () => records.add({ ...copying, encodeInto: () => 2 ** 30 }, payloadOf(1, 1), 2),
    RangeError,
    "encodeInto()",
  );
  records.add(inPlace, payloadOf(2, 2), 3);
  assertEquals(payloadsOf(records.read(LOG_START, ALL)), [payloadOf(3, 1), payloadOf(2, 2)]);
  assertEquals(records.end, { nextSequence: 3, payloadBytes: 5, logBytes: 13 });
});

test("MemoryRecords gives every reader bytes of its own", () => {
  const records = new MemoryRecords();
  records.add(inPlace, payloadOf(3, 7), 1);
  records.read(LOG_START, ALL)!.bytes.fill(0);
  assertEquals(payloadsOf(records.read(LOG_START, ALL)), [payloadOf(3, 7)]);
});
