/**
 * The pages of Markdown: where they are, which of them are published, and what is wrong with their links.
 *
 * A page has two lives. In a checkout a relative link leads to any file. On JSR only files of the package exist, those
 * that `publish.include` of deno.json names. So a published page links relatively to what is published, and by an
 * absolute address of the repository to everything else; its pictures are absolute. `faultOf` finds what breaks that
 * rule, and links to files or headings that don't exist, also behind an absolute address of the repository.
 */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";

/** Where the repository is. Each absolute link to one of its files begins with this; here alone it is decided. */
export const REPOSITORY = "https://github.com/sluice/buffer";

/** A link, or a picture, of a page. */
export interface Link {
  /** Path of the page. */
  readonly file: string;
  /** Number of its line, from 1. */
  readonly line: number;
  /** As it is written; `undefined` if it names a reference that is not defined. */
  readonly target: string | undefined;
  readonly isPicture: boolean;
}

/** What a link is checked against: files by their paths below the root, with slashes. */
export interface Files {
  /** What is there. */
  kindOf(path: string): "file" | "directory" | undefined;
  read(path: string): string;
  /** Whether the file is part of the package. */
  isPublished(path: string): boolean;
}

/** Paths of all pages below `root`, which ends with a slash; the README comes first. */
export function pageFiles(root: string): string[] {
  const rooms = ["src", "tests", "examples"].flatMap((room) =>
    readdirSync(root + room, { recursive: true, encoding: "utf8" })
      .map((path) => `${room}/${path.replaceAll("\\", "/")}`)
      .filter((path) => path.endsWith(".md"))
      .sort()
  );
  return ["README.md", ...rooms];
}

/** The files of a checkout. */
export function checkoutFiles(root: string): Files {
  const { publish } = JSON.parse(readFileSync(`${root}deno.json`, "utf8"));
  const patterns = (publish.include as string[]).map(globPattern);
  return {
    kindOf: (path) => !existsSync(root + path) ? undefined : statSync(root + path).isDirectory() ? "directory" : "file",
    read: (path) => readFileSync(root + path, "utf8"),
    isPublished: (path) => patterns.some((pattern) => pattern.test(path)),
  };
}

/** A glob of deno.json as a pattern: `**` is any number of directories, `*` a part of one name. */
export function globPattern(glob: string): RegExp {
  const source = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*\*\/|\*/g, (star) => star === "*" ? "[^/]*" : "(?:[^/]+/)*");
  return new RegExp(`^${source}$`);
}

const INLINE = /(!?)\[[^\]]*\]\(\s*<?([^)\s>]*)>?(?:\s+"[^"]*")?\s*\)/g;
const REFERENCE = /(!?)\[([^\]]+)\]\[([^\]]*)\]/g;
const DEFINITION = /^ {0,3}\[([^\]]+)\]:\s*<?([^\s>]+)>?/gm;
const HTML = /<(img|a)\b[^>]*?\b(?:src|href)="([^"]*)"/g;

/** The links and pictures of a page, but for those in code. */
export function linksOf(file: string, text: string): Link[] {
  const prose = withoutCode(text);
  const definitions = new Map(Array.from(prose.matchAll(DEFINITION), ([, label, target]) => [keyOf(label!), target!]));
  const linkAt = (index: number, target: string | undefined, isPicture: boolean): Link => ({
    file,
    line: prose.slice(0, index).split("\n").length,
    target,
    isPicture,
  });
  return [
    ...Array.from(prose.matchAll(INLINE), (match) => linkAt(match.index, match[2]!, match[1] === "!")),
    ...Array.from(
      prose.matchAll(REFERENCE),
      (match) => linkAt(match.index, definitions.get(keyOf(match[3] || match[2]!)), match[1] === "!"),
    ),
    ...Array.from(prose.matchAll(HTML), (match) => linkAt(match.index, match[2]!, match[1] === "img")),
  ].sort((a, b) => a.line - b.line);
}

