/**
 * `deno task publish`, against a registry on this machine that does what JSR does: a clone is published as it is committed, with
 * exactly the files that the dry run lists, and against the registry's own `@std`.
 */

import { spawn, spawnSync } from "node:child_process";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { currentRuntime } from "../support/children.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const deno = currentRuntime().name === "deno" ? currentRuntime().command : process.env["SLUICE_DENO"];
const SLOW = { timeout: 300_000, skip: deno === undefined || spawnSync("git", ["--version"]).status !== 0 };
const scratch = mkdtempSync(join(tmpdir(), "sluice-publish-test-"));
const clone = join(scratch, "clone");

after(() => rmSync(scratch, { recursive: true }));

/** A repository with what is needed for publishing, all of it committed. */
function makeClone(): void {
  for (
    const name of ["mod.ts", "src", "README.md", "LICENSE", "deno.json", "tests/std", "tests/packaging/publish.ts"]
  ) {
    cpSync(join(root, name), join(clone, name), { recursive: true });
  }
  for (const args of [["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]]) {
    const git = ["-c", "user.name=a", "-c", "user.email=a@example.com", ...args];
    assertEquals(spawnSync("git", git, { cwd: clone }).status, 0, args[0]);
  }
}

/** What `GET` gives of the stand-ins: packages, versions, files. */
function standIns(): Map<string, string> {
  const answers = new Map<string, string>();
  for (const folder of ["path", "fs"]) {
    const { name, version, exports } = JSON.parse(readFileSync(join(root, "tests/std", folder, "deno.json"), "utf8"));
    const manifest: Record<string, unknown> = {};
    for (const file of readdirSync(join(root, "tests/std", folder)).filter((file) => file.endsWith(".ts"))) {
      const text = readFileSync(join(root, "tests/std", folder, file), "utf8");
      const checksum = `sha256-${createHash("sha256").update(text).digest("hex")}`;
      manifest[`/${file}`] = { size: Buffer.byteLength(text), checksum };
      answers.set(`/${name}/${version}/${file}`, text);
    }
    answers.set(`/${name}/meta.json`, JSON.stringify({ latest: version, versions: { [version]: {} } }));
    answers.set(`/${name}/${version}_meta.json`, JSON.stringify({ manifest, exports }));
  }
  return answers;
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The names of the files in an archive of `tar`: blocks of 512 bytes, a name at 0, a size in octal digits at 124, a type at 156. */
function namesIn(archive: Uint8Array): string[] {
  const names: string[] = [];
  const textAt = (at: number, length: number) =>
    new TextDecoder().decode(archive.subarray(at, at + length)).replace(/\0.*$/s, "");
  for (let at = 0; at < archive.length && archive[at] !== 0;) {
    const size = parseInt(textAt(at + 124, 12), 8);
    if (textAt(at + 156, 1) !== "5") names.push(textAt(at, 100).replace(/^\.\//, ""));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return names.sort();
}

/** Runs the task; `url` is that of a registry. */
async function publish(args: readonly string[], url = "http://127.0.0.1:1/"): Promise<{ code: unknown; text: string }> {
  const child = spawn(deno!, ["run", "-A", "--no-config", "tests/packaging/publish.ts", ...args], {
    cwd: clone,
    env: { ...process.env, JSR_URL: url, NO_COLOR: "1", GITHUB_ACTIONS: "" },
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (part) => text += part);
  const code = await new Promise((resolve) => child.on("close", resolve));
  return { code, text };
}

test("deno task publish uploads the files that the dry run lists, and nothing that isn't committed", SLOW, async () => {
  makeClone();
  const answers = standIns();
  const uploads: { url: string; authorization: string | undefined; names: string[] }[] = [];
  const asked = new Set<string>();
  const server = createServer(async (request, response) => {
    const { method, url = "", headers } = request;
    const body = await bodyOf(request);
    if (method === "POST") {
      uploads.push({ url, authorization: headers.authorization, names: namesIn(gunzipSync(body)) });
      return response.end(JSON.stringify({ id: "1", status: "success", error: null }));
    }
    asked.add(url);
    const answer = answers.get(url);
    response.statusCode = answer === undefined && !url.endsWith("/packages/buffer") ? 404 : 200;
    response.end(answer ?? JSON.stringify({ code: "notFound", message: "nothing here" }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const dry = await publish(["--dry-run", "--allow-dirty"]);
    assertEquals(dry.code, 0, dry.text);
    const listed = Array.from(dry.text.matchAll(/\/package\/(\S+) \(/g), ([, name]) => name!).sort();
    assert(listed.includes("mod.ts") && listed.includes("src/cli/sluice.ts") && listed.includes("README.md"), dry.text);

    const published = await publish(["--token", "secret", "--no-check"], url);
    assertEquals(published.code, 0, published.text);
    assertEquals(uploads.map(({ names }) => names), [listed]);
    assertStringIncludes(uploads[0]!.url, "/api/scopes/sluice/packages/buffer/versions/0.1.0");
    assertEquals(uploads[0]!.authorization, "Bearer secret");
    assert(asked.has("/@std/path/meta.json"), "the stand-ins were used");

    writeFileSync(join(clone, "mod.ts"), "export {};\n");
    const dirty = await publish(["--token", "secret"], url);
    assertEquals([dirty.code, uploads.length], [1, 1]);
    assertStringIncludes(dirty.text, "Cannot publish: there are changes that aren't committed");
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
