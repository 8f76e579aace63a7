/**
 * Emulators of AWS from npm, on free ports of loopback: `kinesalite` for Kinesis, `fauxqs` for SQS and SNS, pinned in `clients.json`.
 * Both are made for Node, so they run as one child process on it, whatever runtime the tests run on. It ends with its parent.
 */

import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import process from "node:process";
import { availableRuntimes } from "../support/children.ts";
import { findClients } from "./clients.ts";

/** Where the emulators listen. */
export interface AwsServers {
  readonly kinesis: string;
  /** SQS and SNS. */
  readonly messages: string;
}

const PROGRAM = `
import kinesalite from "kinesalite";
import { startFauxqs } from "fauxqs";

process.stdin.resume().on("end", () => process.exit());
const kinesis = kinesalite({ createStreamMs: 0, deleteStreamMs: 0, shardLimit: 100 });
await new Promise((resolve) => kinesis.listen(0, "127.0.0.1", resolve));
const messages = await startFauxqs({ port: 0, host: "127.0.0.1", logger: false });
const url = (port) => "http://127.0.0.1:" + port;
console.log(JSON.stringify({ kinesis: url(kinesis.address().port), messages: url(messages.port) }));
`;

/** Starts them; gives the reason where they can't run here. */
export async function startAwsServers(): Promise<AwsServers | string> {
  const directory = process.env["SLUICE_CLIENTS"] ?? await findClients();
  if (directory === undefined) return "npm can't install kinesalite and fauxqs";
  const node = availableRuntimes().find(({ name }) => name === "node")?.command ?? "node";
  const [major = 0, minor = 0] = String(spawnSync(node, ["--version"]).stdout).slice(1).split(".").map(Number);
  if (!(major > 22 || (major === 22 && minor >= 5))) return "fauxqs needs Node 22.5";
  const child = spawn(node, ["--input-type=module", "--eval", PROGRAM], { cwd: directory, stdio: "pipe" });
  child.stderr.resume();
  const line = await new Promise((resolve) => {
    createInterface({ input: child.stdout }).once("line", resolve);
    child.once("close", resolve);
  });
  // Left alone from here on: its end would be a leak of the test that happens to be the last one.
  for (const part of [child, ...child.stdio]) (part as { unref?: () => void }).unref?.();
  return typeof line === "string" ? JSON.parse(line) : "kinesalite and fauxqs don't start";
}
