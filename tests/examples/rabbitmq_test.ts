/**
 * The recipe for RabbitMQ, with the real package and server: records are in the queue although the server is killed and answers are lost,
 * and copies can be told.
 */

import { assert, assertEquals, assertGreater } from "@std/assert";
import { rabbitmqSink } from "../../examples/targets/rabbitmq.ts";
import { loadAmqp } from "../engines/clients.ts";
import { refusalOf, testWithServer } from "../sinks/tools.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { deliverThrough, type Item, ITEMS } from "./delivering.ts";

testWithServer(
  "rabbitmq",
  "rabbitmq.ts delivers each record, and copies can be told, over a killed server",
  async (server) => {
    const { connect } = await loadAmqp();
    const recovery = { initialDelay: 20, maxDelay: 20 };
    const connection = await connect(`amqp://127.0.0.1:${server.port}`, { recovery });
    connection.on("error", () => {});
    const send = rabbitmqSink<Item>(connection, "records");
    const missing = await refusalOf(send, deliveryOf<Item>([{ n: 1 }]));
    assertEquals([missing.scope, missing.retryable], ["target", false]);
    assertEquals(missing.message, "Cannot deliver: there is no queue records");

    const first = await connection.createChannel();
    await first.assertQueue("records", { durable: true });
    await first.close();
    const outage = { end: () => server.kill(), start: () => server.start() };
    assertGreater(await deliverThrough(send, outage), 100);

    const reader = await connection.createChannel();
    const received = new Map<string, Item>();
    const { messageCount } = await reader.checkQueue("records");
    for (let i = 0; i < messageCount; i++) {
      const message = await reader.get("records", { noAck: true });
      assert(message !== false);
      const { messageId } = message.properties;
      if (!received.has(messageId)) received.set(messageId, JSON.parse(String(message.content)));
    }
    assertEquals([...received.values()], ITEMS);
    assertGreater(messageCount, ITEMS.length);

    // A full queue refuses each attempt, and none leaves a channel open.
    const args = { "x-overflow": "reject-publish" };
    await reader.assertQueue("full", { durable: true, maxLength: 1, arguments: args });
    const narrow = await connect(`amqp://127.0.0.1:${server.port}?channelMax=3`, { recovery });
    const toFull = rabbitmqSink<Item>(narrow, "full");
    const items = deliveryOf<Item>([{ n: 1 }, { n: 2 }, { n: 3 }]);
    for (let i = 0; i < 10; i++) {
      const { message } = await refusalOf(toFull, items);
      assertEquals(message, "Cannot deliver: Error: message nacked");
    }
    // Nor does one that is aborted while it waits.
    const tooLate = new Error("too late");
    for (let i = 0; i < 10; i++) {
      const attempt = new AbortController();
      const refusal = Promise.resolve(toFull(items, contextOf({ signal: attempt.signal }))).then(
        () => undefined,
        (error: Error) => error,
      );
      if (i > 0) await narrow.createChannel().then((channel) => channel.close()); // the attempt has its own by then
      attempt.abort(tooLate);
      const error = await refusal;
      assert(error !== undefined && !error.message.includes("channels"), error?.message);
    }
    await reader.purgeQueue("full");
    await send(deliveryOf<Item>([{ n: 1 }]), contextOf());
    await narrow.close();
    await reader.close();
    await connection.close();
    const closed = await refusalOf(send, deliveryOf<Item>([{ n: 1 }]));
    assertEquals(closed.scope, "target");
  },
);
