/**
 * `@sluice/buffer/otel` with the SDK of OpenTelemetry for JavaScript, on each runtime: what an exporter in memory gets,
 * what one for OTLP sends, and that the page of the exporter for Prometheus is ours.
 */

import { after, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
// Types only, so that Bun and Node, which strip them, don't look for the packages.
import type * as Api from "npm:@opentelemetry/api@1.10.0";
import type * as Otlp from "npm:@opentelemetry/exporter-metrics-otlp-http@0.301.0";
import type * as Prometheus from "npm:@opentelemetry/exporter-prometheus@0.301.0";
import type * as Sdk from "npm:@opentelemetry/sdk-metrics@3.1.0";
import { instrument, type MetricsMeter } from "../../src/metrics/otel.ts";
import { prometheusText } from "../../src/metrics/prometheus.ts";
import {
  histogramLines,
  isSteady,
  lineOf,
  makeShipping,
  openOrders,
  ORDERS,
  SHIPPING,
  SHIPPING_ATTEMPTS,
  useOrders,
  useShipping,
} from "./tools.ts";
import { loadPackages } from "../support/npm_packages.ts";
import { OtlpServer } from "./otlp_server.ts";

/** Never called: that it passes the type check is the test. */
export function acceptsAnyMeter(meter: Api.Meter): MetricsMeter {
  return meter;
}

type Packages = {
  readonly "@opentelemetry/sdk-metrics": typeof Sdk;
  readonly "@opentelemetry/exporter-metrics-otlp-http": typeof Otlp;
  readonly "@opentelemetry/exporter-prometheus": typeof Prometheus;
};

const loaded = await loadPackages<Packages>({
  "@opentelemetry/sdk-metrics": "3.1.0",
  "@opentelemetry/exporter-metrics-otlp-http": "0.301.0",
  "@opentelemetry/exporter-prometheus": "0.301.0",
});
after(() => loaded?.remove());
const WITH_SDK = { skip: loaded === undefined ? "the SDK can't be fetched here" : false, timeout: 60_000 };

/** An SDK that exports when it is told to. */
interface Bench {
  readonly meter: Api.Meter;
  /** What an exporter in memory gets at a collection. */
  collect(): Promise<Sdk.MetricData[]>;
  /** What Prometheus gets from its exporter, without what says where it is from. */
  scrape(): Promise<string>;
}

async function withSdk(use: (bench: Bench) => Promise<void>): Promise<void> {
  const { MeterProvider, InMemoryMetricExporter, PeriodicExportingMetricReader, AggregationTemporality } =
    loaded!.modules["@opentelemetry/sdk-metrics"];
  const { PrometheusExporter, PrometheusSerializer } = loaded!.modules["@opentelemetry/exporter-prometheus"];
  const memory = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter: memory, exportIntervalMillis: 3_600_000 });
  const prometheus = new PrometheusExporter({ preventServerStart: true });
  const provider = new MeterProvider({ readers: [reader, prometheus] });
  try {
    await use({
      meter: provider.getMeter("sluice"),
      async collect() {
        memory.reset();
        await reader.forceFlush();
        return memory.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics));
      },
      async scrape() {
        const { resourceMetrics, errors } = await prometheus.collect();
        assertEquals(errors, []);
        return new PrometheusSerializer(undefined, false, undefined, true, true).serialize(resourceMetrics);
      },
    });
  } finally {
    await provider.shutdown();
  }
}

function linesOf({ descriptor: { name }, dataPoints }: Sdk.MetricData): string[] {
  return dataPoints.flatMap(({ attributes, value }) =>
    typeof value === "number"
      ? [lineOf(name, attributes, value)]
      : histogramLines(name, attributes, { count: value.count, sum: "sum" in value ? value.sum! : 0 })
  );
}

const steady = (metrics: readonly Sdk.MetricData[]): string[] => metrics.flatMap(linesOf).filter(isSteady).sort();
const counts = (metrics: readonly Sdk.MetricData[]): string[] =>
  metrics.flatMap(linesOf).filter((line) => line.includes("#count")).sort();

test("the SDK for JavaScript collects what has happened to a buffer and a producer", WITH_SDK, async () => {
  await withSdk(async ({ meter, collect }) => {
    const orders = await openOrders();
    const shipping = await makeShipping();
    instrument(orders, { meter, name: "orders" });
    instrument(shipping.producer, { meter, name: "shipping" });
    await useOrders(orders);
    await useShipping(shipping.producer);
    const metrics = await collect();
    assertEquals(steady(metrics), [...ORDERS, ...SHIPPING].sort());
    const { syncs, syncMs } = orders.stats();
    const syncCount = `sluice.buffer.sync.duration#count{sluice.buffer.name=orders} ${syncs}`;
    assertEquals(counts(metrics), [syncCount, ...SHIPPING_ATTEMPTS].sort());

    const durations = metrics.find(({ descriptor }) => descriptor.name === "sluice.buffer.sync.duration")!;
    const { sum, buckets } = durations.dataPoints[0]!.value as Sdk.Histogram;
    assert(Math.abs(sum! - syncMs / 1_000) < 1e-9, `${sum} s are not ${syncMs} ms`);
    assertEquals([buckets.boundaries[0], buckets.boundaries.at(-1)], [0.0001, 10]);
    await orders.close();
    await shipping.close();
  });
});

