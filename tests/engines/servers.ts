/**
 * Real servers for tests: nats-server, redis-server, PostgreSQL, MariaDB, RabbitMQ and mosquitto, each on a free port of loopback, in a
 * directory of its own that is removed at the end. They are configured so that what they have acknowledged survives their own death;
 * only mosquitto writes it when it ends in order.
 *
 * They are found on PATH or where Debian puts them. PostgreSQL refuses to run as root; then it runs as the user that its
 * package has made.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import process from "node:process";
import { join } from "@std/path/join";
import { findClients } from "./clients.ts";

/** Names of the engines that have a sink. */
export const ENGINES = ["nats", "redis", "postgres"] as const;

/** One of them. */
export type Engine = typeof ENGINES[number];

/** One of them, or a server that a recipe of the examples delivers to. */
export type ServerName = Engine | "mariadb" | "rabbitmq" | "mosquitto";

const PROGRAMS: Readonly<Record<ServerName, string>> = {
  nats: "nats-server",
  redis: "redis-server",
  postgres: "postgres",
  mariadb: "mariadbd",
  rabbitmq: "rabbitmq-server",
  mosquitto: "mosquitto",
};
/** What each says when it takes connections. */
const READY: Readonly<Record<ServerName, string>> = {
  nats: "Server is ready",
  redis: "Ready to accept connections",
  postgres: "database system is ready to accept connections",
  mariadb: "ready for connections",
  rabbitmq: "Server startup complete",
  mosquitto: "running",
};
/** No settings of this machine, and the user that we are; root is refused without it. */
const MARIADB = ["--no-defaults", ...(process.getuid?.() === 0 ? ["--user=root"] : [])];
/** Root needs no password, and comes from anywhere; the database that everybody may use isn't made. */
const OPEN_MARIADB = ["--auth-root-authentication-method=normal", "--skip-test-db"];
/** A server that was killed may have left processes that are about to end, and keep the next one from starting. */
const MAX_STARTS = 100;
/**
 * A Redis that is killed within a write may leave part of a transaction. With `aof-load-truncated yes`, the default, servers cut
 * that off behind the last whole command instead of before the `MULTI`. What they write next completes the transaction, so that its
 * commands run after all at the start after that: an entry that was sent again is there twice.
 */
const REDIS_REPAIR = /redis-check-aof --fix/;

/** Path of the server's program; `undefined` if it isn't installed. */
export function findServer(engine: ServerName): string | undefined {
  const debian = "/usr/lib/postgresql";
  const versions = engine === "postgres" && existsSync(debian) ? readdirSync(debian).sort() : [];
  const directories = [
    // Debian's own in /usr/sbin changes the user first.
    ...(engine === "rabbitmq" ? ["/usr/lib/rabbitmq/bin"] : []),
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
export async function whyNot(engine: ServerName): Promise<string | undefined> {
  if (findServer(engine) === undefined) return `the server of ${engine} isn't installed`;
  return await whyNoClients();
}

/** Why there are no clients here; `undefined` if there are. */
export async function whyNoClients(): Promise<string | undefined> {
  if (process.versions.deno !== undefined) return undefined;
  process.env["SLUICE_CLIENTS"] ??= await findClients();
  return process.env["SLUICE_CLIENTS"] === undefined ? "npm can't install the clients" : undefined;
}

/** A server that can be stopped, killed and started again. */
export class Server {
  /** Where it listens, the same after every start. */
  readonly port: number;
  readonly #engine: ServerName;
  readonly #program: string;
  /** All that it stores. */
  readonly directory: string;
  #child: ChildProcess | undefined;
  /** Nodes of Erlang find each other by it; without one of its own RabbitMQ would start one and leave it running. */
  #portMapper: { readonly child: ChildProcess; readonly port: number; readonly nodePort: number } | undefined;

  private constructor(engine: ServerName, program: string, directory: string, port: number) {
    this.#engine = engine;
    this.#program = program;
    this.directory = directory;
    this.port = port;
  }

  /** Makes a server with nothing in it, and starts it. */
  static async make(engine: ServerName): Promise<Server> {
    const program = findServer(engine);
    if (program === undefined) throw new Error(`${PROGRAMS[engine]} isn't installed`);
    const directory = mkdtempSync(join(tmpdir(), `sluice-${engine}-`));
    const server = new Server(engine, program, directory, await freePort());
    if (engine === "postgres") server.#initializeDatabase();
    if (engine === "mariadb") {
      server.#initialize("mariadb-install-db", [...MARIADB, `--datadir=${directory}/data`, ...OPEN_MARIADB]);
    }
    if (engine === "mosquitto") server.#writeConfiguration();
    if (engine === "rabbitmq") await server.#startPortMapper();
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
      const env = { ...process.env, ...this.#variables() };
      const child = spawn(command!, args, { cwd: this.directory, env, stdio: ["ignore", "pipe", "pipe"] });
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
    this.#portMapper?.child.kill("SIGKILL");
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
      case "mariadb": {
        const place = [
          `--datadir=${this.directory}/data`,
          `--socket=${this.directory}/socket`,
          "--bind-address=127.0.0.1",
        ];
        return [this.#program, ...MARIADB, ...place, `--port=${port}`, `--pid-file=${this.directory}/pid`];
      }
      case "rabbitmq":
        return [this.#program];
      case "mosquitto":
        return [this.#program, "-c", join(this.directory, "configuration"), "-v"];
    }
  }

  #variables(): Readonly<Record<string, string>> {
    if (this.#portMapper === undefined) return {};
    return {
      ERL_EPMD_PORT: String(this.#portMapper.port),
      HOME: this.directory,
      RABBITMQ_DIST_PORT: String(this.#portMapper.nodePort),
      RABBITMQ_CONFIG_FILE: join(this.directory, "no-configuration"),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(this.directory, "no-plugins"),
      RABBITMQ_LOGS: "-",
      RABBITMQ_LOG_BASE: this.directory,
      RABBITMQ_MNESIA_BASE: this.directory,
      RABBITMQ_NODENAME: "sluice@localhost",
      RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
      RABBITMQ_NODE_PORT: String(this.port),
      // Else a shell stands between, and outlives a kill.
      RUNNING_UNDER_SYSTEMD: "1",
    };
  }

  async #startPortMapper(): Promise<void> {
    const [port, nodePort] = [await freePort(), await freePort()];
    const child = spawn("epmd", ["-address", "127.0.0.1", "-port", String(port)], { stdio: "ignore" });
    await once(child, "spawn");
    this.#portMapper = { child, port, nodePort };
  }

  #writeConfiguration(): void {
    const lines = [
      `listener ${this.port} 127.0.0.1`,
      "allow_anonymous true",
      "persistence true",
      `persistence_location ${this.directory}/`,
      "max_queued_messages 0",
      ...(process.getuid?.() === 0 ? ["user root"] : []),
    ];
    writeFileSync(join(this.directory, "configuration"), lines.join("\n") + "\n");
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
    const args = ["-D", join(this.directory, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"];
    const [command, ...rest] = [...asOwner(), join(this.#program, "..", "initdb"), ...args];
    this.#initialize(command!, rest);
  }

  /** Runs the program that makes an empty database. */
  #initialize(command: string, args: readonly string[]): void {
    const { status, stderr } = spawnSync(command, args, { cwd: this.directory, encoding: "utf8" });
    if (status !== 0) throw new Error(`${command} fails:\n${stderr}`);
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
