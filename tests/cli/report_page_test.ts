/**
 * The page of a report: however large and bad the log is, it stays small and readable, drawn to scale, and whatever a name
 * is made of stays text.
 */

import { test } from "node:test";
import { assert, assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { MAX_REGIONS } from "../../src/cli/report/collector.ts";
import type { Stretch } from "../../src/cli/report/data.ts";
import { MAX_BINS } from "../../src/cli/report/histograms.ts";
import { layOut, MIN_WIDTH, niceCeiling } from "../../src/cli/report/layout.ts";
import { renderReport } from "../../src/cli/report/page.ts";
import { MAX_ROWS, MAX_STRETCHES, ReportRows } from "../../src/cli/report/rows.ts";
import { escapeHtml } from "../../src/cli/report/words.ts";
import type { ScanItem } from "../../src/maintenance/scan_items.ts";
import { segmentName } from "../../src/wal/names.ts";
import { seededRandom } from "../support/random.ts";
import { damagedLog, frames, NOW, PAGE_BYTES, reportDataOf, segment, tallied, textOf } from "./report_logs.ts";

// ------------------------------------------------------------------------------------------------------------- bounds

/** As bad as it gets: every other frame of thousands of segments damaged, all numbers and names long. */
function* horribleLog(segments: number): Generator<ScanItem> {
  let first = 2 ** 52;
  for (let i = 0; i < segments; i++) {
    const name = segmentName(first);
    yield segment(first, 100_000);
    for (let k = 0; k < 40; k++) {
      const [one] = frames(first, 1, 1000, NOW - (segments - i) * 86_400_000);
      yield { ...one!, offset: 160 + k * 2000 } as ScanItem;
      const missing = { first: first + 1, last: first + 3 };
      yield { kind: "damaged", segment: name, offset: 1160 + k * 2000, length: 1000, missing };
      first += 4;
    }
    yield { kind: "missing", missing: { first, last: first + 9 } };
    first += 10;
  }
}

test("a page stays small however large and bad the log is, and says what is drawn as one", () => {
  const quarantine = Array.from({ length: 1000 }, (_, i) => ({ name: `${i}`.padEnd(255, `"`), bytes: 1 }));
  const owner = { pid: 2 ** 31, runtime: "<".repeat(400), openedAt: "x".repeat(400) };
  const steps = {
    tail: { segment: segmentName(1), offset: 160, length: 7, isZero: false },
    regions: Array.from({ length: 120_000 }, (_, i) => ({ segment: segmentName(i + 1), offset: i, length: i })),
    moved: Array.from(
      { length: 70 },
      (_, i) => ({ segment: segmentName(i + 1), bytes: 9, why: "foreign" as const }),
    ),
    removed: Array.from({ length: 60 }, (_, i) => segmentName(i + 1)),
    cursor: "lost" as const,
    missing: Array.from({ length: 3000 }, (_, i) => ({ first: 10 * i + 1, last: 10 * i + 2 })),
  };
  const data = tallied(horribleLog(3000), { quarantine, owner, path: `/${"'".repeat(4000)}` }, steps);
  assertEquals(data.counts.damagedRegions, 120_000);
  assertEquals(data.counts.missingRecords, 120_000 * 3 + 3000 * 10);
  assertEquals(data.counts.pendingRecords, 120_000);
  assertEquals([data.regions.length, data.regionsInAll], [MAX_REGIONS, 123_000]);
  assertEquals(data.rows.reduce((sum, { segments }) => sum + segments, 0), 3000);
  assertEquals(data.rows.reduce((sum, { bytes }) => sum + bytes, 0), 300_000_000);
  const page = renderReport(data);
  assertLess(new TextEncoder().encode(page).length, PAGE_BYTES);
  assertStringIncludes(page, `A bar is up to ${data.segmentsPerRow} segments`);
  assertStringIncludes(page, "some neighbours are drawn as one");
  assertStringIncludes(textOf(page), "And 980 more.");
  assertStringIncludes(textOf(page), `And ${119_940 + 10 + 2940} more of these.`);
});

test("rows keep the order and the worst of everything, whatever is joined (seed 11)", () => {
  const random = seededRandom(11);
  const kinds = ["committed", "pending", "inFlight", "damaged", "torn", "missing"] as const;
  const severity = ["free", "committed", "dropped", "pending", "inFlight", "torn", "missing", "damaged", "unusable"];
  for (let round = 0; round < 60; round++) {
    const rows = new ReportRows();
    const added: { kind: typeof kinds[number]; at: number; length: number }[] = [];
    let base = 0;
    const segments = 1 + random(200);
    for (let i = 0; i < segments; i++) {
      const bytes = 160 + random(5000);
      rows.beginSegment(segmentName(i + 1), bytes);
      for (let offset = 160; offset < bytes && random(10) > 0;) {
        const kind = kinds[random(kinds.length)]!;
        const length = kind === "missing" ? 0 : Math.min(bytes - offset, 1 + random(900));
        rows.add({ kind, offset, length, sequences: undefined });
        added.push({ kind, at: base + offset, length });
        offset += length;
      }
      base += bytes;
    }
    const finished = rows.finish();
    const note = `round ${round}`;
    assert(finished.length <= MAX_ROWS, note);
    const drawn: Stretch[] = [];
    let start = 0;
    for (const row of finished) {
      assert(row.stretches.length <= MAX_STRETCHES, note);
      let end = 0;
      for (const stretch of row.stretches) {
        assert(stretch.at >= end && stretch.at + stretch.length <= row.bytes, note);
        end = stretch.at + stretch.length;
        drawn.push({ ...stretch, at: start + stretch.at });
      }
      start += row.bytes;
    }
    assertEquals(start, base, note);
    for (const { kind, at, length } of added) {
      const over = drawn.find((stretch) =>
        stretch.at <= at && at + length <= stretch.at + stretch.length &&
        severity.indexOf(stretch.kind) >= severity.indexOf(kind)
      );
      assert(over !== undefined, `${note}: ${kind} at ${at}, ${length} bytes, is not drawn`);
    }
  }
});

test("times of any range fit the chart", () => {
  for (const [from, step] of [[0, 1], [NOW, 7], [NOW, 86_400_000], [0, 2 ** 40], [NOW, -1000]] as const) {
    const items = Array.from({ length: 200 }, (_, i) => frames(i + 1, 1, 100, Math.abs(from + i * step))[0]!);
    const { times } = tallied([segment(1, 1e6), ...items]);
    const all = times.bins.reduce((sum, { records }) => sum + records, 0);
    const span = (times.bins.at(-1)!.from - times.bins[0]!.from) / times.widthMs;
    assertEquals(all, 200);
    assert(span < MAX_BINS && times.bins.length > 1, `${step}: ${span}`);
  }
});

test("layOut() is to scale, widens what is narrow, and never overlaps", () => {
  const wide = layOut([{ at: 0, length: 500 }, { at: 500, length: 500 }], 1000, 50);
  assertEquals(wide, [{ x: 0, width: 25 }, { x: 25, width: 25 }]);
  const random = seededRandom(3);
  for (let round = 0; round < 200; round++) {
    const stretches: { at: number; length: number }[] = [];
    let at = 0;
    for (let i = random(MAX_STRETCHES + 1); i > 0; i--) {
      at += random(3) * random(1000);
      const length = random(3) === 0 ? 0 : random(2) * 1e6 + random(1000);
      stretches.push({ at, length });
      at += length;
    }
    const bytes = at + random(1000);
    const rowWidth = 1 + random(100);
    const spans = layOut(stretches, bytes, rowWidth);
    let end = 0;
    for (const { x, width } of spans) {
      assert(x >= end - 1e-9 && width >= MIN_WIDTH - 1e-9, `round ${round}`);
      end = x + width;
    }
    assert(end <= Math.max(rowWidth, spans.length * MIN_WIDTH) + 1e-9, `round ${round}: ${end} of ${rowWidth}`);
  }
});

test("niceCeiling() is not below what is to be shown, and its half is whole", () => {
  for (const max of [0, 1, 2, 3, 9, 10, 11, 99, 101, 1099, 12_345, 999_999, 2 ** 40]) {
    const ceiling = niceCeiling(max);
    assert(
      ceiling >= max && ceiling <= Math.max(2, 1.4 * max) && (ceiling === 1 || ceiling % 2 === 0),
      `${max} ${ceiling}`,
    );
  }
});

// ------------------------------------------------------------------------------------------------------ what isn't ours

test("whatever a name is made of, it is text", () => {
  const evil = `</title></style><script>alert(1)</script>"'><img src=x onerror=alert(1)>\u202etxt.\x07\ud800`;
  const owner = { pid: 1, runtime: evil, openedAt: evil };
  const page = renderReport(tallied([], { path: `/${evil}`, quarantine: [{ name: evil, bytes: 1 }], owner }));
  assertEquals(page.match(/<script/g)?.length, 1);
  assertEquals(page.match(/<img/g), null);
  assertEquals(page.match(/<\/title>/g)?.length, 1);
  assert(!page.includes("\u202e") && !page.includes("\x07") && page.isWellFormed());
  assertEquals(escapeHtml(`a<b>&"c"'d'`), "a&lt;b&gt;&amp;&quot;c&quot;&#39;d&#39;");
});

test("the page allows its own style and script and nothing else, and refers to nothing", async () => {
  const { fileSystem } = await damagedLog();
  const page = renderReport(await reportDataOf(fileSystem));
  const policy = /Content-Security-Policy" content="([^"]*)"/.exec(page)![1]!;
  const hashes = await Promise.all([/<style>([^]*?)<\/style>/, /<script>([^]*?)<\/script>/].map(async (pattern) => {
    const bytes = new TextEncoder().encode(pattern.exec(page)![1]);
    return btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))));
  }));
  assertEquals(
    policy,
    `default-src 'none'; style-src 'sha256-${hashes[0]}'; script-src 'sha256-${hashes[1]}'; ` +
      "base-uri 'none'; form-action 'none'",
  );
  assertEquals(page.match(/\b(src|href|style|on\w+)=|https?:|@import/g), null);
  assertEquals([...page.matchAll(/url\(([^)]*)\)/g)].map(([, url]) => url!).filter((url) => !url.startsWith("#")), []);
});
