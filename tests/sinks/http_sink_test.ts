/**
 * The HTTP sink against a real server on loopback, which answers everything, cuts connections, and hangs.
 */

import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { textCodec } from "../../src/base/codec.ts";
import { runtimeName } from "../../src/base/runtime.ts";
import { DeliveryError } from "../../src/errors/mod.ts";
import { type HttpAnswer, httpSink, type HttpSinkOptions } from "../../src/sinks/http.ts";
import { isBlockedPort } from "../../src/sinks/http_url.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { contextOf, deliveryOf, UUID } from "../support/deliveries.ts";
import { watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";

interface Click {
  readonly n: number;
}

interface Seen {
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: Uint8Array;
}

/** A server, what it has seen, and connections it has open. */
interface Target {
  readonly url: string;
  readonly seen: Seen[];
  readonly connections: () => Promise<number>;
}

type Answer = (response: ServerResponse, seen: Seen) => void;

/** Runs a server that answers each request by `answer`, until `use` has ended. */
async function withServer(answer: Answer, use: (target: Target) => Promise<void>): Promise<void> {
  const seen: Seen[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("error", () => {}).on("data", (chunk: Uint8Array) => chunks.push(chunk)).on("end", () => {
      const { method, url, headers } = request;
      seen.push({ method, path: url, headers, body: new Uint8Array(Buffer.concat(chunks)) });
      answer(response, seen.at(-1)!);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const connections = () =>
    new Promise<number>((resolve, reject) => {
      server.getConnections((error, count) => error ? reject(error) : resolve(count));
    });
  try {
    await use({ url: `http://127.0.0.1:${port}/ingest`, seen, connections });
  } finally {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }
}

/** Each request on a connection of its own, so that none is left over in a pool when a test ends. */
function end(response: ServerResponse, status: number, body = "", headers: Record<string, string> = {}): void {
  response.writeHead(status, { connection: "close", ...headers }).end(body);
}

/** What a send to a server that answers so is rejected with. */
async function failureFor(
  answer: Answer,
  options: Partial<HttpSinkOptions<Click>> = {},
  clicks: readonly Click[] = [{ n: 1 }, { n: 2 }],
): Promise<DeliveryError> {
  let error: DeliveryError | undefined;
  await withServer(answer, async ({ url }) => {
    const send = httpSink<Click>(url, options);
    error = await assertRejects(async () => await send(deliveryOf(clicks), contextOf()), DeliveryError);
  });
  return error!;
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

test("httpSink() posts a line for each record, with the delivery's id in quotes as Idempotency-Key", async () => {
  await withServer((response) => end(response, 202), async ({ url, seen }) => {
    await httpSink<Click>(url)(deliveryOf([{ n: 1 }, { n: 2 }]), contextOf());
    const [{ method, path, headers, body }] = seen as [Seen];
    assertEquals([method, path], ["POST", "/ingest"]);
    assertEquals(text(body), '{"n":1}\n{"n":2}\n');
    assertEquals(headers["idempotency-key"], `"${UUID}-1234abcd-1-2"`);
    assertEquals(headers["content-type"], "application/x-ndjson");
    assertEquals(headers["content-length"], "16");
    assertEquals(headers["content-encoding"], undefined);
  });
});

test("httpSink() takes the id of the delivery, not of the batch, as the key, and escapes it as the draft says", async () => {
  await withServer((response) => end(response, 200), async ({ url, seen }) => {
    await httpSink<Click>(url)(deliveryOf([{ n: 1 }], { id: 'half "1" \\ 2' }), contextOf());
    assertEquals(seen[0]!.headers["idempotency-key"], '"half \\"1\\" \\\\ 2"');
  });
});

test("httpSink() sends the same key and the same body in each attempt", async () => {
  await withServer((response) => end(response, 503), async ({ url, seen }) => {
    const send = httpSink<Click>(url, { gzip: true });
    for (let attempt = 1; attempt <= 2; attempt++) {
      const delivery = deliveryOf([{ n: 1 }], { redelivered: attempt > 1 });
      await assertRejects(async () => await send(delivery, contextOf({ attempt })), DeliveryError);
    }
    assertEquals(seen[0]!.headers["idempotency-key"], seen[1]!.headers["idempotency-key"]);
    assertEquals(seen[0]!.body, seen[1]!.body);
  });
});

test("httpSink() compresses the body and says so when gzip is set", async () => {
  await withServer((response) => end(response, 200), async ({ url, seen }) => {
    const clicks = Array.from({ length: 1000 }, (_, n) => ({ n }));
    await httpSink<Click>(url, { gzip: true })(deliveryOf(clicks), contextOf());
    const [{ headers, body }] = seen as [Seen];
    assertEquals(headers["content-encoding"], "gzip");
    assertEquals(body.subarray(0, 2), new Uint8Array([0x1f, 0x8b]));
    assertEquals(text(gunzipSync(body)), clicks.map(({ n }) => `{"n":${n}}\n`).join(""));
  });
});

test("httpSink() takes method, headers, body and lines from the user, headers anew for each attempt", async () => {
  await withServer((response) => end(response, 200), async ({ url, seen }) => {
    const put = httpSink<Click>(new URL(url), {
      method: "PUT",
      headers: ({ length }, { attempt }) => Promise.resolve({ authorization: `token ${attempt} of ${length}` }),
      body: ({ records }) => JSON.stringify(records),
      contentType: "application/json",
    });
    await put(deliveryOf([{ n: 1 }, { n: 2 }]), contextOf({ attempt: 1 }));
    await put(deliveryOf([{ n: 1 }]), contextOf({ attempt: 2 }));
    assertEquals(seen.map(({ headers }) => headers.authorization), ["token 1 of 2", "token 2 of 1"]);
    assertEquals([seen[0]!.method, text(seen[0]!.body)], ["PUT", '[{"n":1},{"n":2}]']);
    assertEquals(seen[0]!.headers["content-type"], "application/json");

    const lines = httpSink<Click>(url, {
      headers: { "content-type": "text/csv", "idempotency-key": "mine" },
      line: ({ n }) => `${n},x`,
    });
    await lines(deliveryOf([{ n: 1 }, { n: 2 }]), contextOf());
    assertEquals([seen[2]!.headers["content-type"], text(seen[2]!.body)], ["text/csv", "1,x\n2,x\n"]);
    assertEquals(seen[2]!.headers["idempotency-key"], `"${UUID}-1234abcd-1-2"`);
  });
});

test("httpSink() sends no body that is neither text nor bytes, and blames no record for it", async () => {
  await withServer((response) => end(response, 200), async ({ url, seen }) => {
    for (const made of [Promise.resolve("late"), undefined, null, {}]) {
      const send = httpSink<Click>(url, { body: () => made as never });
      const error = await assertRejects(async () => await send(deliveryOf([{ n: 1 }]), contextOf()), DeliveryError);
      assertEquals([error.scope, error.retryable], ["target", false]);
      assertStringIncludes(error.message, "the option body must return a string or a Uint8Array");
    }
    assertEquals(seen.length, 0);
  });
});

const STATUSES: readonly (readonly [status: number, outcome: string])[] = [
  [200, "ok"],
  [201, "ok"],
  [202, "ok"],
  [204, "ok"],
  [207, "ok"],
  [300, "blocked"],
  [301, "blocked"],
  [302, "retry"],
  [303, "retry"],
  [304, "blocked"],
  [307, "retry"],
  [308, "blocked"],
  [400, "refuse"],
  [401, "blocked"],
  [403, "blocked"],
  [402, "blocked"],
  [404, "blocked"],
  [405, "blocked"],
  [407, "blocked"],
  [415, "blocked"],
  [418, "blocked"],
  [451, "blocked"],
  [499, "blocked"],
  [511, "blocked"],
  [422, "refuse"],
  [408, "retry"],
  [409, "retry"],
  [413, "too large"],
  [410, "blocked"],
  [425, "retry"],
  [429, "retry"],
  [500, "retry"],
  [501, "blocked"],
  [502, "retry"],
  [503, "retry"],
  [504, "retry"],
  [507, "blocked"],
  [599, "retry"],
];

for (const [status, outcome] of STATUSES) {
  test(`httpSink() answered ${status}: ${outcome}`, async () => {
    await withServer(
      (response) => end(response, status, "", status < 400 && status >= 300 ? { location: "/elsewhere" } : {}),
      async ({ url, seen }) => {
        let found = "ok";
        try {
          await httpSink<Click>(url)(deliveryOf([{ n: 1 }]), contextOf());
        } catch (error) {
          assertInstanceOf(error, DeliveryError);
          const failure = error.scope === "target" ? "blocked" : "refuse";
          found = error.tooLarge ? "too large" : error.retryable ? "retry" : failure;
          assertEquals(error.scope, found === "retry" || found === "blocked" ? "target" : "record");
          assertEquals(error.failed, undefined);
          assertStringIncludes(error.message, `the server answered ${status}`);
        }
        assertEquals([found, seen.length], [outcome, 1]);
      },
    );
  });
}

test("httpSink() does not follow a redirect, and says where it led", async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    await withServer((response) => end(response, status, "moved", { location: "/elsewhere" }), async (target) => {
      const send = httpSink<Click>(target.url);
      const { message } = await assertRejects(
        async () => await send(deliveryOf([{ n: 1 }]), contextOf()),
        DeliveryError,
      );
      assertStringIncludes(message, `${status}: to /elsewhere`);
      assertEquals(target.seen.map(({ path }) => path), ["/ingest"]);
    });
  }
});

test("httpSink() hands on Retry-After of an answer that is to be retried, a date as held against its clock", async () => {
  const clock = new ManualClock(Date.UTC(2026, 0, 1));
  const failure = (status: number, value: string) =>
    failureFor((response) => {
      response.sendDate = false;
      end(response, status, "", { "retry-after": value });
    }, { clock });
  assertEquals((await failure(429, "120")).retryAfterMs, 120_000);
  assertEquals((await failure(503, "Thu, 01 Jan 2026 00:01:30 GMT")).retryAfterMs, 90_000);
  assertEquals((await failure(503, "soon")).retryAfterMs, undefined);
  assertEquals((await failure(400, "5")).retryAfterMs, undefined);
  const skewed = await failureFor((response) => {
    end(response, 503, "", {
      "date": "Wed, 01 Jan 2020 00:00:00 GMT",
      "retry-after": "Wed, 01 Jan 2020 00:00:07 GMT",
    });
  }, { clock });
  assertEquals(skewed.retryAfterMs, 7_000);
});

test("httpSink() puts the beginning of an error's body into the reason, however long it is", async () => {
  const short = await failureFor((response) => end(response, 400, " no such field \n"));
  assertEquals(short.message, "Cannot deliver: the server answered 400: no such field");
  const long = await failureFor((response) => end(response, 500, "x".repeat(2_000_000)));
  assertEquals(long.message, `Cannot deliver: the server answered 500: ${"x".repeat(200)}`);
});

/** Ways to answer by half; each is cut by the server. */
const CUTS: Readonly<Record<string, Answer>> = {
  "before the answer": (response) => response.destroy(),
  "in the header": (response) => {
    response.socket!.write("HTTP/1.1 200 OK\r\ncontent-le");
    response.socket!.end();
  },
  "in a body with a length": (response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half of it", () => response.destroy());
  },
  "in a body in chunks": (response) => {
    response.writeHead(200);
    response.write("half of it", () => response.destroy());
  },
};

for (const [where, cut] of Object.entries(CUTS)) {
  test(`httpSink() takes a connection that is cut ${where} for a failure to be retried`, async () => {
    for (const options of [{}, { failures: () => [] }]) {
      const error = await failureFor(cut, options);
      assertEquals([error.retryable, error.tooLarge, error.failed], [true, false, undefined]);
      assertStringIncludes(error.message, "the connection failed or was cut");
      assertInstanceOf(error.cause, Error);
    }
  });
}

test("httpSink() takes a refusal as it is though the connection is cut behind its status", async () => {
  const error = await failureFor((response) => {
    response.writeHead(413, { "content-length": "100" });
    response.write("too l", () => response.destroy());
  });
  assertEquals(error.tooLarge, true);
});

test("httpSink() is rejected, to be retried, where nobody listens", async () => {
  let gone = "";
  await withServer(() => {}, ({ url }) => Promise.resolve(void (gone = url)));
  const send = httpSink<Click>(gone);
  const error = await assertRejects(async () => await send(deliveryOf([{ n: 1 }]), contextOf()), DeliveryError);
  assertEquals(error.retryable, true);
});

test("httpSink() ends with the signal's reason when the server hangs before or in the answer", async () => {
  const begin = (status: number): Answer => (response) => {
    response.writeHead(status);
    response.write("and then nothing");
  };
  const hangs: readonly (readonly [hang: Answer, abortAt: "request" | "answer"])[] = [
    [() => {}, "request"],
    [begin(200), "answer"],
    [begin(500), "answer"],
  ];
  for (const [hang, abortAt] of hangs) {
    const controller = new AbortController();
    const reason = new Error("given up");
    const abort = () => controller.abort(reason);
    await withServer((response, seen) => {
      hang(response, seen);
      if (abortAt === "request") abort();
    }, async ({ url }) => {
      const send = httpSink<Click>(url, {
        async fetch(target, init) {
          const response = await fetch(target, init);
          void settle().then(abort);
          return response;
        },
      });
      const attempt = async () => await send(deliveryOf([{ n: 1 }]), contextOf({ signal: controller.signal }));
      assertEquals(await assertRejects(attempt), reason);
    });
  }
});

test("httpSink() ends with the signal's reason while it waits for headers", async () => {
  const controller = new AbortController();
  const send = httpSink<Click>("http://127.0.0.1:1", {
    headers: () => new Promise(() => controller.abort("no token")),
    fetch: () => Promise.reject(new Error("a request was made")),
  });
  const sent = watch(Promise.resolve(send(deliveryOf([{ n: 1 }]), contextOf({ signal: controller.signal }))));
  await settle();
  assertEquals(sent.error, "no token");
});

test("httpSink() sends nothing when the signal is aborted before", async () => {
  await withServer((response) => end(response, 200), async ({ url, seen }) => {
    const reason = new Error("closing");
    const send = httpSink<Click>(url);
    const attempt = async () => await send(deliveryOf([{ n: 1 }]), contextOf({ signal: AbortSignal.abort(reason) }));
    assertEquals(await assertRejects(attempt), reason);
    assertEquals(seen.length, 0);
  });
});

test("httpSink() reads each answer to its end, so that a few connections do for all", async () => {
  const answer: Answer = (response, { body }) => {
    const { n } = JSON.parse(text(body)) as Click;
    response.writeHead(n % 2 === 0 ? 200 : 503).end("x".repeat(10_000));
  };
  await withServer(answer, async ({ url, seen, connections }) => {
    const send = httpSink<Click>(url);
    for (let n = 0; n < 20; n++) {
      await Promise.resolve(send(deliveryOf([{ n }]), contextOf())).catch(() => {});
    }
    assertEquals(seen.length, 20);
    const open = await connections();
    assert(open <= 3, `${open} connections for 20 requests`);
  });
});

/** An answer as Elasticsearch's `_bulk` gives it, and what it means. */
function bulkFailures({ body }: HttpAnswer) {
  const { items } = JSON.parse(body) as { items: { status: number }[] };
  return items.flatMap(({ status }, index) =>
    status < 300 ? [] : [{ index, retryable: status === 429, reason: `status ${status}` }]
  );
}

test("httpSink() reads single failed records out of a success by `failures`", async () => {
  const body = JSON.stringify({ items: [{ status: 201 }, { status: 429 }, { status: 400 }] });
  const clicks = [{ n: 1 }, { n: 2 }, { n: 3 }];
  const error = await failureFor((response) => end(response, 200, body), { failures: bulkFailures }, clicks);
  assertEquals(error.failed, [
    { index: 1, retryable: true, reason: "status 429" },
    { index: 2, retryable: false, reason: "status 400" },
  ]);
  assertEquals(error.message, "Cannot deliver: the server did not take 2 of 3 records: status 429");
  await withServer((response) => end(response, 200, '{"items":[]}'), async ({ url }) => {
    await httpSink<Click>(url, { failures: bulkFailures })(deliveryOf(clicks), contextOf());
  });
});

test("httpSink() does not take a delivery for delivered when `failures` can't read the answer", async () => {
  await withServer((response) => end(response, 200, "<html>"), async ({ url }) => {
    const send = httpSink<Click>(url, { failures: bulkFailures });
    const error = await assertRejects(async () => await send(deliveryOf([{ n: 1 }]), contextOf()), DeliveryError);
    assertEquals([error.scope, error.retryable], ["target", true]);
    assertInstanceOf(error.cause, SyntaxError);
  });
});

test("httpSink() follows `verdict`, and the table where it has none", async () => {
  const verdict = ({ status, body }: HttpAnswer) => status === 404 ? "retry" : body === "no" ? "refuse" : undefined;
  const missing = await failureFor((response) => end(response, 404, "", { "retry-after": "3" }), { verdict });
  assertEquals([missing.retryable, missing.retryAfterMs], [true, 3_000]);
  const no = await failureFor((response) => end(response, 200, "no"), { verdict });
  assertEquals(no.retryable, false);
  const busy = await failureFor((response) => end(response, 503), { verdict });
  assertEquals(busy.retryable, true);
  await withServer((response) => end(response, 409), async ({ url }) => {
    await httpSink<Click>(url, { verdict: () => "ok" })(deliveryOf([{ n: 1 }]), contextOf());
  });
});

test("httpSink() sends nothing, and blames single records, when they are no lines", async () => {
  await withServer((response) => end(response, 200), async ({ url, seen }) => {
    const delivery = deliveryOf(["fine", "two\nlines", ""], { codec: textCodec() });
    const error = await assertRejects(
      async () => await httpSink<string>(url)(delivery, contextOf()),
      DeliveryError,
    );
    assertEquals(error.failed?.map(({ index, retryable }) => [index, retryable]), [[0, true], [1, false], [2, false]]);
    assertStringIncludes(error.message, "record 1 can't be written as one line, because it has a line break in it");
    assertEquals(seen.length, 0);
    await httpSink<string>(url, { line: JSON.stringify })(delivery, contextOf());
    assertEquals(text(seen[0]!.body), '"fine"\n"two\\nlines"\n""\n');
  });
});

test("httpSink() says why a connection failed, as far down as that is known", async () => {
  const refused = Object.assign(new AggregateError([], ""), { code: "ECONNREFUSED" });
  for (
    const [cause, why] of [
      [new TypeError("fetch failed", { cause: new Error("no such host") }), "fetch failed: no such host"],
      [new TypeError("fetch failed", { cause: refused }), "fetch failed: ECONNREFUSED"],
      ["a string", "a string"],
    ] as const
  ) {
    const send = httpSink<Click>("http://localhost", { fetch: () => Promise.reject(cause) });
    const error = await assertRejects(async () => await send(deliveryOf([{ n: 1 }]), contextOf()), DeliveryError);
    assertEquals(error.message, `Cannot deliver: the connection failed or was cut: ${why}`);
  }
});

test("httpSink() refuses wrong options by name", () => {
  for (const url of ["", "example.com", "ftp://example.com", "/path"]) {
    const error = assertThrows(() => httpSink(url), TypeError);
    assertStringIncludes(error.message, "url must be one of http or https");
  }
  for (const name of ["body", "failures", "verdict", "fetch", "line"]) {
    const error = assertThrows(() => httpSink("http://localhost", { [name]: "x" }), TypeError);
    assertStringIncludes(error.message, name);
  }
  for (const method of ["GET", "post", "", 7]) {
    const error = assertThrows(() => httpSink("https://example.com", { method: method as "POST" }), TypeError);
    assertStringIncludes(error.message, "method must be one of POST, PUT, PATCH");
  }
  assertThrows(() => httpSink("https://example.com", { headers: { "no name": "x" } }), TypeError);
  assert(typeof httpSink("https://example.com") === "function");
});

/** URLs that no request can reach, and why. */
const UNREACHABLE: readonly (readonly [url: string, why: string])[] = [
  ["http:", "must have a host"],
  ["http://", "must have a host"],
  ["https:///ingest", "must have a host"],
  ["http:/example.com", "must have a host"],
  ["http:example.com", "must have a host"],
  ["http://?example.com", "must have a host"],
  ["http://:8080/", "must be valid"],
  ["http://example.com:99999/", "must be valid"],
  ["http://exa mple.com/", "must be valid"],
  ["http://[::1", "must be valid"],
  ["file:///etc/passwd", "must be one of http or https"],
  ["ws://example.com", "must be one of http or https"],
  ["javascript:alert(1)", "must be one of http or https"],
  ["https://user:secret@example.com", "must not hold a name or a password"],
  ["https://secret@example.com", "must not hold a name or a password"],
  ["https://:secret@example.com", "must not hold a name or a password"],
  ["https://user:secret@example.com:99999", "must be valid"],
  ["https://user:sec@ret@example.com", "must not hold a name or a password"],
  ["https://user:sec/ret@example.com", "must be valid"],
  ["ftp://user:secret@example.com", "must be one of http or https"],
  ["http:user:secret@example.com", "must have a host"],
  ...[0, 1, 22, 25, 6000, 6667, 10080].map((port) =>
    [`http://example.com:${port}/`, `must not have port ${port}, which fetch blocks`] as const
  ),
];

for (const [url, why] of UNREACHABLE) {
  test(`httpSink() refuses the URL ${url}: it ${why}`, () => {
    const { message } = assertThrows(() => httpSink(url), TypeError);
    assertStringIncludes(message, `Cannot make an HTTP sink: url ${why}`);
    assertEquals([message.includes("secret"), message.includes("user")], [false, false]);
    if (URL.canParse(url) && why !== "must have a host") assertThrows(() => httpSink(new URL(url)), TypeError);
  });
}

test("httpSink() refuses what isn't a URL at all", () => {
  for (const url of [undefined, null, 7, {}, []]) {
    assertThrows(() => httpSink(url as unknown as string), TypeError, "url must be one of http or https");
  }
});

test("httpSink() takes any port with a fetch of the user's, and the URL as it was when the sink was made", async () => {
  const seen: string[] = [];
  const url = new URL("http://example.com:6000/a");
  const send = httpSink<Click>(url, {
    fetch(target) {
      seen.push(target.href);
      return Promise.resolve(new Response());
    },
  });
  url.pathname = "/b";
  await send(deliveryOf([{ n: 1 }]), contextOf());
  assertEquals(seen, ["http://example.com:6000/a"]);
});

test("isBlockedPort() knows only ports that fetch blocks", async (t) => {
  if (runtimeName() === "bun") return t.skip("Bun's fetch blocks no port");
  const blocked = Array.from({ length: 65_536 }, (_, port) => port).filter((port) =>
    isBlockedPort(new URL(`http://127.0.0.1:${port}`))
  );
  assertEquals(blocked.length, 83);
  // Port 0 isn't blocked by all; nobody can listen there.
  for (const port of blocked.slice(1)) {
    const error = await assertRejects(() => fetch(`http://127.0.0.1:${port}`), TypeError);
    assertStringIncludes(`${error.message} ${error.cause}`.replace("are blocked", "bad port"), "bad port");
  }
});
