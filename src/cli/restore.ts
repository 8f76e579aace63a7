/**
 * `sluice restore PATH`: puts sound records from the quarantine back into the log, as new records at its end.
 *
 * `restore_planner.ts` decides which records go back; `restore.ts` ensures that each does so once.
 *
 * @module
 */

import { basename } from "@std/path/basename";
import { join } from "@std/path/join";
import { yieldToEventLoop } from "../base/event_loop.ts";
import { countSequences, type SequenceRange } from "../base/sequences.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { listQuarantined, type QuarantinedFile, readQuarantined } from "../maintenance/quarantine_files.ts";
import { hasWork, type RepairPlan } from "../maintenance/repair.ts";
import {
  findInterruptedRestores,
  finishRestores,
  type RestoredFile,
  restoreFile,
  type RestoreTarget,
} from "../maintenance/restore.ts";
import { type FilePlan, type LeftReason, RestorePlanner } from "../maintenance/restore_planner.ts";
import { readDirectory } from "../maintenance/snapshot.ts";
import { QUARANTINE_NAME } from "../wal/names.ts";
import { Ownership } from "../wal/ownership.ts";
import { KnownLosses } from "../wal/recovery/known_losses.ts";
import { listOf, pathOf } from "./shared/arguments.ts";
import { type Command, type CommandContext, EXIT_OK, EXIT_UNSOUND, UsageError } from "./shared/command.ts";
import { planWithProgress } from "./shared/repair_plan.ts";
import { writeResult } from "./shared/result.ts";
import { fields, formatBytes, formatCount, formatNumber, formatRange } from "./shared/text.ts";

/** The smallest record limit that a new segment's header states: a buffer's default. */
const MIN_RECORD_LIMIT: number = 16 * 2 ** 20;
/** The most ranges of sequences that are printed. */
const MAX_RANGES = 4;

export const restoreCommand: Command = {
  name: "restore",
  usage: "PATH [--from FILE]... [--all] [--dry-run] [--json]",
  summary: "Put sound records that are in the quarantine back into the log, as new records at its end",
  details: `
Says of each file in PATH/quarantine what it holds, and what goes back or why not. Records keep their bytes, the time of their put and the version of their codec; they get new sequences. A segment whose header is lost is read all the same: what its checksums start from is computed from its records.

Not restored: records that the log still has, or that were restored before. Nor, unless --all is given:
  - records in front of the commit position, which count as delivered,
    unless it is noted in losses.json that they were lost
  - parts of a putMany() that is not whole
  - records of another buffer
With --all a record may be delivered twice. A file that was restored in part counts as restored: look at --dry-run first.

Each record is restored exactly once, whenever this command is killed or the power goes: run it again, and it finishes what it began. A file whose records are back in the log is renamed to FILE.restored; nothing is deleted. The log must be sound (see repair) and its buffer must not be open, except for --dry-run, which changes nothing.

Exit codes: 0 nothing to restore, or done; with --dry-run 1 if there is something.

Examples:
  sluice restore ./events.wal --dry-run
  sluice restore ./events.wal --from 00000000000000000042.wal`,
  options: {
    from: { type: "string", multiple: true, value: "FILE", help: "Only this file of the quarantine; all by default" },
    all: { type: "boolean", help: "Also what may have been delivered, is not whole, or is another buffer's" },
    "dry-run": { type: "boolean", help: "Only say what would be done" },
  },
  async run(args, context) {
    const request = {
      path: pathOf(args, restoreCommand),
      from: listOf(args, "from"),
      isAll: args.options["all"] === true,
      isDryRun: args.options["dry-run"] === true,
    };
    const outcome = await restore(request, context);
    await writeResult(args, context, toJson(outcome, request), (width) => describe(outcome, request, width));
    const isLeft = outcome.finished.length > 0 || outcome.files.some(({ pieces }) => pieces.length > 0);
    return request.isDryRun && isLeft ? EXIT_UNSOUND : EXIT_OK;
  },
};

interface Request {
  readonly path: string;
  readonly from: readonly string[];
  readonly isAll: boolean;
  readonly isDryRun: boolean;
}

interface Outcome {
  readonly files: (FilePlan & { readonly restored: RestoredFile | undefined })[];
  /** Files whose earlier restore was interrupted: what was done now, or only the names. */
  readonly finished: readonly (Pick<RestoredFile, "name"> & Partial<RestoredFile>)[];
}

