/**
 * Dead letters hold whatever a buffer holds, whatever its codec and limits, and bring the very bytes back.
 */

import { Buffer } from "node:buffer";
import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import {
  BufferClosedError,
  BufferFailedError,
  type BufferOptions,
  bytesCodec,
  type Codec,
  CodecError,
  type DeadLetter,
  deadLetterCodec,
  DeliveryError,
  FileBuffer,
  jsonCodec,
  MemoryBuffer,
  Producer,
  type ProducerEvent,
  type ProducerOptions,
  RecordTooLargeError,
  textCodec,
} from "../../mod.ts";
import { MAX_LETTER_HEAD_BYTES } from "../../src/base/dead_letter.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fault } from "../../src/testing/memory_process.ts";
import { MIN_FRAME_BYTES } from "../../src/wal/format.ts";
import { seededRandom } from "../support/random.ts";
import { KINDS, LONG_REASON } from "./tools.ts";

type AnyBuffer<T> = FileBuffer<T> | MemoryBuffer<T>;
type Options<T> = BufferOptions<T>;

const refusal = new DeliveryError({ reason: LONG_REASON, retryable: false });

/** Opens buffers of one kind, and has them closed at the end. */
class Buffers {
  readonly #kind: (typeof KINDS)[number];
  readonly #fileSystem = new MemoryFileSystem();
  readonly #opened: { close(): Promise<void> }[] = [];

  constructor(kind: (typeof KINDS)[number]) {
    this.#kind = kind;
  }

