/**
 * The command line of `ship`. Everything is checked before anything is done.
 *
 * @module
 */

import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import type { WhenFull } from "../../buffer/options.ts";
import type { RetryOptions } from "../../producer/retry.ts";
import type { Fsync } from "../../wal/writer/log.ts";
import { choiceOf, pathOf } from "../shared/arguments.ts";
import { type CommandArguments, type CommandOption, UsageError } from "../shared/command.ts";
import { parseBytes, parseCount, parseDuration, type Range } from "../shared/quantities.ts";
import type { LineFormat } from "./line_formats.ts";
import type { LastLine, OnBadLine } from "./line_ingester.ts";
import { type Destination, parseDestination } from "./target.ts";

/** The parsed options. */
export interface ShipOptions {
  /** The buffer's directory. */
  readonly path: string;
  readonly destination: Destination;
  readonly format: LineFormat;
  readonly onBadLine: OnBadLine;
  readonly lastLine: LastLine;
  /** Whether standard input is read. */
  readonly readsInput: boolean;
  /** Whether the input is that of earlier runs, from its start. */
  readonly resumes: boolean;
  readonly maxRecords: number;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
  readonly maxBacklogBytes: number;
  readonly whenFull: WhenFull;
  readonly fsync: Fsync;
  readonly maxInFlight: number;
  readonly timeoutMs: number;
  readonly retry: RetryOptions;
  /** Directory of the dead letters' buffer. */
  readonly deadLetters: string | undefined;
  /** What to do with records that no retry can deliver. */
  readonly whenUndeliverable: "stop" | "dead-letter";
  readonly headers: Headers;
  readonly gzip: boolean;
  readonly graceMs: number;
  readonly json: boolean;
  readonly quiet: boolean;
}

const MAX_MS: number = 2 ** 31 - 1;
const ANY_MS: Range = { least: 0, most: MAX_MS };

/** The arguments behind the command's name. */
export const SHIP_USAGE = "PATH --to URL|FILE|- [options]";

/** The options, as the help shows them. */
export const SHIP_OPTIONS = {
  "to": { type: "string", value: "URL|FILE|-", help: "Where to: an HTTP server, a file, or standard output; required" },
  "format": { type: "string", value: "F", help: "What the input is: lines, or ndjson, each a JSON value (lines)" },
  "on-bad-line": { type: "string", value: "P", help: "A line that is too long or no JSON: fail or skip (fail)" },
  "resume": {
    type: "boolean",
    help: "The input is the same as before, from its beginning: pass over what is persisted",
  },
  "last-line": {
    type: "string",
    value: "P",
    help: "A last line without a line break: put, or leave, as it may be half a line (put; with --resume leave)",
  },
  "no-input": { type: "boolean", help: "Read nothing, deliver what is in the buffer" },
  "max-records": { type: "string", value: "N", help: "Records of one delivery (1000)" },
  "max-bytes": { type: "string", value: "SIZE", help: "Bytes of one delivery, and of one line (1MB)" },
  "max-age": { type: "string", value: "TIME", help: "Deliver after so long, however few there are (1s)" },
  "max-in-flight": { type: "string", value: "N", help: "Deliveries at a time, 1 to 16; only 1 keeps the order (1)" },
  "max-backlog": { type: "string", value: "SIZE", help: "What may wait on disk (1GiB)" },
  "when-full": {
    type: "string",
    value: "W",
    help: "Then: block, which stops reading; reject, which ends it; drop-oldest (block)",
  },
  "fsync": { type: "string", value: "F", help: "What a power cut may cost: always (nothing), never, or a time (1s)" },
  "timeout": { type: "string", value: "TIME", help: "For one attempt; standard output has no limit (30s)" },
  "retry-delay": { type: "string", value: "TIME", help: "Before the second attempt; doubles with each (100ms)" },
  "max-retry-delay": { type: "string", value: "TIME", help: "The longest (30s)" },
  "max-attempts": { type: "string", value: "N", help: "Then a record is undeliverable (for ever)" },
  "dead-letters": {
    type: "string",
    value: "DIR",
    help: "A buffer for what the target refuses for good",
  },
  "when-undeliverable": {
    type: "string",
    value: "W",
    help: "Then: dead-letter, which goes on, or stop (dead-letter with --dead-letters, else stop)",
  },
  "header": { type: "string", value: "H", multiple: true, help: 'A header field for HTTP, "Name: value"; repeatable' },
  "gzip": { type: "boolean", help: "Compress what is sent by HTTP" },
  "grace": { type: "string", value: "TIME", help: "For deliveries after Ctrl+C or SIGTERM (5s)" },
  "json": { type: "boolean", help: "What happens, and the summary, as NDJSON on standard error" },
  "quiet": { type: "boolean", help: "Say nothing but why it ended" },
} as const satisfies Record<string, CommandOption>;

