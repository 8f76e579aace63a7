/**
 * The command line of `ship`: its options, and what they add up to. Everything is checked before anything is done.
 *
 * @module
 */

import { dirname } from "@std/path/dirname";
import { join } from "@std/path/join";
import type { WhenFull } from "../buffer.ts";
import type { RetryOptions } from "../retry.ts";
import type { Fsync } from "../wal/log.ts";
import { type CommandArguments, type CommandOption, UsageError } from "./command.ts";
import type { OnBadLine } from "./intake.ts";
import type { LineFormat } from "./line_formats.ts";
import { parseBytes, parseCount, parseDuration, parseWord, type Range } from "./quantities.ts";
import { type Destination, parseDestination } from "./ship_target.ts";

/** What is to be done. */
export interface ShipPlan {
  /** The buffer's directory. */
  readonly path: string;
  readonly destination: Destination;
  readonly format: LineFormat;
  readonly onBadLine: OnBadLine;
  /** Whether standard input is read. */
  readonly readsInput: boolean;
  /** Whether the input is the one of earlier runs, from its beginning. */
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
  readonly headers: Headers;
  readonly gzip: boolean;
  readonly graceMs: number;
  readonly json: boolean;
  readonly quiet: boolean;
}

const MOST_MS: number = 2 ** 31 - 1;
const ANY_MS: Range = { least: 0, most: MOST_MS };

/** The options, as the help shows them. */
export const SHIP_OPTIONS = {
  "to": { type: "string", value: "URL|FILE|-", help: "where to: an HTTP server, a file, or standard output; required" },
  "format": { type: "string", value: "F", help: "lines or ndjson: each line must be a JSON value (lines)" },
  "on-bad-line": { type: "string", value: "P", help: "a line that is too long or no JSON: fail or skip (fail)" },
  "resume": {
    type: "boolean",
    help: "the input is the same as before, from its beginning: pass over what is persisted",
  },
  "no-input": { type: "boolean", help: "read nothing, deliver what is in the buffer" },
  "max-records": { type: "string", value: "N", help: "records of one delivery (1000)" },
  "max-bytes": { type: "string", value: "SIZE", help: "bytes of one delivery, and of one line (1MB)" },
  "max-age": { type: "string", value: "TIME", help: "deliver after so long, however few there are (1s)" },
  "max-in-flight": { type: "string", value: "N", help: "deliveries at a time, 1 to 16; only 1 keeps the order (1)" },
  "max-backlog": { type: "string", value: "SIZE", help: "what may wait on disk (1GiB)" },
  "when-full": { type: "string", value: "W", help: "block: stop reading; reject: end; drop-oldest (block)" },
  "fsync": { type: "string", value: "F", help: "always, never, or a time: what a power cut may cost (1s)" },
  "timeout": { type: "string", value: "TIME", help: "for one attempt; standard output has no limit (30s)" },
  "retry-delay": { type: "string", value: "TIME", help: "before the second attempt; doubles with each (100ms)" },
  "max-retry-delay": { type: "string", value: "TIME", help: "the longest (30s)" },
  "max-attempts": { type: "string", value: "N", help: "then a record is undeliverable (for ever)" },
  "dead-letters": {
    type: "string",
    value: "DIR",
    help: "a buffer for what the target refuses for good (stop instead)",
  },
  "header": { type: "string", value: "H", multiple: true, help: 'a header field for HTTP, "Name: value"; repeatable' },
  "gzip": { type: "boolean", help: "compress what is sent by HTTP" },
  "grace": { type: "string", value: "TIME", help: "for deliveries after Ctrl+C or SIGTERM (5s)" },
  "json": { type: "boolean", help: "what happens, and the summary, as NDJSON on standard error" },
  "quiet": { type: "boolean", help: "say nothing but why it ended" },
} as const satisfies Record<string, CommandOption>;

type OptionName = keyof typeof SHIP_OPTIONS;

/**
 * Reads the command line.
 *
 * @throws {UsageError} which names the option, what was given and what is allowed.
 */
export function parsePlan({ positionals, options, lists = {} }: CommandArguments): ShipPlan {
  const [path, ...more] = positionals;
  if (path === undefined || path === "") throw new UsageError("PATH is missing: the buffer's directory");
  if (more.length > 0) throw new UsageError(`one PATH is enough, got "${more[0]}" besides`);
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
  const word = <W extends string>(name: OptionName, words: readonly [W, ...W[]]): W =>
    read(name, words[0], (option, text) => parseWord(option, text, words));
  const flag = (name: OptionName): boolean => options[name] === true;

  const to = options["to"];
  if (typeof to !== "string") throw new UsageError("--to is missing: a URL, a file, or - for standard output");
  const plan: ShipPlan = {
    path,
    destination: parseDestination(to),
    format: word("format", ["lines", "ndjson"]),
    onBadLine: word("on-bad-line", ["fail", "skip"]),
    readsInput: !flag("no-input"),
    resumes: flag("resume"),
    maxRecords: count("max-records", 1_000, { least: 1, most: 1_000_000 }),
    maxBytes: bytes("max-bytes", 1_000_000, { least: 1, most: 2 ** 30 }),
    maxAgeMs: duration("max-age", 1_000, ANY_MS),
    maxBacklogBytes: bytes("max-backlog", 2 ** 30, { least: 1, most: Number.MAX_SAFE_INTEGER }),
    whenFull: word("when-full", ["block", "reject", "drop-oldest"]),
    fsync: read("fsync", 1_000, parseFsync),
    maxInFlight: count("max-in-flight", 1, { least: 1, most: 16 }),
    timeoutMs: duration("timeout", 30_000, { least: 1, most: MOST_MS }),
    retry: {
      firstDelayMs: duration("retry-delay", 100, ANY_MS),
      maxDelayMs: duration("max-retry-delay", 30_000, ANY_MS),
      maxAttempts: count("max-attempts", Infinity, { least: 1, most: Number.MAX_SAFE_INTEGER }),
    },
    deadLetters: read("dead-letters", undefined, (_option, text) => text),
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
  if (/^\d/.test(text)) return parseDuration(option, text, { least: 1, most: MOST_MS });
  throw new UsageError(`--${option} must be always, never, or a time such as 1s, got "${text}"`);
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
      throw new UsageError(
        `--header must be "Name: value", got ${name === "" ? "one without a name" : `"${name}: ..."`}`,
      );
    }
  }
  return headers;
}

/** What makes no sense together. */
function checkTogether(plan: ShipPlan): void {
  const { path, destination, deadLetters } = plan;
  if (destination.kind !== "http" && (plan.gzip || [...plan.headers].length > 0)) {
    throw new UsageError("--header and --gzip are for an HTTP server as the target");
  }
  if (!plan.readsInput && plan.resumes) throw new UsageError("--no-input and --resume exclude each other");
  const directories = [path, deadLetters ?? path].map((directory) => join(directory, "."));
  if (deadLetters !== undefined && (deadLetters === "" || directories[0] === directories[1])) {
    throw new UsageError(`--dead-letters must be a directory of its own, got "${deadLetters}"`);
  }
  // A file there would make the directory something else than a buffer.
  if (destination.kind === "file" && directories.includes(join(dirname(destination.path), "."))) {
    throw new UsageError(`--to must not be in the buffer's directory, got "${destination.path}"`);
  }
}
