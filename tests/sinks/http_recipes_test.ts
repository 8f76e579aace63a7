/**
 * The recipes for OpenTelemetry, Loki, Elasticsearch and ClickHouse: programs of `examples/`, run as they are.
 *
 * ClickHouse is the real server. Of the others there is none to install: models answer as their documentation says, and as their
 * servers were seen to. What the models don't show: limits and messages that a version has changed, and what a cluster does.
 */

import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { type AddressInfo, createServer as createProbe } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type DeadLetter, deadLetterCodec, FileBuffer, jsonCodec, textCodec } from "../../mod.ts";
import { runChild } from "../support/children.ts";

const SLOW = { timeout: 120_000 };

/** A request with its body unpacked. */
interface Request {
  /** From 1. */
  readonly number: number;
  readonly url: URL;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An answer; `"cut"` closes the connection without one. */
type Answer = "cut" | {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | object;
};

/** A run of a recipe: letters of its buffer for dead letters, and the events of its producer. */
interface Run {
  readonly letters: readonly DeadLetter<unknown>[];
  readonly events: readonly string[];
}

/** Runs the program for lines of standard input. */
async function runRecipe(name: string, args: readonly string[], lines: readonly string[]): Promise<Run> {
  const cwd = mkdtempSync(join(tmpdir(), "sluice-recipe-"));
  try {
    const permissions = ["--allow-read=.", "--allow-write=.", "--allow-net=127.0.0.1"];
    const { code, stderr } = await runChild(`examples/${name}.ts`, args, {
      cwd,
      permissions,
      input: lines.join("\n"),
      timeoutMs: 60_000,
    });
    assertEquals(code, 0, stderr);
    const codec = name === "otlp" || name === "loki" ? jsonCodec<unknown>() : textCodec();
    const path = join(cwd, `.sluice-${name}-dead`);
    const dead = await FileBuffer.open({ path, codec: deadLetterCodec(codec), maxRecords: 10_000, maxBytes: 2 ** 25 });
    const letters = dead.stats().pendingRecords === 0 ? [] : (await dead.emit()).records;
    await dead.close();
    return { letters, events: stderr.trimEnd().split("\n") };
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

/** Runs the program against a model of its server. */
async function runAgainst(
  name: string,
  answer: (request: Request) => Answer,
  { path = "", args = [], lines }: { path?: string; args?: readonly string[]; lines: readonly string[] },
): Promise<Run> {
  let number = 0;
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk)).on("end", () => {
      const { url, headers } = request;
      assertEquals([request.method, headers["content-encoding"]], ["POST", "gzip"]);
      const body = gunzipSync(Buffer.concat(chunks)).toString();
      const given = answer({ number: ++number, url: new URL(url!, "http://model"), headers, body });
      if (given === "cut") return response.destroy();
      const text = typeof given.body === "object" ? JSON.stringify(given.body) : given.body;
      response.writeHead(given.status, { "connection": "close", ...given.headers }).end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await runRecipe(
      name,
      [`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, ...args],
      lines,
    );
  } finally {
    await new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  }
}

const JSON_TYPE = { "content-type": "application/json" };
const LINES: readonly string[] = Array.from({ length: 1_200 }, (_, i) => `line ${i}`);
const reasons = ({ letters }: Run): string[] => [...new Set(letters.map(({ error }) => error))];

test("otlp.ts: what a collector rejects in part becomes dead letters, and nothing is sent again", SLOW, async () => {
  const stored: string[] = [];
  const run = await runAgainst("otlp", ({ number, url, headers, body }) => {
    assertEquals([url.pathname, headers["content-type"]], ["/v1/logs", "application/json"]);
    if (number === 1) return { status: 503, headers: { "retry-after": "0" } };
    const { resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }] } = JSON.parse(body);
    assertEquals(resource.attributes, [{ key: "service.name", value: { stringValue: "shop" } }]);
    const texts: string[] = logRecords.map((record: { timeUnixNano: string; body: { stringValue: string } }) => {
      assertMatch(record.timeUnixNano, /^\d{19}$/);
      return record.body.stringValue;
    });
    const taken = texts.filter((text) => text !== "line 700");
    stored.push(...taken);
    if (taken.length === texts.length) return { status: 200, headers: JSON_TYPE, body: {} };
    const partialSuccess = { rejectedLogRecords: "1", errorMessage: "too old" };
    return { status: 200, headers: JSON_TYPE, body: { partialSuccess } };
  }, { path: "/v1/logs", lines: LINES });
  assertEquals(stored, LINES.filter((line) => line !== "line 700"));
  const dead = run.letters.map(({ record }) => (record as { text: string }).text);
  assertEquals([dead.length, dead.includes("line 700")], [500, true]);
  assertStringIncludes(reasons(run).join(), "1 of 500 rejected: too old");
});

test("loki.ts: each line once though lines are sent again, without one that is too long", SLOW, async () => {
  const stored = new Map<string, string>();
  const long = "x".repeat(9_000);
  const statuses = new Set<number>();
  const answerTo = ({ number, url, headers, body }: Request): Answer => {
    assertEquals([url.pathname, headers["content-type"]], ["/loki/api/v1/push", "application/json"]);
    if (number === 1) return { status: 429, headers: { "retry-after": "0" } };
    // The limit of one message between Loki's own servers.
    if (body.length > 20_000) {
      return { status: 500, body: "rpc error: code = ResourceExhausted desc = grpc: received message larger than max" };
    }
    const { streams: [{ stream, values }] } = JSON.parse(body) as {
      streams: { stream: object; values: [at: string, text: string][] }[];
    };
    assertEquals(stream, { service_name: "shop" });
    for (const [at, text] of values) {
      assertMatch(at, /^\d{19}$/);
      if (text !== long) stored.set(at, text); // a line with the time of another one would be missing
    }
    if (values.some(([, text]) => text === long)) return { status: 400, body: "max entry size '8192' bytes exceeded" };
    return number === 7 ? "cut" : { status: 204 };
  };
  const lines = [...LINES.slice(0, 600), long, ...LINES.slice(600)];
  const run = await runAgainst("loki", (request) => {
    const answer = answerTo(request);
    if (answer !== "cut") statuses.add(answer.status);
    return answer;
  }, { lines });
  assertEquals([...stored.values()].sort(), lines.filter((line) => line !== long).sort());
  assertEquals([...statuses].sort(), [204, 400, 429, 500]);
  assertEquals(run.letters.map(({ record }) => (record as { text: string }).text), [long]);
  assertStringIncludes(reasons(run).join(), "max entry size");
});

test("elasticsearch.ts: each document once, and the one that doesn't fit becomes a dead letter", SLOW, async () => {
  const stored = new Map<string, string>();
  const busy = new Set<string>();
  let conflicts = 0;
  let isRoom = false;
  const create = (id: string, json: string): object => {
    if (!isRoom) return { status: 400, error: { type: "validation_exception", reason: "maximum shards open" } };
    if (!/^\{"n":\d+\}$/.test(json)) {
      return { status: 400, error: { type: "document_parsing_exception", reason: "failed to parse field [n]" } };
    }
    if (stored.has(id)) {
      conflicts++;
      return { status: 409, error: { reason: "version conflict, document already exists" } };
    }
    if (id.endsWith("7") && !busy.has(id)) {
      busy.add(id);
      return { status: 429, error: { reason: "rejected execution" } };
    }
    stored.set(id, json);
    return { status: 201 };
  };
  const documents = LINES.map((_, n) => `{"n":${n}}`);
  const bad = ['{"n":"seven"}', "no document"];
  const run = await runAgainst("elasticsearch", ({ number, url, headers, body }) => {
    assertEquals([url.pathname, headers["content-type"]], ["/clicks/_bulk", "application/x-ndjson"]);
    const lines = body.split("\n");
    assertEquals(lines.pop(), "");
    const items: object[] = [];
    for (let i = 0; i < lines.length; i += 2) {
      items.push({ create: create(JSON.parse(lines[i]!).create._id, lines[i + 1]!) });
    }
    isRoom = true;
    if (number === 3) return "cut"; // stored, and nobody knows
    return { status: 200, headers: { ...JSON_TYPE, "x-elastic-product": "Elasticsearch" }, body: { items } };
  }, { path: "/clicks", lines: [...documents.slice(0, 700), ...bad, ...documents.slice(700)] });
  assertEquals([...stored.values()].sort(), documents.toSorted());
  assertEquals(run.letters.map(({ record }) => record), bad);
  assertStringIncludes(reasons(run).join(), "status 400: failed to parse field [n]");
  assert(busy.size > 0 && conflicts > 0);
});

test("clickhouse.ts names each delivery by the same token in each attempt", SLOW, async () => {
  const tokens: (string | null)[] = [];
  const run = await runAgainst("clickhouse", ({ number, url, body }) => {
    assertEquals(url.searchParams.get("query"), "INSERT INTO clicks FORMAT JSONEachRow");
    assertEquals(body, '{"n":1}\n');
    tokens.push(url.searchParams.get("insert_deduplication_token"));
    if (number === 1) return { status: 500, body: "Code: 242. DB::Exception: Table is in readonly mode" };
    return { status: 200, headers: { "x-clickhouse-server-display-name": "model" } };
  }, { args: ["clicks", "once"], lines: ['{"n":1}'] });
  assertEquals([tokens.length, new Set(tokens).size, run.letters.length], [2, 1, 0]);
  assertMatch(tokens[0]!, /-1-1$/);
});

const CLICKHOUSE = ["/usr/sbin/clickhouse-server", "/usr/bin/clickhouse-server"].find((path) => existsSync(path));
const WITH_CLICKHOUSE = { ...SLOW, skip: CLICKHOUSE === undefined ? "clickhouse-server isn't installed" : false };

test(
  "clickhouse.ts: each row is in the table, without those that ClickHouse refuses for ever",
  WITH_CLICKHOUSE,
  async () => {
    const rows = LINES.map((_, n) => `{"n":${n},"text":"row ${n}"}`);
    const bad = ['{"n":"seven"}', '{"m":1}', "no row", '{"n":1,"text":null}', '{"kind":"b"}', '{"n":1'];
    await withClickHouse(async (url, ask) => {
      await ask("CREATE TABLE clicks (n UInt32, text String, kind Enum8('a' = 1)) ENGINE = MergeTree ORDER BY n");
      const input = [...rows.slice(0, 500), ...bad.slice(0, 3), ...rows.slice(500), ...bad.slice(3)];
      const { letters, events } = await runRecipe("clickhouse", [url, "clicks"], input);
      const found = await ask("SELECT n, text FROM clicks ORDER BY n FORMAT JSONEachRow");
      assertEquals(found.trimEnd().split("\n"), rows);
      assertEquals(letters.map(({ record }) => record), bad);
      const codes = letters.map(({ error }) => /answered (\d+): Code: (\d+)/.exec(error)?.slice(1).join(" "));
      assert(["500 27", "500 117", "500 49"].every((code) => codes.includes(code)), codes.join());
      assert(events.includes("halved"), events.join());
    });
  },
);

/** Runs a ClickHouse without settings; `ask` has it run a query. */
async function withClickHouse(
  use: (url: string, ask: (query: string) => Promise<string>) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-clickhouse-"));
  const port = await freePort();
  writeFileSync(
    join(directory, "config.xml"),
    `<yandex><logger><level>information</level><console>1</console></logger><listen_host>127.0.0.1</listen_host>
      <http_port>${port}</http_port><path>${directory}/data/</path><tmp_path>${directory}/tmp/</tmp_path>
      <mark_cache_size>1048576</mark_cache_size><users_config>users.xml</users_config>
      <default_profile>default</default_profile><default_database>default</default_database></yandex>`,
  );
  writeFileSync(
    join(directory, "users.xml"),
    `<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default><password></password>
      <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users></yandex>`,
  );
  const args = [`--config-file=${directory}/config.xml`];
  const server = spawn(CLICKHOUSE!, args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => server.on("close", resolve));
  const url = `http://127.0.0.1:${port}`;
  try {
    await untilReady(server);
    await use(url, async (query) => {
      const response = await fetch(url, { method: "POST", body: query, headers: { connection: "close" } });
      const text = await response.text();
      assertEquals(response.status, 200, text);
      return text;
    });
  } finally {
    server.kill("SIGKILL");
    await ended;
    rmSync(directory, { recursive: true });
  }
}

function untilReady(server: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = "";
    server.stderr!.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-10_000);
      if (output.includes("Ready for connections")) resolve();
    });
    server.on("close", () => reject(new Error(`${CLICKHOUSE} doesn't start:\n${output}`)));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createProbe().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
