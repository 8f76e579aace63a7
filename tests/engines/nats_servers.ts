/**
 * Servers of NATS in several versions, alone and as clusters of three on loopback, for tests of what a cluster does to a stream.
 *
 * Beside what is installed, those of Debian's trixie (2.10) and sid (2.15) are fetched with `apt-get download` from the address that this
 * system's own list of sources has, and unpacked, not installed, into a directory of the system's temporary one. Where that can't be
 * had, there is only the installed one.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "@std/path/join";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { findServer } from "./servers.ts";

/** Where a server is from. */
export const NATS_RELEASES = ["installed", "trixie", "sid"] as const;
/** One of them. */
export type NatsRelease = typeof NATS_RELEASES[number];

const SOURCES = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** Path of the server of a release; `undefined` where it can't be had. */
export function findNats(release: NatsRelease): string | undefined {
  if (release === "installed") return findServer("nats");
  const directory = join(tmpdir(), `sluice-nats-${release}`);
  const program = join(directory, "usr/sbin/nats-server");
  if (!existsSync(program)) fetchNats(release, directory);
  return existsSync(program) ? program : undefined;
}

/** What it says of itself, such as "2.10.27". */
export function versionOf(program: string): string {
  return /\d+\.\d+\.\d+/.exec(spawnSync(program, ["--version"], { encoding: "utf8" }).stdout)?.[0] ?? "?";
}

