/**
 * The recipe for RabbitMQ, with the real package and server: records are in the queue although the server is killed and answers are lost,
 * and copies can be told.
 */

import { assert, assertEquals, assertGreater } from "@std/assert";
import { rabbitmqSink } from "../../examples/targets/rabbitmq.ts";
import { loadAmqp } from "../engines/clients.ts";
import { refusalOf, testWithServer } from "../sinks/tools.ts";
import { deliveryOf } from "../support/deliveries.ts";
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
    await reader.close();
    await connection.close();
    const closed = await refusalOf(send, deliveryOf<Item>([{ n: 1 }]));
    assertEquals(closed.scope, "target");
  },
);