  async open<T>(path: string, options: Options<T>): Promise<AnyBuffer<T>> {
    const buffer = this.#kind === "MemoryBuffer"
      ? await MemoryBuffer.open(options)
      : await FileBuffer.open({ path, fileSystem: this.#fileSystem, statusMs: 0, ...options });
    this.#opened.push(buffer);
    return buffer;
  }

  /** Delivers all of a buffer to a target that refuses it. */
  async bury<T>(buffer: AnyBuffer<T>, deadLetters: AnyBuffer<DeadLetter<T>>): Promise<void> {
    const producer = new Producer({
      buffer,
      send() {
        throw refusal;
      },
      deadLetters,
    });
    this.#opened.push(producer);
    await producer.flush();
    await producer.close();
    assertEquals(buffer.stats().pendingRecords, 0);
  }

  async close(): Promise<void> {
    for (const one of this.#opened.reverse()) await one.close();
  }
}

function buffersTest(title: string, body: (buffers: Buffers) => Promise<void>): void {
  for (const kind of KINDS) {
    test(`${title} (${kind})`, async () => {
      const buffers = new Buffers(kind);
      try {
        await body(buffers);
      } finally {
        await buffers.close();
      }
    });
  }
}

/** All of a buffer, committed. */
async function drainAll<T>(buffer: AnyBuffer<T>): Promise<{ records: T[]; payloads: Uint8Array[]; lengths: number[] }> {
  const all = { records: [] as T[], payloads: [] as Uint8Array[], lengths: [] as number[] };
  for await (const batch of buffer.batches({ flush: true })) {
    all.records.push(...batch.records);
    all.payloads.push(...batch.payloads.map((payload) => payload.slice()));
    all.lengths.push(batch.length);
    await buffer.commit(batch);
  }
  return all;
}

const bigints: Codec<unknown> = {
  encode: (record) =>
    Buffer.from(JSON.stringify(record, (_key, value) => typeof value === "bigint" ? { $n: `${value}` } : value)),
  decode: (payload) =>
    JSON.parse(Buffer.from(payload).toString(), (_key, value) => value?.$n === undefined ? value : BigInt(value.$n)),
};

/** Encodes a record differently each time, and only ever decodes what it has not changed. */
const salted: Codec<string> = {
  encode: (record) => Buffer.concat([Uint8Array.of(record.length * 7 % 256, saltCount++ % 256), Buffer.from(record)]),
  decode: (payload) => Buffer.from(payload.subarray(2)).toString(),
};
let saltCount = 0;

/** Decodes nothing. */
const broken: Codec<string> = {
  version: 3,
  encode: (record) => Buffer.from(record),
  decode() {
    throw new Error("no such record");
  },
};

const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, i) => i);

// deno-lint-ignore no-explicit-any
const CODECS: readonly { name: string; codec: Codec<any>; records: readonly unknown[]; decodes?: false }[] = [
  { name: "jsonCodec()", codec: jsonCodec(), records: [{ n: -0, "2": "\t\n", "1": ["é\ud800"] }, null, "\t", []] },
  { name: "bytesCodec()", codec: bytesCodec(), records: [ALL_BYTES, new Uint8Array(0), Uint8Array.of(9, 9)] },
  { name: "textCodec()", codec: textCodec(), records: ["", "\t{}\n", "漢😀", '{"key":1}\t'] },
  { name: "a codec of bigints", codec: bigints, records: [{ n: 2n ** 70n }, [1n]] },
  { name: "a codec that isn't canonical", codec: salted, records: ["a", "", "bc"] },
  { name: "a codec with a version", codec: jsonCodec({ version: 7 }), records: [{ a: 1 }] },
  { name: "a codec that decodes nothing", codec: broken, records: ["a", "", "\t"], decodes: false },
];

for (const { name, codec, records, decodes = true } of CODECS) {
  buffersTest(`dead letters of ${name} hold the very bytes, and bring them back`, async (buffers) => {
    const buffer = await buffers.open("/buffer", { codec });
    const dead = await buffers.open("/dead", { codec: deadLetterCodec(codec) });
    await buffer.putMany(records);
    const { payloads } = await buffer.emit();
    const bytes = payloads.map((payload) => payload.slice());
    await buffers.bury(buffer, dead);

    const batch = await dead.emit();
    assertEquals(batch.records.map(({ payload }) => payload), bytes);
    assertEquals(batch.records.map(({ payload }) => payload.constructor), bytes.map(() => Uint8Array));
    for (const letter of batch.records) assertEquals(letter.codecVersion, codec.version ?? 0);
    if (decodes) assertEquals(batch.records.map(({ record }) => record), records as unknown[]);
    else assert(batch.records.every((letter) => !("record" in letter)));

    await buffer.putEncoded(batch.records);
    await dead.commit(batch);
    const again = await buffer.emit();
    assertEquals(again.payloads, bytes);
    if (decodes) assertEquals(again.records, records as unknown[]);
  });
}

/** A payload of this length. */
const blank = (length: number): Uint8Array => new Uint8Array(length).fill(9);

for (
  const [what, options, length] of [
    ["the default limits", {}, 1_000_000],
    ["larger ones", { maxBytes: 20_000_000, maxRecordBytes: 20_000_000 }, 20_000_000],
    ["small ones", { maxBytes: 10, maxRecordBytes: 100 }, 10],
  ] as const
) {
  buffersTest(`a record as long as ${what} allow becomes a letter, and a record again`, async (buffers) => {
    const buffer = await buffers.open("/buffer", { codec: bytesCodec(), ...options });
    const dead = await buffers.open("/dead", { codec: deadLetterCodec(bytesCodec()) });
    await buffer.putMany([Uint8Array.of(1), blank(length), new Uint8Array(0)]);
    await buffers.bury(buffer, dead);
    const { records } = await drainAll(dead);
    assertEquals(records.map(({ payload }) => payload.length), [1, length, 0]);
    await buffer.putEncoded(records);
    assertEquals((await drainAll(buffer)).payloads, [Uint8Array.of(1), blank(length), new Uint8Array(0)]);
  });
}

test("a record that was put when the limits were larger becomes a letter", async () => {
  const buffers = new Buffers("FileBuffer");
  const large = { codec: bytesCodec(), maxBytes: 40_000_000, maxRecordBytes: 40_000_000 };
  const before = await buffers.open("/buffer", large);
  await before.put(blank(40_000_000));
  await before.close();
  const buffer = await buffers.open("/buffer", { codec: bytesCodec(), maxBytes: 100 });
  await buffer.put(Uint8Array.of(2));
  const dead = await buffers.open("/dead", { codec: deadLetterCodec(bytesCodec()) });
  await buffers.bury(buffer, dead);
  const { records, lengths } = await drainAll(dead);
  assertEquals([records.map(({ payload }) => payload.length), lengths], [[40_000_000, 1], [1, 1]]);
  // Back only with the limits that it was put with.
  await assertRejects(() => buffer.putEncoded(records), RecordTooLargeError);
  assertEquals(buffer.stats().pendingRecords, 0);
  await buffers.close();
});

buffersTest("batches of dead letters keep their limit, but for a letter that is longer", async (buffers) => {
  const dead = await buffers.open("/dead", { codec: deadLetterCodec(bytesCodec()), maxBytes: 1_000 });
  const letter = (length: number): DeadLetter<Uint8Array> => ({ ...LETTER, payload: blank(length) });
  for (const length of [300, 300, 300, 5_000, 300, 100_000, 2_000]) await dead.put(letter(length));
  assertEquals((await drainAll(dead)).lengths, [2, 1, 1, 1, 1, 1]);
});

const LETTER = {
  key: "b.1",
  payload: new Uint8Array(0),
  codecVersion: 0,
  error: "",
  attempts: 1,
  sequence: 1,
  batchId: "b",
  time: 0,
};

test("a letter is a line: what is known of it, a tab, and the payload", () => {
  const codec = deadLetterCodec(textCodec());
  const payload = new TextEncoder().encode("a\tline");
  const text = new TextDecoder().decode(codec.encode({ ...LETTER, error: "a\ttab\n", payload, record: "never kept" }));
  const [head, ...rest] = text.split("\t");
  const { payload: _, ...about } = LETTER;
  assertEquals([JSON.parse(head!), rest.join("\t")], [{ ...about, error: "a\ttab\n" }, "a\tline"]);
});

test("deadLetterCodec() brings random letters back, and takes no other payloads", () => {
  const random = seededRandom(3);
  const codec = deadLetterCodec(bytesCodec());
  for (let round = 0; round < 200; round++) {
    const payload = Uint8Array.from({ length: random(50) }, () => random(4) === 0 ? 9 : random(256));
    const error = String.fromCharCode(...Array.from({ length: random(20) }, () => random(0x10000)));
    const letter = { ...LETTER, payload, error, codecVersion: random(2 ** 32) };
    assertEquals(codec.decode(codec.encode(letter), 1), { ...letter, record: payload });
  }
  for (const text of ["", "\t", '{"key":"a"}', '{"key":"a"}\t', '{"codecVersion":0}\tx', "null\t", "{\tx", "1"]) {
    assertThrows(() => codec.decode(new TextEncoder().encode(text), 1));
  }
  assertThrows(() => codec.decode(codec.encode(LETTER), 0), TypeError, "no dead letter");
  assertThrows(() => codec.encode({ ...LETTER, payload: "a" as unknown as Uint8Array }), TypeError, "DeadLetter");
});

test("the longest head of a letter has its bytes", async () => {
  const dead: DeadLetter<string>[] = [];
  const put = (letter: DeadLetter<string>) => Promise.resolve(dead.push(letter));
  const buffer = await MemoryBuffer.open<string>();
  const producer = new Producer<string>({
    buffer,
    send() {
      throw refusal;
    },
    deadLetters: { put } as unknown as MemoryBuffer<DeadLetter<string>>,
  });
  await producer.put("a");
  await producer.flush();
  const most = Number.MAX_SAFE_INTEGER;
  const batchId = `${dead[0]!.batchId}-ffffffff-${most}-${most}`;
  const longest = { ...dead[0]!, batchId, key: `${batchId}.${most}`, sequence: most, attempts: most, time: most };
  const { length } = deadLetterCodec().encode({ ...longest, payload: new Uint8Array(0), codecVersion: 2 ** 32 - 1 });
  assert(longest.error.length === 1_000 && length > 6_000 && length <= MAX_LETTER_HEAD_BYTES, `${length}`);
  await producer.close();
  await buffer.close();
});

buffersTest("putEncoded() encodes payloads of another version again", async (buffers) => {
  const codec = jsonCodec<string>({ version: 2, migrate: (payload, from) => `${payload} of ${from}` });
  const buffer = await buffers.open("/buffer", { codec });
  const payload = new TextEncoder().encode('"a"');
  assertEquals(await buffer.putEncoded([{ payload, codecVersion: 1 }, { payload, codecVersion: 2 }]), {
    first: 1,
    last: 2,
  });
  assertEquals((await buffer.emit()).records, ["a of 1", "a"]);
});

buffersTest("putEncoded() puts all records or none", async (buffers) => {
  const buffer = await buffers.open<unknown>("/buffer", { maxBytes: 10 });
  const encoded = (text: string) => ({ payload: new TextEncoder().encode(text), codecVersion: 0 });
  // Together they would be the texts of other values.
  for (const bad of ["1,2", "", "{", "\xff", " ".repeat(11)]) {
    const error = await assertRejects(() => buffer.putEncoded([encoded("1"), encoded(bad)]), CodecError);
    assertEquals([error.operation, error.index], ["encode", 1]);
  }
  await assertRejects(() => buffer.putEncoded([encoded("1"), encoded('"0123456789"')]), RecordTooLargeError);
  await assertRejects(() => buffer.putEncoded([]), RangeError);
  await assertRejects(() => buffer.putEncoded([encoded("1")], { signal: AbortSignal.abort(new Error("no")) }), Error);
  assertEquals(buffer.stats().pendingRecords, 0);
  await buffer.putEncoded([encoded("1"), encoded(" 2.0 ")]);
  assertEquals((await buffer.emit()).records, [1, 2]);
  await buffer.close();
  await assertRejects(() => buffer.putEncoded([encoded("1")]), Error, "the buffer is closed");
});

test("Producer refuses a buffer that can't hold every dead letter, and says what to do", async () => {
  const buffer = await MemoryBuffer.open<string>({ maxBytes: 4_000_000 });
  const codec = deadLetterCodec<string>();
  const needed = 4_000_000 + MAX_LETTER_HEAD_BYTES;
  const make = async (options: Options<DeadLetter<string>>, error?: string): Promise<void> => {
    const deadLetters = await MemoryBuffer.open(options);
    const events: ProducerEvent[] = [];
    const make = () => new Producer({ buffer, send() {}, deadLetters, onEvent: (event) => events.push(event) });
    if (error === undefined) await make().close();
    else assertThrows(make, Error, `Cannot make a producer: deadLetters ${error}`);
    // It isn't used then.
    await new Producer({ buffer, send() {}, deadLetters, whenUndeliverable: "stop" }).close();
    await deadLetters.close();
  };
  await make({}, "must be opened with codec: deadLetterCodec()");
  await make({ codec: { ...codec, encode: () => new Uint8Array(1) } }, "must be opened with codec: deadLetterCodec()");
  await make(
    { codec, maxRecordBytes: needed - 1 },
    `takes at most ${needed - 1} bytes, and a letter about a record of`,
  );
  await make({ codec, maxBacklogBytes: needed + MIN_FRAME_BYTES - 1 }, `takes at most ${needed - 1} bytes`);
  await make({ codec, maxRecordBytes: needed, maxBacklogBytes: needed + MIN_FRAME_BYTES });
  await make({ codec, maxBytes: 1 });
  const largest = await MemoryBuffer.open<string>({
    maxBytes: 2 ** 30,
    maxRecordBytes: 2 ** 30,
    maxBacklogBytes: 2 ** 40,
  });
  const deadLetters = await MemoryBuffer.open({ codec });
  await new Producer({ buffer: largest, send() {}, deadLetters }).close();
  for (const one of [buffer, largest, deadLetters]) await one.close();
});

test("Producer refuses a dead-letter buffer that is closed, has failed, or is a promise, and says what to do", async () => {
  const buffer = await MemoryBuffer.open<string>();
  const codec = deadLetterCodec<string>();
  const make = (options: Partial<ProducerOptions<string>>) => new Producer({ buffer, send() {}, ...options });
  const refused = (deadLetters: unknown, text: string): TypeError =>
    assertThrows(() => make({ deadLetters } as ProducerOptions<string>), TypeError, `Cannot make a producer: ${text}`);

  for (const opening of [MemoryBuffer.open({ codec }), Object.assign(Promise.resolve(), { put() {} })]) {
    refused(opening, "deadLetters is a promise: await the open() that it comes from");
    const error = assertThrows(() => make({ buffer: opening as never }), TypeError);
    assertEquals(error.message, "Cannot make a producer: buffer is a promise: await the open() that it comes from");
  }

  for (const closed of [await MemoryBuffer.open({ codec }), await openOnDisk(new MemoryFileSystem())]) {
    await closed.close();
    const { cause } = refused(closed, "deadLetters is closed: open it, and close it after the producer");
    assertInstanceOf(cause, BufferClosedError);
    // It isn't used then.
    await make({ deadLetters: closed, whenUndeliverable: "stop" }).close();
  }

  let isBroken = false;
  const fileSystem = new MemoryFileSystem({
    onOperation: ({ operation }): Fault | undefined =>
      isBroken && operation === "sync" ? { kind: "fail", errno: "EIO" } : undefined,
  });
  const failed = await openOnDisk(fileSystem);
  await make({ deadLetters: failed }).close();
  isBroken = true;
  await failed.put(LETTER).catch(() => {});
  const { cause } = refused(failed, "deadLetters has failed: close it, mend what is the cause, and open it again");
  assertInstanceOf(cause, BufferFailedError);
  await failed.close().catch(() => {});
  await buffer.close();
});

function openOnDisk(fileSystem: MemoryFileSystem): Promise<FileBuffer<DeadLetter<string>>> {
  return FileBuffer.open({ path: "/dead", fileSystem, codec: deadLetterCodec<string>(), fsync: "always", statusMs: 0 });
}
