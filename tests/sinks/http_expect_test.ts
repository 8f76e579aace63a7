/**
 * Answers with 2xx that nobody who has stored anything would give, and functions of the user's that throw.
 */

import { test } from "node:test";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { MemoryBuffer, Producer } from "../../mod.ts";
import { DeliveryError } from "../../src/errors/mod.ts";
import { type HttpExpectation, httpSink, type HttpSinkOptions, type HttpUrl } from "../../src/sinks/http.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { response, withRawServer } from "./raw_server.ts";

const PORTAL = response(
  200,
  ["Connection: close", "Content-Type: text/html; charset=utf-8", "Content-Length: 6"],
  "<html>",
);

/** What an answer is: delivered, or a failure's scope and whether it is retryable. */
async function outcomeOf(answer: Uint8Array, options: HttpSinkOptions<number>, warnings: string[]): Promise<unknown> {
  let outcome: unknown = "delivered";
  await withRawServer({ onRequest: (socket) => socket.write(answer) }, async ({ url }) => {
    const context = contextOf({ warn: (reason) => warnings.push(reason) });
    await Promise.resolve(httpSink<number>(url, options)(deliveryOf([1, 2]), context)).catch((error) => {
      outcome = error instanceof DeliveryError ? [error.scope, error.retryable, error.message] : error;
    });
  });
  return outcome;
}

const EXPECTATIONS: readonly (readonly [expect: HttpExpectation, why: string])[] = [
  [{ status: 204 }, "the status isn't 204"],
  [{ status: [201, 202] }, "the status isn't 201 or 202"],
  [{ contentType: "application/json" }, "its type is text/html, not application/json"],
  [{ header: "X-Elastic-Product" }, "it has no header field X-Elastic-Product"],
];

for (const [expect, why] of EXPECTATIONS) {
  test(`httpSink() takes a portal's page for a target that is blocked when ${JSON.stringify(expect)} is expected`, async () => {
    const warnings: string[] = [];
    assertEquals(await outcomeOf(PORTAL, { expect }, warnings), [
      "target",
      false,
      `Cannot deliver: the server answered 200: ${why}`,
    ]);
    assertEquals(warnings, []);
  });
}

test("httpSink() acknowledges an answer that is as expected", async () => {
  const fields = ["Connection: close", "Content-Type: Application/JSON; charset=utf-8", "X-Elastic-Product: E"];
  const answer = response(201, [...fields, "Content-Length: 2"], "{}");
  const expect = { status: [200, 201], contentType: "application/json", header: "x-elastic-product" };
  assertEquals(await outcomeOf(answer, { expect }, []), "delivered");
});

test("httpSink() warns of HTML, unless it is expected, empty, or the user's verdict", async () => {
  const warnings: string[] = [];
  assertEquals(await outcomeOf(PORTAL, {}, warnings), "delivered");
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, "a page of HTML");
  const empty = response(200, ["Connection: close", "Content-Type: text/html", "Content-Length: 0"]);
  for (const options of [{ expect: { contentType: "text/html" } }, { verdict: () => "ok" as const }]) {
    assertEquals(await outcomeOf(PORTAL, options, warnings), "delivered");
  }
  assertEquals(await outcomeOf(empty, {}, warnings), "delivered");
  assertEquals(warnings.length, 1);
});

test("a producer reports a page of HTML as an event, once in a row", async () => {
  await withRawServer({ onRequest: (socket) => socket.write(PORTAL) }, async ({ url }) => {
    const buffer = await MemoryBuffer.open<number>({ maxRecords: 1 });
    const warned: string[] = [];
    const producer = new Producer<number>({
      buffer,
      send: httpSink(url),
      onEvent: (event) => void (event.type === "warned" && warned.push(event.batchId)),
    });
    await producer.putMany([1, 2, 3]);
    await producer.flush();
    assertEquals(warned.length, 1);
    await producer.close();
    await buffer.close();
  });
});

test("httpSink() refuses an expectation that no answer can meet", () => {
  const refused = [{ status: 404 }, { status: [200, 99] }, { contentType: "" }, { header: 7 }, { header: "no name" }];
  for (const expect of refused) {
    assertThrows(() => httpSink("http://localhost", { expect: expect as HttpExpectation }), TypeError);
  }
});

test("httpSink() asks a function for the URL of each delivery", async () => {
  const seen: string[] = [];
  const send = httpSink<number>(({ id }) => `http://example.com/in?token=${id}`, {
    fetch(url) {
      seen.push(url.href);
      return Promise.resolve(new Response());
    },
  });
  for (const id of ["a", "b"]) await send(deliveryOf([1], { id }), contextOf());
  assertEquals(seen, ["http://example.com/in?token=a", "http://example.com/in?token=b"]);
});

const thrower = (): never => {
  throw new TypeError("broken");
};
const ok = () => Promise.resolve(new Response("x"));

/** Functions that throw, and whose fault that is. */
const THROWERS: readonly (readonly [name: string, url: HttpUrl<number>, HttpSinkOptions<number>, fault: string])[] = [
  ["url", thrower, {}, "record false true"],
  ["url", () => "ftp://nowhere", {}, "record false true"],
  ["body", "http://localhost", { body: thrower }, "record false true"],
  ["headers", "http://localhost", { headers: thrower }, "target true false"],
  ["headers", "http://localhost", { headers: () => ({ "no name": "x" }) }, "target true false"],
  ["verdict", "http://localhost", { verdict: thrower }, "target true false"],
  ["failures", "http://localhost", { failures: thrower }, "target true false"],
];

for (const [name, url, options, fault] of THROWERS) {
  test(`httpSink() says whose fault it is that ${name} throws: ${fault}`, async () => {
    const send = httpSink<number>(url, { ...options, fetch: ok });
    const error = await assertRejects(async () => await send(deliveryOf([1, 2]), contextOf()), DeliveryError);
    assertEquals(`${error.scope} ${error.retryable} ${error.split}`, fault);
    assertStringIncludes(error.message, `the option ${name} failed`);
  });
}
