/**
 * `ship` as the process that it is: killed again and again, ended by a signal, with readers and servers that go away, and
 * with the permissions that its help asks for.
 */

import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { currentRuntime, runChild, runtimeArgs, startChild } from "../support/children.ts";
import { tortureShip } from "./ship_torture.ts";

/** Bun's own limit is five seconds. */
const SLOW = { timeout: 120_000 };
const MAIN = "src/cli/sluice.ts";

async function inDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "sluice-ship-")));
  try {
    await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What Deno is allowed: the directory, and nothing else. */
function permissionsFor(directory: string): string[] {
  return [`--allow-read=${directory}`, `--allow-write=${directory}`];
}

/** Collects what a stream says; `until` resolves when it has said `text`. */
function listen(
  child: ChildProcess,
  name: "stdout" | "stderr",
): { text: () => string; until: (text: string) => Promise<void> } {
  let all = "";
  const stream = child[name]!.setEncoding("utf8");
  stream.on("data", (text: string) => all += text);
  return {
    text: () => all,
    until: async (text) => {
      while (!all.includes(text)) await Promise.race([once(stream, "data"), once(stream, "close")]);
    },
  };
}

test("ship, killed ten times, delivers each line into a file once, in order", SLOW, async () => {
  const { midway, seconds } = await tortureShip({ lines: 10_000, kills: 10, seed: 1, to: "file" });
  console.log(`${midway} of 11 lives went on midway, in ${seconds.toFixed(1)} s`);
  assert(midway >= 3, `only ${midway}`);
});

test("ship, killed four times, delivers each line once to a server that fails and knows keys", SLOW, async () => {
  const { midway, failures } = await tortureShip({ lines: 10_000, kills: 4, seed: 2, to: "http" });
  assert(midway + failures >= 2, `${midway} lives went on midway, ${failures} requests failed`);
});

test("ship ended by SIGTERM delivers what was read, and ends with 143", SLOW, async () => {
  await inDirectory(async (directory) => {
    const to = join(directory, "out");
    const args = ["ship", join(directory, "wal"), "--to", to, "--max-age", "1h", "--json"];
    const child = startChild(MAIN, args, { permissions: permissionsFor(directory) });
    const closed = once(child, "close");
    const errors = listen(child, "stderr");
    child.stdin!.write("1\n2\n");
    // Progress tells that they are persisted; the pipe stays open.
    await errors.until('"lines":2');
    child.kill("SIGTERM");
    const [code, signal] = await closed;
    // Deno tells an exit code above 128 as the signal.
    assert(code === 143 || signal === "SIGTERM", errors.text());
    assertEquals(readFileSync(to, "utf8"), "1\n2\n");
    assertStringIncludes(errors.text(), '"ended":"interrupted","lines":2');
  });
});

test(
  "ship ends with 141 when nobody reads its output any more, and the rest is delivered next time",
  SLOW,
  async () => {
    await inDirectory(async (directory) => {
      const wal = join(directory, "wal");
      const permissions = permissionsFor(directory);
      const child = startChild(MAIN, ["ship", wal, "--to", "-", "--max-records", "1"], { permissions });
      const closed = once(child, "close");
      const [output, errors] = [listen(child, "stdout"), listen(child, "stderr")];
      child.stdin!.on("error", () => {}).write("1\n");
      await output.until("1\n");
      child.stdout!.destroy();
      child.stdin!.write("2\n3\n");
      assertEquals(await closed, [141, null], errors.text());
      assertStringIncludes(errors.text(), "nobody reads standard output any more");
      const { code, stdout } = await runChild(MAIN, ["ship", wal, "--to", "-", "--no-input"], { permissions });
      assertEquals(code, 0);
      assertMatch(stdout, /^(1\n)?2\n3\n$/);
    });
  },
);

test("ship ends, although its input doesn't, when the server refuses for good", SLOW, async () => {
  await inDirectory(async (directory) => {
    const server = createServer((request, response) => {
      request.resume().on("end", () => response.writeHead(422, { connection: "close" }).end("no"));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
      const args = ["ship", join(directory, "wal"), "--to", url, "--max-records", "1", "--quiet"];
      const permissions = [...permissionsFor(directory), "--allow-net=127.0.0.1"];
      const child = startChild(MAIN, args, { permissions });
      const closed = once(child, "close");
      const errors = listen(child, "stderr");
      child.stdin!.on("error", () => {}).write("1\n");
      assertEquals(await closed, [3, null]);
      assertMatch(errors.text(), /^sluice: Cannot go on delivering: .*the server answered 422: no\n$/);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

test("ship says which permission of Deno is missing", { ...SLOW, skip: currentRuntime().name !== "deno" }, async () => {
  await inDirectory(async (directory) => {
    const wal = join(directory, "wal");
    const permissions = permissionsFor(directory);
    const toNet = [
      "ship",
      wal,
      "--to",
      "http://127.0.0.1:39123/",
      "--dead-letters",
      join(directory, "dead"),
      "--quiet",
    ];
    const net = await runChild(MAIN, toNet, { permissions, input: "1\n" });
    assertEquals(net.code, 3);
    assertMatch(net.stderr, /^sluice: Cannot send: .*127\.0\.0\.1:39123.*--allow-net/);
    // Without any flag Deno would give its children all permissions.
    const none = await runChild(MAIN, ["ship", wal, "--to", "-"], { permissions: ["--allow-net"], input: "1\n" });
    assertEquals([none.code, none.stdout], [3, ""]);
    assertMatch(none.stderr, /--allow-(read|write)/);
    // It was persisted, and is no dead letter.
    const { stdout } = await runChild(MAIN, ["ship", wal, "--to", "-", "--no-input"], { permissions });
    assertEquals(stdout, "1\n");
  });
});

test("ship reads a file and writes to one, without pipes", SLOW, async () => {
  await inDirectory((directory) => {
    const script = 'printf "1\\n2\\n" > in; "$@" < in > out';
    const { command } = currentRuntime();
    const program = [...runtimeArgs(), fileURLToPath(new URL(`../../${MAIN}`, import.meta.url))];
    const args = ["ship", join(directory, "wal"), "--to", "-", "--quiet"];
    const { status, stderr } = spawnSync("sh", ["-c", script, "sh", command, ...program, ...args], { cwd: directory });
    assertEquals([status, String(stderr)], [0, ""]);
    assertEquals(readFileSync(join(directory, "out"), "utf8"), "1\n2\n");
    return Promise.resolve();
  });
});
