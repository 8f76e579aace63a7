/**
 * To a topic of an MQTT broker, with QoS 1: at least once and in order. A resend has the same user properties, so a subscriber that skips
 * what it has had gets each record once. A broker keeps messages for subscribers that are away only in sessions of theirs.
 *
 *     const client = await connectAsync("mqtt://127.0.0.1", { protocolVersion: 5 }); // of mqtt
 *     client.on("error", console.error); // without a listener it would end the process
 *     const producer = new Producer({ buffer, send: mqttSink<Reading>(client, "readings") });
 */

import { Buffer } from "node:buffer";
import { DeliveryError, type Send } from "@sluice/buffer";
import type { MqttClient } from "mqtt";

export const mqttSink = <T>(client: MqttClient, topic: string): Send<T> => {
  const waiting = new Map<string, Promise<unknown>>();
  return async ({ id, batchId, sequences, payloads }) => {
    try {
      if (!client.connected) throw new Error("there is no connection"); // else the client would keep the records in memory
      // The client resends what isn't acknowledged, for as long as it takes: an attempt that comes again waits, and adds no copies.
      const published = waiting.get(id) ?? Promise.all(payloads.map((payload, i) => {
        const userProperties = { batchId, sequence: String(sequences[i]) };
        return client.publishAsync(topic, Buffer.from(payload), { qos: 1, properties: { userProperties } });
      }));
      waiting.set(id, published);
      await published.finally(() => waiting.delete(id));
    } catch (cause) {
      const final = client.disconnecting; // by whoever called end()
      throw new DeliveryError({ reason: `${cause}`, scope: "target", retryable: true, final }, { cause });
    }
  };
};
