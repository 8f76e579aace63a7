/**
 * `sluice inspect PATH`: what a buffer holds, according to its small files and its last segment, which `open()` reads, too. Earlier
 * segments aren't read, however many there are.
 *
 * @module
 */

import { type Finding, isFinding, isHarmless, toJson } from "../maintenance/findings.ts";
import { scanLog } from "../maintenance/scan.ts";
import { segmentBytesOf } from "../maintenance/scan_run.ts";
import { type DirectorySnapshot, readDirectory } from "../maintenance/snapshot.ts";
import { CURSOR_FILE_BYTES } from "../wal/cursor_format.ts";
import { payloadBytesOf, SEGMENT_HEADER_BYTES, SEGMENT_VERSION } from "../wal/format.ts";
import { LOG_START, type LogPosition } from "../wal/position.ts";
import { headerPosition } from "../wal/recovery/cursor_position_tracker.ts";
import { readSegmentHeader, withSegment } from "../wal/segment_files.ts";
import { pathOf } from "./shared/arguments.ts";
import { type Command, type CommandArguments, type CommandContext, EXIT_OK, EXIT_UNSOUND } from "./shared/command.ts";
import { findingsTable } from "./shared/findings_text.ts";
import { fields, formatBytes, formatCount, formatDuration, formatNumber, formatTime, widthOf } from "./shared/text.ts";

/** How often a log that changed meanwhile is read again. */
const MAX_LOOKS = 5;

/** A number of records, and their payload bytes. */
interface Amount {
  readonly records: number;
  readonly payloadBytes: number;
}

/** A record's age. */
interface Moment {
  readonly sequence: number;
  /** Milliseconds since 1970. */
  readonly putTime: number;
  readonly ageMs: number;
}

/** The result of `inspect`. */
interface Inspection {
  readonly path: string;
  readonly uuid: string | undefined;
  readonly formatVersion: number;
  readonly codecVersion: number | undefined;
  readonly isJson: boolean | undefined;
  readonly segments: number;
  readonly firstSequence: number | undefined;
  readonly lastSequence: number;
  /** Sequence of the last committed record; 0 if none is. */
  readonly committedSequence: number;
  readonly inFlight: Amount & { readonly batches: number };
  /** Not committed, in flight included. */
  readonly pending: Amount;
  readonly oldestPending: Moment | undefined;
  readonly newest: Moment | undefined;
  readonly owner: DirectorySnapshot["owner"];
  readonly cursorState: DirectorySnapshot["cursorState"];
  readonly quarantine: DirectorySnapshot["quarantine"];
  readonly diskBytes: { readonly segments: number; readonly cursor: number; readonly quarantine: number };
  readonly findings: readonly Finding[];
}

/** The command `inspect`. */
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
  run,
};

async function run(args: CommandArguments, context: CommandContext): Promise<number> {
  const path = pathOf(args, inspectCommand);
  let inspection = inspect(path, context);
  // A fast writer may have removed the last segment before it could be opened: then there is another.
  for (let look = 1; look < MAX_LOOKS && inspection.findings.some(({ kind }) => kind === "gone"); look++) {
    inspection = inspect(path, context);
  }
  const { output } = context;
  if (args.options["json"] === true) {
    const { findings, ...rest } = inspection;
    await output.write(`${JSON.stringify({ ...rest, findings: findings.map(toJson) })}\n`);
  } else {
    await output.write(describe(inspection, widthOf(output)));
  }
  return inspection.findings.every(isHarmless) && isCursorFine(inspection) ? EXIT_OK : EXIT_UNSOUND;
}

/** A buffer without a put may have no cursor yet. */
function isCursorFine({ cursorState, segments }: Pick<Inspection, "cursorState" | "segments">): boolean {
  return cursorState === "ok" || (cursorState === "missing" && segments === 0);
}

