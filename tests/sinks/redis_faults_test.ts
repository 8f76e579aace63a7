/**
 * `redisSink()` while a server of Redis is ill: what was seen on real servers, each fault by itself.
 */

import { statSync, truncateSync } from "node:fs";
import { assertEquals } from "@std/assert";
import { join } from "@std/path/join";
import { redisSink } from "../../src/sinks/redis.ts";
import { loadRedis } from "../engines/clients.ts";
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
