/**
 * What is wrong with a log, and what recovery would do: the plan of `repair --dry-run`, what is left alone, what is delivered then.
 *
 * @module
 */

import { CURSOR_NAME } from "../../wal/names.ts";
import { describeSteps } from "../shared/repair_plan.ts";
import type { BadRegion, ReportData, ReportPlan } from "./data.ts";
import { bytesText, durationText, numberText, plural, unbroken } from "./words.ts";

/** What is wrong, in one line; empty if nothing is. */
export function problemsOf({ counts, cursor, isSound }: ReportData): string {
  if (isSound) return "";
  const { damagedRegions, damagedBytes, tornBytes, missingRecords, unusableFiles, unusableBytes, contradictions } =
    counts;
  const problems: string[] = [];
  if (unusableFiles > 0) problems.push(`${plural(unusableFiles, "unusable file")} (${bytesText(unusableBytes)})`);
  if (damagedRegions > 0) problems.push(`${plural(damagedRegions, "damaged region")} (${bytesText(damagedBytes)})`);
  if (missingRecords > 0) problems.push(`${plural(missingRecords, "record")} missing`);
  if (tornBytes > 0) problems.push(`${plural(tornBytes, "torn byte")} at the end`);
  if (cursor !== "ok") problems.push(`the cursor is ${cursor === "foreign" ? "another buffer's" : cursor}`);
  else if (contradictions > 0) problems.push(plural(contradictions, "contradiction"));
  return problems.join(", ");
}

/** What would be done about it, step by step, and what would be delivered then. */
export function recoverySteps(data: ReportData): string[] {
  const { plan, regions } = data;
  const steps = "refusal" in plan ? [`Nothing: ${plan.refusal}.`] : planned(plan);
  const isSetAside = ({ segment, offset, length }: BadRegion): boolean =>
    !("refusal" in plan) &&
    plan.steps.regions.some((one) => one.segment === segment && one.offset === offset && one.length === length);
  for (const region of regions) {
    const { kind, segment, offset, length, isPast, what } = region;
    if (isPast && !isSetAside(region)) {
      const bad = length === 0 ? "a gap" : plural(length, "damaged byte");
      steps.push(`Leave ${bad} in ${segment} at offset ${numberText(offset)} alone: the records there are done with.`);
    } else if (kind === "contradiction" && segment !== CURSOR_NAME) {
      steps.push(`Believe what ${segment} says, though ${what}.`);
    }
  }
  return [...steps, deliveries(data)];
}

/** The plan, as `repair --dry-run` words it. */
function planned({ steps, more }: ReportPlan): string[] {
  const lines = describeSteps(steps).map(([what, how]) =>
    unbroken(`${what[0]!.toUpperCase()}${what.slice(1)}: ${how}.`)
  );
  return more === 0 ? lines : [...lines, `And ${numberText(more)} more of these.`];
}

function deliveries({ counts, generatedAt }: ReportData): string {
  const { pendingRecords, pendingBytes, inFlightRecords, inFlightBatches, oldestPutTime } = counts;
  if (pendingRecords === 0) return "Nothing is left to deliver.";
  const again = inFlightRecords === 0
    ? ""
    : `, ${numberText(inFlightRecords)} of them again, as the same ${
      inFlightBatches === 1 ? "batch" : plural(inFlightBatches, "batch", "batches")
    }`;
  return `Deliver ${plural(pendingRecords, "record")} (${bytesText(pendingBytes)})${again}; the oldest was put ` +
    `${durationText(generatedAt - oldestPutTime!)} ago.`;
}
