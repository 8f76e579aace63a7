/**
 * The page for Prometheus: grouping, types, escapes, bad input. That its names are those of OpenTelemetry's exporter is
 * shown in `otel_sdk_test.ts`.
 */

import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { textCodec } from "../../src/base/codec.ts";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { MemoryBuffer } from "../../src/buffer/memory_buffer.ts";
import { PROMETHEUS_CONTENT_TYPE, type PrometheusSource, prometheusText } from "../../src/metrics/prometheus.ts";
import { Producer } from "../../src/producer/producer.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";

async function statsOfBuffer(): Promise<PrometheusSource["stats"]> {
  const buffer = await MemoryBuffer.open<string>({ codec: textCodec() });
  await buffer.put("abc");
  await buffer.close();
  return buffer.stats();
}

async function statsOfProducer(): Promise<PrometheusSource["stats"]> {
  const buffer = await MemoryBuffer.open<string>();
  const producer = new Producer<string>({ buffer, send: () => {} });
  await producer.close();
  await buffer.close();
  return producer.stats();
}

test("prometheusText() is a page of the format: families whole, each with HELP and TYPE at its head", async () => {
  const [buffer, producer] = [await statsOfBuffer(), await statsOfProducer()];
  const page = prometheusText([
    { name: "b", stats: producer },
    { name: "a", stats: buffer },
    { stats: buffer },
    { name: "a", stats: producer, labels: { zone: "1" } },
  ]);
  assert(page.endsWith("\n") && !page.includes("\n\n"), "a line without an end, or an empty one");
  const seen = new Set<string>();
  for (const family of page.split(/^(?=# HELP )/m)) {
    const [help, type, ...samples] = family.trimEnd().split("\n");
    const [, name] = /^# HELP ([a-z_]+) \S/.exec(help!)!;
    const [, kind] = new RegExp(`^# TYPE ${name} (counter|gauge|summary)$`).exec(type!)!;
    assert(!seen.has(name!), `${name} comes twice`);
    seen.add(name!);
    assertEquals(name!.endsWith("_total"), kind === "counter", name);
    const series = samples.map((line) => /^([a-z_]+)(?:\{(?:[a-z_]+="[^"]*",?)+\})? \d+(?:\.\d+)?$/.exec(line)![1]);
    const expected = kind === "summary" ? [`${name}_sum`, `${name}_count`] : [name];
    assertEquals([...new Set(series)], expected);
  }
  assertEquals(seen.size, 35);
});

test("prometheusText() gives numbers in base units, from one moment", async () => {
  const clock = new ManualClock();
  const buffer = await FileBuffer.open<string>({
    path: "/b",
    fileSystem: new MemoryFileSystem(),
    codec: textCodec(),
    fsync: "never",
    clock,
    maxBacklogBytes: 5_000,
  });
  await buffer.put("abc");
  clock.advance(2_500);
  const stats = { ...buffer.stats(), syncs: 3, syncMs: 12.5 };
  const page = prometheusText([{ name: "b", stats }], { now: clock.now() + 500 });
  const valueOf = (name: string): string | undefined =>
    new RegExp(`^${name}\\{sluice_buffer_name="b"\\} (.*)$`, "m").exec(page)?.[1];
  assertEquals(valueOf("sluice_buffer_record_put_total"), "1");
  assertEquals(valueOf("sluice_buffer_queue_payload_size_bytes"), "3");
  assertEquals(valueOf("sluice_buffer_backlog_capacity_bytes"), "5000");
  assertEquals(valueOf("sluice_buffer_queue_age_seconds"), "2.5");
  assertEquals(valueOf("sluice_buffer_idle_time_seconds"), "3");
  assertEquals(valueOf("sluice_buffer_sync_duration_seconds_sum"), "0.0125");
  assertEquals(valueOf("sluice_buffer_sync_duration_seconds_count"), "3");
  await buffer.close();
});

test("prometheusText() escapes what labels may hold, and has them in one order", async () => {
  const stats = await statsOfBuffer();
  const page = prometheusText([{ name: 'a "b" \\ \n c\u00e9', stats, labels: { zone: "", dc: "x" } }]);
  const [line] = /^sluice_buffer_queue_size.*$/m.exec(page)!;
  const expected = 'sluice_buffer_queue_size{sluice_buffer_name="a \\"b\\" \\\\ \\n c\u00e9",dc="x",zone=""} 1';
  assertEquals(line, expected);
});

test("prometheusText() has no labels where none are given, and nothing for nobody", async () => {
  assertEquals(prometheusText([]), "");
  const page = prometheusText([{ stats: await statsOfProducer() }]);
  assert(page.includes("\nsluice_producer_attempt_started_total 0\n"), page);
  assert(page.includes('\nsluice_producer_status{sluice_producer_state="closed"} 1\n'), page);
  assert(!page.includes("sluice_buffer_"), "a family without a line");
});

test("prometheusText() wants producers told apart, too; a producer and a buffer may have the same name", async () => {
  const [buffer, producer] = [await statsOfBuffer(), await statsOfProducer()];
  prometheusText([{ name: "a", stats: producer }, { name: "a", stats: buffer }, { name: "b", stats: producer }]);
  const twice = [{ name: "a", stats: producer }, { name: "a", stats: producer }];
  assertThrows(() => prometheusText(twice), TypeError, "two producers have the same labels");
});

test("PROMETHEUS_CONTENT_TYPE names the version of the format", () => {
  assertEquals(PROMETHEUS_CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
});

const BAD: readonly (readonly [(stats: PrometheusSource["stats"]) => unknown, string])[] = [
  [() => ({}), "sources must be an array, got an object"],
  [() => [undefined], "sources[0].stats must be what stats() returns, got undefined"],
  [(stats) => [{ stats }, { stats: {} }], "sources[1].stats must be what stats() returns, got an object"],
  [(stats) => [stats], "sources[0].stats must be what stats() returns, got undefined"],
  [(stats) => [{ stats, name: "" }], 'sources[0].name must be a string that isn\'t empty, got ""'],
  [(stats) => [{ stats, labels: "a" }], 'sources[0].labels must be an object, got "a"'],
  [(stats) => [{ stats, labels: { a: 1 } }], "sources[0].labels.a must be a string, got 1"],
  [(stats) => [{ stats, labels: { "a-b": "" } }], 'sources[0].labels must not have the name "a-b"'],
  [(stats) => [{ stats, labels: { __name__: "" } }], 'sources[0].labels must not have the name "__name__"'],
  [
    (stats) => [{ stats, labels: { sluice_buffer_name: "" } }],
    'sources[0].labels must not have the name "sluice_buffer_name"',
  ],
  [(stats) => [{ stats }, { stats }], "two buffers have the same labels, {}"],
  [
    (stats) => [{ stats, labels: { a: "1", b: "2" } }, { stats, labels: { b: "2", a: "1" } }],
    'two buffers have the same labels, {a="1",b="2"}',
  ],
];

for (const [sources, message] of BAD) {
  test(`prometheusText() throws a TypeError: ${message}`, async () => {
    const given = sources(await statsOfBuffer()) as PrometheusSource[];
    const error = assertThrows(() => prometheusText(given), TypeError);
    assertEquals(error.message, `Cannot render metrics: ${message}`);
  });
}
