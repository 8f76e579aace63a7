/**
 * The command line of `ship`. Everything is checked before anything is done.
 *
 * @module
 */

import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import type { Fsync } from "../../wal/writer/log.ts";
import { choiceOf, listOf, pathOf } from "../shared/arguments.ts";
import { type CommandArguments, type CommandOption, UsageError } from "../shared/command.ts";
import { parseBytes, parseCount, parseDuration, type Range } from "../shared/quantities.ts";
import { parseDestination } from "./target.ts";

const MAX_MS: number = 2 ** 31 - 1;
const ANY_MS: Range = { least: 0, most: MAX_MS };
const ANY_NUMBER: Range = { least: 1, most: Number.MAX_SAFE_INTEGER };

/** The arguments behind the command's name. */
export const SHIP_USAGE = "PATH --to URL|FILE|- [options]";

const flag = (help: string): CommandOption => ({ type: "boolean", help });
const value = (what: string, help: string): CommandOption => ({ type: "string", value: what, help });

/** The options, as the help shows them. */
export const SHIP_OPTIONS = {
  "to": value("URL|FILE|-", "Where to: an HTTP server, a file, or standard output; required"),
  "format": value("F", "What the input is: lines, or ndjson, each a JSON value (lines)"),
  "on-bad-line": value("P", "A line that is too long or no JSON: fail or skip (fail)"),
  "resume": flag("The input is the same as before, from its beginning: pass over what is persisted"),
  "last-line": value(
    "P",
    "A last line without a line break: put, or leave, as it may be half a line (put; with --resume leave)",
  ),
  "no-input": flag("Read nothing, deliver what is in the buffer"),
  "max-records": value("N", "Records of one delivery (1000)"),
  "max-bytes": value("SIZE", "Bytes of one delivery, and of one line (1MB)"),
  "max-age": value("TIME", "Deliver after so long, however few there are (1s)"),
  "max-in-flight": value("N", "Deliveries at a time, 1 to 16; only 1 keeps the order (1)"),
  "max-backlog": value("SIZE", "What may wait on disk (1GiB)"),
  "when-full": value("W", "Then: block, which stops reading; reject, which ends it; drop-oldest (block)"),
  "fsync": value("F", "What a power cut may cost: always (nothing), never, or a time (1s)"),
  "timeout": value("TIME", "For one attempt; standard output has no limit (30s)"),
  "retry-delay": value("TIME", "Before the second attempt; doubles with each (100ms)"),
  "max-retry-delay": value("TIME", "The longest (30s)"),
  "max-attempts": value("N", "Then a record is undeliverable; if it is the target that fails, ship ends (for ever)"),
  "dead-letters": value("DIR", "A buffer for what the target refuses for good"),
  "when-undeliverable": value(
    "W",
    "Then: dead-letter, which goes on, or stop (dead-letter with --dead-letters, else stop)",
  ),
  "header": { ...value("H", 'A header field for HTTP, "Name: value"; repeatable'), multiple: true },
  "gzip": flag("Compress what is sent by HTTP"),
  "grace": value("TIME", "For deliveries after Ctrl+C or SIGTERM (5s)"),
  "json": flag("What happens, and the summary, as NDJSON on standard error"),
  "quiet": flag("Say nothing but why it ended"),
} satisfies Record<string, CommandOption>;

type OptionName = keyof typeof SHIP_OPTIONS;

export type ShipOptions = Readonly<ReturnType<typeof parse>>;

/** Parses the command line; an error names the option, what was given and what is allowed. */
export function parseShipOptions(args: CommandArguments): ShipOptions {
  const options = parse(args);
  checkTogether(options);
  return options;
}

