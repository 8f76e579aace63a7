/**
 * `WaitingLine`: who waits, in the order in which they came, whoever leaves in between.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { WaitingLine } from "../../src/base/waiting_line.ts";
import { seededRandom } from "../support/random.ts";

test("WaitingLine keeps the order, whoever joins and leaves", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = seededRandom(seed);
    const line = new WaitingLine<number>();
    const plain: { readonly entry: number; readonly leave: () => void }[] = [];
    for (let step = 0; step < 200; step++) {
      const what = random(5);
      if (what < 2 || plain.length === 0) plain.push({ entry: step, leave: line.join(step) });
      else if (what === 2) {
        line.shift();
        plain.shift();
      } else {
        const [{ leave }] = plain.splice(random(plain.length), 1) as [typeof plain[number]];
        leave();
      }
      assertEquals(line.first, plain[0]?.entry, `seed ${seed}, step ${step}`);
    }
    assertEquals(line.takeAll(), plain.map(({ entry }) => entry), `seed ${seed}`);
    assertEquals([line.first, line.takeAll()], [undefined, []]);
    line.shift();
    line.join(1);
    assertEquals(line.first, 1);
  }
});
