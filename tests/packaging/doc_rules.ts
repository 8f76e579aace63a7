/**
 * The rules for public documentation: what is wrong with the output of `deno doc --json`.
 *
 * - A function, a class and a method has `@param` for each parameter, `@returns` unless it returns nothing, `@typeParam` for
 *   each type parameter, `@throws` if its own code throws, and an example.
 * - A class's method that implements an exported interface may link there instead: it is documented once.
 * - A method of an interface has the same tags, unless the interface is a part of another package's ({@linkcode FOREIGN}). It
 *   has an example of its own only in {@linkcode CALLED}.
 * - An interface or a type has an example if users implement it ({@linkcode IMPLEMENTED}), and none otherwise: the function
 *   that takes it shows it.
 * - An example has a title and code. A link leads to something that is exported. No tag is left out by `deno doc`.
 *
 * `docs.ts` applies them to the package, `doc_rules_test.ts` shows that each of them is enforced.
 */

import { examplesOf } from "./doc_examples.ts";

/** Interfaces and types that users implement. */
export const IMPLEMENTED: ReadonlySet<string> = new Set([
  "Clock",
  "Codec",
  "FileSystem",
  "Output",
  "RecordBuffer",
  "Send",
  "StandardSchema",
]);

/** Interfaces whose methods are documented there for all classes that implement them, with examples. */
export const CALLED: ReadonlySet<string> = new Set(["RecordBuffer"]);

/** What a sink or a meter uses of another package's object; that package documents the methods. */
export const FOREIGN: ReadonlySet<string> = new Set([
  "IoRedisClient",
  "KafkaProducer",
  "MetricsMeter",
  "NatsJetStream",
  "NatsManager",
  "Observations",
  "PgClient",
  "PgPool",
  "PgPoolClient",
  "PlatformaticProducer",
  "PostgresClient",
  "PostgresClientWithOptions",
  "PostgresTransaction",
  "RedisClient",
]);

interface Tag {
  readonly kind: string;
  readonly name?: string;
  readonly doc?: string;
}

interface JsDoc {
  readonly doc?: string;
  readonly tags?: readonly Tag[];
}

/** The line is counted from 0. */
interface Location {
  readonly filename: string;
  readonly line: number;
}

interface Param {
  readonly kind: string;
  readonly name?: string;
  /** Of a parameter with a default. */
  readonly left?: Param;
  /** Of a rest parameter. */
  readonly arg?: Param;
}

interface TypeRef {
  readonly repr?: string;
  readonly value?: unknown;
}

interface Signature {
  readonly params?: readonly Param[];
  readonly returnType?: TypeRef;
  readonly typeParams?: readonly { readonly name: string }[];
}

interface Method extends Signature {
  readonly name: string;
  /** `"method"`, `"getter"` or `"setter"`. */
  readonly kind?: string;
  readonly accessibility?: string;
  readonly jsDoc?: JsDoc;
  readonly location: Location;
  /** Of a method of a class. */
  readonly functionDef?: Signature;
}

interface Definition extends Signature {
  readonly methods?: readonly Method[];
  readonly constructors?: readonly Method[];
  readonly extends?: unknown;
  readonly implements?: readonly TypeRef[];
}

/** A documented name: what is used of a declaration in the output of `deno doc --json`. */
export interface DocDeclaration {
  readonly kind: string;
  readonly location: Location;
  readonly jsDoc?: JsDoc;
  readonly def?: Definition;
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

/** A declaration with its name. */
interface Named extends DocDeclaration {
  readonly name: string;
}

/** Something that has parameters: a function, a method or a constructor. */
interface Callable {
  readonly title: string;
  readonly jsDoc: JsDoc | undefined;
  readonly location: Location;
  readonly signature: Signature;
}

/**
 * What is wrong with the documentation of a package, one line each.
 *
 * @param output What `deno doc --json` says.
 * @param readSource Gives the text of a file that `output` names.
 * @returns Each fault once, with file and line where there is one.
 */
export function documentationFaults({ nodes }: DocOutput, readSource: (filename: string) => string): string[] {
  const symbols = Object.values(nodes).flatMap((node) => node.symbols);
  // A name that an entry point takes over from elsewhere is documented there.
  const own: Named[] = symbols.flatMap(({ name, declarations }) =>
    declarations.filter(({ kind }) => kind !== "reference").map((declaration) => ({ ...declaration, name }))
  );
  const rules = new Rules(own, readSource);
  const names = new Set(symbols.map(({ name }) => name));
  const faults = own.flatMap((declaration) => rules.faultsOf(declaration));
  return [...new Set([...faults, ...deadLinks(nodes, names), ...unknownTags(nodes)])];
}

/** The rules for declarations, with what they look up. */
class Rules {
  /** `Name.method` of every exported class and interface. */
  readonly #methods: ReadonlySet<string>;
  readonly #readSource: (filename: string) => string;

