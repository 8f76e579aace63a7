/**
 * The examples of the documentation: where they are, and what is wrong with them.
 *
 * An example is a block of TypeScript in a doc comment or in a page of Markdown. Those of doc comments are held to a rule: each
 * exported symbol has one, with a title, and each asserts something, because one that asserts nothing shows nothing, and
 * stays green when it has become wrong. `run.ts` runs them all, `docs.ts` checks the rule.
 */

import { readdirSync } from "node:fs";
import { pageFiles } from "./pages.ts";

/** A block of TypeScript that is to be run. */
export interface Example {
  /** Path of the file that it stands in. */
  readonly file: string;
  /** Number of its first line there, from 1. */
  readonly line: number;
  readonly code: string;
  /** Whether it says that it isn't to be run. */
  readonly isIgnored: boolean;
}

/** A documented name: what is used of a declaration in the output of `deno doc --json`. */
export interface DocDeclaration {
  readonly kind: string;
  /** The line is counted from 0. */
  readonly location: { readonly filename: string; readonly line: number };
  readonly jsDoc?: {
    readonly doc?: string;
    readonly tags?: readonly { readonly kind: string; readonly doc?: string; readonly value?: string }[];
  };
}

/** What is used of the output of `deno doc --json`. */
export interface DocOutput {
  readonly nodes: Readonly<
    Record<
      string,
      { readonly symbols: readonly { readonly name: string; readonly declarations: readonly DocDeclaration[] }[] }
    >
  >;
}

/** The files that have examples, all pages and all that is published: paths below `root`, which ends with a slash. */
export function documentedFiles(root: string): string[] {
  const sources = readdirSync(`${root}src`, { recursive: true, encoding: "utf8" })
    .map((path) => `src/${path.replaceAll("\\", "/")}`)
    .filter((path) => path.endsWith(".ts"))
    .sort();
  return [...pageFiles(root), "mod.ts", ...sources];
}

const FENCE = /^[ \t]*```(\S*)([^\n]*)\n([^]*?)^[ \t]*```[ \t]*$/gm;
const LANGUAGES: readonly string[] = ["ts", "typescript", "js", "javascript", "tsx", "jsx"];

/** The examples of a file: of the doc comments of TypeScript, or of all of a page of Markdown. */
export function examplesOf(file: string, text: string): Example[] {
  const pages = file.endsWith(".md") ? [{ text, index: 0 }] : docCommentsOf(text);
  return pages.flatMap((page) =>
    Array.from(page.text.matchAll(FENCE))
      .filter(([, language]) => LANGUAGES.includes(language!))
      .map((match) => ({
        file,
        line: linesIn(text.slice(0, page.index)) + linesIn(page.text.slice(0, match.index)) + 2,
        code: match[3]!,
        isIgnored: /\bignore\b/.test(match[2]!),
      }))
  );
}

/** Doc comments without the stars. */
export function docCommentsOf(text: string): { text: string; index: number }[] {
  return Array.from(text.matchAll(/\/\*\*[^]*?\*\//g), (match) => ({
    text: match[0].replace(/^\/\*\*/, "").replace(/\*\/$/, "").replace(/^[ \t]*\* ?/gm, ""),
    index: match.index,
  }));
}

function linesIn(text: string): number {
  return text.split("\n").length - 1;
}

/** What is wrong with an example; `undefined` if nothing is. One of a page may show things without an assertion. */
export function faultOf({ file, code, isIgnored }: Example): string | undefined {
  if (isIgnored) return "isn't run";
  if (file.endsWith(".md")) return undefined;
  const names = Array.from(code.matchAll(/^import \{([^}]*)\} from "@std\/assert";$/gm))
    .flatMap(([, list]) => list!.split(",").map((name) => name.trim()).filter((name) => name !== ""));
  const body = code.replace(/^import [^]*?;$/gm, "");
  return names.some((name) => new RegExp(`\\b${name}\\s*[<(]`).test(body)) ? undefined : "asserts nothing";
}

/** What is wrong with the documentation of a package, one line each. */
export function documentationFaults({ nodes }: DocOutput): string[] {
  const symbols = Object.values(nodes).flatMap((node) => node.symbols);
  const names = new Set(symbols.map(({ name }) => name));
  // A name that an entry point takes over from elsewhere is documented there.
  const own = symbols.flatMap(({ name, declarations }) =>
    declarations.filter(({ kind }) => kind !== "reference").map((declaration) => ({ name, ...declaration }))
  );
  const faults = own.flatMap(({ name, jsDoc, location: { filename, line } }) => {
    const where = `${filename}:${line + 1} ${name}`;
    const examples = (jsDoc?.tags ?? []).filter(({ kind }) => kind === "example");
    if (examples.length === 0) return [`${where}: has no example`];
    return examples.flatMap(({ doc = "" }) => {
      const blocks = examplesOf("example.md", doc);
      if (blocks.length === 0) return [`${where}: an example has no code`];
      return doc.trimStart().startsWith("```") ? [`${where}: an example has no title`] : [];
    });
  });
  return [...faults, ...deadLinks(nodes, names), ...unknownTags(nodes)];
}

/** Tags that `deno doc` doesn't understand and leaves out, such as `@default` without braces. */
function unknownTags(nodes: unknown): string[] {
  const found = JSON.stringify(nodes).matchAll(/\{"kind":"unsupported","value":("(?:[^"\\]|\\.)*")/g);
  return [...new Set(Array.from(found, ([, text]) => JSON.parse(text!) as string))].map((tag) => `${tag}: is left out`);
}

/** Links in public documentation to names that aren't exported, which come out as plain text. */
function deadLinks(nodes: unknown, names: ReadonlySet<string>): string[] {
  const dead = Array.from(
    JSON.stringify(nodes).matchAll(/\{@link(?:code|plain)? +([^}|\s]+)/g),
    ([, target]) => target!,
  )
    .filter((target) => !names.has(target.split(".")[0]!) && !URL.canParse(target));
  return [...new Set(dead)].map((target) => `{@link ${target}} leads to nothing that is exported`);
}
