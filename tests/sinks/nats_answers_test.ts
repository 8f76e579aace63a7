/**
 * What `natsSink()` concludes from what it hears, and from what it doesn't: answers that are somebody else's, and attempts that sent
 * nothing.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { type NatsConnection, type NatsReply, natsSink } from "../../src/sinks/nats.ts";
import { FakeStream } from "./fake_stream.ts";
import { batchOf, refusalOf, send } from "./tools.ts";

const OPTIONS = { stream: "NUMBERS", subject: "numbers" };
const number = (sequence: number) => sequence;

test("natsSink() delivers to a stream that has become empty, although the first attempt could send nothing", async () => {
  for (const failing of ["info", "jetstreamManager"] as const) {
    const stream = new FakeStream();
    const isDown = { info: false, jetstreamManager: false };
    const refuse = () => Promise.reject(Object.assign(new Error("timeout"), { name: "TimeoutError" }));
    const sink = natsSink<number>({
      publish: (...args) => stream.publish(...args),
      async jetstreamManager() {
        if (isDown.jetstreamManager) return await refuse();
        const { streams } = await stream.jetstreamManager();
        return { streams: { ...streams, info: () => isDown.info ? refuse() : streams.info("NUMBERS") } };
      },
    }, OPTIONS);
    await send(natsSink(stream, OPTIONS), batchOf([1, 5], number));
    stream.purge();
    isDown[failing] = true;
    await refusalOf(sink, batchOf([6, 10], number));
    await refusalOf(sink, batchOf([6, 10], number, { redelivered: true }), 2);
    isDown[failing] = false;
    await send(sink, batchOf([6, 10], number, { redelivered: true }), 3);
    assertEquals(stream.texts, ["6", "7", "8", "9", "10"]);
  }
});

test("natsSink() doesn't take the answers of a service that has the same subject for the stream's", async () => {
  const answers = ['{"ok":true}', '{"seq":1}', "5", "null", '{"error":{"message":"no"}}', "", "+OK"];
  let answered = 0;
  for (const refused of [0, 3]) {
    const stream = new FakeStream();
    const connection = stream.connect();
    let answer: (message: NatsReply) => void = () => {};
    const shared: NatsConnection = {
      isClosed: () => false,
      subscribe(subject, { callback }) {
        answer = (message) => callback(null, message);
        return connection.subscribe(subject, { callback });
      },
      publish(subject, payload, options) {
        const data = new TextEncoder().encode(answers[answered++ % answers.length]);
        queueMicrotask(() => answer({ subject: options.reply!, data }));
        connection.publish(subject, payload, options);
      },
    };
    stream.fateOf = (id) => Number(id.split(":")[1]) > 20 - refused ? "refused" : "stored";
    const sink = natsSink<number>(stream, { ...OPTIONS, connection: shared });
    const delivery = batchOf([1, 20], number);
    const cause = refused === 0 ? await send(sink, delivery) : (await refusalOf(sink, delivery)).cause;
    assertEquals((cause as { code?: number } | undefined)?.code, refused === 0 ? undefined : 10077);
    assertEquals(stream.texts.length, 20 - refused);
  }
});

test("natsSink() doesn't believe an answer of the client without a number", async () => {
  const stream = new FakeStream();
  const publish = () => Promise.resolve({ ok: true } as never);
  const { scope, retryable } = await refusalOf(
    natsSink<number>({ publish, jetstreamManager: () => stream.jetstreamManager() }, OPTIONS),
    batchOf([1, 3], number),
  );
  assertEquals([scope, retryable], ["target", true]);
});
