/**
 * The examples for the engines, run as they are, twice, on real servers.
 */

import process from "node:process";
import { assertEquals } from "@std/assert";
import type { Engine } from "../engines/servers.ts";
import { testWithServer, withExample } from "./tools.ts";

type Example = readonly [name: string, Engine, what: string, variable: string, url: (port: number) => string];
const databaseUrl = (port: number) => `postgres://postgres@127.0.0.1:${port}/postgres`;
const EXAMPLES: readonly Example[] = [
  ["nats", "nats", "readings", "NATS_URL", (port) => `nats://127.0.0.1:${port}`],
  ["redis", "redis", "logins", "REDIS_URL", (port) => `redis://127.0.0.1:${port}`],
  ["postgres", "postgres", "orders", "DATABASE_URL", databaseUrl],
  ["postgres_pg", "postgres", "orders", "DATABASE_URL", databaseUrl],
];

for (const [name, engine, what, variable, urlOf] of EXAMPLES) {
  testWithServer(engine, `${name}.ts delivers all of its ${what}, and again when it is run again`, async (server) => {
    process.env[variable] = urlOf(server.port);
    try {
      await withExample(name, async (run) => {
        for (let runs = 0; runs < 2; runs++) {
          const { code, stdout, stderr } = await run();
          assertEquals([stderr, code, stdout], ["", 0, `delivered 1000 ${what}\n`]);
        }
      });
    } finally {
      delete process.env[variable];
    }
  });
}
