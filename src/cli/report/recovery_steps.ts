/**
 * What recovery would do, in sentences: what it cuts, sets aside, removes and reports, and what is delivered then. In the
 * last segment it happens when the buffer is opened, in the others when reading comes to them.
 *
 * @module
 */

import { CURSOR_NAME } from "../../wal/names.ts";
import type { BadRegion, ReportData } from "./data.ts";
import { bytesText, durationText, numberText, plural, sequencesText } from "./words.ts";

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
  const { counts, cursor, regions, regionsInAll } = data;
  // A cursor that is missing or can't be read has a step of its own.
  const steps = regions.filter(({ segment }) => cursor === "ok" || segment !== CURSOR_NAME).map(stepFor);
  if (regionsInAll > regions.length) steps.push(`And ${numberText(regionsInAll - regions.length)} more of these.`);
  if (counts.emptyFiles > 0) {
    steps.push(`Remove ${plural(counts.emptyFiles, "segment")} without content, begun just before a crash.`);
  }
  if (counts.freeBytes > 0) {
    steps.push(`Cut ${bytesText(counts.freeBytes)} of zeros, space that was set aside for records to come.`);
  }
  if (cursor !== "ok" && counts.segments > 0) {
    const why = { missing: "there is none", damaged: "it is damaged", foreign: "it is another buffer's" }[cursor];
    steps.push(`Write a new cursor, because ${why}: every record in the log is delivered again.`);
  }
  steps.push(deliveries(data));
  return steps;
}

function stepFor({ kind, segment, offset, length, missing, isPast, why, version, what }: BadRegion): string {
  const where = `in ${segment} at offset ${numberText(offset)}`;
  const lost = missing === undefined ? "" : `, and report ${sequencesText(missing)} as missing`;
  if (isPast) {
    const bad = length === 0 ? "a gap" : plural(length, "damaged byte");
    return `Leave ${bad} ${where} alone: the records there are done with.`;
  }
  switch (kind) {
    case "torn":
      return `Cut ${plural(length, "torn byte")} ${where}, an unfinished write, after copying them to the quarantine.`;
    case "damaged":
      return `Set aside ${plural(length, "damaged byte")} ${where}${lost}.`;
    case "missing":
      return `Report ${missing === undefined ? "records" : sequencesText(missing)} as missing` +
        `${segment === undefined ? "" : ` ${where}`}; there is nothing left to set aside.`;
    case "contradiction":
      return `Believe what ${segment} says, though ${what}.`;
    case "unusable":
      if (why === "version") return `Nothing can be read of ${segment}: it has format version ${version}, a newer one.`;
      return `Move ${segment} (${bytesText(length)}) to the quarantine: ` +
        (why === "foreign" ? "it is another buffer's" : "its header can't be read") +
        `${missing === undefined ? "" : `; at most ${sequencesText(missing)} were in it`}.`;
  }
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
