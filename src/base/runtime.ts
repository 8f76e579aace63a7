/**
 * Detects the runtime of this process. No other file does.
 *
 * All three runtimes fill in `process.versions`. Deno and Bun also name a Node version, so they are checked first. Globals
 * named after a runtime prove less: packages and test environments define them on other runtimes.
 *
 * @module
 */

/** The runtimes that Sluice knows. */
export type RuntimeName = "deno" | "bun" | "node";

/** The runtime of this process; `undefined` on any other. */
export function runtimeName(): RuntimeName | undefined {
  const { process } = globalThis as { process?: { versions?: Record<string, string | undefined> } };
  const versions = process?.versions ?? {};
  return (["deno", "bun", "node"] as const).find((name) => versions[name] !== undefined);
}
