/**
 * Listeners: whatever one does, the others get every event, and nobody else is stopped.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { type ListenerFailedEvent, Listeners } from "../../src/base/listeners.ts";
import { settle } from "../support/event_loop.ts";

type Event = { readonly type: "a" | "b" };

const FAILING: Record<string, (error: Error) => unknown> = {
  "throws": (error) => {
    throw error;
  },
  "rejects": (error) => Promise.reject(error),
  "returns a thenable that rejects": (error) => ({ then: (_: unknown, reject: (e: Error) => void) => reject(error) }),
  "returns a thenable that throws": (error) => ({
    then() {
      throw error;
    },
  }),
};

for (const [name, fail] of Object.entries(FAILING)) {
  test(`Listeners.tell() tells all listeners of one that ${name}, and ends there`, async () => {
    const error = new Error("broken");
    const heard: (Event | ListenerFailedEvent)[] = [];
    const counted: ListenerFailedEvent[] = [];
    let calls = 0;
    const broken = (): unknown => {
      calls++;
      return fail(error);
    };
    const listeners = new Listeners<Event>(broken, (event) => counted.push(event));
    listeners.add((event) => heard.push(event));
    listeners.tell({ type: "a" });
    await settle();
    listeners.tell({ type: "b" });
    await settle();
    const failures = (["a", "b"] as const).map((at) => ({ type: "listener-failed" as const, at, error }));
    assertEquals(counted, failures);
    assertEquals(new Set(heard.map((event) => JSON.stringify(event))).size, 4);
    assertEquals(heard.length, 4);
    // At each event, and at each failure.
    assertEquals(calls, 4);
  });
}

test("Listeners.tell() leaves alone what a listener returns that isn't a promise", async () => {
  const listeners = new Listeners<Event>(() => ({ then: "later" }), () => {
    throw new Error("nothing has failed");
  });
  listeners.add(() => 1);
  listeners.add(() => null);
  listeners.tell({ type: "a" });
  await settle();
});