test(
  "the SDK keeps two buffers of one meter apart, and goes on with one when the other is ended",
  WITH_SDK,
  async () => {
    await withSdk(async ({ meter, collect }) => {
      const [first, second] = [await openOrders(), await openOrders()];
      const endFirst = instrument(first, { meter, name: "first", attributes: { "service.part": "intake" } });
      const endSecond = instrument(second, { meter, name: "second" });
      await first.put("a");
      await second.putMany(["b", "c"]);
      const putsOf = (metrics: readonly Sdk.MetricData[]): string[] =>
        metrics.filter(({ descriptor }) => descriptor.name === "sluice.buffer.record.put").flatMap(linesOf);
      const firstLine = "sluice.buffer.record.put{service.part=intake,sluice.buffer.name=first} 1";
      assertEquals(putsOf(await collect()), [firstLine, "sluice.buffer.record.put{sluice.buffer.name=second} 2"]);

      endFirst();
      endFirst();
      await first.put("d");
      await second.put("c");
      const secondLine = "sluice.buffer.record.put{sluice.buffer.name=second} 3";
      // This SDK goes on exporting what was observed last.
      assertEquals(putsOf(await collect()), [firstLine, secondLine]);
      endSecond();
      await second.put("e");
      assertEquals(putsOf(await collect()), [firstLine, secondLine]);
      await first.close();
      await second.close();
    });
  },
);

test("a closed buffer and a closed producer still say how they ended", WITH_SDK, async () => {
  await withSdk(async ({ meter, collect }) => {
    const orders = await openOrders();
    const shipping = await makeShipping();
    instrument(orders, { meter, name: "orders" });
    instrument(shipping.producer, { meter, name: "shipping" });
    await useOrders(orders);
    await orders.close();
    await shipping.close();
    const lines = steady(await collect());
    assertEquals(lines.filter((line) => line.startsWith("sluice.buffer.")), [...ORDERS].sort());
    const closed = "sluice.producer.status{sluice.producer.name=shipping,sluice.producer.state=closed} 1";
    assert(lines.includes(closed), lines.join("\n"));
  });
});

/** What the specification adds to names for a unit. */
const SUFFIXES: Readonly<Record<string, string>> = { s: "_seconds", By: "_bytes" };

/**
 * What `prometheusText()` should print, made of the page of OpenTelemetry's exporter, which differs in this: it leaves
 * units out of names and says them in lines of their own; it has buckets, the duration of attempts, and errors.
 */
function translate(page: string): string[] {
  return page.split(/^(?=# HELP )/m).flatMap((family) => {
    const [, name, help] = /^# HELP (\S+) (.*)$/m.exec(family)!;
    const [, type] = /^# TYPE \S+ (\S+)$/m.exec(family)!;
    const unit = /^# UNIT \S+ (\S+)$/m.exec(family)?.[1] ?? "";
    const renamed = name!.replace(/(_total)?$/, (total) => (SUFFIXES[unit] ?? "") + total);
    if (["sluice_producer_attempt_duration_seconds", "sluice_buffer_error_reported_total"].includes(renamed)) return [];
    const samples = family.split("\n").filter((line) => /^\w/.test(line) && !line.includes("_bucket{"));
    return [
      `# HELP ${renamed} ${help}`,
      `# TYPE ${renamed} ${type!.replace("histogram", "summary")}`,
      ...samples.map((line) => renamed + line.slice(name!.length)),
    ];
  });
}

/** Lines to compare: in one order, failures without their reasons, numbers without what floating point adds. */
function comparable(lines: readonly string[]): string[] {
  const samples = new Map<string, number>();
  for (const line of lines.filter((line) => /^\w/.test(line))) {
    const [, series, value] = /^(.*) (\S+)$/.exec(line.replace(/,error_type="\w+"/, ""))!;
    // The two pages are of different moments.
    const isTime = /^sluice_buffer_(idle_time|queue_age)_seconds{/.test(series!);
    samples.set(series!, (samples.get(series!) ?? 0) + (isTime ? 0 : Number(value)));
  }
  const comments = lines.filter((line) => line.startsWith("# "));
  return [...comments, ...Array.from(samples, ([series, value]) => `${series} ${Number(value.toFixed(9))}`)].sort();
}

test("prometheusText() is the page of the exporter for Prometheus, with units in names", WITH_SDK, async () => {
  await withSdk(async ({ meter, scrape }) => {
    const orders = await openOrders();
    const other = await openOrders();
    const shipping = await makeShipping();
    instrument(orders, { meter, name: "orders" });
    instrument(other, { meter, name: 'the "other"\nwith a \\' });
    instrument(shipping.producer, { meter, name: "shipping" });
    await useOrders(orders);
    await other.put("a");
    await useShipping(shipping.producer);
    const ours = prometheusText([
      { name: "orders", stats: orders.stats() },
      { name: 'the "other"\nwith a \\', stats: other.stats() },
      { name: "shipping", stats: shipping.producer.stats() },
    ]);
    assertEquals(comparable(ours.split("\n")), comparable(translate(await scrape())));
    for (const source of [orders, other, shipping]) await source.close();
  });
});

test("the exporter for OTLP sends the same", WITH_SDK, async () => {
  const { MeterProvider, PeriodicExportingMetricReader } = loaded!.modules["@opentelemetry/sdk-metrics"];
  const { OTLPMetricExporter } = loaded!.modules["@opentelemetry/exporter-metrics-otlp-http"];
  const server = await OtlpServer.start();
  const exporter = new OTLPMetricExporter({ url: `${server.url}/v1/metrics` });
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  const orders = await openOrders();
  instrument(orders, { meter: provider.getMeter("sluice"), name: "orders" });
  await useOrders(orders);
  const [sent] = await Promise.all([server.next(() => true), reader.forceFlush()]);
  assertEquals(sent.lines.filter(isSteady).sort(), [...ORDERS].sort());
  assertEquals(sent.kinds["sluice.buffer.put.rejected"], "{put} counter cumulative");
  assertEquals(sent.kinds["sluice.buffer.queue.age"], "s gauge");
  await provider.shutdown();
  await orders.close();
  await server.stop();
});
