/**
 * What nobody awaits: a put that is rejected is reported by the runtime, a listener that rejects never ends the process.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { runChild } from "../support/children.ts";

async function run(what: string): Promise<{ unhandled: string[]; told: string[]; lastError?: string }> {
  const { code, stdout, stderr } = await runChild("tests/producer/unhandled_child.ts", [what]);
  assertEquals([code, stderr], [0, ""]);
  return JSON.parse(stdout);
}

for (const what of ["buffer", "producer"]) {
  test(`A put of a ${what} that is rejected and that nobody awaits is reported by the runtime`, async () => {
    const { unhandled } = await run(what);
    assertEquals(unhandled.sort(), [...Array(6).fill("CodecError"), ...Array(2).fill("RecordTooLargeError")]);
  });
}

test("A listener that rejects is told of, by the buffer and by the producer, and ends nothing", async () => {
  const { unhandled, told, lastError } = await run("listener");
  assertEquals(unhandled, []);
  // The first is the buffer's, the others are the producer's.
  for (const at of ["backlog-filled", "attempt-started", "delivered", "committed"]) assert(told.includes(at), at);
  assertEquals(lastError, "no listener");
});
