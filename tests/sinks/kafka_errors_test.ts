/**
 * The errors that the clients for Kafka are known to throw, by their shape: what the sink makes of each.
 */

import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { DeliveryError } from "../../mod.ts";
import { type KafkaProducer, kafkaSink } from "../../src/sinks/kafka.ts";
import { contextOf } from "../support/deliveries.ts";
import { type Click, clicks, outcomeOf, sendBatch } from "./kafka_tools.ts";

/** A producer that fails so. */
const failing = (error: unknown): KafkaProducer => ({ send: () => Promise.reject(error), sendBatch });

async function outcomeFor(thrown: unknown): Promise<string> {
  const send = kafkaSink<Click>(failing(thrown), { topic: "clicks" });
  const error = await assertRejects(async () => await send(clicks(1), contextOf()), DeliveryError);
  assertEquals(error.cause, thrown);
  return outcomeOf(error);
}

/** Errors in the shape of `@confluentinc/kafka-javascript`, whose binding can't be built everywhere. */
test("kafkaSink() understands the errors of @confluentinc/kafka-javascript by their code", async () => {
  const shapes: readonly (readonly [code: number, outcome: string])[] = [
    [10, "too large"], // ERR_MSG_SIZE_TOO_LARGE, also from librdkafka itself
    [18, "too large"],
    [29, "lasts"],
    [-186, "lasts"], // ERR__INVALID_ARG
    [-188, "lasts"], // ERR__UNKNOWN_TOPIC
    [-190, "bad record"], // ERR__UNKNOWN_PARTITION
    [-169, "lasts"], // ERR__AUTHENTICATION
    [-184, "passes"], // ERR__QUEUE_FULL
    [-187, "passes"], // ERR__ALL_BROKERS_DOWN
    [-192, "passes"], // ERR__MSG_TIMED_OUT
    [-195, "passes"], // ERR__TRANSPORT
    [-1, "passes"],
    [-172, "final"], // ERR__STATE: not connected, or closed
    [-150, "final"], // ERR__FATAL
  ];
  for (const [code, outcome] of shapes) {
    const thrown = Object.assign(new Error("from librdkafka"), { name: "KafkaJSError", code, retriable: false });
    assertEquals([code, await outcomeFor(thrown)], [code, outcome]);
  }
});

/** `new Producer().send()` throws a sum of sums. */
test("kafkaSink() understands the errors of @platformatic/kafka by their codes, however deep", async () => {
  const failure = (code: string, more: Record<string, unknown> = {}) =>
    Object.assign(new Error(code), { code, ...more });
  const sum = (...errors: Error[]) =>
    Object.assign(new AggregateError(errors, "several"), { code: "PLT_KFK_MULTIPLE" });
  const protocol = (apiCode: number) => sum(sum(failure("PLT_KFK_PROTOCOL", { apiCode })));
  const shapes: readonly (readonly [thrown: Error, outcome: string])[] = [
    [protocol(10), "too large"],
    [protocol(87), "bad record"],
    [protocol(29), "lasts"],
    [protocol(6), "passes"],
    // One broker's verdict on its records doesn't count as long as another one is ill.
    [sum(protocol(87), protocol(29)), "lasts"],
    [failure("PLT_KFK_NETWORK"), "passes"],
    [failure("PLT_KFK_TIMEOUT"), "passes"],
    [sum(failure("PLT_KFK_AUTHENTICATION")), "lasts"],
    [failure("PLT_KFK_UNSUPPORTED_COMPRESSION"), "lasts"],
    [failure("PLT_KFK_NETWORK", { closed: true }), "final"],
  ];
  for (const [thrown, outcome] of shapes) assertEquals(await outcomeFor(thrown), outcome, thrown.message);
  const send = kafkaSink<Click>(failing(sum(sum(failure("the real reason")))), { topic: "clicks" });
  await assertRejects(async () => await send(clicks(1), contextOf()), DeliveryError, "the real reason");
});

test("kafkaSink() finds a code behind wrapped errors, and takes what has none for the target's fault", async () => {
  const named = (name: string, cause?: Error) => Object.assign(new Error(name, { cause }), { name, retriable: false });
  const inner = Object.assign(new Error("too large"), { code: 10 });
  const cyclic = new Error("cyclic");
  cyclic.cause = cyclic;
  const thrown: readonly (readonly [unknown, string])[] = [
    [new Error("outer", { cause: new Error("middle", { cause: inner }) }), "too large"],
    [Object.assign(new Error("refused"), { code: "ECONNREFUSED" }), "passes"],
    [named("KafkaJSConnectionClosedError"), "passes"],
    [named("KafkaJSNonRetriableError", named("KafkaJSConnectionError")), "passes"],
    [named("KafkaJSNumberOfRetriesExceeded", named("KafkaJSRequestTimeoutError")), "passes"],
    [named("KafkaJSNonRetriableError", named("KafkaJSSASLAuthenticationError")), "lasts"],
    [named("KafkaJSNotImplemented"), "lasts"],
    ["a string", "passes"],
    [undefined, "passes"],
    [cyclic, "passes"],
  ];
  for (const [error, outcome] of thrown) assertEquals(await outcomeFor(error), outcome, String(error));
});
