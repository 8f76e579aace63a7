/**
 * Connections of the HTTP sink: which way a request goes, and what becomes of connections that were idle, silent, or answered early.
 */

import type { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { runtimeName } from "../../src/base/runtime.ts";
import { DeliveryError } from "../../src/errors/mod.ts";
import { httpSink } from "../../src/sinks/http.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { settle } from "../support/event_loop.ts";
import { response, withRawServer } from "./raw_server.ts";

const ON_NODE = { skip: runtimeName() === "node" ? false : "only Node has this way" };
const OK = response(200, ["Content-Length: 0"]);
const CLOSING = response(200, ["Connection: close", "Content-Length: 0"]);
const DISPATCHER = Symbol.for("undici.globalDispatcher.1");

/** Sends one record; what it is rejected with, if it is. */
function outcomeOf(send: ReturnType<typeof httpSink<number>>, signal?: AbortSignal): Promise<unknown> {
  const context = contextOf(signal === undefined ? {} : { signal });
  return Promise.resolve(send(deliveryOf([1]), context)).then(() => undefined, (error) => error);
}

/** Ways to have fetch make requests its own way. */
const OWN_WAYS: Readonly<Record<string, (agent: AgentClass) => object>> = {
  "an Agent with options": (Agent) => new Agent({ connect: { timeout: 1_000 } }),
  "an Agent with interceptors": (Agent) => {
    const agent = new Agent();
    return agent.compose((dispatch) => (options, handler) => dispatch.call(agent, options, handler));
  },
  "another dispatcher": (Agent) => new (class Proxied extends Agent {})(),
};

type Dispatch = (options: object, handler: object) => unknown;
type AgentClass = new (options?: object) => {
  compose(interceptor: (dispatch: Dispatch) => Dispatch): object;
};

/** Whether a request comes from fetch, which says so in a field that `node:http` doesn't have. */
async function isByFetch(): Promise<boolean> {
  let head = "";
  await withRawServer({ onRequest: (socket) => socket.write(CLOSING) }, async ({ url, requests }) => {
    assertEquals(await outcomeOf(httpSink<number>(url)), undefined);
    head = requests[0]!.head;
  });
  return /^sec-fetch-mode:/im.test(head);
}

test("httpSink() makes requests by node:http unless somebody has changed fetch", ON_NODE, async () => {
  assertEquals(await isByFetch(), false);
  await fetch("data:,");
  assertEquals(await isByFetch(), false);
  const dispatchers = globalThis as unknown as { [DISPATCHER]: { readonly constructor: AgentClass } };
  const before = dispatchers[DISPATCHER];
  for (const [what, make] of Object.entries(OWN_WAYS)) {
    Object.defineProperty(globalThis, DISPATCHER, { value: make(before.constructor) });
    try {
      assertEquals(await isByFetch(), true, what);
    } finally {
      Object.defineProperty(globalThis, DISPATCHER, { value: before });
    }
  }
  const own = globalThis.fetch;
  globalThis.fetch = (...args) => own(...args);
  try {
    assertEquals(await isByFetch(), true);
  } finally {
    globalThis.fetch = own;
  }
  assertEquals(await isByFetch(), false);
});

test("httpSink() makes a request once more whose connection had been closed while it was idle", ON_NODE, async () => {
  const used = new Set<Socket>();
  await withRawServer({
    onHead: (socket) => void (used.has(socket) && socket.resetAndDestroy()),
    onRequest: (socket) => void (used.add(socket) && socket.write(OK)),
  }, async ({ url, requests, connections }) => {
    const send = httpSink<number>(url);
    for (let i = 0; i < 3; i++) assertEquals(await outcomeOf(send), undefined);
    assertEquals([requests.length, connections()], [5, 3]);
    const keys = requests.map(({ head }) => /^idempotency-key: *(.*)/im.exec(head)?.[1]);
    assertEquals(new Set(keys).size, 1);
  });
});

test("httpSink() makes a request once whose first connection is reset, or whose answer is cut", ON_NODE, async () => {
  for (const answer of ["", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nha"]) {
    let isReset = false;
    await withRawServer({
      onRequest(socket) {
        if (!isReset) return void socket.write(OK);
        socket.write(answer, () => setImmediate(() => socket.resetAndDestroy()));
      },
    }, async ({ url, requests }) => {
      const send = httpSink<number>(url);
      // With an answer that has begun, on a connection that was idle before; without one, on a new one.
      if (answer !== "") assertEquals(await outcomeOf(send), undefined);
      isReset = true;
      assertInstanceOf(await outcomeOf(send), DeliveryError);
      assertEquals(requests.length, answer === "" ? 1 : 2);
    });
  }
});

test("httpSink() makes a connection after an attempt on one that was silent, though others are idle", async () => {
  const all = new Set<Socket>();
  const silent = new Set<Socket>();
  const waiting = new Set<Socket>();
  const controller = new AbortController();
  await withRawServer({
    onRequest(socket) {
      all.add(socket);
      if (silent.has(socket)) return controller.abort(new Error("timed out"));
      waiting.add(socket);
      // The first three at once, so that each has a connection of its own.
      if (all.size < 3) return;
      for (const one of waiting) one.write(OK);
      waiting.clear();
    },
  }, async ({ url, connections }) => {
    const send = httpSink<number>(url);
    await Promise.all([1, 2, 3].map(() => outcomeOf(send)));
    assertEquals(connections(), 3);
    for (const socket of all) silent.add(socket);
    const error = await outcomeOf(send, controller.signal);
    assertEquals((error as Error).message, "timed out");
    assertEquals(await outcomeOf(send, AbortSignal.timeout(5_000)), undefined);
  });
});

/** Deno stops sending as well, and keeps the connection for 90 seconds. */
const NOT_ON_DENO = { skip: runtimeName() === "deno" ? "Deno keeps such a connection" : false };

test("httpSink() stops sending a body that has been answered, and leaves the connection", NOT_ON_DENO, async () => {
  const bytes = 2 ** 25;
  let received = 0;
  let closed: Promise<unknown> | undefined;
  let answered: Socket | undefined;
  await withRawServer({
    onHead(socket) {
      answered = socket;
      socket.on("data", ({ length }) => void (received += length));
      closed = new Promise((resolve) => socket.on("end", resolve).on("close", resolve));
      socket.write(response(413, ["Content-Length: 0"]));
      socket.pause();
    },
  }, async ({ url }) => {
    const send = httpSink<number>(url, { body: () => "x".repeat(bytes) });
    const error = await outcomeOf(send);
    assertInstanceOf(error, DeliveryError);
    assertEquals(error.tooLarge, true);
    answered!.resume();
    await closed;
    assert(received < bytes / 2, `${received} bytes came`);
  });
});

test("httpSink() sends all of a body that was accepted at its beginning", ON_NODE, async () => {
  const answers = [OK, CLOSING, response(200, ["Content-Length: 1000000"], "y".repeat(1_000_000))];
  for (const answer of answers) {
    const { promise: received, resolve } = Promise.withResolvers<string>();
    await withRawServer({
      onHead(socket) {
        socket.on("end", () => resolve("a part")).on("close", () => resolve("a part"));
        socket.pause();
        socket.write(answer, () => setImmediate(() => socket.resume()));
      },
      onRequest: () => resolve("all"),
    }, async ({ url }) => {
      const send = httpSink<number>(url, { body: () => "x".repeat(2 ** 24) });
      assertEquals(await outcomeOf(send), undefined);
      assertEquals(await received, "all");
    });
  }
});

test(
  "httpSink() believes a server that accepts a delivery at its beginning, and closes the connection",
  ON_NODE,
  async () => {
    await withRawServer({
      onHead(socket) {
        socket.pause();
        socket.write(OK, () => void settle().then(() => socket.resetAndDestroy()));
      },
    }, async ({ url, connections }) => {
      const send = httpSink<number>(url, { body: () => "x".repeat(2 ** 24) });
      assertEquals([await outcomeOf(send), connections()], [undefined, 1]);
    });
  },
);

test("httpSink() ends with its signal while a server that has accepted doesn't read", ON_NODE, async () => {
  const controller = new AbortController();
  await withRawServer({
    onHead(socket) {
      socket.pause();
      socket.write(OK, () => void settle().then(() => controller.abort(new Error("timed out"))));
    },
  }, async ({ url }) => {
    const send = httpSink<number>(url, { body: () => "x".repeat(2 ** 24) });
    assertEquals((await outcomeOf(send, controller.signal) as Error).message, "timed out");
  });
});

test("httpSink() shows no body that isn't text, and takes the largest of several Retry-After", async () => {
  for (const body of [gzipSync("no such field"), "\x00\x01", "\x1b[2J"]) {
    const fields = [`Content-Length: ${body.length}`, "Retry-After: 2", "Retry-After: 7"];
    const answer = response(503, ["Connection: close", "Content-Encoding: gzip", ...fields], body);
    await withRawServer({ onRequest: (socket) => socket.write(answer) }, async ({ url }) => {
      const error = await outcomeOf(httpSink<number>(url));
      assertInstanceOf(error, DeliveryError);
      assertEquals(error.message, "Cannot deliver: the server answered 503");
      assertEquals(error.retryAfterMs, 7_000);
    });
  }
});

test("httpSink() speaks TLS to an https URL", async () => {
  let firstByte = 0;
  const server = createServer((socket) =>
    socket.on("error", () => {}).once("data", (bytes: Buffer) => {
      firstByte = bytes[0]!;
      socket.destroy();
    })
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const send = httpSink<number>(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  const error = await outcomeOf(send);
  assertInstanceOf(error, DeliveryError);
  assertEquals([firstByte, error.scope, error.retryable], [22, "target", true]); // a handshake
  await new Promise((resolve) => server.close(resolve));
});
