/**
 * What tests of metrics share: a meter that is no SDK, one way to write down what was collected, whatever the way, and a
 * buffer and a producer to which everything happens that is counted.
 */

import { textCodec } from "../../src/base/codec.ts";
import { deadLetterCodec } from "../../src/base/dead_letter.ts";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { MemoryBuffer } from "../../src/buffer/memory_buffer.ts";
import { DeliveryError } from "../../src/errors/mod.ts";
import type { InstrumentDescription, MetricAttributes, MetricsMeter, Observations } from "../../src/metrics/otel.ts";
import { Producer } from "../../src/producer/producer.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";

/** A value as one line: `name{key=value} number`, so that a list of them is compared, and read. */
export function lineOf(name: string, attributes: Readonly<Record<string, unknown>>, value: number): string {
  const list = Object.entries(attributes).map(([key, one]) => `${key}=${one}`).sort();
  return `${name}{${list.join(",")}} ${value}`;
}

/** What a {@linkcode FakeMeter} was asked for. */
export interface FakeInstrument extends InstrumentDescription {
  readonly name: string;
  readonly kind: string;
}

/** A meter that keeps what it is told and collects when it is asked to. */
export class FakeMeter implements MetricsMeter {
  /** Every instrument that was made. */
  readonly instruments: FakeInstrument[] = [];
  /** Values of histograms, as lines. */
  readonly recorded: string[] = [];
  readonly #callbacks: { readonly callback: (result: Observations) => void; readonly of: object[] }[] = [];

  createObservableGauge(name: string, options?: InstrumentDescription): object {
    return this.#make("gauge", name, options);
  }

  createObservableCounter(name: string, options?: InstrumentDescription): object {
    return this.#make("counter", name, options);
  }

  createObservableUpDownCounter(name: string, options?: InstrumentDescription): object {
    return this.#make("up-down-counter", name, options);
  }

  createHistogram(name: string, options?: InstrumentDescription): ReturnType<MetricsMeter["createHistogram"]> {
    this.#make("histogram", name, options);
    return { record: (value, attributes = {}) => this.recorded.push(lineOf(name, attributes, value)) };
  }

  addBatchObservableCallback(callback: (result: Observations) => void, of: object[]): void {
    this.#callbacks.push({ callback, of });
  }

  removeBatchObservableCallback(callback: (result: Observations) => void, of: object[]): void {
    const at = this.#callbacks.findIndex((one) => one.callback === callback && one.of === of);
    if (at < 0) throw new Error("no such callback");
    this.#callbacks.splice(at, 1);
  }

  /** What is observed now, as lines. */
  collect(): string[] {
    return this.#callbacks.flatMap(({ callback, of }) => {
      const lines: string[] = [];
      callback({
        observe(instrument: object, value: number, attributes: MetricAttributes = {}): void {
          if (!of.includes(instrument)) throw new Error("not an instrument of this callback");
          lines.push(lineOf((instrument as FakeInstrument).name, attributes, value));
        },
      });
      return lines;
    });
  }

  #make(kind: string, name: string, options: InstrumentDescription = {}): FakeInstrument {
    const instrument = { name, kind, ...options };
    this.instruments.push(instrument);
    return instrument;
  }
}

/** A buffer that holds two batches of two records of ten bytes, and drops what is older. */
export function openOrders(): Promise<FileBuffer<string>> {
  return FileBuffer.open<string>({
    path: "/orders",
    fileSystem: new MemoryFileSystem(),
    codec: textCodec(),
    fsync: "always",
    maxRecords: 2,
    maxRecordBytes: 10,
    maxBacklogBytes: 200,
    whenFull: "drop-oldest",
  });
}

/** Has everything happen to it that is counted; {@linkcode ORDERS} is what that comes to. */
export async function useOrders(orders: FileBuffer<string>): Promise<void> {
  for (let n = 0; n < 8; n++) await orders.put(`order ${n}`.padEnd(10));
  const batch = await orders.emit();
  await orders.emit();
  await orders.commit(batch);
  await orders.emit();
  await orders.put("much too long").catch(() => {});
}

