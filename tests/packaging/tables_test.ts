/**
 * Tables of the pages list what the code has: options, entry points, commands, error codes, metrics. Each is compared with
 * the code itself, so that one that is added, renamed or removed is found missing here.
 */

import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { MemoryBuffer, Producer } from "../../mod.ts";
import * as errors from "../../src/errors/mod.ts";
import { ATTEMPT_DURATION, BUFFER_METRICS, PRODUCER_METRICS, SYNC_DURATION } from "../../src/metrics/definitions.ts";
import { prometheusText } from "../../src/metrics/prometheus.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { runCli } from "../cli/tools.ts";

function read(path: string): string {
  return readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
}

/** The rows of a table, cell by cell: that whose head begins with this cell, in a page or a doc comment. */
function rowsOf(path: string, firstHead: string): string[][] {
  const lines = read(path).split("\n").map((line) => line.replace(/^ \* /, ""));
  const head = lines.findIndex((line) => line.startsWith("|") && cellsOf(line)[0] === firstHead);
  const rows = lines.slice(head + 2);
  return rows.slice(0, rows.findIndex((line) => !line.startsWith("|"))).map(cellsOf);
}

function cellsOf(line: string): string[] {
  return line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim());
}

/** The names in code of a cell: `a`, `b`. */
function namesIn(cell: string): string[] {
  return Array.from(cell.matchAll(/`([^`]+)`/g), ([, name]) => name!);
}

/** The members of an interface, by the text of its file. */
function membersOf(path: string, name: string): string[] {
  const [, body = ""] = new RegExp(`^export interface ${name}<T\\b[^{]*\\{\\n([^]*?)^\\}`, "m").exec(read(path)) ?? [];
  return Array.from(body.matchAll(/^ {2}readonly (\w+)\??:/gm), ([, member]) => member!);
}

/** The first table of the README with options of this kind. */
function optionsWith(option: string): string[] {
  const tables = read("README.md").split(/\n\n/).filter((block) => block.startsWith("| Option"));
  const table = tables.find((block) => block.includes(`| \`${option}\``)) ?? "";
  return table.split("\n").slice(2).flatMap((line) => namesIn(cellsOf(line)[0]!)).sort();
}

test("the README lists the options of buffers", () => {
  const members = [
    ...membersOf("src/buffer/options.ts", "BufferOptions"),
    ...membersOf("src/buffer/file_buffer.ts", "FileBufferOptions"),
  ];
  assertEquals(optionsWith("maxRecords"), members.sort());
});

test("the README lists the options of producers", () => {
  assertEquals(optionsWith("maxInFlight"), membersOf("src/producer/options.ts", "ProducerOptions").sort());
});

test("README and page of the sinks list the entry points of the sinks", () => {
  const { exports } = JSON.parse(read("deno.json"));
  const entryPoints = Object.keys(exports).filter((name) => name.startsWith("./sinks/")).sort();
  for (const page of ["README.md", "src/sinks/README.md"]) {
    const listed = rowsOf(page, "Sink").flatMap(([, cell]) => namesIn(cell!));
    assertEquals([...new Set(listed)].sort(), entryPoints, page);
  }
});

test("README and page of the command line list its commands", async () => {
  const { output } = await runCli(new MemoryFileSystem(), ["--help"]);
  const [, list = ""] = /^Commands:\n((?: .*\n)+)/m.exec(output) ?? [];
  const commands = Array.from(list.matchAll(/^ {2}(\w+)/gm), ([, name]) => name!).sort();
  for (const page of ["README.md", "src/cli/README.md"]) {
    assertEquals(rowsOf(page, "command").map(([cell]) => namesIn(cell!)[0]!.split(" ")[0]!).sort(), commands, page);
  }
});

test("the documentation of errors lists every code, with a class that exists", () => {
  const rows = rowsOf("src/errors/mod.ts", "`code`");
  const [, union = ""] = /^export type \w+ErrorCode =\n((?: {2}\| "\w+";?\n)+)/m.exec(read("src/errors/base.ts")) ?? [];
  const codes = Array.from(union.matchAll(/"(\w+)"/g), ([, code]) => code!);
  assertEquals(rows.flatMap(([code]) => namesIn(code!)).sort(), codes.sort());
  for (const [, cell] of rows) assertEquals(namesIn(cell!).map((name) => name in errors), [true], cell);
});

test("the documentation of OpenTelemetry lists every metric with its kind and unit", () => {
  for (
    const { prefix, set, durations } of [
      { prefix: "sluice.buffer.", set: BUFFER_METRICS.metrics, durations: [SYNC_DURATION] },
      { prefix: "sluice.producer.", set: PRODUCER_METRICS.metrics, durations: [ATTEMPT_DURATION] },
    ]
  ) {
    const listed = rowsOf("src/metrics/otel.ts", `\`${prefix}\``).map(([name, kind, unit]) =>
      [prefix + namesIn(name!)[0]!, kind!.replace(" ", "-"), namesIn(unit!)[0]!].join(" ")
    );
    const metrics = [...set, ...durations.map((duration) => ({ ...duration, kind: "histogram" }))];
    assertEquals(listed.sort(), metrics.map(({ name, kind, unit }) => [name, kind, unit].join(" ")).sort());
  }
});

test("alerts are about metrics that there are", async () => {
  const buffer = await MemoryBuffer.open<string>();
  const producer = new Producer<string>({ buffer, send: () => {} });
  const page = prometheusText([{ stats: buffer.stats() }, { stats: producer.stats() }]);
  await producer.close();
  await buffer.close();
  // With OpenTelemetry only, as the text above the table says.
  const known = new Set(["sluice_buffer_error_reported_total"]);
  for (const [name] of page.matchAll(/^sluice_\w+/gm)) known.add(name);
  const asked = rowsOf("src/metrics/prometheus.ts", "alert").flatMap(([, when]) =>
    Array.from(when!.replace(/\{[^}]*\}/g, "").matchAll(/sluice_\w+/g), ([name]) => name)
  );
  assertEquals(asked.filter((name) => !known.has(name)), []);
  assertEquals(asked.length > 10, true);
});
