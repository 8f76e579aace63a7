/** Each entry point, in a program that has no package's types but ours. */

import {
  type Batch,
  bytesCodec,
  type Codec,
  deadLetterCodec,
  DeliveryError,
  FileBuffer,
  jsonCodec,
  MemoryBuffer,
  Producer,
  type RecordBuffer,
} from "@sluice/buffer";
import { type CommandContext, main } from "@sluice/buffer/cli";
import { instrument } from "@sluice/buffer/otel";
import { KINESIS, presetFor } from "@sluice/buffer/presets";
import { prometheusText } from "@sluice/buffer/prometheus";
import { kinesisSink } from "@sluice/buffer/sinks/aws";
import { fileSink } from "@sluice/buffer/sinks/file";
import { httpSink } from "@sluice/buffer/sinks/http";
import { type KafkaMessage, kafkaSink } from "@sluice/buffer/sinks/kafka";
import { natsSink } from "@sluice/buffer/sinks/nats";
import { type PostgresClient, type PostgresTransaction, postgresTransactionSink } from "@sluice/buffer/sinks/postgres";
import { redisSink } from "@sluice/buffer/sinks/redis";
import { appendSink, streamSink } from "@sluice/buffer/sinks/stream";
import { ManualClock, MemoryFileSystem } from "@sluice/buffer/testing";

/** The interface of https://standardschema.dev as its libraries have it. */
interface StandardSchemaV1<Input, Output> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => { readonly value: Output; readonly issues?: undefined } | Refusal;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

interface Refusal {
  readonly issues: ReadonlyArray<{
    readonly message: string;
    readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
  }>;
}

interface Login {
  readonly user: string;
  readonly level: string;
}

/** As a library infers it: `level` has a default. */
declare const loginSchema: StandardSchemaV1<{ user: string; level?: string | undefined }, Login>;

export async function putWithDefaults(): Promise<readonly Login[]> {
  const buffer = await MemoryBuffer.open({ codec: jsonCodec({ schema: loginSchema }) });
  await buffer.put({ user: "ada" });
  await buffer.putMany([{ user: "ada", level: "warn" }, { user: "bob" }]);
  await buffer.writable().getWriter().write({ user: "eve" });
  // @ts-expect-error: no user
  await buffer.put({ level: "info" });
  const producer = new Producer({ buffer, send: ({ records }) => void records.map(({ level }) => level.length) });
  await producer.put({ user: "ada" });
  await producer.close();
  const batch: Batch<Login> = await buffer.emit();
  return batch.records;
}

export async function putWhatIsNamed(): Promise<void> {
  const codec = jsonCodec<Login>({ schema: loginSchema });
  const buffer: RecordBuffer<Login> = await FileBuffer.open<Login>({ path: "./logins.wal", codec });
  await buffer.put({ user: "ada", level: "info" });
  // @ts-expect-error: a login has a level
  await buffer.put({ user: "ada" });
  const inferred = await FileBuffer.open<Login>({ path: "./logins.wal", codec: jsonCodec({ schema: loginSchema }) });
  const deadLetters = await FileBuffer.open({ path: "./dead.wal", codec: deadLetterCodec(inferred.codec) });
  await new Producer({ buffer: inferred, deadLetters, send: () => {} }).flush();
}

export async function putBytes(): Promise<void> {
  const plain: Codec<Uint8Array> = bytesCodec();
  const preset = presetFor({ ...KINESIS, recordOverheadBytes: 40 });
  await using buffer = await FileBuffer.open({ path: "./bytes.wal", codec: plain, ...preset });
  await buffer.put(new Uint8Array([1]), { signal: new AbortController().signal });
  for await (const { payloads } of buffer.batches({ flush: true })) console.log(payloads[0]?.byteLength);
  instrument(buffer, { meter: undefined as never, name: "bytes" });
  prometheusText([{ name: "bytes", stats: buffer.stats() }]);
}

export function sinks(): readonly unknown[] {
  const sent: KafkaMessage[] = [];
  const producer = {
    send: (record: { topic: string; messages: KafkaMessage[] }) => Promise.resolve(sent.push(...record.messages)),
    sendBatch: () => Promise.resolve(),
  };
  const sql: PostgresClient<PostgresTransaction> = { begin: () => Promise.resolve() };
  return [
    httpSink<Login>("https://example.com", { headers: { authorization: "Bearer x" } }),
    httpSink<Login>(new URL("https://example.com"), { headers: [["a", "b"]] as const, gzip: true }),
    httpSink<Login>("https://example.com", { headers: () => new Headers({ a: "b" }), method: undefined }),
    kafkaSink<Login>(producer, { topic: "logins", message: ({ user }) => ({ key: new Uint8Array(1), value: user }) }),
    natsSink<Login>(undefined as never, { stream: "logins", subject: "logins" }),
    kinesisSink<Login>(undefined as never, { command: undefined as never, streamName: "logins" }),
    postgresTransactionSink(sql, {
      apply: (transaction, logins: readonly Login[]) => transaction.unsafe("select $1", [logins[0]?.user ?? ""]),
    }),
    redisSink<Login>({ eval: () => Promise.resolve([0, 0, ""]) }, { stream: "logins" }),
    appendSink<Login>(() => Promise.resolve()),
    streamSink<Login>(() => new WritableStream<Uint8Array>()),
    fileSink<Login>("./logins.ndjson"),
    new DeliveryError({ reason: "busy", retryAfterMs: 1_000 }),
  ];
}

export function runCommand(context: CommandContext): Promise<number> {
  return main(["verify", "./logins.wal"], { ...context, fileSystem: new MemoryFileSystem(), clock: new ManualClock() });
}
