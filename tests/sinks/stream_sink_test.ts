/**
 * The stream and append sinks: whole deliveries, one after the other; what becomes of streams that fail or hang.
 */

import { test } from "node:test";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { textCodec } from "../../src/base/codec.ts";
import { deadLetterCodec, MemoryBuffer, Producer } from "../../mod.ts";
import { DeliveryError, ProducerStoppedError } from "../../src/errors/mod.ts";
import { appendSink, streamSink } from "../../src/sinks/stream.ts";
import { contextOf, deliveryOf, UUID } from "../support/deliveries.ts";
import { watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";

/** A stream that keeps its chunks as text; `onWrite` may hold a write up, or fail it. */
function collector(onWrite?: (text: string) => Promise<void> | void) {
  const chunks: string[] = [];
  const stream = new WritableStream<Uint8Array>({
    async write(chunk) {
      const text = new TextDecoder().decode(chunk);
      await onWrite?.(text);
      chunks.push(text);
    },
  });
  return { stream, chunks };
}

const verdictOf = ({ scope, retryable, final }: DeliveryError) => [scope, retryable, final];

test("streamSink() writes each delivery as one chunk of lines, and leaves the stream open and unlocked", async () => {
  const { stream, chunks } = collector();
  const send = streamSink<number>(stream);
  await send(deliveryOf([1, 2]), contextOf());
  assertEquals(stream.locked, false);
  await send(deliveryOf([3], { firstSequence: 3 }), contextOf());
  assertEquals(chunks, ["1\n2\n", "3\n"]);
  await stream.close();
});

test("streamSink() resolves when the stream has taken the delivery, not before", async () => {
  let release = (): void => {};
  const { stream, chunks } = collector(() => new Promise((resolve) => release = resolve));
  const sent = watch(Promise.resolve(streamSink<number>(stream)(deliveryOf([1]), contextOf())));
  await settle();
  assertEquals([sent.state, chunks], ["pending", []]);
  release();
  await settle();
  assertEquals([sent.state, chunks], ["resolved", ["1\n"]]);
});

test("streamSink() writes deliveries that come at once one after the other", async () => {
  const { stream, chunks } = collector(settle);
  const send = streamSink<number>(stream);
  await Promise.all([1, 2, 3].map((n) => send(deliveryOf([n]), contextOf())));
  assertEquals(chunks, ["1\n", "2\n", "3\n"]);
});

test("streamSink() writes a delivery again that comes again: a stream knows no identity", async () => {
  const { stream, chunks } = collector();
  const send = streamSink<number>(stream);
  for (const attempt of [1, 2]) await send(deliveryOf([1]), contextOf({ attempt }));
  assertEquals(chunks, ["1\n", "1\n"]);
});

test("streamSink() stops the producer for a stream that has failed or was closed", async () => {
  const { stream } = collector(() => Promise.reject(new Error("broken pipe")));
  const send = streamSink<number>(stream);
  for (let i = 0; i < 2; i++) {
    const error = await assertRejects(async () => await send(deliveryOf([1]), contextOf()), DeliveryError);
    assertEquals(verdictOf(error), ["target", false, true]);
    assertEquals(error.message, "Cannot deliver: the stream failed: broken pipe");
  }
  const closed = collector().stream;
  await closed.close();
  const error = await assertRejects(async () => await streamSink(closed)(deliveryOf([1]), contextOf()), DeliveryError);
  assertEquals(verdictOf(error), ["target", false, true]);
});

test("streamSink() makes no dead letters of records that a broken stream doesn't take", async () => {
  const { stream } = collector(() => Promise.reject(new Error("broken pipe")));
  const buffer = await MemoryBuffer.open<number>();
  const deadLetters = await MemoryBuffer.open({ codec: deadLetterCodec(buffer.codec) });
  const producer = new Producer<number>({ buffer, deadLetters, send: streamSink<number>(stream) });
  await producer.putMany([1, 2]);
  await assertRejects(() => producer.flush(), ProducerStoppedError, "broken pipe");
  assertEquals([buffer.stats().pendingRecords, deadLetters.stats().pendingRecords], [2, 0]);
  await producer.close();
  await deadLetters.close();
  await buffer.close();
});

test("streamSink() waits for a stream that somebody else has locked", async () => {
  const { stream, chunks } = collector();
  const send = streamSink<number>(stream);
  const writer = stream.getWriter();
  const error = await assertRejects(async () => await send(deliveryOf([1]), contextOf()), DeliveryError);
  assertEquals(verdictOf(error), ["target", true, false]);
  writer.releaseLock();
  await send(deliveryOf([1]), contextOf());
  assertEquals(chunks, ["1\n"]);
});

test("streamSink() opens a stream at the first delivery, and another after one has failed", async () => {
  let opened = 0;
  const all: string[][] = [];
  const send = streamSink<number>(async () => {
    const isBroken = opened++ === 0;
    await settle();
    const { stream, chunks } = collector((text) => {
      if (isBroken && text === "2\n") throw new Error("broken pipe");
    });
    all.push(chunks);
    return stream;
  });
  assertEquals(opened, 0);
  await send(deliveryOf([1]), contextOf());
  const error = await assertRejects(async () => await send(deliveryOf([2]), contextOf()), DeliveryError);
  assertEquals(verdictOf(error), ["target", true, false]);
  await send(deliveryOf([2]), contextOf());
  await send(deliveryOf([3]), contextOf());
  assertEquals([opened, all], [2, [["1\n"], ["2\n", "3\n"]]]);
});

test("streamSink() is rejected, to be retried, when no stream can be opened", async () => {
  let tries = 0;
  const { stream, chunks } = collector();
  const send = streamSink<number>(() => tries++ === 0 ? Promise.reject(new Error("not yet")) : stream);
  const error = await assertRejects(async () => await send(deliveryOf([1]), contextOf()), DeliveryError, "not yet");
  assertEquals(verdictOf(error), ["target", true, false]);
  await send(deliveryOf([1]), contextOf());
  assertEquals(chunks, ["1\n"]);
});

test("streamSink() ends with the signal's reason when a stream hangs, and what waited is not written", async () => {
  let release = (): void => {};
  const { stream, chunks } = collector(() => new Promise((resolve) => release = resolve));
  const send = streamSink<number>(stream);
  const controller = new AbortController();
  const reason = new Error("too slow");
  const context = contextOf({ signal: controller.signal });
  const hanging = watch(Promise.resolve(send(deliveryOf([1]), context)));
  const waiting = watch(Promise.resolve(send(deliveryOf([2]), context)));
  const next = watch(Promise.resolve(send(deliveryOf([3]), contextOf())));
  await settle();
  controller.abort(reason);
  await settle();
  assertEquals([hanging.error, waiting.error, next.state], [reason, reason, "pending"]);
  release();
  await settle();
  release();
  await settle();
  assertEquals([next.state, chunks], ["resolved", ["1\n", "3\n"]]);
});

test("streamSink() refuses records that are no lines, and makes lines as it is told", async () => {
  const { stream, chunks } = collector();
  const texts = deliveryOf(["a\nb"], { codec: textCodec() });
  await assertRejects(async () => await streamSink<string>(stream)(texts, contextOf()), DeliveryError);
  await streamSink<string>(stream, { line: JSON.stringify })(texts, contextOf());
  assertEquals(chunks, ['"a\\nb"\n']);
});

test("appendSink() hands over the lines with the delivery and its context, and waits", async () => {
  const appended: [string, string, number][] = [];
  const send = appendSink<number>(async (lines, { id }, { attempt }) => {
    await settle();
    appended.push([new TextDecoder().decode(lines), id, attempt]);
  });
  await send(deliveryOf([1, 2]), contextOf({ attempt: 3 }));
  assertEquals(appended, [["1\n2\n", `${UUID}-1234abcd-1-2`, 3]]);
});

test("appendSink() passes on what the function throws", async () => {
  const full = new DeliveryError({ reason: "full", retryAfterMs: 5_000 });
  const send = appendSink<number>(() => Promise.reject(full));
  assertEquals(await assertRejects(async () => await send(deliveryOf([1]), contextOf())), full);
});

test("streamSink() and appendSink() refuse what is neither stream nor function", () => {
  for (const target of [undefined, null, {}, "stream"]) {
    assertStringIncludes(assertThrows(() => streamSink(target as never), TypeError).message, "target");
    assertStringIncludes(assertThrows(() => appendSink(target as never), TypeError).message, "append");
  }
});

test("appendSink() writes empty lines only if it is told to", async () => {
  const lines: string[] = [];
  const append = (bytes: Uint8Array): void => {
    lines.push(new TextDecoder().decode(bytes));
  };
  const delivery = deliveryOf(["a", "", "b"], { codec: textCodec() });
  await appendSink<string>(append, { emptyLines: true })(delivery, contextOf());
  assertEquals(lines, ["a\n\nb\n"]);
  const error = await assertRejects(async () => await appendSink<string>(append)(delivery, contextOf()), DeliveryError);
  assertStringIncludes(error.message, "record 1 can't be written as one line, because it is empty");
  assertEquals(error.failed?.map(({ retryable }) => retryable), [true, false, true]);
  const broken = deliveryOf(["a\nb"], { codec: textCodec() });
  await assertRejects(async () => await appendSink<string>(append, { emptyLines: true })(broken, contextOf()));
});
