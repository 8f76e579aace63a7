/**
 * The style of public names, checked in the output of `deno doc --json`, so that it is one style over all entry points:
 *
 * - A boolean is a bare word, `flush` or `retryable`, never `isFlush`.
 * - The type of an event says what has happened: it ends in a past participle.
 * - An optional member of an option object takes `undefined`, so that a caller with `exactOptionalPropertyTypes` can pass
 *   an optional value of its own on.
 * - An optional member of an option object states its default. A signal and a listener have none.
 * - A parameter has a name: one that is taken apart in the signature is shown as `{}`.
 */

/** What is used of a declaration in the output of `deno doc --json`. */
export interface DocNode {
  readonly kind?: string;
  readonly name?: string;
  readonly optional?: boolean;
  readonly tsType?: DocNode;
  readonly repr?: string;
  readonly value?: unknown;
  readonly [key: string]: unknown;
}

type JsDoc = { readonly tags?: readonly { readonly kind: string }[] } | undefined;

/** A prefix of booleans in other styles. */
const PREFIXED = /^(is|has|was|can|should|may)[A-Z]/;
/** Members that stand for nothing where they are missing. */
const HAS_NO_DEFAULT = /^(signal|after|on[A-Z].*)$/;
/** Participles that don't end in "ed". */
const IRREGULAR: readonly string[] = ["found", "lost", "sent", "taken"];

/** What breaks the style in the declarations of a package, one line each. */
export function namingFaults(nodes: unknown): string[] {
  return [...new Set(faultsIn(nodes, ""))];
}

function faultsIn(node: unknown, symbol: string): string[] {
  if (Array.isArray(node)) return node.flatMap((one) => faultsIn(one, symbol));
  if (typeof node !== "object" || node === null) return [];
  const { name, tsType, optional, ...rest } = node as DocNode;
  if (typeof name !== "string") return Object.values(node).flatMap((one) => faultsIn(one, symbol));
  const where = "declarations" in node ? name : `${symbol}.${name}`;
  const owner = "declarations" in node ? name : symbol;
  const faults = isTakenApart(node as Called) ? [`${where}: has a parameter without a name`] : [];
  if (tsType !== undefined) {
    const members = tsType.kind === "union" ? tsType.value as readonly DocNode[] : [tsType];
    if (PREFIXED.test(name) && members.some(({ repr }) => repr === "boolean")) faults.push(`${where}: is a bare word`);
    const takesUndefined = members.some(({ repr }) => repr === "undefined");
    if (optional === true && owner.endsWith("Options")) {
      if (!takesUndefined) faults.push(`${where}: takes undefined`);
      if (!HAS_NO_DEFAULT.test(name) && !hasDefault(rest["jsDoc"] as JsDoc)) {
        faults.push(`${where}: states its default`);
      }
    }
    if (name === "type" && owner.endsWith("Event")) faults.push(...eventFaults(owner, members));
  }
  return [...faults, ...faultsIn([tsType, ...Object.values(rest)], owner)];
}

interface Called {
  readonly params?: readonly { readonly kind?: string; readonly left?: { readonly kind?: string } }[];
  readonly functionDef?: Called;
  readonly declarations?: readonly { readonly def?: Called }[];
}

/** Whether a function or method has a parameter that is a pattern, perhaps with a default. */
function isTakenApart({ params, functionDef, declarations }: Called): boolean {
  if (params?.some(({ kind, left }) => ["object", "array"].includes(left?.kind ?? kind ?? ""))) return true;
  return [functionDef, ...(declarations ?? []).map(({ def }) => def)].some((def) => def?.params && isTakenApart(def));
}

function eventFaults(owner: string, members: readonly DocNode[]): string[] {
  const words = members.map(({ repr }) => repr ?? "");
  return words.filter((word) => {
    const last = word.split("-").at(-1)!;
    return !last.endsWith("ed") && !IRREGULAR.includes(last);
  }).map((word) => `${owner} "${word}": says what has happened`);
}

function hasDefault(jsDoc: JsDoc): boolean {
  return jsDoc?.tags?.some(({ kind }) => kind === "default") === true;
}
