/**
 * `sluice inspect PATH`: what a buffer holds, according to its small files and its last segment, which `open()` reads, too. Earlier
 * segments aren't read, however many there are.
 *
 * @module
 */

import type { FileSystem } from "../fs/file_system.ts";
import { type Finding, isFinding, isHarmless, toJson } from "../maintenance/findings.ts";
import { scanLog } from "../maintenance/scan.ts";
import type { ScannedFrame } from "../maintenance/scan_items.ts";
import { segmentBytesOf } from "../maintenance/scan_run.ts";
import { type DirectorySnapshot, readDirectory } from "../maintenance/snapshot.ts";
import { CURSOR_FILE_BYTES } from "../wal/cursor_format.ts";
import { payloadBytesOf, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, type SegmentHeader } from "../wal/format.ts";
import { LOG_START, type LogPosition } from "../wal/position.ts";
import { headerPosition } from "../wal/recovery/cursor_position_tracker.ts";
import { readSegmentHeader, withSegment } from "../wal/segment_files.ts";
import { pathOf } from "./shared/arguments.ts";
import { type Command, type CommandContext, EXIT_OK, EXIT_UNSOUND } from "./shared/command.ts";
import { findingsTable } from "./shared/findings_text.ts";
import { writeResult } from "./shared/result.ts";
import { fields, formatBytes, formatCount, formatDuration, formatNumber, formatTime } from "./shared/text.ts";

/** How often a log that changed meanwhile is read again. */
const MAX_READS = 5;

type Amount = Record<"records" | "payloadBytes", number>;
/** A record's put time, milliseconds since 1970, and its age. */
type Moment = Record<"sequence" | "putTime" | "ageMs", number>;

export const inspectCommand: Command = {
  name: "inspect",
  usage: "PATH [--json]",
  summary: "Show what a buffer holds: records, bytes, age, owner, known damage",
  details: `
Reads the small files, the last segment, and the oldest pending record: it costs the same whatever the backlog. Damage in earlier segments is not looked for; "verify" does that.

The owner is who opened the buffer last, as the file owner.json says. The lock is not touched, so it isn't known whether that process still has the buffer open.

Exit codes: 0 no damage is known, 1 there is some.

Example:
  sluice inspect ./events.wal --json | jq .pending.records`,
  options: {},
  async run(args, context) {
    const path = pathOf(args, inspectCommand);
    let inspection = inspect(path, context);
    // A fast writer may have removed the last segment before it could be opened: then there is another.
    for (let i = 1; i < MAX_READS && inspection.findings.some(({ kind }) => kind === "gone"); i++) {
      inspection = inspect(path, context);
    }
    const { findings } = inspection;
    const json = { ...inspection, findings: findings.map(toJson) };
    await writeResult(args, context, json, (width) => describe(inspection, width));
    return findings.every(isHarmless) && isCursorFine(inspection) ? EXIT_OK : EXIT_UNSOUND;
  },
};

/** The result of `inspect`, as `--json` prints it but for the findings. */
type Inspection = ReturnType<typeof inspect>;

/** A buffer without a put may have no cursor yet. */
function isCursorFine({ cursorState, segments }: Inspection): boolean {
  return cursorState === "ok" || (cursorState === "missing" && segments === 0);
}

function inspect(path: string, { fileSystem, clock }: CommandContext) {
  const snapshot = readDirectory(fileSystem, path);
  const { uuid, segments, cursor, cursorState, quarantine, owner } = snapshot;
  const { findings, codecVersion, isJson, ...tail } = readTail(snapshot, fileSystem);
  const start = cursor === undefined ? startOf(snapshot, fileSystem) : undefined;
  const committed = cursor?.committed ?? start!;
  const resume = cursor?.resume ?? start!;
  const boundaries = cursor?.boundaries ?? [];
  const end = tail.end !== undefined && tail.end.nextSequence >= resume.nextSequence ? tail.end : resume;
  const inFlight = amount(committed, boundaries.at(-1) ?? committed);
  const waiting = amount(resume, end);
  const momentOf = (sequence: number, putTime: number): Moment => {
    return { sequence, putTime, ageMs: Math.max(0, clock.now() - putTime) };
  };
  const oldest = (inFlight.records > 0 ? committed : resume).nextSequence;
  const first = oldest < end.nextSequence ? firstFrom(oldest, snapshot, fileSystem) : undefined;
  return {
    path,
    uuid,
    formatVersion: versionOf(snapshot, fileSystem),
    codecVersion,
    isJson,
    segments: segments.length,
    firstSequence: segments[0]?.firstSequence,
    lastSequence: Math.max(end.nextSequence - 1, cursor?.lastSequence ?? 0),
    /** Sequence of the last committed record; 0 if none is. */
    committedSequence: committed.nextSequence - 1,
    inFlight: { ...inFlight, batches: boundaries.length },
    /** Not committed, in flight included. */
    pending: {
      records: inFlight.records + waiting.records - lostIn(findings, resume, end),
      payloadBytes: inFlight.payloadBytes + waiting.payloadBytes,
    },
    oldestPending: first && momentOf(Math.max(first.firstSequence, oldest), first.putTime),
    newest: tail.newest && momentOf(tail.newest.sequence, tail.newest.putTime),
    owner,
    cursorState,
    quarantine,
    diskBytes: {
      segments: segmentBytesOf(snapshot),
      cursor: cursorState === "missing" ? 0 : CURSOR_FILE_BYTES,
      quarantine: quarantine.reduce((sum, { bytes }) => sum + bytes, 0),
    },
    findings,
  };
}

