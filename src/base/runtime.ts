/**
 * Detects the runtime of this process, and answers what is asked of every runtime. No other file does.
 *
 * All three runtimes fill in `process.versions`. Deno and Bun also name a Node version, so they are checked first. Globals
 * named after a runtime prove less: packages and test environments define them on other runtimes. Only Deno's own namespace can
 * be listed and not written to, and so it is believed: to look at `process` costs Deno 20 ms, which is more than to open a buffer.
 *
 * For the same reason nothing of the package imports `node:process` where a program has no other use for it, nor any other module
 * of Node that is large: an import fills in all of a module's exports, the standard streams among them, which costs Node 10 ms.
 *
 * @module
 */

import type nodeProcess from "node:process";

/** The runtimes that Sluice knows. */
export type RuntimeName = "deno" | "bun" | "node";

/** The part of Deno's namespace that is used here. */
interface DenoNamespace {
  readonly build: { readonly os: string };
  readonly pid: number;
}

const globals = globalThis as unknown as { readonly process?: typeof nodeProcess };

/** The runtime of this process; `undefined` on any other. */
export function runtimeName(): RuntimeName | undefined {
  if (denoNamespace() !== undefined) return "deno";
  const versions: Record<string, string | undefined> = globals.process?.versions ?? {};
  return (["deno", "bun", "node"] as const).find((name) => versions[name] !== undefined);
}

/** The operating system, as Node calls it: "linux", "darwin", "win32" and others. */
export function platformName(): string {
  const { os } = denoNamespace()?.build ?? {};
  return os === "windows" ? "win32" : os ?? processOfNode().platform;
}

/** The id of this process. */
export function processId(): number {
  return denoNamespace()?.pid ?? processOfNode().pid;
}

/** Node's `process`, which all runtimes have; see above for what it costs on Deno. It also loads modules when they are needed. */
export function processOfNode(): typeof nodeProcess {
  return globals.process!;
}

function denoNamespace(): DenoNamespace | undefined {
  const property = Object.getOwnPropertyDescriptor(globalThis, "Deno");
  // What a test defines without saying more is read-only as well, but not enumerable.
  const isOwn = property?.writable === false && property.enumerable && property.configurable;
  return isOwn ? property.value : undefined;
}
