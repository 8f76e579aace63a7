/**
 * The text of whatever was thrown, bounded in length.
 *
 * @module
 */

/** The longest text of an error that is kept: some targets answer with whole web pages. */
export const MAX_REASON_CHARACTERS = 1_000;

/** What an error says, or any other value that was thrown, cut to a bounded length. */
export function errorText(error: unknown): string {
  let text: string;
  try {
    text = error instanceof Error ? error.message || error.name : String(error);
  } catch {
    text = "unknown error";
  }
  return text.slice(0, MAX_REASON_CHARACTERS);
}
