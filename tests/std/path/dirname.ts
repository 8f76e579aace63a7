/**
 * Stand-in for `@std/path/dirname`: a path without its last segment, and without separators at the end.
 *
 * @module
 */

import { toText, windowsPaths } from "./_paths.ts";

export function dirname(path: string | URL): string {
  const text = toText(path);
  const windows = windowsPaths(text);
  if (windows !== undefined) return windows.dirname(text);
  const directory = text.replace(/\/*[^/]*\/*$/, "");
  return directory || (text.startsWith("/") ? "/" : ".");
}
