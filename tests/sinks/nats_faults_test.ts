/**
 * `natsSink()` while the way to a real server, or the server, is ill: each fault by itself, as it was seen.
 */

import { test } from "node:test";
import { assertEquals, assertLessOrEqual, assertStringIncludes } from "@std/assert";
import { DeliveryError, MemoryBuffer, Producer } from "../../mod.ts";
import { natsSink } from "../../src/sinks/nats.ts";
import { NATS, presetFor } from "../../src/sinks/presets.ts";
import { loadJetStream, loadNats } from "../engines/clients.ts";
import { findNats, NatsCluster } from "../engines/nats_servers.ts";
import { whyNot } from "../engines/servers.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { batchOf, refusalOf, send, testWithServer } from "./tools.ts";

const OPTIONS = { stream: "NUMBERS", subject: "numbers" };
const number = (sequence: number) => sequence;
const ACK_TIMEOUT_MS = 200;

/** A client that reconnects for ever, and fast. */
async function connectTo(port: number, timeout = ACK_TIMEOUT_MS, login: { user?: string; pass?: string } = {}) {
  const [{ connect }, { jetstream }] = [await loadNats(), await loadJetStream()];
  const connection = await connect({
    ...login,
    servers: `127.0.0.1:${port}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 10,
    reconnectJitter: 0,
  });
  const client = jetstream(connection, { timeout });
  const { streams } = await client.jetstreamManager(false);
  return { connection, client, streams };
}

/** What the stream has, in order. */
async function readAll({ streams }: Awaited<ReturnType<typeof connectTo>>): Promise<number[]> {
  const { state } = await streams.info("NUMBERS");
  const all = Array.from({ length: state.last_seq }, (_, i) => streams.getMessage("NUMBERS", { seq: i + 1 }));
  return (await Promise.all(all)).map((message) => message!.json<number>());
}

for (const dead of ["everything", "answers"] as const) {
  testWithServer(
    "nats",
    `natsSink() leaves a connection that is silently dead, and swallows ${dead}`,
    async (server) => {
      const proxy = await TcpProxy.start(server.port);
      const there = await connectTo(server.port);
      const here = await connectTo(proxy.port);
      try {
        await there.streams.add({ name: "NUMBERS", subjects: ["numbers"] });
        const sink = natsSink<number>(here.client, OPTIONS);
        await send(sink, batchOf([1, 10], number));
        // While messages wait for their acknowledgements.
        proxy.swallow(dead);
        const { scope, retryable } = await refusalOf(sink, batchOf([11, 20], number));
        assertEquals([scope, retryable], ["target", true]);
        await send(sink, batchOf([11, 20], number), 2);
        // While it asks what the stream has.
        proxy.swallow(dead);
        const next = natsSink<number>(here.client, OPTIONS);
        await refusalOf(next, batchOf([11, 20], number, { redelivered: true }));
        await send(next, batchOf([11, 20], number, { redelivered: true }), 2);
        assertEquals(await readAll(there), Array.from({ length: 20 }, (_, i) => i + 1));
      } finally {
        await Promise.all([here.connection.close(), there.connection.close()]);
        await proxy.close();
      }
    },
  );
}

testWithServer(
  "nats",
  "natsSink() leaves a connection that is silently dead, and takes no more bytes",
  async (server) => {
    const proxy = await TcpProxy.start(server.port);
    const here = await connectTo(proxy.port);
    try {
      await here.streams.add({ name: "NUMBERS", subjects: ["numbers"] });
      const sink = natsSink<string>(here.client, OPTIONS);
      const large = (sequence: number) => String(sequence).repeat(900_000);
      await send(sink, batchOf([1, 2], large));
      proxy.swallow("unread");
      // More than the buffers between here and there take.
      await refusalOf(sink, batchOf([1_001, 1_020], (sequence) => large(sequence % 10)));
      await send(sink, batchOf([1_001, 1_020], (sequence) => large(sequence % 10)), 2);
      assertEquals((await here.streams.info("NUMBERS")).state.messages, 22);
    } finally {
      await here.connection.close();
      await proxy.close();
    }
  },
);

testWithServer("nats", "natsSink() doesn't wait for the answers of a server that is gone", async (server) => {
  const proxy = await TcpProxy.start(server.port);
  const here = await connectTo(proxy.port, 60_000);
  try {
    await here.streams.add({ name: "NUMBERS", subjects: ["numbers"] });
    const sink = natsSink<number>(here.client, OPTIONS);
    await send(sink, batchOf([1, 10], number));
    for (const one of [sink, natsSink<number>(here.client, OPTIONS)]) {
      proxy.swallow("answers");
      const refused = refusalOf(one, batchOf([11, 20], number, { redelivered: true }));
      await server.kill();
      const { scope, retryable, message } = await refused;
      assertEquals([scope, retryable], ["target", true]);
      assertStringIncludes(message, "the connection to the server is lost");
      // The next attempt waits until the client is back.
      const sent = send(one, batchOf([11, 20], number, { redelivered: true }), 2);
      await server.start();
      await sent;
    }
    assertEquals(await readAll(here), Array.from({ length: 20 }, (_, i) => i + 1));
  } finally {
    await here.connection.close();
    await proxy.close();
  }
});

testWithServer("nats", "Producer with natsSink() is back within an attempt that timed out", async (server) => {
  const proxy = await TcpProxy.start(server.port);
  const there = await connectTo(server.port);
  const here = await connectTo(proxy.port);
  const buffer = await MemoryBuffer.open<number>({ maxRecords: 10 });
  const timeouts: string[] = [];
  const producer = new Producer<number>({
    buffer,
    send: natsSink<number>(here.client, OPTIONS),
    // The attempt ends before the sink's own wait does.
    timeoutMs: ACK_TIMEOUT_MS / 2,
    retry: { firstDelayMs: 1, maxDelayMs: 1 },
    onEvent: (event) => event.type === "attempt-failed" && timeouts.push(String(event.error)),
  });
  try {
    await there.streams.add({ name: "NUMBERS", subjects: ["numbers"] });
    await producer.putMany([1, 2, 3]);
    await producer.flush();
    proxy.swallow("everything");
    await producer.putMany([4, 5, 6]);
    await producer.flush();
    assertStringIncludes(timeouts[0]!, "no answer within");
    assertLessOrEqual(timeouts.length, 10);
    assertEquals(await readAll(there), [1, 2, 3, 4, 5, 6]);
  } finally {
    await producer.close();
    await buffer.close();
    await Promise.all([here.connection.close(), there.connection.close()]);
    await proxy.close();
  }
});

testWithServer("nats", "natsSink() says of a client that its owner has closed that it is final", async (server) => {
  const here = await connectTo(server.port);
  await here.streams.add({ name: "NUMBERS", subjects: ["numbers"] });
  const sink = natsSink<number>(here.client, OPTIONS);
  await send(sink, batchOf([1, 2], number));
  await here.connection.close();
  // As well when it has to look first.
  for (const [one, attempt] of [[sink, 1], [sink, 2], [natsSink<number>(here.client, OPTIONS), 1]] as const) {
    const refusal = await refusalOf(one, batchOf([3, 4], number), attempt);
    assertEquals([refusal.scope, refusal.retryable, refusal.final, refusal instanceof DeliveryError], [
      "target",
      false,
      true,
      true,
    ]);
  }
});

testWithServer(
  "nats",
  "natsSink() says of a stream that is full, sealed or missing that somebody must act",
  async (server) => {
    const here = await connectTo(server.port);
    try {
      const config = { name: "NUMBERS", subjects: ["numbers"], max_msgs: 5, discard: "new" as const };
      await here.streams.add(config);
      const sink = natsSink<number>(here.client, OPTIONS);
      const refuse = async (attempt: number, what: string) => {
        const { scope, retryable, failed } = await refusalOf(sink, batchOf([4, 8], number), attempt);
        assertEquals([scope, retryable, failed], ["target", false, undefined], what);
      };
      await send(sink, batchOf([1, 3], number));
      await refuse(1, "full");
      await here.streams.update("NUMBERS", { ...config, max_msgs: 100 });
      await send(sink, batchOf([4, 8], number), 2);
      assertEquals(await readAll(here), [1, 2, 3, 4, 5, 6, 7, 8]);

      await here.streams.update("NUMBERS", { ...config, max_msgs: 100, sealed: true } as typeof config);
      const sealed = await refusalOf(sink, batchOf([9, 10], number));
      assertEquals([sealed.scope, sealed.retryable], ["target", false]);
      await here.streams.delete("NUMBERS");
      // Nobody answers for a stream that isn't there, until it is looked for.
      await refusalOf(sink, batchOf([9, 10], number), 2);
      const missing = await refusalOf(sink, batchOf([9, 10], number), 3);
      assertEquals([missing.scope, missing.retryable], ["target", false]);
      await here.streams.add(config);
      await send(sink, batchOf([9, 10], number), 4);
      assertEquals(await readAll(here), [9, 10]);
    } finally {
      await here.connection.close();
    }
  },
);

test("natsSink() says at once what isn't permitted, and goes on when it is", { timeout: 60_000 }, async (t) => {
  const why = await whyNot("nats");
  if (why !== undefined) return t.skip(why);
  const permissions = '{ publish: { deny: ["numbers"] } }';
  const settings =
    `authorization { users: [{ user: a, password: a }, { user: b, password: b, permissions: ${permissions} }] }`;
  const cluster = await NatsCluster.start(findNats("installed")!, 1, settings);
  const port = cluster.ports[0]!;
  const [all, less] = [
    await connectTo(port, 60_000, { user: "a", pass: "a" }),
    await connectTo(port, 60_000, { user: "b", pass: "b" }),
  ];
  try {
    await all.streams.add({ name: "NUMBERS", subjects: ["numbers", "others"] });
    let isPermitted = false;
    for (const subject of ["numbers", () => isPermitted ? "others" : "numbers"]) {
      const sink = natsSink<number>(less.client, { stream: "NUMBERS", subject });
      const { scope, retryable, message } = await refusalOf(sink, batchOf([1, 3], number));
      assertEquals([scope, retryable], ["target", false]);
      assertStringIncludes(message, "PermissionViolationError");
      isPermitted = true;
      if (typeof subject === "function") await send(sink, batchOf([1, 3], number), 2);
      isPermitted = false;
    }
    assertEquals(await readAll(all), [1, 2, 3]);
  } finally {
    await Promise.all([all.connection.close(), less.connection.close()]);
    await cluster.remove();
  }
});

testWithServer("nats", "natsSink() stores a record of the preset's largest size, and no larger one", async (server) => {
  const here = await connectTo(server.port, 5_000);
  try {
    const stream = "N".repeat(64);
    await here.streams.add({ name: stream, subjects: ["numbers"] });
    const sink = natsSink<string>(here.client, { stream, subject: "numbers", whenUnknown: "resend" });
    // As JSON: two quotes.
    const record = "x".repeat(presetFor(NATS).maxRecordBytes! - 2);
    const last = Number.MAX_SAFE_INTEGER;
    await send(sink, batchOf([last - 1, last], () => record));
    const { scope, failed } = await refusalOf(
      sink,
      batchOf([1, 2], (n) => n === 2 ? record : `${record}${"x".repeat(384)}`),
    );
    assertEquals([scope, failed?.map(({ index, retryable }) => [index, retryable])], ["record", [[0, false], [
      1,
      true,
    ]]]);
    assertEquals((await here.streams.info(stream)).state.messages, 2);
  } finally {
    await here.connection.close();
  }
});
