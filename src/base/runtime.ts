/**
 * Which runtime is this? The only place that asks.
 *
 * All three fill in `process.versions`; Deno and Bun name a Node version, too, so they are asked about first. Global
 * objects named after a runtime prove less: packages and test environments define such names on other runtimes.
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
