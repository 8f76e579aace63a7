/**
 * The clients of Redis that people have, each in the versions that are in use: one way to connect and to send a command, and what
 * `redisSink()` is given.
 */

import type { IoRedisClient, RedisClient } from "../../src/sinks/redis.ts";
import { loadRedisLike } from "./clients.ts";

/** Their names in `clients.json`, the newest of each package first. */
export const NEWEST_REDIS_CLIENTS = ["redis", "ioredis", "iovalkey"] as const;

/** All of them. */
export const REDIS_CLIENTS = [...NEWEST_REDIS_CLIENTS, "redis-5", "redis-4", "ioredis-5"] as const;

/** One of them. */
export type RedisClientName = typeof REDIS_CLIENTS[number];

/** Where to connect, and as whom. */
export interface RedisAddress {
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
  /** Whether to go on before it is connected. */
  readonly isLazy?: boolean;
  /** Whether commands fail while there is no connection, instead of waiting for one. */
  readonly failsOffline?: boolean;
}

/** A client that is connected. */
export interface OpenRedisClient {
  /** For the sink. */
  readonly client: RedisClient<never> | IoRedisClient<never>;
  /** Resolves when it is connected. */
  readonly connecting: Promise<unknown>;
  /** Sends a command of strings. */
  command<Reply = unknown>(...words: string[]): Promise<Reply>;
  /** Closes it for good, at once; resolves when its connection is gone. */
  close(): Promise<void>;
}

/** What is used of the packages. */
interface NodeRedis {
  createClient(options: object): RedisClient<never> & {
    on(event: string, listener: (error: unknown) => void): unknown;
    connect(): Promise<unknown>;
    sendCommand(words: string[]): Promise<never>;
    readonly isOpen: boolean;
    destroy?(): void;
    disconnect(): Promise<void>;
  };
}
type IoRedis = new (options: object) => IoRedisClient<never> & {
  on(event: string, listener: () => void): unknown;
  connect(): Promise<unknown>;
  call(...words: string[]): Promise<never>;
};

/** Whether it is a version of `redis`, not one that is like `ioredis`. */
export function isNodeRedis(name: RedisClientName): boolean {
  return name.startsWith("redis");
}

/** Connects; tries again every 20 ms. */
export async function connectRedis(name: RedisClientName, address: RedisAddress): Promise<OpenRedisClient> {
  const opened = isNodeRedis(name) ? await openNodeRedis(name, address) : await openIoRedis(name, address);
  if (address.isLazy === true) opened.connecting.catch(() => {});
  else await opened.connecting;
  return opened;
}

async function openNodeRedis(name: string, { port, failsOffline, ...user }: RedisAddress): Promise<OpenRedisClient> {
  const { createClient } = await loadRedisLike<NodeRedis>(name);
  const socket = { host: "127.0.0.1", port, reconnectStrategy: () => 20 };
  const client = createClient({ socket, disableOfflineQueue: failsOffline, ...user });
  // Without a listener, a connection that ends would end the process.
  client.on("error", () => {});
  return {
    client,
    connecting: client.connect(),
    command: (...words) => client.sendCommand(words),
    async close() {
      if (!client.isOpen) return;
      if (client.destroy !== undefined) client.destroy();
      else await client.disconnect().catch(() => {});
    },
  };
}

async function openIoRedis(name: string, { port, failsOffline, ...user }: RedisAddress): Promise<OpenRedisClient> {
  const module = await loadRedisLike<{ default?: IoRedis } | IoRedis>(name);
  const Redis = (("default" in module && module.default) || module) as IoRedis;
  const client = new Redis({
    host: "127.0.0.1",
    port,
    retryStrategy: () => 20,
    enableOfflineQueue: failsOffline !== true,
    lazyConnect: true,
    ...user,
  });
  client.on("error", () => {});
  return {
    client,
    connecting: client.connect(),
    command: (...words) => client.call(...words),
    async close() {
      if (client.status === "end") return;
      const ended = new Promise<void>((resolve) => client.on("end", () => resolve()));
      client.disconnect();
      await ended;
    },
  };
}