function inspect(path: string, { fileSystem, clock }: CommandContext): Inspection {
  const snapshot = readDirectory(fileSystem, path);
  const { segments, cursor, cursorState, quarantine } = snapshot;
  const tail = readTail(snapshot, fileSystem);
  const start = cursor === undefined ? startOf(snapshot, fileSystem) : undefined;
  const committed = cursor?.committed ?? start!;
  const resume = cursor?.resume ?? start!;
  const boundaries = cursor?.boundaries ?? [];
  const end = later(tail.end ?? resume, resume);
  const inFlight = amount(committed, boundaries.at(-1) ?? committed);
  const all = amount(resume, end);
  const waiting = { ...all, records: all.records - lostIn(tail.findings, resume, end) };
  const momentOf = (sequence: number, putTime: number): Moment => {
    return { sequence, putTime, ageMs: Math.max(0, clock.now() - putTime) };
  };
  const oldest = inFlight.records > 0 ? committed : resume;
  const first = oldest.nextSequence < end.nextSequence
    ? firstFrom(oldest.nextSequence, snapshot, fileSystem)
    : undefined;
  return {
    path,
    uuid: snapshot.uuid,
    formatVersion: versionOf(snapshot, fileSystem),
    codecVersion: tail.codecVersion,
    isJson: tail.isJson,
    segments: segments.length,
    firstSequence: segments[0]?.firstSequence,
    lastSequence: Math.max(end.nextSequence - 1, cursor?.lastSequence ?? 0),
    committedSequence: committed.nextSequence - 1,
    inFlight: { ...inFlight, batches: boundaries.length },
    pending: {
      records: inFlight.records + waiting.records,
      payloadBytes: inFlight.payloadBytes + waiting.payloadBytes,
    },
    oldestPending: first && momentOf(Math.max(first.sequence, oldest.nextSequence), first.putTime),
    newest: tail.newest && momentOf(tail.newest.sequence, tail.newest.putTime),
    owner: snapshot.owner,
    cursorState,
    quarantine,
    diskBytes: {
      segments: segmentBytesOf(snapshot),
      cursor: cursorState === "missing" ? 0 : CURSOR_FILE_BYTES,
      quarantine: quarantine.reduce((sum, { bytes }) => sum + bytes, 0),
    },
    findings: tail.findings,
  };
}

/** The format version of the newest segment; without segments, the version that the next one gets. */
function versionOf({ path, segments }: DirectorySnapshot, fileSystem: CommandContext["fileSystem"]): number {
  const last = segments.at(-1);
  if (last === undefined) return SEGMENT_VERSION;
  const result = withSegment({ fileSystem, directory: path }, last, readSegmentHeader);
  return result.kind === "bad" ? SEGMENT_VERSION : result.version;
}

/** What the last segment says. */
interface Tail {
  readonly end: LogPosition | undefined;
  readonly codecVersion: number | undefined;
  readonly isJson: boolean | undefined;
  readonly newest: { readonly sequence: number; readonly putTime: number } | undefined;
  readonly findings: readonly Finding[];
}

/** Reads the whole last segment. */
function readTail(snapshot: DirectorySnapshot, fileSystem: CommandContext["fileSystem"]): Tail {
  const findings: Finding[] = [];
  let end: LogPosition | undefined;
  let logBytesBefore = 0;
  let newest: Tail["newest"];
  let codecVersion: number | undefined;
  let isJson: boolean | undefined;
  const from = snapshot.segments.at(-1)?.firstSequence;
  for (const item of scanLog(fileSystem, snapshot.path, { snapshot, from })) {
    if (item.kind === "segment") {
      const { header } = item;
      ({ codecVersion, isJson, logBytesBefore } = header);
      end = headerPosition(header);
    } else if (item.kind === "frame") {
      end = {
        nextSequence: item.firstSequence + item.count,
        payloadBytes: end!.payloadBytes + payloadBytesOf(item),
        logBytes: logBytesBefore + item.offset + item.length - SEGMENT_HEADER_BYTES,
      };
      newest = { sequence: end.nextSequence - 1, putTime: item.putTime };
    } else if (isFinding(item)) {
      findings.push(item);
    }
  }
  return { end, codecVersion, isJson, newest, findings };
}