function fetchNats(release: NatsRelease, directory: string): void {
  const list = SOURCES.filter((path) => existsSync(path)).map((path) => readFileSync(path, "utf8")).join("\n");
  const address = /https?:\/\/\S*\/debian\b/.exec(list.replaceAll(/^#.*$/gm, ""))?.[0];
  if (address === undefined || !existsSync(KEYRING)) return;
  const scratch = mkdtempSync(`${directory}-`);
  try {
    for (const name of ["lists/partial", "cache/archives/partial"]) mkdirSync(join(scratch, name), { recursive: true });
    const sources = join(scratch, "debian.sources");
    writeFileSync(
      sources,
      `Types: deb\nURIs: ${address}\nSuites: ${release}\nComponents: main\nSigned-By: ${KEYRING}\n`,
    );
    const options = [
      `Dir::Etc::sourcelist=${sources}`,
      "Dir::Etc::sourceparts=/dev/null",
      `Dir::State::lists=${join(scratch, "lists")}`,
      `Dir::Cache=${join(scratch, "cache")}`,
      "Dir::State::status=/dev/null",
      "APT::Sandbox::User=root",
    ].flatMap((option) => ["-o", option]);
    const run = (command: string, ...args: string[]) => spawnSync(command, args, { cwd: scratch }).status === 0;
    if (!run("apt-get", ...options, "update", "-qq")) return;
    if (!run("apt-get", ...options, "download", "-qq", "nats-server")) return;
    const file = readdirSync(scratch).find((name) => name.endsWith(".deb"));
    const root = join(scratch, "root");
    if (file !== undefined && run("dpkg-deb", "-x", file, root)) renameSync(root, directory);
  } catch {
    // Another process was faster, or the programs aren't there.
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** One, or three that replicate. Clients and the servers among themselves come through proxies, so that a server can be cut off. */
export class NatsCluster {
  readonly #program: string;
  readonly #directory = mkdtempSync(join(tmpdir(), "sluice-nats-cluster-"));
  readonly #nodes: readonly Node[];

  readonly #settings: string;

  private constructor(program: string, nodes: readonly Node[], settings: string) {
    this.#program = program;
    this.#nodes = nodes;
    this.#settings = join(this.#directory, "settings");
    writeFileSync(this.#settings, settings);
  }

  /** Starts as many as `size` says, each with these lines of a configuration file. */
  static async start(program: string, size: 1 | 3, settings = ""): Promise<NatsCluster> {
    const [ports, routes] = [await freePorts(size), await freePorts(size)];
    const nodes: Node[] = [];
    for (const [node, port] of ports.entries()) {
      const entrance = await TcpProxy.start(port);
      const others = routes.filter((_, other) => other !== node);
      const exits = await Promise.all(others.map((route) => TcpProxy.start(route)));
      nodes.push({ port, route: routes[node]!, entrance, exits: new Map(others.map((to, k) => [to, exits[k]!])) });
    }
    const cluster = new NatsCluster(program, nodes, settings);
    await Promise.all(nodes.map((_, node) => cluster.start(node)));
    return cluster;
  }

  /** Where clients reach them, the same after every start. */
  get ports(): readonly number[] {
    return this.#nodes.map(({ entrance }) => entrance.port);
  }

  /** Starts one that isn't running; resolves when it takes connections. */
  async start(node: number): Promise<void> {
    const one = this.#nodes[node]!;
    const child = spawn(this.#program, this.#argumentsOf(node), { stdio: ["ignore", "ignore", "pipe"] });
    one.child = child;
    await new Promise<void>((resolve, reject) => {
      let output = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        output = (output + text).slice(-10_000);
        if (output.includes("Server is ready")) resolve();
      });
      child.on("close", () => reject(new Error(`${this.#program} ended:\n${output}`)));
    });
  }

  /** kill -9. */
  async kill(node: number): Promise<void> {
    const { child } = this.#nodes[node]!;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "close");
    child.kill("SIGKILL");
    await ended;
  }

  /** Lets it stand still, or go on. */
  signal(node: number, signal: "SIGSTOP" | "SIGCONT"): void {
    this.#nodes[node]!.child!.kill(signal);
  }

  /** Nothing goes through to a server and from it, but for its clients if they are to keep it; until the way is open again. */
  cutOff(node: number, from: "all" | "servers"): void {
    this.#waysOf(node, from).forEach((proxy) => proxy.hold());
  }

  /** Opens the way again. */
  rejoin(node: number): void {
    this.#waysOf(node, "all").forEach((proxy) => proxy.release());
  }

  /** Ends all and removes what they have stored. */
  async remove(): Promise<void> {
    await Promise.all(this.#nodes.map((_, node) => this.kill(node)));
    await Promise.all(
      this.#nodes.flatMap(({ entrance, exits }) => [entrance, ...exits.values()]).map((one) => one.close()),
    );
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  #waysOf(node: number, from: "all" | "servers"): readonly TcpProxy[] {
    const { route, entrance, exits } = this.#nodes[node]!;
    const incoming = this.#nodes.flatMap((other) => other.exits.get(route) ?? []);
    return [...exits.values(), ...incoming, ...(from === "all" ? [entrance] : [])];
  }

  #argumentsOf(node: number): readonly string[] {
    const { port, route, exits } = this.#nodes[node]!;
    const directory = join(this.#directory, String(node));
    const args = [
      "-c",
      this.#settings,
      "-n",
      `n${node}`,
      "-a",
      "127.0.0.1",
      "-p",
      String(port),
      "-js",
      "-sd",
      directory,
    ];
    if (exits.size === 0) return args;
    const routes = [...exits.values()].map((exit) => `nats://127.0.0.1:${exit.port}`).join(",");
    // Servers tell each other where they listen; this address is nobody's, so that they keep to the proxies.
    const cluster = ["--cluster", `nats://127.0.0.1:${route}`, "--cluster_advertise", "127.0.0.1:1"];
    return [...args, "--cluster_name", "C", ...cluster, "--routes", routes, "--no_advertise"];
  }
}

interface Node {
  readonly port: number;
  /** Where other servers reach it. */
  readonly route: number;
  /** For clients. */
  readonly entrance: TcpProxy;
  /** To the other servers, by their `route`. */
  readonly exits: ReadonlyMap<number, TcpProxy>;
  child?: ChildProcess;
}

async function freePorts(count: number): Promise<number[]> {
  const probes = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(probes.map((probe) => once(probe, "listening")));
  const ports = probes.map((probe) => (probe.address() as { port: number }).port);
  await Promise.all(probes.map((probe) => once(probe.close(), "close")));
  return ports;
}
