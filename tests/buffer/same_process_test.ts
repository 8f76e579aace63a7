/**
 * A buffer that is opened while its own process has it open: the error says so, and what to do, instead of naming a process to
 * end. Twice in one program, in another thread, and after a real hot reload.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BufferLockedError, FileBuffer } from "../../mod.ts";
import { availableRuntimes, currentRuntime, runChild, startChild } from "../support/children.ts";

/** Runs `body` with the path of a buffer on the real disk. */
async function withPath(body: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-same-"));
  try {
    await body(join(directory, "buffer"));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function assertNamesThisProcess(message: string, pid: number): void {
  assertStringIncludes(message, `it is locked by ${currentRuntime().name} process ${pid} since `);
  assertStringIncludes(message, ", which is this very process: ");
  assertStringIncludes(message, "close that buffer first");
  assertStringIncludes(message, "hot reload");
  assertStringIncludes(message, "globalThis");
}

test("BufferLockedError says that this very process has the buffer open", async () => {
  await withPath(async (path) => {
    const buffer = await FileBuffer.open({ path });
    const error = await assertRejects(() => FileBuffer.open({ path }), BufferLockedError);
    assertNamesThisProcess(error.message, process.pid);
    assertEquals(error.sameProcess, true);
    // The advice works.
    await buffer.close();
    await (await FileBuffer.open({ path })).close();
  });
});

test("BufferLockedError says that another thread of this process has the buffer open", async () => {
  await withPath(async (path) => {
    const buffer = await FileBuffer.open({ path });
    const worker = new Worker(new URL("./same_process_thread.ts", import.meta.url), { workerData: path });
    try {
      const { message, sameProcess } = await new Promise<{ message: string; sameProcess: boolean }>(
        (resolve, reject) => worker.once("message", resolve).once("error", reject),
      );
      assertNamesThisProcess(message, process.pid);
      assertEquals(sameProcess, true);
    } finally {
      await worker.terminate();
      await buffer.close();
    }
  });
});

test("BufferLockedError doesn't take another process for this one", async () => {
  await withPath(async (path) => {
    const buffer = await FileBuffer.open({ path });
    const { stdout, stderr } = await runChild("tests/buffer/same_process_child.ts", [path]);
    assert(stdout !== "", stderr);
    const { message, sameProcess } = JSON.parse(stdout);
    assertStringIncludes(message, `it is locked by ${currentRuntime().name} process ${process.pid} since `);
    assertEquals([sameProcess, message.includes("this very process")], [false, false]);
    await buffer.close();
  });
});

const bun = availableRuntimes().find(({ name }) => name === "bun");

test("BufferLockedError names this process after a hot reload", { skip: bun === undefined }, async () => {
  await withPath(async (path) => {
    // A copy, because the reload is caused by writing to it.
    const original = new URL("./same_process_child.ts", import.meta.url);
    const text = readFileSync(original, "utf8").replace(/"(\.\.\/[^"]+)"/g, (_, name) => {
      return JSON.stringify(fileURLToPath(new URL(name, original)));
    });
    const program = pathToFileURL(`${path}.ts`);
    writeFileSync(program, text);
    const child = startChild(program, [path], { runtime: bun!, flags: ["--hot"] });
    try {
      const lines: { runs: number; pid: number; message?: string; sameProcess?: boolean }[] = [];
      await new Promise<void>((resolve, reject) => {
        let output = "";
        child.once("exit", () => reject(new Error("it has ended")));
        child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
          output += chunk;
          const complete = output.split("\n").slice(0, -1).map((line) => JSON.parse(line));
          if (complete.length > lines.length) {
            lines.splice(0, lines.length, ...complete);
            if (lines.length === 1) writeFileSync(program, `${text}\n// changed\n`);
            else resolve();
          }
        });
      });
      const [first, second] = lines;
      assertEquals([first!.runs, second!.runs, second!.pid, second!.sameProcess], [1, 2, first!.pid, true]);
      assertStringIncludes(second!.message!, ", which is this very process: ");
    } finally {
      const ended = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGKILL");
      await ended;
    }
  });
});