/** What is observed of it then under the name "orders", but for times and what the disk holds. */
export const ORDERS: readonly string[] = [
  "sluice.buffer.queue.size{sluice.buffer.name=orders} 2",
  "sluice.buffer.queue.payload.size{sluice.buffer.name=orders} 20",
  "sluice.buffer.queue.age{sluice.buffer.name=orders} 0",
  "sluice.buffer.record.inflight{sluice.buffer.name=orders} 2",
  "sluice.buffer.backlog.size{sluice.buffer.name=orders} 84",
  "sluice.buffer.backlog.capacity{sluice.buffer.name=orders} 200",
  "sluice.buffer.segment.live{sluice.buffer.name=orders} 1",
  "sluice.buffer.record.put{sluice.buffer.name=orders} 8",
  "sluice.buffer.put.rejected{sluice.buffer.name=orders} 1",
  "sluice.buffer.record.dropped{sluice.buffer.name=orders} 4",
  "sluice.buffer.record.expired{sluice.buffer.name=orders} 0",
  "sluice.buffer.batch.emitted{sluice.buffer.name=orders} 2",
  "sluice.buffer.batch.redelivered{sluice.buffer.name=orders} 1",
  "sluice.buffer.batch.committed{sluice.buffer.name=orders} 1",
  "sluice.buffer.quarantined{sluice.buffer.name=orders} 0",
  "sluice.buffer.error.reported{error.type=BUFFER_FAILED,sluice.buffer.name=orders} 0",
];

/** What isn't in {@linkcode ORDERS}, because it differs from run to run or with the format. */
export function isSteady(line: string): boolean {
  return !/^sluice\.buffer\.(idle\.time|disk\.size)\{|\.duration[#{]/.test(line);
}

/** A producer whose target is away, then wants less at once, then refuses a record. */
export async function makeShipping(): Promise<{
  readonly producer: Producer<string>;
  readonly close: () => Promise<void>;
}> {
  const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
  const dead = await MemoryBuffer.open({ codec: deadLetterCodec<string>() });
  const cause = Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
  const failures = [
    new DeliveryError({ reason: "away", scope: "target", retryable: true }, { cause }),
    new DeliveryError({ reason: "413", tooLarge: true }),
    new DeliveryError({ reason: "422", retryable: false }),
  ];
  const producer = new Producer<string>({
    buffer,
    send() {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
    },
    retry: { firstDelayMs: 0 },
    deadLetters: dead,
  });
  const close = async () => {
    await producer.close();
    await buffer.close();
    await dead.close();
  };
  return { producer, close };
}

/** Has it deliver three records; {@linkcode SHIPPING} is what that comes to. */
export async function useShipping(producer: Producer<string>): Promise<void> {
  await producer.putMany(["a", "b"]);
  await producer.flush();
  await producer.put("c");
  await producer.flush();
}

/** What is observed of it then under the name "shipping". */
export const SHIPPING: readonly string[] = [
  "sluice.producer.status{sluice.producer.name=shipping,sluice.producer.state=running} 1",
  "sluice.producer.status{sluice.producer.name=shipping,sluice.producer.state=stopped} 0",
  "sluice.producer.status{sluice.producer.name=shipping,sluice.producer.state=closing} 0",
  "sluice.producer.status{sluice.producer.name=shipping,sluice.producer.state=closed} 0",
  "sluice.producer.batch.inflight{sluice.producer.name=shipping} 0",
  "sluice.producer.backoff.remaining{sluice.producer.name=shipping} 0",
  "sluice.producer.blocked.time{sluice.producer.name=shipping} 0",
  "sluice.producer.target.blocked{sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.started{sluice.producer.name=shipping} 5",
  "sluice.producer.attempt.repeated{sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.failed{error.type=ECONNREFUSED,sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.failed{error.type=too_large,sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.failed{error.type=refused,sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.target_fault{sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.timed_out{sluice.producer.name=shipping} 0",
  "sluice.producer.attempt.abandoned{sluice.producer.name=shipping} 0",
  "sluice.producer.delivery.halved{sluice.producer.name=shipping} 1",
  "sluice.producer.record.delivered{sluice.producer.name=shipping} 2",
  "sluice.producer.record.expired{sluice.producer.name=shipping} 0",
  "sluice.producer.record.dead_lettered{sluice.producer.name=shipping} 1",
  "sluice.producer.batch.committed{sluice.producer.name=shipping} 2",
  "sluice.producer.record.committed{sluice.producer.name=shipping} 3",
];

/** How many of its attempts were timed, as histograms are written down by {@linkcode histogramLines}. */
export const SHIPPING_ATTEMPTS: readonly string[] = [
  "sluice.producer.attempt.duration#count{error.type=ECONNREFUSED,sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.duration#count{error.type=refused,sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.duration#count{error.type=too_large,sluice.producer.name=shipping} 1",
  "sluice.producer.attempt.duration#count{sluice.producer.name=shipping} 2",
];

/** A histogram's count and sum as two lines. */
export function histogramLines(
  name: string,
  attributes: Readonly<Record<string, unknown>>,
  { count, sum }: { readonly count: number; readonly sum: number },
): string[] {
  return [lineOf(`${name}#count`, attributes, count), lineOf(`${name}#sum`, attributes, sum)];
}
