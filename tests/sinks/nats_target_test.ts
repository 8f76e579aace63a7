/**
 * A producer with `natsSink()` and a real server whose faults aren't the records': nothing is lost, nothing becomes a dead letter, and the
 * producer says what it waits for.
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { type DeadLetter, deadLetterCodec, MemoryBuffer, Producer } from "../../mod.ts";
import { natsSink } from "../../src/sinks/nats.ts";
import { loadJetStream, loadNats } from "../engines/clients.ts";
import { testWithServer } from "./tools.ts";

testWithServer(
  "nats",
  "Producer with natsSink() waits while the stream is full, and makes no dead letters",
  async (server) => {
    const [{ connect }, { jetstream }] = [await loadNats(), await loadJetStream()];
    const connection = await connect({ servers: `127.0.0.1:${server.port}`, maxReconnectAttempts: -1 });
    const client = jetstream(connection);
    const { streams } = await client.jetstreamManager();
    const config = { name: "NUMBERS", subjects: ["numbers"], max_msgs: 250, discard: "new" as const };
    await streams.add(config);
    const letters = await MemoryBuffer.open<DeadLetter<number>>({ codec: deadLetterCodec<number>() });
    const buffer = await MemoryBuffer.open<number>({ maxRecords: 100 });
    const events: string[] = [];
    const blocked = Promise.withResolvers<void>();
    const producer = new Producer<number>({
      buffer,
      deadLetters: letters,
      maxInFlight: 4,
      send: natsSink<number>(client, { stream: "NUMBERS", subject: "numbers" }),
      retry: { firstDelayMs: 1, maxDelayMs: 20 },
      onEvent({ type }) {
        if (type === "blocked" || type === "unblocked") events.push(type);
        if (type === "blocked") blocked.resolve();
      },
    });
    try {
      await producer.putMany(Array.from({ length: 700 }, (_, i) => i + 1));
      const flushed = producer.flush();
      await blocked.promise;
      await streams.update("NUMBERS", { ...config, max_msgs: 10_000 });
      await flushed;
      const { state } = await streams.info("NUMBERS");
      const all = Array.from({ length: state.last_seq }, (_, i) => streams.getMessage("NUMBERS", { seq: i + 1 }));
      const numbers = (await Promise.all(all)).map((message) => message!.json<number>());
      assertEquals(numbers.toSorted((a, b) => a - b), Array.from({ length: 700 }, (_, i) => i + 1));
      assertEquals([events, letters.stats().pendingRecords], [["blocked", "unblocked"], 0]);
      // A client that is closed never comes back.
      await producer.putMany([701, 702]);
      await connection.close();
      const error = await producer.flush().then(() => undefined, (error: Error) => error);
      assertStringIncludes(String(error?.cause), "the client was closed by its owner");
      assertEquals(buffer.stats().pendingRecords, 2);
    } finally {
      await producer.close().catch(() => {});
      await Promise.all([buffer.close(), letters.close(), connection.close()]);
    }
  },
);
