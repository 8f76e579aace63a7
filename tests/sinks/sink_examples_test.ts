/**
 * The programs `examples/http.ts` and `examples/kafka.ts`, each with a target that fails.
 */

import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import { kafkaIdentity } from "../../src/sinks/kafka.ts";
import { currentRuntime, runChild } from "../support/children.ts";
import { KafkaPeer } from "./kafka_peer.ts";

const SLOW = { timeout: 60_000 };
const LINES = Array.from({ length: 1_200 }, (_, i) => `line ${i}`);

async function inDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-"));
  try {
    await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("http.ts delivers each line once to a server that fails at every third request", SLOW, async () => {
  const keys = new Set<string>();
  const received: string[] = [];
  let requests = 0;
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk)).on("end", () => {
      const key = request.headers["idempotency-key"] as string;
      if (!keys.has(key)) {
        received.push(...gunzipSync(Buffer.concat(chunks)).toString().trimEnd().split("\n"));
        keys.add(key);
      }
      // Of these every second one has been taken.
      response.writeHead(requests++ % 3 === 0 ? 503 : 200, { "retry-after": "0", connection: "close" }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await inDirectory(async (cwd) => {
    const permissions = ["--allow-read=.", "--allow-write=.", "--allow-net=127.0.0.1"];
    const { code, stderr } = await runChild("examples/http.ts", [url], { cwd, permissions, input: LINES.join("\n") });
    assertEquals(code, 0, stderr);
    assertEquals(received.map((line) => JSON.parse(line).text), LINES);
    assert(requests > keys.size, "no request has failed");
  });
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeAllConnections();
  await closed;
});

/** Its import of `npm:kafkajs` is one for Deno. */
const ON_DENO = { ...SLOW, skip: currentRuntime().name !== "deno" };

test("kafka.ts delivers each line to a broker that fails, and copies can be told", ON_DENO, async () => {
  const peer = await KafkaPeer.start();
  peer.script.push({ errorCode: 6 }, "store-then-cut", { errorCode: 10 });
  await inDirectory(async (cwd) => {
    const permissions = ["--allow-read=.", "--allow-write=.", "--allow-net=127.0.0.1", "--allow-env"];
    const args = [peer.address, "lines"];
    const { code, stderr } = await runChild("examples/kafka.ts", args, { cwd, permissions, input: LINES.join("\n") });
    assertEquals(code, 0, stderr);
  });
  await peer.stop();
  const values = new Map(peer.messages.map(({ headers, value }) => {
    const { batchId, sequence } = kafkaIdentity(headers)!;
    return [`${batchId} ${sequence}`, JSON.parse(value!)];
  }));
  assert(peer.messages.length > LINES.length, "no copy was stored");
  assertEquals([...values.values()].sort(), [...LINES].sort());
});
