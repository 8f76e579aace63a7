/**
 * `sluice verify PATH`: reads every frame of every segment, and says whether the log is sound.
 *
 * A log is sound if every frame is valid, no uncommitted sequence is missing, each segment's running totals match the segments
 * before it, and the cursor fits the log. A torn tail is sound: any kill may leave one, nothing in it was acknowledged, and the
 * next open cuts it off. (It looks the same as damage to just the last frame. If the cursor knows of a record in it, that record
 * is reported as missing, and the log is not sound.) What `repair` has set aside and accepted is reported, and sound, too.
 *
 * @module
 */

import { countSequences } from "../base/sequences.ts";
import { type Finding, isFinding, isHarmless, toJson } from "../maintenance/findings.ts";
import { scanLog } from "../maintenance/scan.ts";
import { runScan, segmentBytesOf } from "../maintenance/scan_run.ts";
import { type DirectorySnapshot, readDirectoryOrSegment } from "../maintenance/snapshot.ts";
import { type SegmentSums, TotalsCheck } from "../maintenance/totals_check.ts";
import type { CursorState } from "../wal/position.ts";
import { pathOf } from "./shared/arguments.ts";
import { type Command, type CommandArguments, type CommandContext, EXIT_OK, EXIT_UNSOUND } from "./shared/command.ts";
import { findingsTable } from "./shared/findings_text.ts";
import { withProgress } from "./shared/progress.ts";
import { fields, formatBytes, formatCount, formatNumber, formatRange, widthOf } from "./shared/text.ts";

/** How often a log is read again of which no segment was left. */
const MAX_LOOKS = 5;

/** The result of `verify`. */
interface Verdict {
  readonly path: string;
  readonly sound: boolean;
  /** Whether PATH is the file of a single segment, which has no cursor. */
  readonly isSingleFile: boolean;
  readonly uuid: string | undefined;
  readonly cursorState: DirectorySnapshot["cursorState"];
  readonly cursor: CursorState | undefined;
  readonly totals: {
    readonly segments: number;
    readonly bytes: number;
    readonly frames: number;
    readonly records: number;
    readonly payloadBytes: number;
    readonly damagedBytes: number;
    readonly tornBytes: number;
    /** Sequences known to be missing. */
    readonly missingRecords: number;
  };
  readonly segments: readonly SegmentSums[];
  readonly findings: readonly Finding[];
}

/** The command `verify`. */
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
  run,
};

async function run(args: CommandArguments, context: CommandContext): Promise<number> {
  const path = pathOf(args, verifyCommand);
  let verdict = await verify(path, context);
  // A fast writer may have removed every segment before it could be opened: then there are others.
  for (let look = 1; look < MAX_LOOKS && isAllGone(verdict); look++) verdict = await verify(path, context);
  const { output } = context;
  if (args.options["json"] === true) {
    const { findings, ...rest } = verdict;
    await output.write(`${JSON.stringify({ ...rest, findings: findings.map(toJson) })}\n`);
  } else {
    await output.write(describe(verdict, widthOf(output)));
  }
  return verdict.sound ? EXIT_OK : EXIT_UNSOUND;
}

function isAllGone({ totals, findings }: Verdict): boolean {
  return totals.segments === 0 && findings.some(({ kind }) => kind === "gone");
}

async function verify(path: string, context: CommandContext): Promise<Verdict> {
  const { fileSystem } = context;
  const snapshot = readDirectoryOrSegment(fileSystem, path);
  const totals = new TotalsCheck(snapshot.cursor);
  const findings: Finding[] = [];
  const totalBytes = segmentBytesOf(snapshot);
  await withProgress(context, "verify", (options) => {
    return runScan(scanLog(fileSystem, path, { snapshot }), { ...options, totalBytes }, (item) => {
      findings.push(...totals.add(item));
      if (isFinding(item)) findings.push(item);
    });
  });
  findings.push(...totals.end(snapshot));
  const { segments } = totals;
  const sum = (key: "bytes" | "frames" | "records" | "payloadBytes"): number =>
    segments.reduce((total, segment) => total + segment[key], 0);
  const lengthOf = (kind: "damaged" | "torn"): number =>
    findings.reduce((total, one) => total + (one.kind === kind && !isSetAside(one) ? one.length : 0), 0);
  const missing = findings.flatMap((one) => "missing" in one && one.missing !== undefined ? [one.missing] : []);
  return {
    path,
    sound: findings.every(isHarmless),
    isSingleFile: snapshot.isSingleFile,
    uuid: snapshot.uuid,
    cursorState: snapshot.cursorState,
    cursor: snapshot.cursor,
    totals: {
      segments: segments.length,
      bytes: sum("bytes"),
      frames: sum("frames"),
      records: sum("records"),
      payloadBytes: sum("payloadBytes"),
      damagedBytes: lengthOf("damaged"),
      tornBytes: lengthOf("torn"),
      missingRecords: countSequences(missing),
    },
    segments,
    findings,
  };
}

/** Zeros behind the last frame: preallocated space, not a torn write. */
function isSetAside(finding: Finding): boolean {
  return finding.kind === "torn" && finding.isZero;
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
