/**
 * The types that JSR publishes compile in programs of others, with the oldest and the newest TypeScript that the README names, by
 * both ways to resolve packages, strictly and without `skipLibCheck`, with the types of Node or of browsers or both.
 *
 * `consumers/basics.ts` uses every entry point, the other programs the sinks with their real clients. What is wrong with the types
 * of other packages isn't looked at.
 */

import { spawnSync } from "node:child_process";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { currentRuntime } from "../support/children.ts";
import { installPackages } from "../support/npm_packages.ts";
import { writePublishedPackage } from "../support/published_package.ts";

/** Makes the declarations; the last version that makes methods with computed names right. */
const MAKER = "npm:typescript@5.5.4";
const OLDEST = { typescript: "5.2.2", "@types/node": "22.13.0", maker: MAKER };
const NEWEST = {
  typescript: "7.0.2",
  "@types/node": "26.6.7",
  maker: MAKER,
  "@nats-io/jetstream": "3.4.0",
  "@nats-io/transport-node": "3.4.0",
  "@opentelemetry/api": "1.10.0",
  "@platformatic/kafka": "1.35.0",
  "@types/pg": "8.23.1",
  ioredis: "6.0.0",
  kafkajs: "2.2.4",
  pg: "8.23.1",
  postgres: "3.4.9",
  redis: "6.3.1",
  zod: "4.6.7",
};

/** A program with libraries that no other test needs. */
const LIBRARIES = `
import { Producer } from "@platformatic/kafka";
import { Kafka } from "kafkajs";
import { z } from "zod";
import { jsonCodec, MemoryBuffer } from "@sluice/buffer";
import { kafkaSink } from "@sluice/buffer/sinks/kafka";

const schema = z.object({ level: z.string().default("info"), at: z.string().transform((text) => text.length) });
const buffer = await MemoryBuffer.open({ codec: jsonCodec({ schema }) });
await buffer.put({ at: "noon" });
const { records: [record] } = await buffer.emit();
export const size: number | undefined = record && record.level.length + record.at;
export const send = kafkaSink(new Kafka({ brokers: [] }).producer(), { topic: "logins" });
export const other = kafkaSink(new Producer({ clientId: "a", bootstrapBrokers: [] }), { topic: "logins" });
`;

const BROWSER = { lib: ["ES2022", "ESNext.Disposable", "DOM"], types: [] };
const NODE = { lib: ["ES2022"], types: ["node"] };
const BOTH = { lib: ["ES2022", "DOM"], types: ["node"] };
const NODENEXT = { moduleResolution: "nodenext", module: "nodenext" };
const BUNDLER = { moduleResolution: "bundler", module: "esnext" };
const PROGRAMS = [
  { ...NODENEXT, ...BROWSER },
  { ...NODENEXT, ...NODE },
  { ...BUNDLER, ...BROWSER },
  { ...BUNDLER, ...NODE },
  { ...BUNDLER, ...BOTH },
];

const SLOW = { timeout: 300_000 };
const directories: string[] = [];

after(() => directories.forEach((directory) => rmSync(directory, { recursive: true, force: true })));

/** A program with this package and others installed. */
function makeProgram(packages: Readonly<Record<string, string>>): string {
  const directory = installPackages(packages);
  assert(directory !== undefined, "npm's packages can't be had");
  directories.push(directory);
  writePublishedPackage(directory, createRequire(join(directory, "index.js"))("maker"));
  cpSync(fileURLToPath(new URL("consumers", import.meta.url)), directory, { recursive: true });
  return directory;
}

/** What the compiler says about `file` and about this package. */
function faultsIn(directory: string, file: string, more: Readonly<Record<string, unknown>>): string[] {
  const compilerOptions = {
    target: "ES2022",
    noEmit: true,
    strict: true,
    skipLibCheck: false,
    exactOptionalPropertyTypes: true,
    ...more,
  };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, files: [file] }));
  const { name, command } = currentRuntime();
  const compiler = join(directory, "node_modules/typescript/bin/tsc");
  const { stdout } = spawnSync(command, [...(name === "deno" ? ["run", "-A"] : []), compiler, "-p", "."], {
    cwd: directory,
    encoding: "utf8",
  });
  return stdout.split("\n").filter((line) => /^(node_modules\/@sluice|[^ .n]|error)/.test(line));
}

test("the published types compile with the oldest TypeScript", SLOW, () => {
  const directory = makeProgram(OLDEST);
  for (const options of PROGRAMS.slice(0, 4)) {
    assertEquals(faultsIn(directory, "basics.ts", options), [], JSON.stringify(options));
  }
});

test("the published types compile with the newest TypeScript, and with those of the clients", SLOW, () => {
  const directory = makeProgram(NEWEST);
  for (const options of PROGRAMS) assertEquals(faultsIn(directory, "basics.ts", options), [], JSON.stringify(options));
  writeFileSync(join(directory, "libraries.ts"), LIBRARIES);
  for (const file of ["clients.ts", "libraries.ts"]) {
    for (const resolution of [NODENEXT, BUNDLER]) {
      assertEquals(faultsIn(directory, file, { ...resolution, ...NODE }), [], file);
    }
  }
  // A fault is found.
  writeFileSync(join(directory, "wrong.ts"), 'import { nothing } from "@sluice/buffer";\nnothing();\n');
  assertEquals(faultsIn(directory, "wrong.ts", { ...NODENEXT, ...NODE }).length, 1);
});
