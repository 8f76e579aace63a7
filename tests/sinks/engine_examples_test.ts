/**
 * The examples for the engines, run as they are, twice, on real servers.
 *
 * Outside Deno they are copied to where the clients are installed, as into a project of a user's.
 */

import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { assertEquals } from "@std/assert";
import { join } from "@std/path/join";
import type { Engine } from "../engines/servers.ts";
import { runChild } from "../support/children.ts";
import { testWithServer } from "./tools.ts";

const EXAMPLES: readonly (readonly [Engine, what: string, variable: string, url: (port: number) => string])[] = [
  ["nats", "readings", "NATS_URL", (port) => `nats://127.0.0.1:${port}`],
  ["redis", "logins", "REDIS_URL", (port) => `redis://127.0.0.1:${port}`],
  ["postgres", "orders", "DATABASE_URL", (port) => `postgres://postgres@127.0.0.1:${port}/postgres`],
];

for (const [engine, what, variable, urlOf] of EXAMPLES) {
  testWithServer(engine, `${engine}.ts delivers all of its ${what}, and again when it is run again`, async (server) => {
    const example = new URL(`../../examples/${engine}.ts`, import.meta.url);
    const clients = process.env["SLUICE_CLIENTS"];
    const cwd = mkdtempSync(join(clients ?? tmpdir(), "sluice-example-"));
    process.env[variable] = urlOf(server.port);
    try {
      copyFileSync(example, join(cwd, `${engine}.ts`));
      const program = clients === undefined ? example : pathToFileURL(join(cwd, `${engine}.ts`));
      for (let run = 0; run < 2; run++) {
        const { code, stdout, stderr } = await runChild(program, [], { cwd });
        assertEquals([stderr, code, stdout], ["", 0, `delivered 1000 ${what}\n`]);
      }
    } finally {
      delete process.env[variable];
      rmSync(cwd, { recursive: true });
    }
  });
}
