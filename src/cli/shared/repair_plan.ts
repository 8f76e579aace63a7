/**
 * Plans a repair with a progress bar: what `repair`, `restore` and `report` begin with.
 *
 * @module
 */

import { planRepair, type RepairPlan } from "../../maintenance/repair.ts";
import type { CommandContext } from "./command.ts";
import { withProgress } from "./progress.ts";

/**
 * Finds out what is to be done about a log, without changing anything.
 *
 * @param label Which command shows progress: one word.
 * @throws what {@linkcode planRepair} throws, and the signal's reason once the user ends the command.
 */
export function planWithProgress(path: string, context: CommandContext, label: string): Promise<RepairPlan> {
  const { fileSystem } = context;
  return withProgress(context, label, (options) => planRepair({ ...options, fileSystem, path }));
}
