/**
 * What may be given as a path: a string, a `file:` URL as an object or a string; and how long it may be. All of it for the
 * directory of a buffer and for the file of a file sink.
 */

import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { FileSystemError } from "../../src/errors/mod.ts";
import { fileSink } from "../../src/sinks/file.ts";

async function withDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-paths-"));
  try {
    await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function openAndClose(path: string | URL): Promise<void> {
  const buffer = await FileBuffer.open<string>({ path });
  await buffer.put("x");
  await buffer.close();
}

test("a path may be a file: URL, as an object of any realm or as a string", () =>
  withDirectory(async (directory) => {
    const url = pathToFileURL(join(directory, "a b%20ü"));
    // Test environments such as jsdom have a class of their own.
    const foreign = { href: url.href, protocol: "file:" } as unknown as URL;
    for (const path of [url, url.href, foreign, join(directory, "a b%20ü")]) await openAndClose(path);
    assertEquals(readdirSync(directory), ["a b%20ü"]);
    const sink = await fileSink<string>(pathToFileURL(join(directory, "out.ndjson")));
    await sink.close();
    assertEquals(readdirSync(directory).includes("out.ndjson"), true);
  }));

test("a URL that names no local file is refused, and so is what is no path", async () => {
  const urls = [new URL("https://example.com/a"), new URL("file:///a%2Fb"), "file:///a%00b", "file:///a%2fb"];
  for (const path of [...urls, "", "a\0b", 7, null, undefined, {}, ["a"]] as string[]) {
    const message = "Cannot open buffer: path must be the path of a directory, or its file: URL, got ";
    assertStringIncludes((await assertRejects(() => FileBuffer.open({ path }), TypeError)).message, message);
    await assertRejects(() => fileSink(path), TypeError, "path must be the path of a file, or its file: URL, got ");
  }
});

test(
  "a path of 499 bytes works, a longer one is refused with its limit",
  { skip: process.platform === "win32" },
  () =>
    withDirectory(async (directory) => {
      // In bytes, not in characters.
      const middle = join(directory, "ü".repeat(100));
      mkdirSync(middle);
      const room = 499 - new TextEncoder().encode(middle).length - 1;
      const pathOf = (bytes: number) => join(middle, "d".repeat(100), "e".repeat(bytes - 101));
      await openAndClose(pathOf(room));
      for (const bytes of [room + 1, room + 12]) {
        const error = await assertRejects(() => openAndClose(pathOf(bytes)), FileSystemError);
        assertEquals([error.errno, error.operation], ["ENAMETOOLONG", "lock"]);
        assertStringIncludes(error.message, "takes a path of at most 504 bytes");
      }
    }),
);
