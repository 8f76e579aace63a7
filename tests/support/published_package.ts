/**
 * This package as JSR gives it to npm's clients, in a `node_modules`: JavaScript beside the sources, declarations in `_dist`, and a
 * package.json with nothing but `exports` that matters (`api/src/npm/` in https://github.com/jsr-io/jsr).
 *
 * The declarations are made file by file, without type inference, as JSR makes them. The `@std` packages are the stand-ins.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** What is used of the package `typescript`; version 7 doesn't have it. */
export interface TypeScript {
  readonly version: string;
  readonly ScriptTarget: { readonly ESNext: number };
  readonly ModuleKind: { readonly ESNext: number };
  transpileModule(text: string, options: TranspileOptions): TranspileOutput;
  transpileDeclaration(text: string, options: TranspileOptions): TranspileOutput;
}

interface TranspileOptions {
  readonly fileName: string;
  readonly compilerOptions: Readonly<Record<string, unknown>>;
}

interface TranspileOutput {
  readonly outputText: string;
}

interface Config {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, string>>;
}

const root = new URL("../../", import.meta.url);

/** Writes the package and the stand-ins that it imports into `directory/node_modules`. */
export function writePublishedPackage(directory: string, ts: TypeScript): void {
  for (const folder of ["./", "tests/std/path/", "tests/std/fs/"]) {
    const source = new URL(folder, root);
    const config: Config = JSON.parse(readFileSync(new URL("deno.json", source), "utf8"));
    const target = join(directory, "node_modules", config.name);
    for (const file of sourcesOf(source)) writeModule(file, readFileSync(new URL(file, source), "utf8"), target, ts);
    write(
      join(target, "package.json"),
      JSON.stringify({
        name: config.name,
        version: config.version,
        type: "module",
        exports: Object.fromEntries(
          Object.entries(config.exports).map(([name, file]) => [name, {
            types: file.replace("./", "./_dist/").replace(/ts$/, "d.ts"),
            default: file.replace(/ts$/, "js"),
          }]),
        ),
      }),
    );
  }
}

/** The modules of a package: those of this one are in `src/`, those of a stand-in beside its deno.json. */
function sourcesOf(source: URL): string[] {
  const here = readdirSync(source).filter((name) => name.endsWith(".ts"));
  if (source.href !== root.href) return here;
  const below = readdirSync(new URL("src/", source), { recursive: true, encoding: "utf8" });
  return [...here, ...below.filter((name) => name.endsWith(".ts")).map((name) => `src/${name.replaceAll("\\", "/")}`)];
}

function writeModule(file: string, text: string, target: string, ts: TypeScript): void {
  const compilerOptions = {
    target: ts.ScriptTarget.ESNext,
    module: ts.ModuleKind.ESNext,
    verbatimModuleSyntax: true,
    isolatedDeclarations: true,
    declaration: true,
  };
  const options = { fileName: file, compilerOptions };
  const declared = ts.transpileDeclaration(text, options);
  write(join(target, file.replace(/ts$/, "js")), withJsSpecifiers(ts.transpileModule(text, options).outputText));
  write(join(target, "_dist", file.replace(/ts$/, "d.ts")), withJsSpecifiers(declared.outputText));
}

/** Relative specifiers name the JavaScript, in declarations, too. */
function withJsSpecifiers(text: string): string {
  return text.replace(/(["'])(\.{1,2}\/[^"']+)\.ts\1/g, "$1$2.js$1");
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
