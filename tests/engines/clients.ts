/**
 * The real clients of the engines, and other packages that examples use, for the tests of this repository: pinned in `clients.json` beside
 * this file, typed by the published types, so that `deno check` holds the sinks against them.
 *
 * Deno loads what deno.json names, which is the same versions. Bun and Node take them from a directory outside the repository, into which they
 * are installed once for each version of `clients.json`.
 */

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import process from "node:process";
import type * as cloudWatchLogs from "@aws-sdk/client-cloudwatch-logs";
import type * as eventBridge from "@aws-sdk/client-eventbridge";
import type * as firehose from "@aws-sdk/client-firehose";
import type * as kinesis from "@aws-sdk/client-kinesis";
import type * as sns from "@aws-sdk/client-sns";
import type * as sqs from "@aws-sdk/client-sqs";
// @ts-types="npm:@types/pg@8.23.1"
import type pg from "pg";
import type postgres from "postgres";
import type * as amqplib from "amqplib";
import type * as mqtt from "mqtt";
import type * as mysql from "mysql2/promise";
import type * as redis from "redis";
import type * as s3 from "@aws-sdk/client-s3";
import type * as jetstream from "@nats-io/jetstream";
import type * as nats from "@nats-io/transport-node";
import { join } from "@std/path/join";

const packageUrl = new URL("./clients.json", import.meta.url);
/** Says where Bun and Node find the clients. */
const VARIABLE = "SLUICE_CLIENTS";

/** Loads the package that connects to NATS. */
export function loadNats(): Promise<typeof nats> {
  return load("@nats-io/transport-node");
}

/** Loads the package for JetStream. */
export function loadJetStream(): Promise<typeof jetstream> {
  return load("@nats-io/jetstream");
}

/** Loads the package for Redis. */
export function loadRedis(): Promise<typeof redis> {
  return load("redis");
}

/** Loads a package that is like `redis`, or like `ioredis`, by its name in `clients.json`. */
export function loadRedisLike<Module>(name: string): Promise<Module> {
  return load(name);
}

/** Loads the package for PostgreSQL. */
export async function loadPostgres(): Promise<typeof postgres> {
  const loaded = await load<typeof postgres | { default: typeof postgres }>(
    "postgres",
  );
  return "default" in loaded ? loaded.default : loaded;
}

/** Loads the package for MySQL and MariaDB. */
export function loadMysql(): Promise<typeof mysql> {
  return load("mysql2/promise");
}

/** Loads the package for RabbitMQ. */
export function loadAmqp(): Promise<typeof amqplib> {
  return load("amqplib");
}

/** Loads the package for MQTT. */
export function loadMqtt(): Promise<typeof mqtt> {
  return load("mqtt");
}

/** Loads the package for S3. */
export function loadS3(): Promise<typeof s3> {
  return load("@aws-sdk/client-s3");
}

/** The packages of AWS SDK v3. */
export interface AwsPackages {
  readonly cloudWatchLogs: typeof cloudWatchLogs;
  readonly eventBridge: typeof eventBridge;
  readonly firehose: typeof firehose;
  readonly kinesis: typeof kinesis;
  readonly sns: typeof sns;
  readonly sqs: typeof sqs;
}

/** Loads the packages of AWS SDK v3. */
export async function loadAws(): Promise<AwsPackages> {
  return {
    cloudWatchLogs: await load("@aws-sdk/client-cloudwatch-logs"),
    eventBridge: await load("@aws-sdk/client-eventbridge"),
    firehose: await load("@aws-sdk/client-firehose"),
    kinesis: await load("@aws-sdk/client-kinesis"),
    sns: await load("@aws-sdk/client-sns"),
    sqs: await load("@aws-sdk/client-sqs"),
  };
}

/** Loads the other package for PostgreSQL. */
export async function loadPg(): Promise<typeof pg> {
  const loaded = await load<typeof pg | { default: typeof pg }>("pg");
  return "default" in loaded ? loaded.default : loaded;
}

async function load<Module>(name: string): Promise<Module> {
  if (process.versions.deno !== undefined) return await import(name);
  const directory = process.env[VARIABLE] ?? await findClients();
  if (directory === undefined) throw new Error(`npm can't install ${name}`);
  return createRequire(join(directory, "package.json"))(name);
}

/**
 * The directory with the clients, installed if it isn't there yet, by Deno where `SLUICE_DENO` names it, else by npm;
 * `undefined` if that fails. To be given to child processes as the variable `SLUICE_CLIENTS`.
 */
export async function findClients(): Promise<string | undefined> {
  const version = createHash("sha256").update(readFileSync(packageUrl)).digest("hex").slice(0, 12);
  const directory = join(tmpdir(), `sluice-clients-${version}`);
  if (existsSync(directory)) return directory;
  // Installed aside and moved into place as a whole: several test processes may be at it at the same time.
  const scratch = mkdtempSync(`${directory}-`);
  copyFileSync(packageUrl, join(scratch, "package.json"));
  const deno = process.env["SLUICE_DENO"];
  const isInstalled = deno === undefined
    ? await run("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], scratch)
    : await run(deno, ["install", "--quiet", "--node-modules-dir=auto"], scratch);
  if (!isInstalled) {
    rmSync(scratch, { recursive: true });
    return undefined;
  }
  try {
    renameSync(scratch, directory);
  } catch {
    // Another process was faster.
    rmSync(scratch, { recursive: true });
  }
  return directory;
}

/** Whether the command ends well. */
function run(command: string, args: readonly string[], cwd: string): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: "ignore" });
    child.on("error", () => resolve(false));
    child.on("close", (code) => resolve(code === 0));
  });
}
