/**
 * `sluice report PATH`: draws a log as a page for a browser.
 *
 * Guarantees: like every reading command, it takes no lock and changes no byte of the log. Memory and the page's size don't grow
 * with the log. The page is written whole or not at all, and replaces another file only with `--force`.
 *
 * @module
 */

import { UnsupportedVersionError } from "../errors/mod.ts";
import { isNoSuchFile } from "../fs/file_helpers.ts";
import { isTaken, writeNewFile } from "../fs/replace_file.ts";
import { readDirectory } from "../maintenance/snapshot.ts";
import { ReportCollector, toReportPlan } from "./report/collector.ts";
import type { ReportData } from "./report/data.ts";
import { renderReport } from "./report/page.ts";
import { problemsOf } from "./report/recovery_steps.ts";
import { pathOf } from "./shared/arguments.ts";
import {
  type Command,
  type CommandArguments,
  type CommandContext,
  EXIT_OK,
  EXIT_UNSOUND,
  UsageError,
} from "./shared/command.ts";
import { scanWithProgress } from "./shared/progress.ts";
import { foreseeRepair } from "./shared/repair_plan.ts";
import { formatBytes, formatCount } from "./shared/text.ts";

export const reportCommand: Command = {
  name: "report",
  usage: "PATH --out=FILE.html [--force]",
  summary: "Draw the log as one HTML page that needs nothing else",
  details: `
Shows whether the log is sound, what is pending, in flight and committed, where in which segment it stands, sizes and times of records, and what recovery would do. The page loads nothing, sends nothing, and can be printed or mailed.

Only --out writes. The page is written beside its place and renamed, so on Deno the directory of FILE has to be allowed: --allow-write=DIR.

Examples:
  sluice report ./events.wal --out=events.html
  sluice report ./events.wal --out=- > events.html
  sluice report ./events.wal --json

Exit code 1 says that the page is written and the log is not sound.`,
  options: {
    out: { type: "string", short: "o", value: "FILE", help: "Where to write the page; - is standard output" },
    force: { type: "boolean", help: "Replace FILE if it is there" },
    json: { type: "boolean", help: "Print what the page is drawn from, for programs" },
  },
  async run(args, context) {
    const path = pathOf(args, reportCommand);
    const target = targetOf(args);
    const { fileSystem, output, clock } = context;
    const isForced = args.options["force"] === true;
    if (target !== undefined && !isForced && isTaken(fileSystem, target)) {
      throw new UsageError(`Cannot write "${target}": it is there already, --force replaces it`);
    }
    const snapshot = readDirectory(fileSystem, path);
    const collector = new ReportCollector(snapshot);
    await scanWithProgress(context, "report", { snapshot }, (item) => collector.add(item));
    const data = collector.finish(clock.now(), await plan(path, context));
    const isJson = args.options["json"] === true;
    if (target !== undefined) {
      const page = new TextEncoder().encode(renderReport(data));
      await writeNewFile(fileSystem, target, page, isForced);
      if (!isJson) await output.write(`${summaryOf(data, target, page.length)}\n`);
    } else if (!isJson) await output.write(renderReport(data));
    if (isJson) await output.write(`${JSON.stringify(data, undefined, 2)}\n`);
    return data.isSound ? EXIT_OK : EXIT_UNSOUND;
  },
};

/** The page's file; `undefined` if it goes to standard output, or only JSON is wanted. */
function targetOf({ options }: CommandArguments): string | undefined {
  const { out, json } = options;
  if (out === undefined && json === true) return undefined;
  if (typeof out !== "string" || out === "") throw new UsageError("Cannot report: say where to, with --out=FILE.html");
  if (out === "-") {
    if (json === true) throw new UsageError("Cannot use --out=- with --json: both are for standard output");
    return undefined;
  }
  // No file of a buffer has such a name, so none is ever replaced, and no page is taken for one.
  if (!/\.html?$/i.test(out)) throw new UsageError(`Cannot write "${out}": the name of a page ends in .html`);
  return out;
}

async function plan(path: string, context: CommandContext): Promise<ReportData["plan"]> {
  try {
    return toReportPlan(await foreseeRepair(path, context, "report"));
  } catch (error) {
    // A newer version further back in the log, or segments that come and go: the rest of the report holds all the same.
    if (error instanceof UnsupportedVersionError || isNoSuchFile(error)) return { refusal: (error as Error).message };
    throw error;
  }
}

function summaryOf(data: ReportData, target: string, pageBytes: number): string {
  const state = data.isSound ? "sound" : `not sound: ${problemsOf(data)}`;
  return `${target}: ${formatBytes(pageBytes)}, ${formatCount(data.counts.segments, "segment")}, ${state}`
    .replaceAll(/[\u202f\xa0]/g, " ");
}
