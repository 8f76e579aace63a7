/**
 * Parses a command line, and says in one line what is wrong with it: with a {@linkcode UsageError}.
 *
 * `parseArgs` of `node:util` runs in its lenient mode: its own errors differ from runtime to runtime and don't say what was meant.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type Command, type CommandArguments, type CommandOption, UsageError } from "./command.ts";

/** Options that every command has. */
export const COMMON_OPTIONS: Readonly<Record<string, CommandOption>> = {
  json: { type: "boolean", help: "Print results and errors as JSON, for programs" },
  help: { type: "boolean", short: "h", help: "Print this help" },
};

/** All options of a command: its own, then those that every command has. */
export function optionsOf(command: Command): Record<string, CommandOption> {
  return { ...command.options, ...COMMON_OPTIONS, ...command.options };
}

/** Parses the arguments behind a command's name; throws for an unknown option, a missing value or a superfluous one. */
export function parseArguments(command: Command, args: readonly string[]): CommandArguments {
  const known = optionsOf(command);
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options: known,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, value, inlineValue } = token;
    const option = Object.hasOwn(known, name) ? known[name] : undefined;
    if (option === undefined) {
      throw new UsageError(`Cannot use ${rawName}: ${command.name} has no such option${suggest(rawName, known)}`);
    }
    if (option.type === "boolean" && value !== undefined) {
      throw new UsageError(`Cannot use ${rawName}=${value}: ${rawName} takes no value`);
    }
    // A value that begins with a dash is most likely the next option, and this one's value was forgotten.
    if (option.type === "string" && (value === undefined || (!inlineValue && /^-./.test(value)))) {
      throw new UsageError(`Cannot use ${rawName}: it needs a value, ${rawName}=${option.value ?? "VALUE"}`);
    }
  }
  // An option that is `multiple` has a list.
  return { positionals, options: values as CommandArguments["options"] };
}

/** The values of an option that may be given several times, in order. */
export function listOf({ options }: CommandArguments, name: string): readonly string[] {
  const given = options[name];
  return Array.isArray(given) ? given : [];
}

/** The one PATH that a command takes; throws if there is none, or more than one. */
export function pathOf({ positionals }: CommandArguments, { name, usage }: Pick<Command, "name" | "usage">): string {
  const [path, ...more] = positionals;
  if (path === undefined || path === "") throw new UsageError(`Cannot ${name}: no PATH is given (${name} ${usage})`);
  if (more.length > 0) throw new UsageError(`Cannot ${name}: one PATH is taken, also given: ${more.join(" ")}`);
  return path;
}

/** The value of an option that takes a whole number from 1. */
export function wholeNumberOf({ options }: CommandArguments, name: string): number | undefined {
  const text = options[name];
  if (text === undefined) return undefined;
  const value = /^\d+$/.test(String(text)) ? Number(text) : NaN;
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new UsageError(`Cannot use --${name}=${text}: it must be a whole number from 1`);
}

/** The value of an option that takes one of a few words; the first one is the default. */
export function choiceOf<W extends string>({ options }: CommandArguments, name: string, words: readonly W[]): W {
  const text = options[name] ?? words[0];
  const word = words.find((one) => one === text);
  if (word === undefined) throw new UsageError(`Cannot use --${name}=${text}: it must be one of ${words.join(", ")}`);
  return word;
}

/** ", did you mean NAME?" for the known name most similar to what was typed; empty if none is similar. */
export function suggest(typed: string, known: Readonly<Record<string, unknown>>): string {
  const dashes = /^-*/.exec(typed)![0];
  const text = typed.slice(dashes.length).toLowerCase();
  const near = Object.keys(known)
    .map((name) => ({ name, distance: name.startsWith(text) && text !== "" ? 0 : editsBetween(text, name) }))
    .sort((a, b) => a.distance - b.distance)[0];
  if (near === undefined || near.distance > Math.max(1, Math.floor(text.length / 3))) return "";
  return `, did you mean ${dashes === "" ? "" : "--"}${near.name}?`;
}

/** How many characters have to be inserted, removed, replaced or swapped with the next (Damerau and Levenshtein). */
function editsBetween(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let k = 1; k <= b.length; k++) {
      const replaced = rows[i - 1][k - 1] + (a[i - 1] === b[k - 1] ? 0 : 1);
      const isSwap = i > 1 && k > 1 && a[i - 1] === b[k - 2] && a[i - 2] === b[k - 1];
      row[k] = Math.min(rows[i - 1][k] + 1, row[k - 1] + 1, replaced, isSwap ? rows[i - 2][k - 2] + 1 : Infinity);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}
