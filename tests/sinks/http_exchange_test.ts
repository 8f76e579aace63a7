/**
 * Answers that are hard to read: bodies that can't be decoded, that don't end, that nobody needs, and answers that are cut off.
 * The status decides; what isn't needed does no harm; no connection is left behind.
 */

import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { DeliveryError } from "../../src/errors/mod.ts";
import { type HttpAnswer, httpSink, type HttpSinkOptions } from "../../src/sinks/http.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { type RawTarget, response, withRawServer } from "./raw_server.ts";

interface Click {
  readonly n: number;
}

const CLICKS: readonly Click[] = [{ n: 1 }, { n: 2 }];

const closing = "Connection: close";
const coded = (coding: string, body: string | Uint8Array): readonly [string[], string | Uint8Array] => [
  [`Content-Encoding: ${coding}`, `Content-Length: ${body.length}`],
  body,
];
const half = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, bytes.length - 20);

/** Bodies that aren't what they say: header fields and bytes. */
const UNDECODABLE: Readonly<Record<string, readonly [string[], string | Uint8Array]>> = {
  "says gzip and is plain": coded("gzip", "plain"),
  "says gzip and is empty": coded("gzip", ""),
  "says gzip and is an empty chunk": [["Content-Encoding: gzip", "Transfer-Encoding: chunked"], "0\r\n\r\n"],
  "says gzip and lacks the end": coded("gzip", half(gzipSync(Buffer.alloc(50_000, "abc")))),
  "says gzip twice and is gzip once": coded("gzip, gzip", gzipSync("plain")),
  "says deflate and is plain": coded("deflate", "plain"),
  "says br and is plain": coded("br", "plain, and long enough for a decoder to notice"),
  "says zstd and is plain": coded("zstd", "plain"),
  "says what nobody knows": coded("rot13", "cynva"),
};

/** Sends once to a server that answers so; what it is rejected with, if it is. */
async function outcomeOf(
  answer: Uint8Array,
  options: Partial<HttpSinkOptions<Click>> = {},
  afterwards: (socket: Socket) => void = () => {},
): Promise<unknown> {
  let outcome: unknown;
  await withRawServer({
    onRequest(socket) {
      socket.write(answer);
      afterwards(socket);
    },
  }, async ({ url, requests }) => {
    const send = httpSink<Click>(url, options);
    outcome = await Promise.resolve(send(deliveryOf(CLICKS), contextOf())).catch((error) => error);
    assertEquals(requests.length, 1);
  });
  return outcome;
}

for (const [what, [fields, body]] of Object.entries(UNDECODABLE)) {
  test(`httpSink() takes the status of an answer whose body ${what}`, async () => {
    const answer = (status: number) => response(status, [closing, ...fields], body);
    assertEquals(await outcomeOf(answer(200)), undefined);
    assertEquals(await outcomeOf(answer(201), { verdict: () => undefined }), undefined);
    for (const [status, retryable, tooLarge] of [[503, true, false], [401, false, false], [413, true, true]] as const) {
      const error = await outcomeOf(answer(status));
      assertInstanceOf(error, DeliveryError);
      assertEquals([error.retryable, error.tooLarge], [retryable, tooLarge]);
      assertStringIncludes(error.message, `the server answered ${status}`);
    }
  });
}

test("httpSink() says that a body can't be decoded to those who read it, and the delivery is sent again", async () => {
  const [fields, body] = UNDECODABLE["says gzip and is plain"]!;
  const answer = response(200, [closing, ...fields], body);
  const read = ({ body }: HttpAnswer) => body.length > 0 ? [] : [{ index: 0, retryable: false, reason: "empty" }];
  for (
    const options of [{ failures: read }, {
      verdict: ({ body }: HttpAnswer) => body === "no" ? "refuse" : "ok",
    }] as const
  ) {
    const error = await outcomeOf(answer, options);
    assertInstanceOf(error, DeliveryError);
    assertEquals([error.retryable, error.failed], [true, undefined]);
    assertStringIncludes(error.message, "the body of the response (status 200) can't be decoded: ");
  }
});

test("httpSink() decodes a body that is needed", async () => {
  const body = gzipSync(JSON.stringify([1]));
  const answer = response(200, [closing, ...coded("gzip", body)[0]], body);
  const error = await outcomeOf(answer, {
    failures: ({ body }) => (JSON.parse(body) as number[]).map((index) => ({ index, retryable: true, reason: "busy" })),
  });
  assertInstanceOf(error, DeliveryError);
  assertEquals(error.failed, [{ index: 1, retryable: true, reason: "busy" }]);
});

test("httpSink() asks for a body that isn't coded when nobody needs it, unless the user asks for another", async () => {
  await withRawServer(
    { onRequest: (socket) => socket.write(response(200, [closing, "Content-Length: 0"])) },
    async (target) => {
      const { url, requests } = target;
      for (const options of [{}, { headers: { "accept-encoding": "br" } }, { failures: () => [] }]) {
        await httpSink<Click>(url, options)(deliveryOf(CLICKS), contextOf());
      }
      const codings = requests.map(({ head }) => /^accept-encoding: *(.*)/im.exec(head)?.[1]);
      assertEquals(codings.slice(0, 2), ["identity", "br"]);
      assertStringIncludes(codings[2]!, "gzip");
    },
  );
});