/** The format version of the newest segment; without segments, the version that the next one gets. */
function versionOf({ path, segments }: DirectorySnapshot, fileSystem: FileSystem): number {
  const last = segments.at(-1);
  if (last === undefined) return SEGMENT_VERSION;
  const result = withSegment({ fileSystem, directory: path }, last, readSegmentHeader);
  return result.kind === "bad" ? SEGMENT_VERSION : result.version;
}

/** What the last segment says, read whole. */
function readTail(snapshot: DirectorySnapshot, fileSystem: FileSystem) {
  const findings: Finding[] = [];
  let header: SegmentHeader | undefined;
  let end: LogPosition | undefined;
  let newest: Omit<Moment, "ageMs"> | undefined;
  const from = snapshot.segments.at(-1)?.firstSequence;
  for (const item of scanLog(fileSystem, snapshot.path, { snapshot, from })) {
    if (item.kind === "segment") {
      header = item.header;
      end = headerPosition(header);
    } else if (item.kind === "frame") {
      end = {
        nextSequence: item.firstSequence + item.count,
        payloadBytes: end!.payloadBytes + payloadBytesOf(item),
        logBytes: header!.logBytesBefore + item.offset + item.length - SEGMENT_HEADER_BYTES,
      };
      newest = { sequence: end.nextSequence - 1, putTime: item.putTime };
    } else if (isFinding(item)) {
      findings.push(item);
    }
  }
  return { end, codecVersion: header?.codecVersion, isJson: header?.isJson, newest, findings };
}

/** Where a log without a cursor starts: everything in it is delivered again. */
function startOf(snapshot: DirectorySnapshot, fileSystem: FileSystem): LogPosition {
  for (const item of scanLog(fileSystem, snapshot.path, { snapshot })) {
    if (item.kind === "segment") return headerPosition(item.header);
  }
  return LOG_START;
}

/** The first readable frame from a sequence on. */
function firstFrom(from: number, snapshot: DirectorySnapshot, fileSystem: FileSystem): ScannedFrame | undefined {
  for (const item of scanLog(fileSystem, snapshot.path, { snapshot, from })) if (item.kind === "frame") return item;
  return undefined;
}

/** How many of the records between two positions are known to be missing. */
function lostIn(findings: readonly Finding[], from: LogPosition, to: LogPosition): number {
  return findings.reduce((lost, finding) => {
    if (finding.kind !== "damaged" || finding.missing === undefined) return lost;
    const first = Math.max(finding.missing.first, from.nextSequence);
    const last = Math.min(finding.missing.last, to.nextSequence - 1);
    return lost + Math.max(0, last - first + 1);
  }, 0);
}

/** The records between two positions, and their payload bytes. */
function amount(from: LogPosition, to: LogPosition): Amount {
  return {
    records: Math.max(0, to.nextSequence - from.nextSequence),
    payloadBytes: Math.max(0, to.payloadBytes - from.payloadBytes),
  };
}

function describe(inspection: Inspection, width: number): string {
  const { path, uuid, formatVersion, codecVersion, isJson, inFlight, pending, oldestPending, newest } = inspection;
  const { segments, firstSequence, lastSequence, committedSequence, owner, cursorState } = inspection;
  const { diskBytes, findings, quarantine } = inspection;
  const encoding = isJson === true ? ", JSON" : "";
  const sequences = firstSequence === undefined || firstSequence > lastSequence
    ? ""
    : `, sequences ${firstSequence} to ${lastSequence}`;
  const batches = formatCount(inFlight.batches, "batch", "batches");
  const rows: (readonly [string, string])[] = [
    ["log", path],
    ["buffer", uuid ?? "not known"],
    ["format", `${formatVersion}${codecVersion === undefined ? "" : `, codec version ${codecVersion}${encoding}`}`],
    ["segments", `${formatNumber(segments)}, ${formatBytes(diskBytes.segments)}${sequences}`],
    ["committed", committedSequence === 0 ? "nothing" : `up to sequence ${committedSequence}`],
    ["in flight", inFlight.batches === 0 ? "nothing" : `${amountText(inFlight)} in ${batches}`],
    ["pending", pending.records === 0 ? "nothing" : amountText(pending)],
  ];
  if (oldestPending !== undefined) rows.push(["oldest", momentText(oldestPending)]);
  if (newest !== undefined) rows.push(["newest", momentText(newest)]);
  const files = `${formatCount(quarantine.length, "file")}, ${formatBytes(diskBytes.quarantine)}`;
  rows.push(
    [
      "owner",
      owner === undefined
        ? "not known"
        : `${owner.runtime} process ${owner.pid} opened it at ${owner.openedAt}; whether it still runs is not known`,
    ],
    ["cursor", isCursorFine(inspection) ? cursorState : `${cursorState}: committed records will come again`],
    ["quarantine", quarantine.length === 0 ? "empty" : files],
    ["disk use", formatBytes(diskBytes.segments + diskBytes.cursor + diskBytes.quarantine)],
    ["damage", findings.every(isHarmless) ? "none known (the last segment was read, verify reads all)" : "yes"],
  );
  return fields(rows, width) + (findings.length === 0 ? "" : `\n${findingsTable(findings, width)}`);
}

function amountText({ records, payloadBytes }: Amount): string {
  return `${formatCount(records, "record")}, ${formatBytes(payloadBytes)}`;
}

function momentText({ sequence, putTime, ageMs }: Moment): string {
  return `sequence ${sequence}, put ${formatDuration(ageMs)} ago (${formatTime(putTime)})`;
}
