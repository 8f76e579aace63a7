/**
 * `sluice verify PATH`: reads every frame of every segment, and says whether the log is sound.
 *
 * A log is sound if every frame is valid, no uncommitted sequence is missing, each segment's running totals match the segments
 * before it, and the cursor fits the log. A torn tail is sound: any kill may leave one, nothing in it was acknowledged, and the
 * next open cuts it off. (It is the same as damage to just the last frame. If the cursor knows of a record in it, that record
 * is reported as missing, and the log is not sound.) What `repair` has set aside and accepted is reported, and sound, too.
 *
 * @module
 */

import { countSequences } from "../base/sequences.ts";
import { type Finding, isFinding, isHarmless, toJson } from "../maintenance/findings.ts";
import { readDirectoryOrSegment } from "../maintenance/snapshot.ts";
import { TotalsCheck } from "../maintenance/totals_check.ts";
import { pathOf } from "./shared/arguments.ts";
import { type Command, type CommandContext, EXIT_OK, EXIT_UNSOUND } from "./shared/command.ts";
import { findingsTable } from "./shared/findings_text.ts";
import { scanWithProgress } from "./shared/progress.ts";
import { writeResult } from "./shared/result.ts";
import { fields, formatBytes, formatCount, formatNumber, formatRange } from "./shared/text.ts";

/** How often a log is read again of which no segment was left. */
const MAX_READS = 5;

export const verifyCommand: Command = {
  name: "verify",
  usage: "PATH [--json]",
  summary: "Read every frame of every segment, and say whether the log is sound",
  details: `
PATH is a buffer's directory, or the file of a single segment.

Reports what is torn, damaged or missing, with segment, offset, length and sequences; checks the running totals from segment to segment, and the cursor against the log. Works beside a live writer: what is there when it begins is judged.

An unfinished write at the very end is reported, and sound: every killed process may leave one, and the next open cuts it off. So is what repair has accepted.

Exit codes: 0 sound, 1 not sound.

Example:
  sluice verify ./events.wal || echo "look at it"`,
  options: {},
  async run(args, context) {
    const path = pathOf(args, verifyCommand);
    let verdict = await verify(path, context);
    // A fast writer may have removed every segment before it could be opened: then there are others.
    const isAllGone = (): boolean =>
      verdict.segments.length === 0 && verdict.findings.some(({ kind }) => kind === "gone");
    for (let i = 1; i < MAX_READS && isAllGone(); i++) verdict = await verify(path, context);
    const json = { ...verdict, findings: verdict.findings.map(toJson) };
    await writeResult(args, context, json, (width) => describe(verdict, width));
    return verdict.sound ? EXIT_OK : EXIT_UNSOUND;
  },
};

/** The result of `verify`, as `--json` prints it but for the findings. */
type Verdict = Awaited<ReturnType<typeof verify>>;

async function verify(path: string, context: CommandContext) {
  const snapshot = readDirectoryOrSegment(context.fileSystem, path);
  const { isSingleFile, uuid, cursorState, cursor } = snapshot;
  const totals = new TotalsCheck(cursor);
  const findings: Finding[] = [];
  await scanWithProgress(context, "verify", { snapshot }, (item) => {
    findings.push(...totals.add(item));
    if (isFinding(item)) findings.push(item);
  });
  findings.push(...totals.end(snapshot));
  const { segments } = totals;
  const sum = (key: "bytes" | "frames" | "records" | "payloadBytes"): number =>
    segments.reduce((total, segment) => total + segment[key], 0);
  // Zeros behind the last frame are preallocated space, not a torn write.
  const lengthOf = (kind: "damaged" | "torn"): number =>
    findings.reduce(
      (total, one) => one.kind === kind && !("isZero" in one && one.isZero) ? total + one.length : total,
      0,
    );
  return {
    path,
    sound: findings.every(isHarmless),
    isSingleFile,
    uuid,
    cursorState,
    cursor,
    totals: {
      segments: segments.length,
      bytes: sum("bytes"),
      frames: sum("frames"),
      records: sum("records"),
      payloadBytes: sum("payloadBytes"),
      damagedBytes: lengthOf("damaged"),
      tornBytes: lengthOf("torn"),
      /** Sequences known to be missing. */
      missingRecords: countSequences(findings.flatMap((one) => "missing" in one && one.missing ? [one.missing] : [])),
    },
    segments,
    findings,
  };
}

function describe(verdict: Verdict, width: number): string {
  const { path, sound, isSingleFile, uuid, cursor, cursorState, totals, segments, findings } = verdict;
  const first = segments.find(({ records }) => records > 0)?.firstSequence;
  const last = segments.findLast(({ records }) => records > 0)?.lastSequence;
  const sequences = first === undefined ? "" : `, sequences ${formatRange({ first, last: last! })}`;
  const rows: (readonly [string, string])[] = [
    ["log", path],
    ["verdict", sound ? "sound" : "NOT SOUND"],
    ["buffer", uuid ?? "not known"],
    ["segments", `${formatNumber(totals.segments)}, ${formatBytes(totals.bytes)}`],
    ["frames", formatNumber(totals.frames)],
    ["records", `${formatNumber(totals.records)}, ${formatBytes(totals.payloadBytes)}${sequences}`],
  ];
  const committed = cursor === undefined ? cursorState : `committed up to ${cursor.committed.nextSequence - 1}`;
  if (!isSingleFile) rows.push(["cursor", committed]);
  if (totals.missingRecords > 0) rows.push(["missing", formatCount(totals.missingRecords, "record")]);
  if (totals.damagedBytes > 0) rows.push(["damaged", formatBytes(totals.damagedBytes)]);
  if (totals.tornBytes > 0) rows.push(["torn", formatBytes(totals.tornBytes)]);
  const found = findings.length === 0 ? "" : `\n${findingsTable(findings, width)}`;
  return fields(rows, width) + found;
}
