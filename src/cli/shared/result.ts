/**
 * Writes what a command found or did: as one line of JSON with `--json`, else as text for people.
 *
 * @module
 */

import type { CommandArguments, CommandContext } from "./command.ts";
import { widthOf } from "./text.ts";

/** Writes `json`, or what `describe` makes of the output's width. */
export function writeResult(
  { options }: CommandArguments,
  { output }: CommandContext,
  json: Readonly<Record<string, unknown>>,
  describe: (width: number) => string,
): Promise<void> {
  return output.write(options["json"] === true ? `${JSON.stringify(json)}\n` : describe(widthOf(output)));
}
