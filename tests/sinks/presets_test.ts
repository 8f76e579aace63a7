/**
 * Presets: the arithmetic, batches of a buffer against what targets count, and Kafka's own bytes.
 */

import { test } from "node:test";
import type * as KafkaJs from "npm:kafkajs@2.2.4";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { bytesCodec } from "../../src/base/codec.ts";
import { MemoryBuffer } from "../../src/buffer/memory_buffer.ts";
import { RecordTooLargeError } from "../../src/errors/mod.ts";
import { kafkaSink } from "../../src/sinks/kafka.ts";
import {
  CLOUDWATCH_LOGS,
  DATADOG,
  EVENTBRIDGE,
  FIREHOSE,
  KAFKA,
  KINESIS,
  MYSQL,
  NATS,
  presetFor,
  PUBSUB,
  SNS,
  SQS,
  type TargetLimits,
} from "../../src/sinks/presets.ts";
import { contextOf, deliveryOf, UUID } from "../support/deliveries.ts";
import { loadPackage } from "../support/npm_packages.ts";
import { mulberry32 } from "../support/random.ts";
import { KafkaPeer } from "./kafka_peer.ts";

const TARGETS: Readonly<Record<string, TargetLimits>> = {
  CLOUDWATCH_LOGS,
  DATADOG,
  EVENTBRIDGE,
  FIREHOSE,
  KAFKA,
  KINESIS,
  MYSQL,
  NATS,
  PUBSUB,
  SNS,
  SQS,
};

test("presetFor() takes the overhead of the most records off the limit of a request", () => {
  assertEquals(presetFor(KINESIS), { maxRecords: 500, maxBytes: 10_485_760 - 500 * 256, maxRecordBytes: 1_048_320 });
  assertEquals(presetFor(FIREHOSE), { maxRecords: 500, maxBytes: 3_999_500, maxRecordBytes: 1_023_999 });
  assertEquals(presetFor(SQS), { maxRecords: 10, maxBytes: 1_046_016, maxRecordBytes: 1_046_016 });
  assertEquals(presetFor(PUBSUB), { maxRecords: 1_000, maxBytes: 9_488_000, maxRecordBytes: 9_488_000 });
  assertEquals(presetFor(KAFKA), { maxRecords: 500, maxBytes: 920_527, maxRecordBytes: 920_527 });
  assertEquals(presetFor(NATS), { maxRecords: 1_000, maxBytes: 1_048_192, maxRecordBytes: 1_048_192 });
  assertEquals(presetFor(SNS), { maxRecords: 10, maxBytes: 259_584, maxRecordBytes: 259_584 });
  assertEquals(presetFor(CLOUDWATCH_LOGS), { maxRecords: 10_000, maxBytes: 788_576, maxRecordBytes: 788_576 });
  assertEquals(presetFor(EVENTBRIDGE), { maxRecords: 10, maxBytes: 997_299, maxRecordBytes: 997_299 });
  assertEquals(presetFor(DATADOG), { maxRecords: 1_000, maxBytes: 4_998_998, maxRecordBytes: 999_999 });
  assertEquals(presetFor(MYSQL), { maxRecords: 1_000, maxBytes: 8_260_095, maxRecordBytes: 8_260_095 });
});

test("presetFor() counts what a payload grows by", () => {
  const preset = presetFor({ ...PUBSUB, bytesPerPayloadByte: 4 / 3 });
  assertEquals(preset, { maxRecords: 1_000, maxBytes: 7_116_000, maxRecordBytes: 7_116_000 });
  const tiny = { maxRecords: 1, maxRequestBytes: 8, maxRecordBytes: 8, recordOverheadBytes: 0 };
  assertEquals(presetFor({ ...tiny, bytesPerPayloadByte: 4 / 3 }).maxBytes, 6);
  assertEquals(presetFor({ ...tiny, maxRequestBytes: 7, bytesPerPayloadByte: 4 / 3 }).maxBytes, 5);
});

test("presetFor() refuses limits that make no sense or leave no room, by name", () => {
  const wrong: readonly (readonly [name: string, limits: Partial<TargetLimits>])[] = [
    ["maxRecords", { maxRecords: 0 }],
    ["maxRecords", { maxRecords: 1.5 }],
    ["maxRequestBytes", { maxRequestBytes: 0 }],
    ["maxRecordBytes", { maxRecordBytes: NaN }],
    ["recordOverheadBytes", { recordOverheadBytes: -1 }],
    ["requestOverheadBytes", { requestOverheadBytes: NaN }],
    ["bytesPerPayloadByte", { bytesPerPayloadByte: 0.5 }],
    ["bytesPerPayloadByte", { bytesPerPayloadByte: Infinity }],
    ["leave no room", { recordOverheadBytes: 2 ** 20 }],
    ["leave no room", { maxRecords: 1_000_000 }],
    ["leave no room", { requestOverheadBytes: 10 * 2 ** 20 }],
  ];
  for (const [name, limits] of wrong) {
    assertStringIncludes(assertThrows(() => presetFor({ ...KINESIS, ...limits }), RangeError).message, name);
  }
});