function parse(args: CommandArguments) {
  const { options } = args;
  const path = pathOf(args, { name: "ship", usage: SHIP_USAGE });
  if (path.includes("\0")) throw new UsageError("Cannot ship: PATH must be the path of a directory");
  /** What `parse` makes of an option, or `fallback` if it isn't given. */
  const read = <V, F>(name: OptionName, fallback: F, parse: (name: string, text: string) => V): V | F => {
    const given = options[name];
    return typeof given === "string" ? parse(name, given) : fallback;
  };
  const [count, bytes, duration] = [parseCount, parseBytes, parseDuration].map(
    (parse) => (name: OptionName, fallback: number, range: Range) =>
      read(name, fallback, (option, text) => parse(option, text, range)),
  );
  const word = <W extends string>(name: OptionName, ...words: readonly W[]): W => choiceOf(args, name, words);
  const isSet = (name: OptionName): boolean => options[name] === true;

  const to = options["to"];
  if (typeof to !== "string") throw new UsageError("Cannot ship: no --to is given, a URL, a file, or -");
  return {
    path,
    destination: parseDestination(to),
    format: word("format", "lines", "ndjson"),
    onBadLine: word("on-bad-line", "fail", "skip"),
    lastLine: isSet("resume") ? word("last-line", "leave", "put") : word("last-line", "put", "leave"),
    /** Whether standard input is read. */
    readsInput: !isSet("no-input"),
    /** Whether the input is that of earlier runs, from its start. */
    resumes: isSet("resume"),
    maxRecords: count("max-records", 1_000, { least: 1, most: 1_000_000 }),
    maxBytes: bytes("max-bytes", 1_000_000, { least: 1, most: 2 ** 30 }),
    maxAgeMs: duration("max-age", 1_000, ANY_MS),
    maxBacklogBytes: bytes("max-backlog", 2 ** 30, ANY_NUMBER),
    whenFull: word("when-full", "block", "reject", "drop-oldest"),
    fsync: read("fsync", 1_000, parseFsync),
    maxInFlight: count("max-in-flight", 1, { least: 1, most: 16 }),
    timeoutMs: duration("timeout", 30_000, { least: 1, most: MAX_MS }),
    retry: {
      firstDelayMs: duration("retry-delay", 100, ANY_MS),
      maxDelayMs: duration("max-retry-delay", 30_000, ANY_MS),
      maxAttempts: count("max-attempts", Infinity, ANY_NUMBER),
    },
    deadLetters: read("dead-letters", undefined, (_option, text) => text),
    /** What to do with records that no retry can deliver. */
    whenUndeliverable: options["dead-letters"] === undefined
      ? word("when-undeliverable", "stop", "dead-letter")
      : word("when-undeliverable", "dead-letter", "stop"),
    headers: parseHeaders(listOf(args, "header")),
    gzip: isSet("gzip"),
    graceMs: duration("grace", 5_000, ANY_MS),
    json: isSet("json"),
    quiet: isSet("quiet"),
  };
}

function parseFsync(option: string, text: string): Fsync {
  if (text === "always" || text === "never") return text;
  if (/^\d/.test(text)) return parseDuration(option, text, { least: 1, most: MAX_MS });
  throw new UsageError(`Cannot use --${option}=${text}: it must be always, never, or a time such as 1s`);
}

function parseHeaders(given: readonly string[]): Headers {
  const headers = new Headers();
  for (const field of given) {
    const colon = field.indexOf(":");
    const name = field.slice(0, Math.max(0, colon)).trim();
    try {
      if (name === "") throw new TypeError("no name");
      headers.append(name, field.slice(colon + 1).trim());
    } catch {
      // The value may be a secret.
      throw new UsageError(`Cannot use --header="${name}...": it must be "Name: value"`);
    }
  }
  return headers;
}

/** Throws for options that contradict each other. */
function checkTogether(plan: ShipOptions): void {
  const { path, destination, deadLetters } = plan;
  if (destination.kind !== "http" && (plan.gzip || [...plan.headers].length > 0)) {
    throw new UsageError("Cannot use --header or --gzip: they are for an HTTP server as the target");
  }
  if (!plan.readsInput && plan.resumes) {
    throw new UsageError("Cannot use --resume: with --no-input there is none to go on with");
  }
  if (deadLetters === undefined && plan.whenUndeliverable === "dead-letter") {
    throw new UsageError(
      "Cannot use --when-undeliverable=dead-letter: no --dead-letters is given, the directory for them",
    );
  }
  const directories = [path, deadLetters ?? path].map((directory) => join(directory, "."));
  if (deadLetters !== undefined && (deadLetters === "" || directories[0] === directories[1])) {
    throw new UsageError(`Cannot use --dead-letters=${deadLetters}: it must be a directory of its own`);
  }
  // With such a file, the directory would no longer be a buffer's own.
  if (destination.kind === "file" && directories.includes(join(dirname(destination.path), "."))) {
    throw new UsageError(`Cannot use --to=${destination.path}: it must not be in a buffer's directory`);
  }
}
