/**
 * The runner of the tests: no file is left out of the gate or in it twice, and a summary is read as each runtime writes it.
 */

import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assertEquals } from "@std/assert";
import { filesOf, LONG_FILES, runsOn, type Target, testFiles } from "./files.ts";
import { countsOf, SUMMARIES } from "./runtimes.ts";

const tests = fileURLToPath(new URL("../", import.meta.url));
const files = testFiles(tests);
const TARGETS: readonly Target[] = ["deno", "bun", "node", "oldest-node"];

test("every file that is listed as long is there", () => {
  assertEquals(Object.keys(LONG_FILES).filter((file) => !files.includes(file)), []);
});

test("the files that read the extent of a run are those that the quick run samples", () => {
  const reading = files.filter((file) =>
    /import \{.*\bisQuick|quick: \d/.test(readFileSync(`${tests}${file}`, "utf8"))
  );
  const sampled = Object.keys(LONG_FILES).filter((file) => LONG_FILES[file] === "sampled");
  assertEquals(reading, sampled.sort());
});

test("the quick and the long run together have every file that a runtime runs, and the gate each once but for the oldest Node", () => {
  for (const target of TARGETS) {
    const wanted = files.filter((file) => runsOn(target, file));
    const both = new Set([...filesOf(files, "quick", target), ...filesOf(files, "long", target)]);
    assertEquals([...both].sort(), wanted, target);
    if (target !== "oldest-node") assertEquals(filesOf(files, "all", target).toSorted(), wanted, target);
  }
});

test("the gate has whole rooms on the oldest Node, and single files that are there", () => {
  const gate = filesOf(files, "all", "oldest-node");
  for (const file of files.filter((file) => /^(base|buffer|fs|metrics|wal)\//.test(file))) {
    assertEquals(gate.includes(file), runsOn("oldest-node", file), file);
  }
  const single = gate.filter((file) => !/^(base|buffer|fs|metrics|wal)\//.test(file));
  assertEquals(single.length, 7);
  assertEquals(new Set(gate).size, gate.length);
});

test("every file is run on Deno, and all but three on Bun and the newest Node", () => {
  const left = (target: Target) => files.filter((file) => !runsOn(target, file));
  assertEquals(left("deno"), []);
  const once = ["examples/rabbitmq_test.ts", "packaging/publish_test.ts", "packaging/published_types_test.ts"];
  assertEquals([left("bun"), left("node")], [once, once]);
  for (const file of left("oldest-node")) assertEquals(Object.hasOwn(LONG_FILES, file), true, file);
});

test("the quick run has no file that is left out, and the long run all of them in full", () => {
  const quick = filesOf(files, "quick", "node");
  assertEquals(quick.filter((file) => LONG_FILES[file] === "left out"), []);
  assertEquals(filesOf(files, "long", "node"), Object.keys(LONG_FILES).filter((file) => runsOn("node", file)));
  assertEquals(
    filesOf(files, "long", "oldest-node").length,
    files.filter((file) => runsOn("oldest-node", file)).length,
  );
});

test("countsOf() reads the summaries of Deno, Bun and Node", () => {
  const deno = "\u001b[0m\u001b[31mFAILED\u001b[0m | 40 passed (2 steps) | 3 failed | 8 ignored (2s)\n";
  assertEquals(countsOf(deno, SUMMARIES.deno), { passed: 40, failed: 3, skipped: 8 });
  assertEquals(countsOf("ok | 13 passed | 0 failed (7ms)\n", SUMMARIES.deno), { passed: 13, failed: 0, skipped: 0 });
  const bun = "\n 40 pass\n 8 skip\n 3 fail\nRan 51 tests across 1 file. [760.00ms]\n";
  assertEquals(countsOf(bun, SUMMARIES.bun), { passed: 40, failed: 3, skipped: 8 });
  const node = "ℹ tests 51\nℹ suites 0\nℹ pass 40\nℹ fail 2\nℹ cancelled 1\nℹ skipped 8\nℹ todo 0\n";
  assertEquals(countsOf(node, SUMMARIES.node), { passed: 40, failed: 3, skipped: 8 });
  assertEquals(countsOf("Segmentation fault\n", SUMMARIES.node), { passed: 0, failed: 0, skipped: 0 });
});
