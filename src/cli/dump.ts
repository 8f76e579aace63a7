/**
 * `sluice dump PATH`: writes records to standard output.
 *
 * It writes the payloads of valid frames, in order, each once, and reports missing or damaged parts on standard error. Memory: a
 * chunk of output and the scan's own. A slow reader slows the dump down; nothing accumulates.
 *
 * @module
 */

import { type Finding, isAccepted, isFinding, isHarmless, isUnproven, toJson } from "../maintenance/findings.ts";
import type { ScannedFrame } from "../maintenance/scan_items.ts";
import { type DirectorySnapshot, readDirectoryOrSegment } from "../maintenance/snapshot.ts";
import { DUMP_FORMATS, RecordEncoder } from "./dump/record_encoder.ts";
import { choiceOf, pathOf, wholeNumberOf } from "./shared/arguments.ts";
import {
  type Command,
  type CommandArguments,
  type CommandContext,
  EXIT_OK,
  EXIT_UNSOUND,
  UsageError,
} from "./shared/command.ts";
import { lineFor } from "./shared/findings_text.ts";
import { scanWithProgress } from "./shared/progress.ts";

export const dumpCommand: Command = {
  name: "dump",
  usage: "PATH [--all] [--from=N] [--to=N] [--format=json|text|base64|raw] [--meta]",
  summary: "Write records to standard output",
  details: `
PATH is a buffer's directory, or the file of a single segment. Without options, the records that are not committed are written, those in flight included. Works on damaged logs: what is missing is reported on standard error, the rest is written.

Formats:
  json    one JSON value a line, as it was put; an error where a payload is no JSON
  text    the payload and a line feed
  base64  the payload in Base64, a line each
  raw     4 bytes with the payload's length (little-endian), then the payload

With --meta a line has sequence and put time, too: {"sequence":N,"putTime":"...","record":...} in json, where a payload that is no JSON is "text", or "base64" if it is no text either; else both stand before the payload, with tabs between.

--json is --format=json --meta, with findings and errors as JSON.

Exit codes: 0 everything was there, 1 something was damaged or missing.

Examples:
  sluice dump ./events.wal --meta | jq .record.user
  sluice dump ./events.wal --from=1000 --to=1999 > some.ndjson`,
  options: {
    all: { type: "boolean", help: "Also records that are committed, as far as they are still there" },
    from: { type: "string", value: "N", help: "Begin with this sequence, committed or not" },
    to: { type: "string", value: "N", help: "End with this sequence" },
    format: { type: "string", value: "FORMAT", help: "json (default), text, base64 or raw" },
    meta: { type: "boolean", help: "Write sequence and put time, too" },
  },
  run: (args, context) => dump(parse(args), context),
};

type DumpOptions = ReturnType<typeof parse>;

function parse(args: CommandArguments) {
  const path = pathOf(args, dumpCommand);
  const json = args.options["json"] === true;
  const format = choiceOf(args, "format", DUMP_FORMATS);
  const meta = json || args.options["meta"] === true;
  if (format === "raw" && args.options["meta"] === true) {
    throw new UsageError("Cannot use --meta with --format=raw: raw has no place for it");
  }
  if (json && format !== "json") throw new UsageError(`Cannot use --json with --format=${format}: take --meta`);
  const from = wholeNumberOf(args, "from");
  const to = wholeNumberOf(args, "to") ?? Infinity;
  if (from !== undefined && from > to) throw new UsageError(`Cannot dump from ${from} to ${to}: nothing is in between`);
  return { path, from, to, all: args.options["all"] === true, format, meta, json };
}

async function dump(options: DumpOptions, context: CommandContext): Promise<number> {
  const { fileSystem, output, errors } = context;
  const snapshot = readDirectoryOrSegment(fileSystem, options.path);
  const wanted = wantedOf(options, snapshot);
  const encoder = new RecordEncoder(options, output);
  let isSound = true;
  const tell = async (finding: Finding): Promise<void> => {
    isSound &&= isHarmless(finding);
    // A reader of records needs no finding that is no loss, unless it explains a gap.
    const isLoss = isAccepted(finding) || isUnproven(finding);
    if (isHarmless(finding) && !isLoss && finding.kind !== "gone") return;
    // Keeps the order where both streams go to one place.
    await encoder.flush();
    await errors.write(options.json ? `${JSON.stringify(toJson(finding))}\n` : `sluice: ${lineFor(finding)}\n`);
  };
  const { from, to } = wanted;
  try {
    await scanWithProgress(context, "dump", { snapshot, from, to }, (item) => {
      if (item.kind === "frame") return writeFrame(item, wanted, encoder);
      if (isFinding(item)) return tell(item);
    });
  } finally {
    // Also before an error: what was read is valid.
    await encoder.flush();
  }
  return isSound ? EXIT_OK : EXIT_UNSOUND;
}

/** The sequences to write: all, or those in flight and those that wait; from `inFlightEnd` to `resume` they were dropped. */
function wantedOf({ from, to, all }: DumpOptions, { cursor }: DirectorySnapshot) {
  if (cursor === undefined || all || from !== undefined) {
    return { from: from ?? 1, to, inFlightEnd: Infinity, resume: Infinity };
  }
  const { committed, resume, boundaries } = cursor;
  const inFlightEnd = (boundaries.at(-1) ?? committed).nextSequence;
  const first = inFlightEnd > committed.nextSequence ? committed : resume;
  return { from: first.nextSequence, to, inFlightEnd, resume: resume.nextSequence };
}

function writeFrame(
  frame: ScannedFrame,
  wanted: ReturnType<typeof wantedOf>,
  encoder: RecordEncoder,
): Promise<void> | void {
  const { firstSequence, count } = frame;
  const first = Math.max(firstSequence, wanted.from);
  const last = Math.min(firstSequence + count - 1, wanted.to);
  const lastInFlight = Math.min(last, wanted.inFlightEnd - 1);
  if (first <= lastInFlight) encoder.add(frame, { first, last: lastInFlight });
  const firstWaiting = Math.max(first, wanted.resume);
  if (firstWaiting <= last && lastInFlight < last) encoder.add(frame, { first: firstWaiting, last });
  return encoder.isFull ? encoder.flush() : undefined;
}
