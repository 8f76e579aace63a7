/**
 * The version of the package, for `--version`; a test holds it to `deno.json`.
 *
 * @module
 */

/** As in `deno.json`. */
export const VERSION = "0.1.0";
