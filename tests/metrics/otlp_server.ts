/**
 * A collector for tests: takes metrics by OTLP over HTTP, as JSON, on loopback
 * (https://opentelemetry.io/docs/specs/otlp/#otlphttp), and writes each export down as lines.
 */

import { Buffer } from "node:buffer";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { histogramLines, lineOf } from "./tools.ts";

/** What was exported at once. */
export interface MetricExport {
  /** Every value whose metric's name begins with `sluice.`, as `tools.ts` writes them. */
  readonly lines: readonly string[];
  /** Unit, kind and temporality of each metric: `"By counter cumulative"`. */
  readonly kinds: Readonly<Record<string, string>>;
}

interface Point {
  readonly attributes: readonly { readonly key: string; readonly value: { readonly stringValue: string } }[];
  readonly asDouble?: number;
  readonly asInt?: number | string;
  readonly count?: number | string;
  readonly sum?: number;
}

interface OtlpMetric {
  readonly name: string;
  readonly unit: string;
  readonly gauge?: { readonly dataPoints: readonly Point[] };
  readonly sum?: {
    readonly dataPoints: readonly Point[];
    readonly isMonotonic?: boolean;
    readonly aggregationTemporality: number;
  };
  readonly histogram?: { readonly dataPoints: readonly Point[]; readonly aggregationTemporality: number };
}

interface OtlpBody {
  readonly resourceMetrics: readonly {
    readonly scopeMetrics: readonly { readonly metrics: readonly OtlpMetric[] }[];
  }[];
}

/** Takes exports until it is stopped. */
export class OtlpServer {
  readonly #server: Server;
  readonly #exports: MetricExport[] = [];
  #onExport: () => void = () => {};

  private constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Uint8Array[] = [];
      request.on("data", (chunk: Uint8Array) => chunks.push(chunk)).on("end", () => {
        // Traces and logs come to other paths.
        if (request.url === "/v1/metrics") this.#take(JSON.parse(Buffer.concat(chunks).toString()));
        response.writeHead(200, { "content-type": "application/json", connection: "close" }).end("{}");
      });
    });
  }

  static async start(): Promise<OtlpServer> {
    const server = new OtlpServer();
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  /** The base of the exporters' URLs. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The first export from now on that is as wanted. */
  async next(isWanted: (one: MetricExport) => boolean): Promise<MetricExport> {
    let from = this.#exports.length;
    for (;;) {
      const found = this.#exports.slice(from).find(isWanted);
      if (found !== undefined) return found;
      from = this.#exports.length;
      await new Promise<void>((resolve) => this.#onExport = resolve);
    }
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #take(body: OtlpBody): void {
    const metrics = body.resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
      .filter(({ name }) => name.startsWith("sluice."));
    this.#exports.push({
      lines: metrics.flatMap(linesOf),
      kinds: Object.fromEntries(metrics.map((metric) => [metric.name, kindOf(metric)])),
    });
    this.#onExport();
  }
}

function linesOf({ name, gauge, sum, histogram }: OtlpMetric): string[] {
  const points = (gauge ?? sum ?? histogram)!.dataPoints;
  return points.flatMap((point) => {
    const attributes = Object.fromEntries(point.attributes.map(({ key, value }) => [key, value.stringValue]));
    if (histogram !== undefined) {
      return histogramLines(name, attributes, { count: Number(point.count), sum: point.sum ?? 0 });
    }
    return [lineOf(name, attributes, Number(point.asDouble ?? point.asInt))];
  });
}

function kindOf({ unit, sum, histogram }: OtlpMetric): string {
  // 2 is AGGREGATION_TEMPORALITY_CUMULATIVE.
  const temporality = (one: number): string => one === 2 ? "cumulative" : `temporality ${one}`;
  if (histogram !== undefined) return `${unit} histogram ${temporality(histogram.aggregationTemporality)}`;
  if (sum === undefined) return `${unit} gauge`;
  return `${unit} ${sum.isMonotonic === true ? "counter" : "up-down-counter"} ${
    temporality(sum.aggregationTemporality)
  }`;
}
