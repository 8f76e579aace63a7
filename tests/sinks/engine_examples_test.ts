/**
 * The examples for the engines, run as they are, twice, on real servers.
 */

import process from "node:process";
import { assertEquals } from "@std/assert";
import type { Engine } from "../engines/servers.ts";
import { testWithServer, withExample } from "./tools.ts";

const EXAMPLES: readonly (readonly [Engine, what: string, variable: string, url: (port: number) => string])[] = [
  ["nats", "readings", "NATS_URL", (port) => `nats://127.0.0.1:${port}`],
  ["redis", "logins", "REDIS_URL", (port) => `redis://127.0.0.1:${port}`],
  ["postgres", "orders", "DATABASE_URL", (port) => `postgres://postgres@127.0.0.1:${port}/postgres`],
];

for (const [engine, what, variable, urlOf] of EXAMPLES) {
  testWithServer(engine, `${engine}.ts delivers all of its ${what}, and again when it is run again`, async (server) => {
    process.env[variable] = urlOf(server.port);
    try {
      await withExample(engine, async (run) => {
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
