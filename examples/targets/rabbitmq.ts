/**
 * To a queue of RabbitMQ, at least once and in order. A resend has the same `messageId`, so a consumer that skips ids that it has had
 * gets each record once. The queue is durable; what is sent to a queue that isn't there comes back, and waits for it.
 *
 *     const connection = await connect("amqp://127.0.0.1", { recovery: true }); // of amqplib
 *     connection.on("error", console.error); // without a listener it would end the process
 *     const producer = new Producer({ buffer, send: rabbitmqSink<Order>(connection, "orders") });
 */

import { Buffer } from "node:buffer";
import { DeliveryError, type Send } from "@sluice/buffer";
import type { ConfirmChannel, RecoveringChannelModel } from "amqplib";

export function rabbitmqSink<T>(connection: RecoveringChannelModel, queue: string): Send<T> {
  return async ({ payloads, batchId, sequences }, { signal }) => {
    let returned = 0;
    let channel: ConfirmChannel | undefined;
    try {
      channel = (await connection.createConfirmChannel()).on("error", () => {}).on("return", () => returned++);
      signal.throwIfAborted();
      for (const [i, payload] of payloads.entries()) {
        const messageId = `${batchId}-${sequences[i]}`;
        channel.sendToQueue(queue, Buffer.from(payload), { mandatory: true, persistent: true, messageId });
      }
      const aborted = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      await Promise.race([channel.waitForConfirms(), aborted]);
    } catch (cause) {
      throw new DeliveryError({ reason: `${cause}`, scope: "target", retryable: true }, { cause });
    } finally {
      channel?.close().catch(() => {}); // always: a connection has a limited number of them
    }
    if (returned > 0) throw new DeliveryError({ reason: `there is no queue ${queue}`, scope: "target" });
  };
}