/** What a target counts for payloads of these lengths: base64 by its own rule, the rest as stated. */
function counted(lengths: readonly number[], limits: TargetLimits): { request: number; largest: number } {
  const { recordOverheadBytes, requestOverheadBytes = 0, bytesPerPayloadByte = 1 } = limits;
  const records = lengths.map((bytes) => {
    if (bytesPerPayloadByte === 4 / 3) return 4 * Math.ceil(bytes / 3) + recordOverheadBytes - 3;
    return bytes * bytesPerPayloadByte + recordOverheadBytes;
  });
  return { request: records.reduce((sum, bytes) => sum + bytes, requestOverheadBytes), largest: Math.max(...records) };
}

/** Payload lengths from one byte to the limit: many small ones, some large, some at the limit exactly. */
function lengthsFor(random: () => number, { maxBytes, maxRecordBytes, maxRecords }: ReturnType<typeof presetFor>) {
  const lengths: number[] = [];
  for (let bytes = 0; bytes < 4 * maxBytes;) {
    const kind = random();
    const most = kind < 0.7 ? maxBytes / maxRecords : kind < 0.95 ? maxRecordBytes / 10 : maxRecordBytes;
    const length = kind > 0.98 ? maxRecordBytes : Math.max(1, Math.floor(random() * most));
    lengths.push(length);
    bytes += length;
  }
  return lengths;
}

for (
  const [name, limits] of [...Object.entries(TARGETS), ["PUBSUB over REST", {
    ...PUBSUB,
    bytesPerPayloadByte: 4 / 3,
  }]] as [string, TargetLimits][]
) {
  test(`every batch of a buffer with the preset of ${name} fits into a request, and the largest record is taken`, async () => {
    const seed = 5;
    console.log(`seed ${seed}`);
    const preset = presetFor(limits);
    const buffer = await MemoryBuffer.open({ ...preset, codec: bytesCodec() });
    for (const length of lengthsFor(mulberry32(seed), preset)) await buffer.put(new Uint8Array(length));
    let batches = 0;
    for await (const batch of buffer.batches({ flush: true })) {
      batches++;
      const { request, largest } = counted(batch.payloads.map(({ length }) => length), limits);
      assert(batch.length <= limits.maxRecords, `${batch.length} records`);
      assert(request <= (limits.maxRequestBytes ?? Infinity), `${request} bytes in a request`);
      assert(largest <= limits.maxRecordBytes, `${largest} bytes in a record`);
      await buffer.commit(batch);
    }
    assert(batches > 3, `only ${batches} batches`);
    await buffer.put(new Uint8Array(preset.maxRecordBytes));
    const tooLarge = buffer.put(new Uint8Array(preset.maxRecordBytes + 1)).catch((error) => error);
    assert(await tooLarge instanceof RecordTooLargeError);
    await buffer.close();
  });
}

const loaded = await loadPackage<typeof KafkaJs>("kafkajs", "2.2.4");

test("KAFKA leaves room for all that kafkaSink() and kafkajs add to the fullest batch", {
  skip: loaded === undefined ? "kafkajs can't be fetched here" : false,
}, async () => {
  const { Kafka, logLevel, Partitioners } = loaded!.module;
  const peer = await KafkaPeer.start();
  const kafka = new Kafka({ brokers: [peer.address], logLevel: logLevel.NOTHING });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const { maxRecords, maxBytes } = presetFor(KAFKA);
  // The longest id that there can be, and sequences as long.
  const last = Number.MAX_SAFE_INTEGER;
  const batchId = `${UUID}-1234abcd-${last - maxRecords + 1}-${last}`;
  const each = Math.floor(maxBytes / maxRecords);
  const records = Array.from(
    { length: maxRecords },
    (_, i) => new Uint8Array(i === 0 ? maxBytes - each * (maxRecords - 1) : each),
  );
  const delivery = deliveryOf(records, { batchId, firstSequence: last - maxRecords + 1, codec: bytesCodec() });
  assertEquals(delivery.byteLength, maxBytes);
  await kafkaSink<Uint8Array>(producer, { topic: "t" })(delivery, contextOf());
  await producer.disconnect();
  await peer.stop();
  loaded!.remove();
  const [{ bytes, messages }] = peer.batches as [typeof peer.batches[number]];
  assertEquals(messages.length, maxRecords);
  assert(bytes <= KAFKA.maxRequestBytes!, `${bytes} bytes`);
  assert(bytes > KAFKA.maxRequestBytes! - maxRecords * 64, `${bytes} bytes: more room than is needed`);
});
