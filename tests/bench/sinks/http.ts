/**
 * HTTP: the sink beside a request by hand, with fetch and with `node:http`, to a server in a process of its own that reads all and
 * answers 200.
 */

import { Buffer } from "node:buffer";
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { httpSink } from "../../../src/sinks/http.ts";
import type { Delivery } from "../../../src/producer/delivery.ts";
import type { BenchRecord, OpenContest, SinkContest } from "./contest.ts";

const SERVER = "http-server";
const LINE_FEED = Buffer.from("\n");

type ByHand = (url: URL, headers: Record<string, string>, body: Uint8Array) => Promise<void>;

async function postByFetch(url: URL, headers: Record<string, string>, body: Uint8Array): Promise<void> {
  const response = await fetch(url, { method: "POST", headers, body: body as BodyInit, redirect: "manual" });
  await response.arrayBuffer();
  if (!response.ok) throw new Error(`status ${response.status}`);
}

function postByNode(url: URL, headers: Record<string, string>, body: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method: "POST", headers: { ...headers, "content-length": body.length } });
    outgoing.on("error", reject).on("response", (incoming) => {
      incoming.on("error", reject).on("end", () => incoming.statusCode === 200 ? resolve() : reject(incoming)).resume();
    });
    outgoing.end(body);
  });
}

async function open(post: ByHand): Promise<OpenContest> {
  const server = fork(new URL(import.meta.url), [SERVER], { execArgv: process.execArgv });
  const [port] = await once(server, "message") as [number];
  const url = new URL(`http://127.0.0.1:${port}/ingest`);
  return {
    ours: httpSink<BenchRecord>(url),
    byHand({ id, payloads }: Delivery<BenchRecord>) {
      const body = Buffer.concat(payloads.flatMap((payload) => [payload, LINE_FEED]));
      return post(url, { "content-type": "application/x-ndjson", "idempotency-key": JSON.stringify(id) }, body);
    },
    async close() {
      server.kill();
      await once(server, "close");
    },
  };
}

/** The contests of this target. */
export const contests: readonly SinkContest[] = [
  { name: "HTTP", goal: 0.7, open: () => open(postByFetch) },
  { name: "HTTP, by hand with node:http", goal: 0.7, open: () => open(postByNode) },
];

if (process.argv[2] === SERVER) {
  const server = createServer((incoming, response) => {
    incoming.on("end", () => response.writeHead(200, { "content-length": "0" }).end()).resume();
  });
  server.listen(0, "127.0.0.1", () => process.send!((server.address() as AddressInfo).port));
}
