/**
 * The gate of events: none within a write, and all of them in order.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { EventGate } from "../../src/buffer/event_gate.ts";
import type { BufferEvent } from "../../src/buffer/events.ts";

const eventOf = (segment: string): BufferEvent => ({ type: "segment-created", segment });

test("EventGate keeps events in order when a listener causes another one, with a write or without", () => {
  const told: string[] = [];
  const gate = new EventGate((event) => {
    if (event.type !== "segment-created") return;
    told.push(event.segment);
    if (event.segment === "a") gate.tell(eventOf("c"));
    if (event.segment !== "b") return;
    gate.shut();
    gate.tell(eventOf("d"));
    assertEquals(told, ["before", "a", "b"]);
    gate.open();
  });
  gate.tell(eventOf("before"));
  gate.shut();
  gate.tell(eventOf("a"));
  gate.tell(eventOf("b"));
  assertEquals(told, ["before"]);
  gate.open();
  assertEquals(told, ["before", "a", "b", "c", "d"]);
});