type OptionName = keyof typeof SHIP_OPTIONS;

/**
 * Parses the command line.
 *
 * @throws {UsageError} with the option, what was given and what is allowed.
 */
export function parseShipOptions(args: CommandArguments): ShipOptions {
  const { options, lists = {} } = args;
  const path = pathOf(args, { name: "ship", usage: SHIP_USAGE });
  if (path.includes("\0")) throw new UsageError("Cannot ship: PATH must be the path of a directory");
  /** What `parse` makes of an option, or `fallback` if it isn't given. */
  const read = <V, F>(name: OptionName, fallback: F, parse: (name: string, text: string) => V): V | F => {
    const given = options[name];
    return typeof given === "string" ? parse(name, given) : fallback;
  };
  const count = (name: OptionName, fallback: number, range: Range): number =>
    read(name, fallback, (option, text) => parseCount(option, text, range));
  const bytes = (name: OptionName, fallback: number, range: Range): number =>
    read(name, fallback, (option, text) => parseBytes(option, text, range));
  const duration = (name: OptionName, fallback: number, range: Range): number =>
    read(name, fallback, (option, text) => parseDuration(option, text, range));
  const word = <W extends string>(name: OptionName, words: readonly W[]): W => choiceOf(args, name, words);
  const flag = (name: OptionName): boolean => options[name] === true;

  const to = options["to"];
  if (typeof to !== "string") throw new UsageError("Cannot ship: no --to is given, a URL, a file, or -");
  const plan: ShipOptions = {
    path,
    destination: parseDestination(to),
    format: word("format", ["lines", "ndjson"]),
    onBadLine: word("on-bad-line", ["fail", "skip"]),
    lastLine: word("last-line", flag("resume") ? ["leave", "put"] : ["put", "leave"]),
    readsInput: !flag("no-input"),
    resumes: flag("resume"),
    maxRecords: count("max-records", 1_000, { least: 1, most: 1_000_000 }),
    maxBytes: bytes("max-bytes", 1_000_000, { least: 1, most: 2 ** 30 }),
    maxAgeMs: duration("max-age", 1_000, ANY_MS),
    maxBacklogBytes: bytes("max-backlog", 2 ** 30, { least: 1, most: Number.MAX_SAFE_INTEGER }),
    whenFull: word("when-full", ["block", "reject", "drop-oldest"]),
    fsync: read("fsync", 1_000, parseFsync),
    maxInFlight: count("max-in-flight", 1, { least: 1, most: 16 }),
    timeoutMs: duration("timeout", 30_000, { least: 1, most: MAX_MS }),
    retry: {
      firstDelayMs: duration("retry-delay", 100, ANY_MS),
      maxDelayMs: duration("max-retry-delay", 30_000, ANY_MS),
      maxAttempts: count("max-attempts", Infinity, { least: 1, most: Number.MAX_SAFE_INTEGER }),
    },
    deadLetters: read("dead-letters", undefined, (_option, text) => text),
    whenUndeliverable: word(
      "when-undeliverable",
      options["dead-letters"] === undefined ? ["stop", "dead-letter"] : ["dead-letter", "stop"],
    ),
    headers: parseHeaders(lists["header"] ?? []),
    gzip: flag("gzip"),
    graceMs: duration("grace", 5_000, ANY_MS),
    json: flag("json"),
    quiet: flag("quiet"),
  };
  checkTogether(plan);
  return plan;
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
