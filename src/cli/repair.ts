/**
 * `sluice repair PATH`: repairs at once what opening the buffer would repair, and what a buffer would repair only when it reads on.
 *
 * Its further uses: a buffer with `onDamage: "fail"` refuses a damaged log, and accepts it afterwards; the quarantine has no size
 * limit; and `--dry-run` shows what would happen.
 *
 * @module
 */

import { applyRepair, hasWork, type RepairPlan } from "../maintenance/repair.ts";
import { readDirectory } from "../maintenance/snapshot.ts";
import { Ownership } from "../wal/ownership.ts";
import { pathOf } from "./shared/arguments.ts";
import { type Command, type CommandContext, EXIT_OK, EXIT_UNSOUND } from "./shared/command.ts";
import { describeSteps, foreseeRepair, planWithProgress, toJson } from "./shared/repair_plan.ts";
import { writeResult } from "./shared/result.ts";
import { fields, formatBytes, formatNumber, wrap } from "./shared/text.ts";

/** One loss may hide another. More rounds than this were never needed. */
const MAX_ROUNDS = 3;

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
  async run(args, context) {
    const path = pathOf(args, repairCommand);
    const isDryRun = args.options["dry-run"] === true;
    const plan = isDryRun ? await foreseeRepair(path, context, "repair") : await repair(path, context);
    const json = { path, dryRun: isDryRun, nothingToDo: !hasWork(plan), ...toJson(plan) };
    await writeResult(args, context, json, (width) => describe(plan, { isDryRun, width }));
    return isDryRun && hasWork(plan) ? EXIT_UNSOUND : EXIT_OK;
  },
};

async function repair(path: string, context: CommandContext): Promise<RepairPlan> {
  const { fileSystem, clock } = context;
  // First, so that no lock file is created in a foreign directory, or beside files of a newer version.
  readDirectory(fileSystem, path);
  const ownership = await Ownership.acquire({ fileSystem, directory: path, openedAt: clock.now() });
  try {
    const plan = await planWithProgress(path, context, "repair");
    await applyRepair(plan, { fileSystem, directory: path, ownership });
    // A loss that was hidden by another appears when that one is repaired: the cursor may move once more.
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

function describe(plan: RepairPlan, { isDryRun, width }: { isDryRun: boolean; width: number }): string {
  const { recovery: { end }, tail } = plan;
  if (!hasWork(plan)) {
    const spare = tail === undefined
      ? ""
      : ` ${formatBytes(tail.length)} of space set aside ${isDryRun ? "would be" : "was"} given back.`;
    return `${wrap(`Nothing to repair.${spare}`, width)}\n`;
  }
  const title = isDryRun ? "Would be done (nothing was changed):" : "Done:";
  const next = ["next sequence", formatNumber(end.nextSequence)] as const;
  return `${title}\n\n${fields([...describeSteps(plan), next], width)}`;
}