test("httpSink() takes a coded body that is cut off for a failure to be retried", async () => {
  const body = half(gzipSync(Buffer.alloc(50_000, "abc")));
  const answer = response(200, ["Content-Encoding: gzip", `Content-Length: ${body.length + 20}`], body);
  for (const options of [{}, { failures: () => [] }]) {
    const error = await outcomeOf(answer, options, (socket) => socket.end());
    assertInstanceOf(error, DeliveryError);
    assertStringIncludes(error.message, "the connection failed or was cut");
  }
});

/** Sends `count` deliveries, one after the other, delivered or not; the number of connections that took. */
async function connectionsFor(count: number, answer: Uint8Array): Promise<number> {
  let connections = 0;
  await withRawServer({ onRequest: (socket) => socket.write(answer) }, async (target) => {
    const send = httpSink<Click>(target.url);
    for (let n = 0; n < count; n++) await Promise.resolve(send(deliveryOf([{ n }]), contextOf())).catch(() => {});
    connections = target.connections();
  });
  return connections;
}

test("httpSink() uses a connection again after a body that nobody needs, coded or not", async () => {
  for (const what of ["says gzip and is plain", "says br and is plain", "says gzip and is an empty chunk"]) {
    const [fields, body] = UNDECODABLE[what]!;
    const connections = await connectionsFor(12, response(200, fields, body));
    assert(connections <= 3, `${connections} connections for 12 requests with a body that ${what}`);
  }
  const page = response(502, ["Content-Type: text/html", "Content-Length: 100000"], "x".repeat(100_000));
  const connections = await connectionsFor(12, page);
  assert(connections <= 3, `${connections} connections for 12 long pages of errors`);
});

test("httpSink() does not read a body to its end that doesn't end, and leaves no such connection behind", async () => {
  const chunk = Buffer.from(`4000\r\n${"x".repeat(0x4000)}\r\n`);
  const closed: Promise<void>[] = [];
  await withRawServer({
    onRequest(socket) {
      closed.push(new Promise((resolve) => socket.on("close", () => resolve())));
      const pour = (): void => {
        while (!socket.destroyed && socket.write(chunk));
      };
      socket.on("drain", pour);
      socket.write(response(200, ["Transfer-Encoding: chunked"]));
      pour();
    },
  }, async ({ url }) => {
    const send = httpSink<Click>(url);
    const context = contextOf({ signal: AbortSignal.timeout(15_000) });
    for (let i = 0; i < 5; i++) await send(deliveryOf(CLICKS), context);
    await Promise.all(closed);
    assertEquals(closed.length, 5);
  });
});

test("httpSink() is content with answers that have a body where none belongs, or none where one belongs", async () => {
  const answers = [
    response(204, [closing, "Content-Length: 5"], "plain"),
    response(204, [closing, "Content-Encoding: gzip"]),
    response(205, [closing, "Content-Length: 5"], "plain"),
    response(200, [closing, "Content-Length: 0", "Content-Type: application/json"]),
  ];
  for (const answer of answers) assertEquals(await outcomeOf(answer), undefined);
});

test("httpSink() passes over early hints, and takes a change of protocols for a failure to be retried", async () => {
  const hints = response(103, ["Link: </style.css>; rel=preload"]);
  const processing = response(102, []);
  const done = response(200, [closing, "Content-Length: 2"], "ok");
  assertEquals(await outcomeOf(Buffer.concat([hints, processing, hints, done])), undefined);
  const switched = await outcomeOf(response(101, ["Connection: upgrade", "Upgrade: x"]), {}, (socket) => socket.end());
  assertInstanceOf(switched, DeliveryError);
  assertEquals(switched.retryable, true);
});

test("httpSink() does not care where a redirect leads that it doesn't follow", async () => {
  for (const location of ["http://[", "", "//", "javascript:0", "http://127.0.0.1:1/"]) {
    const error = await outcomeOf(response(307, [closing, `Location: ${location}`, "Content-Length: 0"]));
    assertInstanceOf(error, DeliveryError);
    assertEquals(error.retryable, true);
    assertStringIncludes(error.message, "the server answered 307");
  }
});

test("httpSink() has the beginning of a failure's body though the rest is cut off", async () => {
  await withRawServer({
    onRequest(socket) {
      socket.write(response(400, ["Content-Length: 100"], "no such field"), () => socket.end());
    },
  }, async ({ url }: RawTarget) => {
    const send = httpSink<Click>(url);
    const error = await assertRejects(async () => await send(deliveryOf(CLICKS), contextOf()), DeliveryError);
    assertStringIncludes(error.message, "the server answered 400");
  });
});
