/**
 * Random bytes are random, also where the system's device isn't one.
 */

import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { assertEquals, assertNotEquals } from "@std/assert";
import { randomBytes } from "../../src/fs/random_bytes.ts";

test("randomBytes() doesn't take a file for the system's device, which scripts in a container without one make there", () => {
  const directory = fs.mkdtempSync(join(tmpdir(), "sluice-random-"));
  const path = join(directory, "urandom");
  fs.writeFileSync(path, new Uint8Array(512));
  const { openSync } = fs;
  fs.openSync = (opened, ...rest) => openSync(opened === "/dev/urandom" ? path : opened, ...rest);
  try {
    const bytes = randomBytes(16);
    assertEquals(bytes.length, 16);
    assertNotEquals(bytes, new Uint8Array(16));
    assertNotEquals(bytes, randomBytes(16));
  } finally {
    fs.openSync = openSync;
    fs.rmSync(directory, { recursive: true });
  }
});