/** Restores, or only says what would be restored. */
async function restore(request: Request, context: CommandContext): Promise<Outcome> {
  const { path, isDryRun } = request;
  const { fileSystem, clock } = context;
  const place = { fileSystem, directory: path };
  // First, so that no lock file is created in a foreign directory, or for a mistaken argument.
  readDirectory(fileSystem, path);
  chosen(listQuarantined(place), request, context);
  const ownership = isDryRun ? undefined : await Ownership.acquire({ ...place, openedAt: clock.now() });
  try {
    const log = await soundLog(path, context);
    const { uuid, scan } = log.recovery;
    const target: RestoreTarget = { ...place, uuid, now: clock.now() };
    const finished: Outcome["finished"] = isDryRun
      ? findInterruptedRestores(place).map((name) => ({ name }))
      : await finishRestores(target, log.recovery.end);
    let end = finished.at(-1)?.end ?? log.recovery.end;
    const files: Outcome["files"] = [];
    for await (const { plan, bytes } of plans(request, context, log)) {
      let restored: RestoredFile | undefined;
      const { name, pieces, facts } = plan;
      if (pieces.length > 0 && !isDryRun) {
        const { codecVersion = scan?.header.codecVersion ?? 0, isJson = false } = facts ?? {};
        const recordLimit = pieces.reduce((most, { frame }) => Math.max(most, frame.length), MIN_RECORD_LIMIT);
        restored = await restoreFile(target, name, { bytes, pieces, codecVersion, isJson, recordLimit }, end);
        end = restored.end;
      }
      files.push({ ...plan, restored });
    }
    return { files, finished };
  } finally {
    ownership?.release();
  }
}

/** Plans a repair, and throws if there is anything to repair: until then, content and end of the log are uncertain. */
async function soundLog(path: string, context: CommandContext): Promise<RepairPlan> {
  const plan = await planWithProgress(path, context, "restore");
  if (hasWork(plan)) {
    throw new Error(`Cannot restore into "${path}": the log has to be repaired first, see repair --dry-run`);
  }
  return plan;
}

/** Reads and plans one file after the other. */
async function* plans(
  { path, from, isAll }: Request,
  context: CommandContext,
  { recovery, present }: RepairPlan,
): AsyncGenerator<{ readonly plan: FilePlan; readonly bytes: Uint8Array }> {
  const { fileSystem, signal } = context;
  const place = { fileSystem, directory: path };
  const all = listQuarantined(place);
  const wanted = chosen(all, { path, from }, context);
  const { committed, resume, boundaries } = recovery.cursor;
  const inFlight = boundaries.at(-1) ?? committed;
  const done: SequenceRange[] = [
    { first: 1, last: committed.nextSequence - 1 },
    { first: inFlight.nextSequence, last: resume.nextSequence - 1 },
  ].filter(({ first, last }) => first <= last);
  const { lost } = KnownLosses.read(fileSystem, join(path, QUARANTINE_NAME));
  const planner = new RestorePlanner({ uuid: recovery.uuid, present, done, lost }, isAll);
  for (const file of all) if (file.isRestored) planner.addRestored(readQuarantined(place, file, all));
  for (const file of wanted) {
    const read = readQuarantined(place, file, all);
    const plan = planner.plan(read);
    await yieldToEventLoop();
    signal.throwIfAborted();
    yield { plan, bytes: read.bytes };
  }
}

/** The files that the user asked for, by name or by path. */
function chosen(
  all: readonly QuarantinedFile[],
  { path, from }: Pick<Request, "path" | "from">,
  { fileSystem }: Pick<CommandContext, "fileSystem">,
): readonly QuarantinedFile[] {
  const there = all.filter(({ isRestored }) => !isRestored);
  for (const given of from) {
    const name = basename(given);
    const isMeant = given === name || isSamePath(fileSystem, given, join(path, QUARANTINE_NAME, name));
    if (isMeant && there.some((file) => file.name === name)) continue;
    throw new UsageError(`Cannot restore ${given}: no such file with records is in "${join(path, QUARANTINE_NAME)}"`);
  }
  const names = from.map((given) => basename(given));
  return names.length === 0 ? there : there.filter(({ name }) => names.includes(name));
}

