/**
 * The package's version, for `--version`. A test compares it with `deno.json`.
 *
 * @module
 */

/** The version in `deno.json`. */
export const VERSION = "0.1.0";
