/**
 * `sluice repair PATH`: does at once what opening the buffer does, and what a buffer would only do when it reads on.
 *
 * What it is good for besides: a buffer with `onDamage: "fail"` refuses a damaged log, and afterwards it doesn't; the
 * quarantine takes what it has to, without a limit; and somebody is told before it happens.
 *
 * @module
 */

import { countSequences, type SequenceRange } from "../base/sequences.ts";
import { applyRepair, hasWork, type RepairPlan } from "../maintenance/repair.ts";
import { readDirectory } from "../maintenance/snapshot.ts";
import { Ownership } from "../wal/ownership.ts";
import { pathOf } from "./shared/arguments.ts";
import { type Command, type CommandArguments, type CommandContext, EXIT_OK, EXIT_UNSOUND } from "./shared/command.ts";
import { planWithProgress } from "./shared/repair_plan.ts";
import { fields, formatBytes, formatCount, formatNumber, formatRange, widthOf, wrap } from "./shared/text.ts";

/** Beside a live writer a look may meet the log halfway between two states: what two looks find is there. */
const MAX_LOOKS = 4;

/** Several losses at once may hide each other; more rounds than this were never needed. */
const MAX_ROUNDS = 3;

/** Repairs a log. */
export const repairCommand: Command = {
  name: "repair",
  usage: "PATH [--dry-run] [--json]",
  summary: "Set aside what can't be read, so that everything else can be, and say what is lost",
  details: `
Cuts off an unfinished write at the end, copies damaged bytes to PATH/quarantine, moves segments there that can't be read at all, rewrites a cursor that doesn't fit the log, and writes down in PATH/quarantine/losses.json which sequences are lost. A buffer that is opened with onDamage "fail" reads past all of that afterwards.

It never deletes a byte: what is cut off or moved is in the quarantine, and damaged bytes between good ones stay in their segment, too. What a buffer that is open does by itself is the same, but it stops copying at 64 MiB. Segments in front of the commit position are not looked at: they are delivered. verify goes on to report damaged bytes that stay where they are, and sequences that are lost, as accepted, until the consumer is past them: the log is sound then.

With --dry-run nothing is changed and no lock is taken; it may be run beside the program that has the buffer open, of which the last write may then look unfinished. Without it, the buffer must not be open. A repair that was interrupted is finished by the next one.

Exit codes: 0 nothing to do, or done; with --dry-run 1 if there is something to do.

Examples:
  sluice repair ./events.wal --dry-run
  sluice repair ./events.wal && sluice restore ./events.wal`,
  options: {
    "dry-run": { type: "boolean", help: "Only say what would be done" },
  },
  run,
};

async function run(args: CommandArguments, context: CommandContext): Promise<number> {
  const path = pathOf(args, repairCommand);
  const isDryRun = args.options["dry-run"] === true;
  const plan = isDryRun ? await foresee(path, context) : await repair(path, context);
  const { output } = context;
  const text = args.options["json"] === true
    ? `${JSON.stringify(toJson(plan, { path, isDryRun }))}\n`
    : describe(plan, { isDryRun, width: widthOf(output) });
  await output.write(text);
  return isDryRun && hasWork(plan) ? EXIT_UNSOUND : EXIT_OK;
}

async function foresee(path: string, context: CommandContext): Promise<RepairPlan> {
  let plan = await planWithProgress(path, context, "repair");
  for (let look = 1; look < MAX_LOOKS && hasWork(plan); look++) {
    const before = JSON.stringify(workOf(plan));
    plan = await planWithProgress(path, context, "repair");
    if (JSON.stringify(workOf(plan)) === before) break;
  }
  return plan;
}

async function repair(path: string, context: CommandContext): Promise<RepairPlan> {
  const { fileSystem, clock } = context;
  // Before a lock file is created in a directory of something else, or beside files of a newer version.
  readDirectory(fileSystem, path);
  const ownership = await Ownership.acquire({ fileSystem, directory: path, openedAt: clock.now() });
  try {
    const plan = await planWithProgress(path, context, "repair");
    await applyRepair(plan, { fileSystem, directory: path, ownership });
    // What one loss has hidden of another shows when the one is dealt with: the cursor may move once more.
    for (let i = 0; i < MAX_ROUNDS && hasWork(plan); i++) {
      const next = await planWithProgress(path, context, "repair");
      if (!hasWork(next)) break;
      await applyRepair(next, { fileSystem, directory: path, ownership });
    }
    return plan;
  } finally {
    ownership.release();
  }
}

function toJson(plan: RepairPlan, { path, isDryRun }: { path: string; isDryRun: boolean }): Record<string, unknown> {
  return { path, dryRun: isDryRun, nothingToDo: !hasWork(plan), ...workOf(plan) };
}

function workOf({ tail, regions, moved, removed, cursor, missing }: RepairPlan): Record<string, unknown> {
  return {
    cut: tail ?? null,
    setAside: regions,
    moved,
    removed,
    cursor: cursor ?? null,
    missing,
    missingRecords: countSequences(missing),
  };
}

function describe(plan: RepairPlan, { isDryRun, width }: { isDryRun: boolean; width: number }): string {
  const rows = rowsOf(plan);
  const { recovery: { end }, tail } = plan;
  if (!hasWork(plan)) {
    const spare = tail === undefined
      ? ""
      : ` ${formatBytes(tail.length)} of space set aside ${isDryRun ? "would be" : "was"} given back.`;
    return `${wrap(`Nothing to repair.${spare}`, width)}\n`;
  }
  const title = isDryRun ? "Would be done (nothing was changed):" : "Done:";
  const next = ["next sequence", formatNumber(end.nextSequence)] as const;
  return `${title}\n\n${fields([...rows, next], width)}`;
}

function rowsOf({ tail, regions, moved, removed, cursor, missing }: RepairPlan): (readonly [string, string])[] {
  const rows: (readonly [string, string])[] = [];
  if (tail !== undefined) {
    const what = tail.isZero
      ? "space set aside"
      : "an unfinished write, or damage at the very end; copied to the quarantine first";
    rows.push(["cut off", `${formatBytes(tail.length)} of ${tail.segment} at ${formatNumber(tail.offset)}: ${what}`]);
  }
  for (const { segment, offset, length } of regions) {
    rows.push(["set aside", `a copy of ${formatBytes(length)} of ${segment} at ${formatNumber(offset)}: damaged`]);
  }
  for (const { segment, bytes, why } of moved) {
    const what = why === "header" ? "its header can't be read" : "it is another buffer's, or has another's name";
    rows.push(["moved", `${segment} to the quarantine, ${formatBytes(bytes)}: ${what}`]);
  }
  for (const segment of removed) rows.push(["removed", `${segment}: it was never begun, no record was in it`]);
  if (cursor !== undefined) {
    const why = cursor === "lost"
      ? "it is missing, damaged or another buffer's; everything in the log is delivered again"
      : "it knows of more than the log has, or of less than was given out";
    rows.push(["rewritten", `the cursor: ${why}`]);
  }
  for (const range of missing) rows.push(["lost", describeMissing(range)]);
  return rows;
}

function describeMissing(range: SequenceRange): string {
  const { first, last } = range;
  return first === last
    ? `sequence ${formatRange(range)}`
    : `sequences ${formatRange(range)}, ${formatCount(last - first + 1, "record")} at most`;
}
