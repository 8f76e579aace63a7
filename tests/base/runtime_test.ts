/**
 * The runtime is told from what can't be imitated, and answers as Node's `process` does.
 */

import process from "node:process";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { platformName, processId, processOfNode, runtimeName } from "../../src/base/runtime.ts";

const own = (["deno", "bun", "node"] as const).find((name) => process.versions[name] !== undefined);

test("runtimeName(), platformName() and processId() say what `process` says", () => {
  assertEquals([runtimeName(), platformName(), processId()], [own, process.platform, process.pid]);
  assertEquals(processOfNode().pid, process.pid);
});

test("runtimeName() isn't misled by a Deno that a package or a test has made", { skip: own === "deno" }, () => {
  const value = { build: { os: "plan9" }, pid: 1, version: { deno: "2.9.6" } };
  for (const property of [{ value, writable: true, enumerable: true }, { value }, { get: () => value }]) {
    Object.defineProperty(globalThis, "Deno", { ...property, configurable: true });
    try {
      assertEquals([runtimeName(), platformName(), processId()], [own, process.platform, process.pid]);
    } finally {
      Reflect.deleteProperty(globalThis, "Deno");
    }
  }
});
