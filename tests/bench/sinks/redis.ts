/**
 * `redisSink()` beside what a good user writes by hand with the same client and the same guarantee: a script that is sent by its
 * hash, adds a batch's records to a stream unless it is the last one that was noted for this producer, and notes it.
 *
 * The sink does more in its script: it notes parts of batches, and several that are in flight.
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { redisSink } from "../../../src/sinks/redis.ts";
import { connectRedis, NEWEST_REDIS_CLIENTS, type RedisClientName } from "../../engines/redis_clients.ts";
import { Server, whyNot } from "../../engines/servers.ts";
import type { BenchRecord, OpenContest, SinkContest } from "./contest.ts";

const BY_HAND = `
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then return 0 end
for i = 3, #ARGV do redis.call('XADD', KEYS[1], '*', 'data', ARGV[i]) end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return #ARGV - 2
`;
/** Deliveries after which the streams are emptied, so that the server's memory stays small. */
const DELIVERIES_A_TRIM = 100;

/** The contests of Redis: one for each client, with the newest version. */
export const contests: readonly SinkContest[] = NEWEST_REDIS_CLIENTS.map((name) => ({
  name: `Redis, ${name}`,
  goal: 0.6,
  open: () => open(name),
}));

async function open(name: RedisClientName): Promise<OpenContest | undefined> {
  if (await whyNot("redis") !== undefined) return undefined;
  const server = await Server.make("redis");
  const { client, command, close } = await connectRedis(name, { port: server.port });
  const sha1 = createHash("sha1").update(BY_HAND).digest("hex");
  await command("SCRIPT", "LOAD", BY_HAND);
  const run = "evalsha" in client
    ? (keys: string[], args: never[]) => client.evalsha(sha1, keys.length, ...keys as never[], ...args)
    : (keys: string[], args: never[]) => client.evalSha!(sha1, { keys, arguments: args });
  const send = redisSink<BenchRecord>(client, { stream: "ours" });
  let deliveries = 0;
  const trim = async () => {
    if (++deliveries % DELIVERIES_A_TRIM !== 0) return;
    for (const stream of ["ours", "hand"]) await command("XTRIM", stream, "MAXLEN", "0");
  };
  return {
    async ours(delivery, context) {
      await send(delivery, context);
      await trim();
    },
    async byHand({ batchId, payloads }) {
      const buffers = payloads.map(({ buffer, byteOffset, length }) => Buffer.from(buffer, byteOffset, length));
      await run(["hand", "notes"], ["producer", batchId, ...buffers] as never[]);
      await trim();
    },
    async close() {
      await close();
      await server.remove();
    },
  };
}