  constructor(declarations: readonly Named[], readSource: (filename: string) => string) {
    this.#methods = new Set(
      declarations.flatMap(({ name, def }) => (def?.methods ?? []).map((method) => `${name}.${method.name}`)),
    );
    this.#readSource = readSource;
  }

  faultsOf(declaration: Named): string[] {
    const { kind, name, jsDoc, def = {} } = declaration;
    const where = placeOf(declaration.location, name);
    const always = badExamples(where, jsDoc);
    switch (kind) {
      case "function": {
        const callable = { title: name, jsDoc, location: declaration.location, signature: def };
        return [...always, ...this.#tagFaults(callable), ...missingExample(where, jsDoc)];
      }
      case "class":
        return [
          ...always,
          ...missingExample(where, jsDoc),
          ...typeParamFaults(where, def, jsDoc),
          ...this.#classFaults(declaration),
        ];
      case "interface":
      case "typeAlias":
        return [...always, ...exampleOfTypeFaults(where, name, jsDoc), ...this.#interfaceFaults(declaration)];
      default:
        return always;
    }
  }

  #classFaults({ name, def = {} }: Named): string[] {
    const constructors = (def.constructors ?? []).filter(isPublic).flatMap((one) =>
      this.#tagFaults({ title: `new ${name}`, jsDoc: one.jsDoc, location: one.location, signature: one })
    );
    const supertypes = [def.extends, ...(def.implements ?? []).map(({ repr }) => repr)];
    const methods = (def.methods ?? []).filter(isPublic).filter(isMethod).flatMap((method) => {
      const targets = supertypes.map((type) => `${type}.${method.name}`).filter((target) => this.#methods.has(target));
      if (targets.some((target) => linksTo(method.jsDoc, target))) return [];
      const title = `${name}.${method.name}`;
      const where = placeOf(method.location, title);
      const { jsDoc, location } = method;
      return [
        ...this.#tagFaults({ title, jsDoc, location, signature: method.functionDef ?? {} }),
        ...badExamples(where, jsDoc),
        ...missingExample(where, jsDoc),
      ];
    });
    return [...constructors, ...methods];
  }

  #interfaceFaults({ name, def = {} }: Named): string[] {
    if (FOREIGN.has(name)) return [];
    return (def.methods ?? []).filter(isMethod).flatMap((method) => {
      const title = `${name}.${method.name}`;
      const { jsDoc, location } = method;
      const where = placeOf(location, title);
      const example = CALLED.has(name) ? missingExample(where, jsDoc) : [];
      return [
        ...this.#tagFaults({ title, jsDoc, location, signature: method }),
        ...badExamples(where, jsDoc),
        ...example,
      ];
    });
  }

  #tagFaults({ title, jsDoc, location, signature }: Callable): string[] {
    const { params = [], returnType } = signature;
    const where = placeOf(location, title);
    const tags = jsDoc?.tags ?? [];
    const documented = tags.filter(({ kind }) => kind === "param");
    const returned = tags.find(({ kind }) => kind === "return");
    const faults = params.map(paramName).flatMap((name, i) => {
      // A pattern has no name; its tag may have any.
      const tag = name === undefined ? documented[i] : documented.find((one) => one.name === name);
      if (isEmpty(tag?.doc)) return [`${where}: has no @param ${name ?? `for parameter ${i + 1}`}`];
      return [];
    });
    if (documented.length > params.length) faults.push(`${where}: has a @param for no parameter`);
    if (returnsSomething(returnType) && isEmpty(returned?.doc)) faults.push(`${where}: has no @returns`);
    faults.push(...typeParamFaults(where, signature, jsDoc));
    const isThrower = /\bthrow\b/.test(bodyAt(this.#readSource(location.filename), location.line));
    if (isThrower && !tags.some(({ kind }) => kind === "throws")) faults.push(`${where}: throws, and has no @throws`);
    return faults;
  }
}

function isPublic({ accessibility, jsDoc }: Method): boolean {
  return accessibility === undefined && !/@internal\b/.test(jsDoc?.doc ?? "") &&
    !(jsDoc?.tags ?? []).some(({ kind }) => kind === "internal");
}

/** Neither a getter or setter, which is documented as a property, nor one with a computed name. */
function isMethod({ kind = "method", name }: Method): boolean {
  return kind === "method" && !name.startsWith("[");
}

function paramName({ name, left, arg }: Param): string | undefined {
  return name ?? (left && paramName(left)) ?? (arg && paramName(arg));
}

function typeParamFaults(where: string, { typeParams = [] }: Signature, jsDoc: JsDoc | undefined): string[] {
  const documented = (jsDoc?.tags ?? []).filter(({ kind, doc }) => kind === "template" && !isEmpty(doc));
  return typeParams.filter(({ name }) => !documented.some((one) => one.name === name))
    .map(({ name }) => `${where}: has no @typeParam ${name}`);
}

function returnsSomething(type: TypeRef | undefined): boolean {
  if (type === undefined) return false;
  const isNothing = ({ repr }: TypeRef): boolean => repr === "void" || repr === "never";
  const inner = (type.value as { typeParams?: readonly TypeRef[] } | undefined)?.typeParams;
  if (type.repr === "Promise" && inner?.[0] !== undefined) return !isNothing(inner[0]);
  return !isNothing(type);
}

function isEmpty(text: string | undefined): boolean {
  return text === undefined || text.trim() === "";
}

function linksTo(jsDoc: JsDoc | undefined, target: string): boolean {
  return (jsDoc?.doc ?? "").includes(`{@linkcode ${target}}`);
}

function examplesIn(jsDoc: JsDoc | undefined): readonly Tag[] {
  return (jsDoc?.tags ?? []).filter(({ kind }) => kind === "example");
}

function missingExample(where: string, jsDoc: JsDoc | undefined): string[] {
  return examplesIn(jsDoc).length === 0 ? [`${where}: has no example`] : [];
}

/** A type that users don't implement is shown where it is used. */
function exampleOfTypeFaults(where: string, name: string, jsDoc: JsDoc | undefined): string[] {
  if (IMPLEMENTED.has(name)) return missingExample(where, jsDoc);
  return examplesIn(jsDoc).length === 0 ? [] : [`${where}: has an example, but users don't implement it`];
}

function badExamples(where: string, jsDoc: JsDoc | undefined): string[] {
  return examplesIn(jsDoc).flatMap(({ doc = "" }) => {
    if (examplesOf("example.md", doc).length === 0) return [`${where}: an example has no code`];
    return doc.trimStart().startsWith("```") ? [`${where}: an example has no title`] : [];
  });
}

/** The code of what is declared on a line, as `deno fmt` sets it: up to the brace at the same depth. */
function bodyAt(source: string, line: number): string {
  const lines = source.split("\n").slice(line);
  const indent = /^ */.exec(lines[0] ?? "")![0];
  const end = lines.findIndex((one, i) => i > 0 && one === `${indent}}`);
  // A declaration without a body, or with one on its own line, ends where the next one begins.
  const next = lines.findIndex((one, i) => i > 0 && (one.trim() === "" || one.startsWith(`${indent}/**`)));
  const isOpen = end >= 0 && (next < 0 || /\{$/.test(lines[0]!) || end < next);
  return (isOpen ? lines.slice(0, end) : lines.slice(0, 1)).join("\n").replaceAll(/\/\/.*$/gm, "");
}

function placeOf({ filename, line }: Location, name: string): string {
  return `${filename}:${line + 1} ${name}`;
}

/** Tags that `deno doc` doesn't understand and leaves out, such as `@default` without braces. */
function unknownTags(nodes: unknown): string[] {
  const found = JSON.stringify(nodes).matchAll(/\{"kind":"unsupported","value":("(?:[^"\\]|\\.)*")/g);
  return Array.from(found, ([, text]) => `${JSON.parse(text!)}: is left out`);
}

/** Links in public documentation to names that aren't exported, which come out as plain text. */
function deadLinks(nodes: unknown, names: ReadonlySet<string>): string[] {
  return Array.from(
    JSON.stringify(nodes).matchAll(/\{@link(?:code|plain)? +([^}|\s]+)/g),
    ([, target]) => target!,
  )
    .filter((target) => !names.has(target.split(".")[0]!) && !URL.canParse(target))
    .map((target) => `{@link ${target}} leads to nothing that is exported`);
}
