/**
 * Puts logins and delivers them to a stream of Redis, each once and in order, whatever is killed meanwhile.
 *
 *     redis-server --appendonly yes --appendfsync always &
 *     deno run -A examples/redis.ts
 *
 * On Bun and Node: `npm install redis`, and run this file. With `ioredis` the client is `new Redis(url, { enableOfflineQueue: false,
 * socketTimeout: 30_000 })`; all else is the same.
 */

import process from "node:process";
import { createClient } from "redis";
import { FileBuffer, Producer } from "@sluice/buffer";
import { redisSink } from "@sluice/buffer/sinks/redis";

interface Login {
  readonly user: string;
  readonly at: number;
}

// Commands fail while the connection is away, instead of being kept in memory: the buffer keeps the records.
const client = createClient({ url: process.env["REDIS_URL"] ?? "redis://127.0.0.1:6379", disableOfflineQueue: true });
client.on("error", (error) => console.error(error));
await client.connect();

const buffer = await FileBuffer.open<Login>({ path: "./logins-redis.wal", maxAgeMs: 500 });
const producer = new Producer({
  buffer,
  send: redisSink<Login>(client, { stream: "logins", fields: ({ user, at }) => ({ user, at: String(at) }) }),
  onEvent: (event) => event.type === "attempt-failed" && console.error(event.error),
});

for (let i = 1; i <= 1000; i++) await producer.put({ user: `user ${i}`, at: Date.now() });
await producer.flush(); // resolves when the stream has all of them
console.log(`delivered ${producer.stats().deliveredRecords} logins`);

await producer.close();
await buffer.close();
await client.close();