/** The anchors of a page's headings, as GitHub and JSR make them. */
export function anchorsOf(text: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const [, heading] of withoutFences(text).matchAll(/^ {0,3}#{1,6}[ \t]+(.+?)[ \t#]*$/gm)) {
    const words = heading!.replace(INLINE, (link) => link.slice(link.indexOf("[") + 1, link.indexOf("]")));
    const slug = words.toLowerCase().replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, "").trim().replaceAll(/\s/g, "-");
    let anchor = slug;
    for (let n = 1; anchors.has(anchor); n++) anchor = `${slug}-${n}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** What is wrong with a link; `undefined` if nothing is. */
export function faultOf({ file, target, isPicture }: Link, files: Files): string | undefined {
  if (target === undefined) return "names a reference that is not defined";
  if (/^[a-z][a-z0-9+.-]*:/i.test(target)) return faultOfAbsolute(target, files);
  if (target.startsWith("/")) return "begins with a slash, which leads elsewhere on each site";
  const isPublished = files.isPublished(file);
  if (isPublished && isPicture) return `has to be absolute: JSR shows no picture of the package, ${REPOSITORY} does`;
  if (file.endsWith(".ts")) return "has to be absolute: documentation is shown in many places";
  const [path = "", anchor] = target.split("#");
  const resolved = path === "" ? file : resolvePath(file, path);
  if (resolved === undefined) return "leaves the repository";
  const fault = faultOfFile(resolved, anchor, files);
  if (fault !== undefined) return fault;
  if (!isPublished || files.isPublished(resolved)) return undefined;
  const kind = files.kindOf(resolved) === "file" ? "blob" : "tree";
  return `leaves the package: write ${REPOSITORY}/${kind}/main/${resolved}${anchor === undefined ? "" : `#${anchor}`}`;
}

function faultOfAbsolute(target: string, files: Files): string | undefined {
  if (!target.startsWith("https://") || !URL.canParse(target)) return "isn't an https address";
  if (target !== REPOSITORY && !target.startsWith(`${REPOSITORY}/`)) return undefined;
  const [, kind, path = "", anchor] = /^\/(blob|tree|raw)\/main\/([^#]*)(?:#(.*))?$/.exec(
    target.slice(REPOSITORY.length),
  ) ?? [];
  if (kind === undefined) return target === REPOSITORY ? undefined : "isn't the address of a file on the branch main";
  const fault = faultOfFile(path, anchor, files);
  if (fault !== undefined) return fault;
  const isDirectory = files.kindOf(path) === "directory";
  return isDirectory === (kind === "tree") ? undefined : `is ${isDirectory ? "a directory: tree" : "a file: blob"}`;
}

function faultOfFile(path: string, anchor: string | undefined, files: Files): string | undefined {
  const kind = files.kindOf(path);
  if (kind === undefined) return "leads to nothing";
  if (anchor === undefined) return undefined;
  if (kind !== "file" || !path.endsWith(".md")) return "has an anchor, and its target has no headings";
  return anchorsOf(files.read(path)).has(anchor) ? undefined : `leads to no heading of ${path}`;
}

/** A relative path, seen from a file; `undefined` above the root. */
function resolvePath(from: string, path: string): string | undefined {
  const names = from.split("/").slice(0, -1);
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue;
    if (name !== "..") names.push(name);
    else if (names.pop() === undefined) return undefined;
  }
  return names.join("/");
}

function keyOf(label: string): string {
  return label.trim().toLowerCase().replaceAll(/\s+/g, " ");
}

/** Code becomes blanks, so that everything else stays where it is. */
function withoutCode(text: string): string {
  return withoutFences(text).replace(/(`+)(?!`)[^]*?[^`]\1(?!`)/g, blanks);
}

function withoutFences(text: string): string {
  return text.replace(/^[ \t]*(`{3,}|~{3,})[^\n]*\n[^]*?^[ \t]*\1[ \t]*$/gm, blanks);
}

function blanks(code: string): string {
  return code.replaceAll(/[^\n]/g, " ");
}
