/**
 * What `report` says that recovery would do is what `repair --dry-run` says, step by step and word for word: on paper and for
 * programs, for each kind of damage.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { concat, cut, garbage } from "../support/bytes.ts";
import { type Base, hitFrame, hitHeader, makeBase, makeForeign } from "../support/damaged_logs.ts";
import { copyOf, CURSOR_PATH, DIRECTORY, type Files, segmentPath } from "../support/logs.ts";
import { runCli } from "./tools.ts";

interface Case {
  readonly name: string;
  readonly log: MemoryFileSystem;
  /** How many steps there are; the last line of `repair` says what comes next. */
  readonly steps: number;
}

function casesOf({ fileSystem, path, bytes }: Base, foreign: Base): Case[] {
  const log = (name: string, files: Files, steps: number): Case => ({ name, log: copyOf(fileSystem, files), steps });
  return [
    log("nothing", {}, 0),
    log("a torn tail", { [path(-1)]: concat(bytes(-1), garbage(70, 1)) }, 1),
    log("space set aside", { [path(-1)]: concat(bytes(-1), new Uint8Array(5000)) }, 0),
    log("a bad frame in the middle", { [path(2)]: hitFrame(bytes(2), 1) }, 2),
    log("a bad frame in the last segment, and a torn tail", {
      [path(-1)]: concat(hitFrame(bytes(-1), 0), garbage(50, 2)),
    }, 3),
    log("a segment without a header", { [path(2)]: hitHeader(bytes(2)) }, 2),
    log("a last segment without a header", { [path(-1)]: hitHeader(bytes(-1)) }, 2),
    log("a segment that is gone", { [path(2)]: undefined }, 1),
    log("a last segment that is gone", { [path(-1)]: undefined }, 1),
    log("a segment of another buffer", { [path(2)]: foreign.bytes(2) }, 2),
    log("a segment that was never begun", { [segmentPath(25)]: cut(bytes(-1), 70) }, 1),
    log("no cursor", { [CURSOR_PATH]: undefined }, 1),
    log("a cursor of another buffer", { [CURSOR_PATH]: foreign.cursor }, 1),
    log("a bad cursor and a bad frame", { [CURSOR_PATH]: garbage(9000, 3), [path(2)]: hitFrame(bytes(2), 0) }, 3),
  ];
}

/** The steps that `repair --dry-run` prints, each as one line. */
function stepsIn(output: string): string[] {
  const words = /^(cut off|set aside|moved|removed|rewritten|lost) +/;
  const lines = output.split("\n").filter((line) => words.test(line));
  return lines.map((line) => line.replace(words, (_, word: string) => `${word[0]!.toUpperCase()}${word.slice(1)}: `));
}

/** The steps on the page of a report, as people read them. */
function stepsOn(page: string): string[] {
  const section = page.slice(page.indexOf("What recovery would do"));
  const items = section.slice(0, section.indexOf("</section>")).matchAll(/<li>(.*?)<\/li>/g);
  return Array.from(
    items,
    ([, text]) => text!.replaceAll(/[\u202f\xa0]/g, " ").replaceAll("&#39;", "'").replaceAll("&quot;", '"'),
  );
}

test("report plans what repair --dry-run plans, in the same words", async () => {
  for (const { name, log, steps } of casesOf(await makeBase(1), await makeForeign())) {
    const planned = await runCli(log, ["repair", DIRECTORY, "--dry-run"], { columns: 1000 });
    const { output: page } = await runCli(log, ["report", DIRECTORY, "--out=-"]);
    const expected = stepsIn(planned.output).map((step) => `${step}.`);
    const found = stepsOn(page);
    assert(expected.length === steps, `${name}: ${JSON.stringify(expected)}`);
    assertEquals(found.slice(0, expected.length).filter((step) => !/^Cut off: .*set aside/.test(step)), expected, name);
    const others = found.slice(expected.length).filter((step) =>
      !/^(Deliver|Nothing|Leave|Believe|Cut off) ?/.test(step)
    );
    assertEquals(others, [], name);
    const { output: json } = await runCli(log, ["repair", DIRECTORY, "--dry-run", "--json"]);
    const { output: reported } = await runCli(log, ["report", DIRECTORY, "--json"]);
    const { cut: tail, setAside: regions, moved, removed, cursor, missing } = JSON.parse(json);
    const { plan } = JSON.parse(reported);
    const said = { tail: null, cursor: null, ...plan.steps };
    assertEquals(said, { tail, regions, moved, removed, cursor, missing }, name);
    assertEquals(plan.more, 0, name);
  }
});

test("report of a log of which a part is of a newer version plans nothing, as repair, and says why", async () => {
  const { fileSystem, path, bytes } = await makeBase();
  const newer = bytes(1).slice();
  newer[8] = newer[88] = 99;
  const log = copyOf(fileSystem, { [path(1)]: newer });
  const planned = await runCli(log, ["repair", DIRECTORY, "--dry-run"]);
  assertEquals(planned.code, 3);
  const { output, errors } = await runCli(log, ["report", DIRECTORY, "--out=-"]);
  assertEquals([stepsOn(output)[0], errors], [`Nothing: ${planned.errors.replace(/^sluice: /, "").trimEnd()}.`, ""]);
});
