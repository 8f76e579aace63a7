/**
 * What a repair would do: planned with a progress bar, as data, and in words, for `repair` and `report` alike.
 *
 * @module
 */

import { countSequences, type SequenceRange } from "../../base/sequences.ts";
import { hasWork, planRepair, type RepairPlan } from "../../maintenance/repair.ts";
import type { CommandContext } from "./command.ts";
import { withProgress } from "./progress.ts";
import { formatBytes, formatCount, formatNumber, formatRange } from "./text.ts";

/** Beside a live writer a plan may see the log halfway between two states: what two plans in a row have is real. */
const MAX_PLANS = 4;

/** The part of a plan that a user sees. */
export type RepairSteps = Pick<RepairPlan, "tail" | "regions" | "moved" | "removed" | "cursor" | "missing">;

/** Plans a repair, without changing anything. `label` names the command that shows progress. */
export function planWithProgress(path: string, context: CommandContext, label: string): Promise<RepairPlan> {
  const { fileSystem } = context;
  return withProgress(context, label, (options) => planRepair({ ...options, fileSystem, path }));
}

/** The same beside a program that may have the buffer open: what it is writing just now isn't taken for damage. */
export async function foreseeRepair(path: string, context: CommandContext, label: string): Promise<RepairPlan> {
  let plan = await planWithProgress(path, context, label);
  for (let i = 1; i < MAX_PLANS && hasWork(plan); i++) {
    const before = JSON.stringify(toJson(plan));
    plan = await planWithProgress(path, context, label);
    if (JSON.stringify(toJson(plan)) === before) break;
  }
  return plan;
}

/** The steps for programs. */
export function toJson({ tail, regions, moved, removed, cursor, missing }: RepairSteps): Record<string, unknown> {
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

/** The steps for people: what happens, and to what. */
export function describeSteps(steps: RepairSteps): (readonly [what: string, how: string])[] {
  const { tail, regions, moved, removed, cursor, missing } = steps;
  const lines: (readonly [string, string])[] = [];
  if (tail !== undefined) {
    const what = tail.isZero
      ? "space set aside"
      : "an unfinished write, or damage at the very end; copied to the quarantine first";
    lines.push(["cut off", `${formatBytes(tail.length)} of ${tail.segment} at ${formatNumber(tail.offset)}: ${what}`]);
  }
  for (const { segment, offset, length } of regions) {
    lines.push(["set aside", `a copy of ${formatBytes(length)} of ${segment} at ${formatNumber(offset)}: damaged`]);
  }
  for (const { segment, bytes, why } of moved) {
    const what = why === "header" ? "its header can't be read" : "it is another buffer's, or has another's name";
    lines.push(["moved", `${segment} to the quarantine, ${formatBytes(bytes)}: ${what}`]);
  }
  for (const segment of removed) lines.push(["removed", `${segment}: it was never begun, no record was in it`]);
  if (cursor !== undefined) {
    const why = cursor === "lost"
      ? "it is missing, damaged or another buffer's; everything in the log is delivered again"
      : "it knows of more than the log has, or of less than was given out";
    lines.push(["rewritten", `the cursor: ${why}`]);
  }
  for (const range of missing) lines.push(["lost", describeMissing(range)]);
  return lines;
}

function describeMissing(range: SequenceRange): string {
  const records = countSequences([range]);
  return records === 1
    ? `sequence ${formatRange(range)}`
    : `sequences ${formatRange(range)}, ${formatCount(records, "record")} at most`;
}
