/**
 * `redisSink()` while a server of Redis is ill: what was seen on real servers, each fault by itself, and what a producer makes of it.
 */

import { statSync, truncateSync } from "node:fs";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path/join";
import { deadLetterCodec, MemoryBuffer, Producer, type ProducerEvent, ProducerStoppedError } from "../../mod.ts";
import { redisSink } from "../../src/sinks/redis.ts";
import { loadRedis } from "../engines/clients.ts";
import { connectRedis, NEWEST_REDIS_CLIENTS, type RedisAddress } from "../engines/redis_clients.ts";
import type { Server } from "../engines/servers.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { batchOf, send, testWithServer } from "./tools.ts";

testWithServer(
  "redis",
  "redisSink() adds each record once when the server was killed within the write of its transaction",
  async (server) => {
    const { createClient } = await loadRedis();
    const connect = () => createClient({ socket: { host: "127.0.0.1", port: server.port } }).connect();
    const restart = async () => {
      await server.kill();
      await server.start();
    };
    const add = async (redelivered: boolean) => {
      const client = await connect();
      await send(redisSink<number>(client, { stream: "s" }), batchOf([1, 3], (n) => n, { redelivered }));
      client.destroy();
    };

    await add(false);
    await server.kill();
    // As if the kill had come within `write()`: the last command, which notes the batch, is half there, and `EXEC` isn't.
    const file = join(server.directory, "appendonlydir", "appendonly.aof.1.incr.aof");
    truncateSync(file, statSync(file).size - 20);
    await server.start();
    await add(true);
    await restart();
    const client = await connect();
    const entries = (await client.xRange("s", "-", "+"))!;
    assertEquals(entries.map(({ message }) => message["data"]), ["1", "2", "3"]);
    client.destroy();
  },
);

/** Records that are put before a fault, and after it. */
const PUTS = 300;

/** A fault that comes while records are delivered. */
interface Fault {
  /** Who connects. */
  readonly address?: Partial<RedisAddress>;
  /** Whether clients keep what they have sent until there is a connection again, so that the producer need not notice. */
  readonly isHidden?: boolean;
  /** How long an attempt may take. */
  readonly timeoutMs?: number;
  begin(server: Server, proxy: TcpProxy): Promise<unknown>;
  end(server: Server, proxy: TcpProxy): Promise<unknown>;
}

async function runAs(server: Server, ...words: string[]): Promise<void> {
  const admin = await connectRedis("redis", { port: server.port });
  await admin.command(...words);
  await admin.close();
}

const USER = { username: "writer", password: "secret" };
const setUser = (server: Server, ...rules: string[]) =>
  runAs(server, "ACL", "SETUSER", "writer", "reset", "on", ">secret", "~*", "&*", ...rules);

const FAULTS: Readonly<Record<string, Fault>> = {
  "permissions are taken away": {
    address: USER,
    begin: (server) => setUser(server, "-@all"),
    end: (server) => setUser(server, "+@all"),
  },
  "memory is short": {
    begin: (server) => runAs(server, "CONFIG", "SET", "maxmemory", "1"),
    end: (server) => runAs(server, "CONFIG", "SET", "maxmemory", "0"),
  },
  "the server is a read-only replica": {
    begin: (server) => runAs(server, "REPLICAOF", "127.0.0.1", "1"),
    end: (server) => runAs(server, "REPLICAOF", "NO", "ONE"),
  },
  "the server is killed": {
    address: { failsOffline: true },
    isHidden: true,
    begin: (server) => server.kill(),
    end: (server) => server.start(),
  },
  "the network swallows everything": {
    timeoutMs: 400,
    begin: async (_server, proxy) => {
      proxy.swallow("everything", { alsoNew: true });
      await proxy.hasSwallowed(1);
    },
    end: (_server, proxy) => Promise.resolve(proxy.heal()),
  },
};

for (const [what, { address, isHidden, timeoutMs = 30_000, begin, end }] of Object.entries(FAULTS)) {
  testWithServer(
    "redis",
    `Producer with redisSink() loses nothing and makes no letters while ${what}`,
    async (server) => {
      if (address === USER) await setUser(server, "+@all");
      const proxy = await TcpProxy.start(server.port);
      for (const name of NEWEST_REDIS_CLIENTS) {
        const { client, close } = await connectRedis(name, { port: proxy.port, ...address });
        const buffer = await MemoryBuffer.open<number>({ maxRecords: 10, maxAgeMs: 5 });
        const dead = await MemoryBuffer.open({ codec: deadLetterCodec(buffer.codec) });
        const producer = new Producer<number>({
          buffer,
          send: redisSink<number>(client, { stream: name }),
          deadLetters: dead,
          maxInFlight: 5,
          retry: { firstDelayMs: 1, maxDelayMs: 20 },
          timeoutMs,
        });
        const seen = (type: ProducerEvent["type"]) =>
          new Promise<void>((resolve) => producer.subscribe((event) => event.type === type && resolve()));
        const delivered = seen("delivered");
        const blocked = seen("blocked");
        const put = async (first: number) => {
          for (let n = first; n < first + PUTS; n++) await producer.put(n);
        };
        await Promise.all([put(0), delivered.then(() => begin(server, proxy))]);
        await put(PUTS);
        if (isHidden !== true) await blocked;
        await end(server, proxy);
        await producer.flush();
        assertEquals([producer.stats().deadLetters, dead.stats().puts], [0, 0], name);
        await producer.close();
        await close();
        const reader = await connectRedis("redis", { port: server.port });
        const entries = await reader.command<[string, string[]][]>("XRANGE", name, "-", "+");
        await reader.close();
        const found = entries.map(([, words]) => Number(words[1])).sort((a, b) => a - b);
        assertEquals(found, Array.from({ length: 2 * PUTS }, (_, i) => i), name);
        await Promise.all([buffer.close(), dead.close()]);
      }
      await proxy.close();
    },
  );
}

testWithServer(
  "redis",
  "Producer with redisSink() stops when the client was closed, and goes on with it",
  async (server) => {
    const { createClient } = await loadRedis();
    const client = await createClient({ socket: { host: "127.0.0.1", port: server.port } }).connect();
    const buffer = await MemoryBuffer.open<number>({ maxRecords: 1 });
    const producer = new Producer<number>({ buffer, send: redisSink<number>(client, { stream: "s" }) });
    await producer.put(1);
    await producer.flush();
    client.destroy();
    await producer.put(2);
    const error = await assertRejects(() => producer.flush(), ProducerStoppedError);
    assertStringIncludes(error.message, "closed");
    await client.connect();
    producer.resume();
    await producer.flush();
    assertEquals(await client.xLen("s"), 2);
    await producer.close();
    await buffer.close();
    client.destroy();
  },
);
