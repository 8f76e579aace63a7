/**
 * The examples of the documentation: where they are, and whether they prove anything.
 *
 * An example is a block of TypeScript in a doc comment or in a page of Markdown. One in a doc comment must assert something:
 * otherwise it stays green when it has become wrong. `run.ts` runs them all, `doc_rules.ts` says what needs one.
 */

import { readdirSync } from "node:fs";
import { pageFiles } from "./pages.ts";

/** A block of TypeScript that is to be run. */
export interface Example {
  /** Path of its file. */
  readonly file: string;
  /** Number of its first line there, from 1. */
  readonly line: number;
  readonly code: string;
  /** Whether it says that it isn't to be run. */
  readonly isIgnored: boolean;
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
