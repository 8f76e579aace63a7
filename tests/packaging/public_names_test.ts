/**
 * The rule for public names: what breaks it is found. `tests/packaging/docs.ts` holds the package to it.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { type DocNode, namingFaults } from "./public_names.ts";

const BOOLEAN: DocNode = { kind: "keyword", repr: "boolean" };
const UNDEFINED: DocNode = { kind: "keyword", repr: "undefined" };
const DEFAULT = { tags: [{ kind: "default", value: "false" }] };

function union(...value: readonly DocNode[]): DocNode {
  return { kind: "union", value };
}

/** The faults of an exported interface with these members. */
function faultsOf(name: string, properties: readonly DocNode[]): string[] {
  return namingFaults({ a: { symbols: [{ name, declarations: [{ kind: "interface", def: { properties } }] }] } });
}

test("namingFaults() finds booleans that aren't bare words, also among other types and in events", () => {
  const isFlush = { name: "isFlush", tsType: BOOLEAN };
  assertEquals(faultsOf("Thing", [{ name: "flush", tsType: BOOLEAN }, { name: "isolation", tsType: BOOLEAN }]), []);
  assertEquals(faultsOf("Thing", [isFlush]), ["Thing.isFlush: is a bare word"]);
  assertEquals(faultsOf("Thing", [{ ...isFlush, tsType: union(BOOLEAN, UNDEFINED) }]), [
    "Thing.isFlush: is a bare word",
  ]);
  assertEquals(faultsOf("Thing", [{ name: "isFlush", tsType: { repr: "string" } }]), []);
  const literal = { kind: "typeLiteral", value: { properties: [isFlush] } };
  assertEquals(namingFaults([{ name: "ThingEvent", declarations: [{ def: { tsType: union(literal) } }] }]), [
    "ThingEvent.isFlush: is a bare word",
  ]);
});

test("namingFaults() finds event types that don't say what has happened", () => {
  const type = (...words: readonly string[]) => ({ name: "type", tsType: union(...words.map((repr) => ({ repr }))) });
  assertEquals(faultsOf("ThingEvent", [type("segment-removed", "damage-found")]), []);
  assertEquals(faultsOf("ThingEvent", [type("closed", "full")]), ['ThingEvent "full": says what has happened']);
  assertEquals(faultsOf("ThingProblem", [type("full")]), []);
});

test("namingFaults() finds optional members of options that don't take undefined, or have no default", () => {
  const flush = { name: "flush", optional: true, tsType: union(BOOLEAN, UNDEFINED), jsDoc: DEFAULT };
  const signal = { name: "signal", optional: true, tsType: union({ repr: "AbortSignal" }, UNDEFINED) };
  assertEquals(faultsOf("ThingOptions", [flush, signal]), []);
  assertEquals(faultsOf("ThingOptions", [{ ...flush, tsType: BOOLEAN }]), ["ThingOptions.flush: takes undefined"]);
  assertEquals(faultsOf("ThingOptions", [{ ...flush, jsDoc: {} }]), ["ThingOptions.flush: states its default"]);
  assertEquals(faultsOf("Thing", [{ ...flush, tsType: BOOLEAN, jsDoc: {} }]), []);
});

test("namingFaults() finds parameters that are taken apart in the signature", () => {
  const method = (...params: readonly DocNode[]) =>
    namingFaults([{
      name: "Thing",
      declarations: [{ def: { methods: [{ name: "flush", functionDef: { params } }] } }],
    }]);
  const flush = (kind: string) => namingFaults([{ name: "flush", declarations: [{ def: { params: [{ kind }] } }] }]);
  assertEquals([method({ kind: "identifier", name: "options" }), flush("identifier")], [[], []]);
  assertEquals(flush("array"), ["flush: has a parameter without a name"]);
  assertEquals(method({ kind: "object" }), ["Thing.flush: has a parameter without a name"]);
  assertEquals(method({ kind: "assign", left: { kind: "object" } }), ["Thing.flush: has a parameter without a name"]);
});
