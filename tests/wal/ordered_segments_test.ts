/**
 * `OrderedSegments`: the same answers as an array that is searched from its start, for a share of the work.
 */

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { OrderedSegments } from "../../src/wal/ordered_segments.ts";
import type { Segment } from "../../src/wal/segment_files.ts";
import { seededRandom } from "../support/log_tools.ts";
import { CountedSegments } from "./counted_segments.ts";

test("OrderedSegments answer as an array does, whatever is added and removed", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seededRandom(seed);
    const ordered = new OrderedSegments();
    let plain: Segment[] = [];
    let next = 0;
    // Grows over several blocks, then shrinks to nothing.
    for (let step = 0; step < 6000; step++) {
      const isGrowing = random(3000) > step / 2;
      if (isGrowing) {
        next += 1 + random(3);
        const segment = { name: `${next}`, firstSequence: next };
        ordered.append(segment);
        plain.push(segment);
      } else {
        const segment = plain[random(4) === 0 ? random(plain.length) : 0] ?? { name: "none", firstSequence: next + 1 };
        ordered.remove(segment);
        plain = plain.filter((one) => one !== segment);
      }
      if (step % 7 > 0) continue;
      const sequence = random(next + 3) - 1;
      const note = `seed ${seed}, step ${step}, sequence ${sequence}`;
      assertEquals([ordered.count, ordered.last], [plain.length, plain.at(-1)], note);
      assertEquals(
        ordered.findAtOrBefore(sequence),
        plain.findLast(({ firstSequence }) => firstSequence <= sequence),
        note,
      );
      assertEquals(ordered.findAfter(sequence), plain.find(({ firstSequence }) => firstSequence > sequence), note);
    }
    assertEquals(ordered.toArray(), plain, `seed ${seed}`);
  }
});

test("OrderedSegments look at about as many segments as their number has binary digits", () => {
  for (const count of [16, 1024, 65_536]) {
    const counted = new CountedSegments(count);
    const ordered = new OrderedSegments(counted.segments);
    const most = 2 * Math.log2(count) + 8;
    for (const at of [0, 1, count / 2, count - 1, count]) {
      for (
        const ask of [
          () => ordered.findAtOrBefore(at),
          () => ordered.findAfter(at),
          () => ordered.remove(counted.segments[at % count]!),
        ]
      ) {
        const looks = counted.looksOf(ask);
        assert(looks <= most, `${looks} looks at ${count} segments`);
      }
    }
  }
});
