/**
 * The recipes for loggers and access logs, with the real packages: what was logged is in the buffer, in order, whether the program ends
 * by `process.exit(1)` or by kill -9. A buffer that takes no more is no reason to throw into the program: its lines go to standard error.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path/join";
import { FileBuffer, textCodec } from "../../mod.ts";
import { Program } from "../engines/program.ts";
import { whyNoClients } from "../engines/servers.ts";
import { currentRuntime } from "../support/children.ts";

const CHILD = "tests/examples/logger_child.ts";
const RECIPES = new URL("../../examples/loggers/", import.meta.url);
const NAMES = readdirSync(RECIPES).map((file) => file.replace(/\.ts$/, "")).sort();
const MAX_LOGGER_LINES = 15;
/** Those for targets say whose fault a failure is, and leave nothing behind when an attempt is over. */
const MAX_TARGET_LINES = 22;

/** What the body of a request to a collector has, in order. */
const COLLECTED: Readonly<Record<string, (body: Record<string, object[]>) => object[]>> = {
  otel_logs: ({ resourceLogs }) => resourceLogs!,
  otel_spans: ({ resourceSpans }) => resourceSpans!,
};

/** Runs a command of the child; afterwards `check` gets the numbers of the lines that the buffer for each recipe has. */
function testChild(
  title: string,
  command: string,
  use: (program: Program) => Promise<(name: string, numbers: readonly number[]) => void>,
): void {
  test(title, { timeout: 60_000 }, async (t) => {
    const why = await whyNoClients();
    if (why !== undefined) return t.skip(why);
    const directory = mkdtempSync(join(tmpdir(), "sluice-loggers-"));
    try {
      const program = new Program(CHILD, [command, directory], currentRuntime());
      const check = await use(program);
      for (const name of NAMES) check(name, numbersOf(`${name}-line`, await linesIn(join(directory, name))));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

async function linesIn(path: string): Promise<string[]> {
  const buffer = await FileBuffer.open({ path, codec: textCodec() });
  const lines: string[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    lines.push(...batch);
    await buffer.commit(batch);
  }
  await buffer.close();
  return lines;
}

/** The numbers behind a prefix in lines that must be JSON. */
function numbersOf(prefix: string, lines: readonly string[]): number[] {
  return lines.map((line) => {
    JSON.parse(line);
    return Number(new RegExp(`${prefix}-(\\d+)`).exec(line)?.[1]);
  });
}

const numbersTo = (last: number): number[] => Array.from({ length: last + 1 }, (_, i) => i);

testChild("a fatal line before process.exit(1) is there after the restart", "fatal", async (program) => {
  const held = new Map<string, number>();
  const bodies = new Map<string, string>();
  for await (const line of program.lines()) {
    const [word, name = "", text = ""] = line.split(" ");
    if (word === "held") held.set(name, Number(text));
    else bodies.set(name, text);
  }
  const { code, errors } = await program.end();
  assertEquals(code, 1, errors);
  const refused = errors.trimEnd().split("\n");
  return (name, numbers) => {
    // Of the four that the small buffer was given, and the one that came when it was closed.
    const taken = held.get(name) ?? 0;
    assert(taken > 0 && taken < 4, `${name}: ${taken} held`);
    const lines = refused.filter((line) => line.includes(`${name}-tight`));
    assertEquals(numbersOf(`${name}-tight`, lines), numbersTo(4).slice(taken), name);
    assertEquals(numbers, numbersTo(10), name);
    const parts = COLLECTED[name]?.(JSON.parse(bodies.get(name)!));
    if (parts !== undefined) {
      assertEquals(numbersOf(`${name}-tight`, parts.map((part) => JSON.stringify(part))), numbersTo(taken - 1));
    }
  };
});

testChild("nothing that was logged is lost by kill -9", "forever", async (program) => {
  const logged = new Map<string, number>();
  for await (const line of program.lines()) {
    const [, name = "", number] = line.split(" ");
    logged.set(name, Number(number));
    if (logged.get(NAMES[0]!)! >= 30) program.kill();
  }
  const { signal, errors } = await program.end();
  assertEquals([signal, errors], ["SIGKILL", ""]);
  return (name, numbers) => {
    const last = logged.get(name) ?? -1;
    assert(last >= 29 && numbers.length > last, `${name}: ${last} was logged, ${numbers.length} lines are there`);
    assertEquals(numbers, numbersTo(numbers.length - 1), name);
  };
});

test("recipes are short", () => {
  for (
    const [folder, maxLines] of [[RECIPES, MAX_LOGGER_LINES], [
      new URL("../targets/", RECIPES),
      MAX_TARGET_LINES,
    ]] as const
  ) {
    for (const file of readdirSync(folder)) {
      const text = readFileSync(new URL(file, folder), "utf8");
      const [recipe = ""] = /^export (?:function|const) [^]*?\n\}/m.exec(text) ?? [];
      const { length } = recipe.split("\n");
      assert(length > 1 && length <= maxLines, `${file}: ${length}`);
    }
  }
});
