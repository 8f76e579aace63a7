/**
 * The texts of `--help`, made from the commands' own descriptions.
 *
 * @module
 */

import { optionsOf } from "./arguments.ts";
import type { Command, CommandOption } from "./command.ts";
import { fields, indented, wrap } from "./text.ts";

/** The help for all commands, in short. */
export function overview(commands: readonly Command[], width: number): string {
  const rows = commands.map(({ name, summary }) => [name, summary] as const);
  return [
    "Usage: sluice COMMAND [ARGUMENTS]\n",
    wrap("Looks into a buffer's directory, and works with what is in it.", width) + "\n",
    `Commands:\n${definitions(rows, width)}`,
    `Options:\n${
      definitions([
        ["-h, --help", "Print this help; behind a command, the command's"],
        ["-V, --version", "Print the version"],
      ], width)
    }`,
    wrap("PATH is a buffer's directory. Commands that only read never take its lock and never change a byte.", width) +
    "\n",
    `Exit codes:\n${
      definitions([
        ["0", "Done; the log is sound"],
        ["1", "Done, and something is wrong with the log"],
        ["2", "The command line is wrong; nothing was done"],
        ["3", "It can't be done"],
        ["130, 143", "Ended by SIGINT, SIGTERM; on Windows 149, 129 by Ctrl+Break, by the closing of the console"],
        ["141", "Nobody reads the output any more"],
      ], width)
    }`,
  ].join("\n");
}

/** The help for one command. */
export function helpOf(command: Command, width: number): string {
  const { name, usage, summary, details } = command;
  const rows = Object.entries(optionsOf(command)).map(([long, option]) => [flagOf(long, option), option.help] as const);
  const paragraphs = details.trim().split("\n").map((line) => {
    // A term and its meaning are wrapped. Other indented lines are meant to be copied, and stay whole.
    const term = /^ +\S+ {2,}(?=\S)/.exec(line)?.[0] ?? "";
    if (term !== "") return term + indented(line.slice(term.length), width - term.length, term.length);
    return line.startsWith(" ") ? line : wrap(line, width);
  });
  return [
    wrap(`Usage: sluice ${name} ${usage}`, width, 4) + "\n",
    wrap(`${summary}.`, width) + "\n",
    paragraphs.join("\n") + "\n",
    `Options:\n${definitions(rows, width)}`,
  ].join("\n");
}

function flagOf(long: string, { short, value }: CommandOption): string {
  return `${short === undefined ? "    " : `-${short}, `}--${long}${value === undefined ? "" : `=${value}`}`;
}

/** Terms and their meanings. In a narrow terminal a meaning is below its term. */
function definitions(rows: readonly (readonly [term: string, meaning: string])[], width: number): string {
  return fields(rows.map(([term, meaning]) => [`  ${term}`, meaning]), width, 6);
}