/** Whether two paths lead to the same file, however they are written. */
function isSamePath(fileSystem: FileSystem, one: string, other: string): boolean {
  if (join(one) === join(other)) return true;
  try {
    const real = fileSystem.resolve?.(one);
    return real !== undefined && real === fileSystem.resolve?.(other);
  } catch {
    return false;
  }
}

const REASONS: Readonly<Record<LeftReason, string>> = {
  "in-log": "the log still has it",
  restored: "restored before, or from another file",
  committed: "delivered, going by the commit position; --all restores it",
  unfinished: "a part of a putMany() that is not whole; --all restores it",
  foreign: "another buffer's; --all restores it",
};

function toJson({ files, finished }: Outcome, { path, isDryRun, isAll }: Request): Record<string, unknown> {
  return {
    path,
    dryRun: isDryRun,
    all: isAll,
    finished: finished.map(({ name, records, firstSequence }) => ({ name, records, firstSequence })),
    files: files.map(({ name, segment, offset, bytes, facts, frames, sound, restore, left, restored }) => ({
      name,
      segment,
      offset,
      bytes,
      buffer: facts?.uuid ?? null,
      salt: facts?.from ?? "unknown",
      frames,
      sound,
      soundRecords: countSequences(sound),
      restore,
      restoreRecords: countSequences(restore),
      left: left.map(({ reason, sequences }) => ({ reason, records: countSequences(sequences), sequences })),
      restored: restored === undefined
        ? null
        : { records: restored.records, firstSequence: restored.firstSequence, lastSequence: lastOf(restored) },
    })),
    restoreRecords: countSequences(files.flatMap(({ restore }) => restore)),
  };
}

function lastOf({ firstSequence, records }: RestoredFile): number {
  return firstSequence + records - 1;
}

function describe({ files, finished }: Outcome, { isDryRun }: Request, width: number): string {
  const parts = finished.map(({ name, records, firstSequence }) => {
    const what = records === undefined
      ? "an interrupted restore, would be finished"
      : `an interrupted restore is finished: ${formatCount(records, "record")} from ${formatNumber(firstSequence!)} on`;
    return `${name}\n${fields([["  restored", what]], width)}`;
  });
  for (const file of files) parts.push(`${file.name}\n${fields(rowsOf(file, isDryRun), width)}`);
  const records = countSequences(files.flatMap(({ restore }) => restore));
  const verb = isDryRun ? "would be restored" : "restored";
  const sum = records === 0 ? "Nothing to restore." : `${formatCount(records, "record")} ${verb}.`;
  return [...parts, `${sum}\n`].join("\n");
}

function rowsOf(
  { bytes, facts, frames, sound, restore, left, restored }: Outcome["files"][number],
  isDryRun: boolean,
): (readonly [string, string])[] {
  const soundRecords = countSequences(sound);
  const holds = soundRecords === 0
    ? "no sound record"
    : `${formatCount(soundRecords, "sound record")} in ${formatCount(frames, "frame")}, ${describeRanges(sound)}`;
  const rows: (readonly [string, string])[] = [["  holds", `${formatBytes(bytes)}, ${holds}`]];
  if (facts === undefined) {
    rows.push(["  header", "lost, and no two frames in a row are left to compute what their checksums start from"]);
  } else if (facts.from === "frames") {
    rows.push(["  header", "lost; what the checksums start from was computed from the frames"]);
  }
  if (countSequences(restore) > 0) {
    const as = restored && ` as ${formatRange({ first: restored.firstSequence, last: lastOf(restored) })}`;
    rows.push([isDryRun ? "  to restore" : "  restored", describeRecords(restore) + (as ?? "")]);
  }
  for (const { reason, sequences } of left) rows.push(["  left", `${describeRecords(sequences)}: ${REASONS[reason]}`]);
  return rows;
}

function describeRecords(ranges: readonly SequenceRange[]): string {
  return `${formatCount(countSequences(ranges), "record")}, ${describeRanges(ranges)}`;
}

function describeRanges(ranges: readonly SequenceRange[]): string {
  const more = ranges.length > MAX_RANGES ? ", ..." : "";
  return ranges.slice(0, MAX_RANGES).map(formatRange).join(", ") + more;
}
