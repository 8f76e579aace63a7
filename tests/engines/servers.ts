/**
 * Real servers for tests: nats-server, redis-server and PostgreSQL, each on a free port of loopback, in a directory of its
 * own that is removed at the end. They are configured so that what they have acknowledged survives their own death.
 *
 * They are found on PATH or where Debian puts them. PostgreSQL refuses to run as root; then it runs as the user that its
 * package has made.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import process from "node:process";
import { join } from "@std/path/join";
import { whyNoClients } from "./clients.ts";

/** Names of the engines. */
export const ENGINES = ["nats", "redis", "postgres"] as const;

/** One of them. */
export type Engine = typeof ENGINES[number];

const PROGRAMS: Readonly<Record<Engine, string>> = {
  nats: "nats-server",
  redis: "redis-server",
  postgres: "postgres",
};
/** What each says when it takes connections. */
const READY: Readonly<Record<Engine, string>> = {
  nats: "Server is ready",
  redis: "Ready to accept connections",
  postgres: "database system is ready to accept connections",
};
/** A server that was killed may have left processes that are about to end, and keep the next one from starting. */
const MAX_STARTS = 100;
/**
 * A Redis that is killed within a write may leave part of a transaction. With `aof-load-truncated yes`, the default, servers cut
 * that off behind the last whole command instead of before the `MULTI`. What they write next completes the transaction, so that its
 * commands run after all at the start after that: an entry that was sent again is there twice.
 */
const REDIS_REPAIR = /redis-check-aof --fix/;

/** Path of the engine's server; `undefined` if it isn't installed. */
export function findServer(engine: Engine): string | undefined {
  const debian = "/usr/lib/postgresql";
  const versions = engine === "postgres" && existsSync(debian) ? readdirSync(debian).sort() : [];
  const directories = [
    ...versions.map((version) => join(debian, version, "bin")).reverse(),
    ...(process.env["PATH"] ?? "").split(":"),
    "/usr/sbin",
    "/usr/bin",
  ];
  return directories.map((directory) => join(directory, PROGRAMS[engine])).find(
    (path) => existsSync(path),
  );
}

/** Why an engine can't be tested here; `undefined` if it can. */
export async function whyNot(engine: Engine): Promise<string | undefined> {
  if (findServer(engine) === undefined) return `the server of ${engine} isn't installed`;
  return await whyNoClients();
}

/** A server that can be stopped, killed and started again. */
export class Server {
  /** Where it listens, the same after every start. */
  readonly port: number;
  readonly #engine: Engine;
  readonly #program: string;
  /** All that it stores. */
  readonly directory: string;
  #child: ChildProcess | undefined;

  private constructor(engine: Engine, program: string, directory: string, port: number) {
    this.#engine = engine;
    this.#program = program;
    this.directory = directory;
    this.port = port;
  }

  /** Makes a server with nothing in it, and starts it. */
  static async make(engine: Engine): Promise<Server> {
    const program = findServer(engine);
    if (program === undefined) throw new Error(`${PROGRAMS[engine]} isn't installed`);
    const directory = mkdtempSync(join(tmpdir(), `sluice-${engine}-`));
    const server = new Server(engine, program, directory, await freePort());
    if (engine === "postgres") server.#initializeDatabase();
    await server.start();
    return server;
  }

  /** Whether it runs, as far as anybody has told it to. */
  get isUp(): boolean {
    return this.#child !== undefined;
  }

  /** Starts it; resolves when it takes connections. */
  async start(): Promise<void> {
    let output = "";
    for (let starts = 0; starts < MAX_STARTS && this.#child === undefined; starts++) {
      const [command, ...args] = this.#command();
      const child = spawn(command!, args, { cwd: this.directory, stdio: ["ignore", "pipe", "pipe"] });
      const isReady = await new Promise<boolean>((resolve) => {
        const take = (text: string) => {
          output = (output + text).slice(-10_000);
          if (output.includes(READY[this.#engine])) resolve(true);
        };
        output = "";
        child.stdout.setEncoding("utf8").on("data", take);
        child.stderr.setEncoding("utf8").on("data", take);
        child.on("error", (error) => {
          take(String(error));
          resolve(false);
        });
        child.on("close", () => resolve(false));
      });
      if (isReady) this.#child = child;
      else if (REDIS_REPAIR.test(output)) this.#repairAppendOnlyFile();
    }
    if (this.#child === undefined) throw new Error(`${this.#program} doesn't start:\n${output}`);
  }

  /** Lets it end in order, without waiting for its clients. */
  stop(): Promise<void> {
    return this.#end(this.#engine === "postgres" ? "SIGINT" : "SIGTERM");
  }

  /** kill -9. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** Ends it and removes all that it has stored. */
  async remove(): Promise<void> {
    await this.kill();
    // Processes that PostgreSQL has left may write their last files meanwhile.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  async #end(signal: "SIGINT" | "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const ended = once(child, "close");
    child.kill(signal);
    await ended;
  }

  #command(): readonly string[] {
    const port = String(this.port);
    switch (this.#engine) {
      case "nats":
        return [this.#program, "-a", "127.0.0.1", "-p", port, "-js", "-sd", this.directory];
      case "redis": {
        const durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--aof-load-truncated", "no"];
        return [this.#program, "--bind", "127.0.0.1", "--port", port, "--dir", this.directory, ...durable];
      }
      case "postgres": {
        const settings = ["-c", "unix_socket_directories="];
        const args = ["-D", join(this.directory, "data"), "-h", "127.0.0.1", "-p", port, ...settings];
        return [...asOwner(), this.#program, ...args];
      }
    }
  }

  #repairAppendOnlyFile(): void {
    const manifest = join(this.directory, "appendonlydir", "appendonly.aof.manifest");
    const args = ["--fix", existsSync(manifest) ? manifest : join(this.directory, "appendonly.aof")];
    const { status, stdout } = spawnSync(join(this.#program, "..", "redis-check-aof"), args, {
      input: "y\n",
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`redis-check-aof fails:\n${stdout}`);
  }

  #initializeDatabase(): void {
    const owner = ownerOfDatabase();
    if (owner !== undefined) chownSync(this.directory, owner.uid, owner.gid);
    const initialize = join(this.#program, "..", "initdb");
    const args = ["-D", join(this.directory, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"];
    const [command, ...rest] = [...asOwner(), initialize, ...args];
    const { status, stderr } = spawnSync(command!, rest, { cwd: this.directory, encoding: "utf8" });
    if (status !== 0) throw new Error(`${initialize} fails:\n${stderr}`);
  }
}

/** Whom the database's files belong to; `undefined` if that is us. */
function ownerOfDatabase(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const idOf = (flag: string) => Number(spawnSync("id", [flag, "postgres"], { encoding: "utf8" }).stdout);
  return { uid: idOf("-u"), gid: idOf("-g") };
}

/** What makes a command run as the owner of the database, in the same process. */
function asOwner(): readonly string[] {
  const owner = ownerOfDatabase();
  if (owner === undefined) return [];
  return ["setpriv", `--reuid=${owner.uid}`, `--regid=${owner.gid}`, "--clear-groups"];
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