/** Where a log without a cursor starts: everything in it is delivered again. */
function startOf(snapshot: DirectorySnapshot, fileSystem: CommandContext["fileSystem"]): LogPosition {
  for (const item of scanLog(fileSystem, snapshot.path, { snapshot })) {
    if (item.kind === "segment") return headerPosition(item.header);
  }
  return LOG_START;
}

/** The first readable frame from a sequence on. */
function firstFrom(
  from: number,
  snapshot: DirectorySnapshot,
  fileSystem: CommandContext["fileSystem"],
): { sequence: number; putTime: number } | undefined {
  for (const item of scanLog(fileSystem, snapshot.path, { snapshot, from })) {
    if (item.kind === "frame") return { sequence: item.firstSequence, putTime: item.putTime };
  }
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

function later(a: LogPosition, b: LogPosition): LogPosition {
  return a.nextSequence >= b.nextSequence ? a : b;
}

function amount(from: LogPosition, to: LogPosition): Amount {
  return {
    records: Math.max(0, to.nextSequence - from.nextSequence),
    payloadBytes: Math.max(0, to.payloadBytes - from.payloadBytes),
  };
}

function describe(inspection: Inspection, width: number): string {
  const { uuid, formatVersion, codecVersion, isJson, inFlight, pending, oldestPending, newest } = inspection;
  const { committedSequence, diskBytes, findings, quarantine } = inspection;
  const encoding = isJson === true ? ", JSON" : "";
  const rows: (readonly [string, string])[] = [
    ["log", inspection.path],
    ["buffer", uuid ?? "not known"],
    ["format", `${formatVersion}${codecVersion === undefined ? "" : `, codec version ${codecVersion}${encoding}`}`],
    ["segments", sequencesIn(inspection)],
    ["committed", committedSequence === 0 ? "nothing" : `up to sequence ${committedSequence}`],
    [
      "in flight",
      inFlight.batches === 0 ? "nothing" : `${inAll(inFlight)} in ${formatCount(inFlight.batches, "batch", "batches")}`,
    ],
    ["pending", pending.records === 0 ? "nothing" : inAll(pending)],
  ];
  if (oldestPending !== undefined) rows.push(["oldest", momentText(oldestPending)]);
  if (newest !== undefined) rows.push(["newest", momentText(newest)]);
  rows.push(
    ["owner", ownerText(inspection.owner)],
    ["cursor", cursorText(inspection)],
    ["quarantine", quarantine.length === 0 ? "empty" : filesText(quarantine.length, diskBytes.quarantine)],
    ["disk use", formatBytes(diskBytes.segments + diskBytes.cursor + diskBytes.quarantine)],
    ["damage", findings.every(isHarmless) ? "none known (the last segment was read, verify reads all)" : "yes"],
  );
  return fields(rows, width) + (findings.length === 0 ? "" : `\n${findingsTable(findings, width)}`);
}

function sequencesIn({ segments, firstSequence, lastSequence, diskBytes }: Inspection): string {
  const size = `${formatNumber(segments)}, ${formatBytes(diskBytes.segments)}`;
  if (firstSequence === undefined || firstSequence > lastSequence) return size;
  return `${size}, sequences ${firstSequence} to ${lastSequence}`;
}

function inAll({ records, payloadBytes }: Amount): string {
  return `${formatCount(records, "record")}, ${formatBytes(payloadBytes)}`;
}

function filesText(files: number, bytes: number): string {
  return `${formatCount(files, "file")}, ${formatBytes(bytes)}`;
}

function momentText({ sequence, putTime, ageMs }: Moment): string {
  return `sequence ${sequence}, put ${formatDuration(ageMs)} ago (${formatTime(putTime)})`;
}

function ownerText(owner: Inspection["owner"]): string {
  if (owner === undefined) return "not known";
  return `${owner.runtime} process ${owner.pid} opened it at ${owner.openedAt}; whether it still runs is not known`;
}

function cursorText({ cursorState, segments }: Inspection): string {
  if (isCursorFine({ cursorState, segments })) return cursorState;
  return `${cursorState}: committed records will come again`;
}
