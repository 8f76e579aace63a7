/**
 * The screen of `top`, cell by cell: what it shows, that it never leaves its room, and that nothing from outside acts on the
 * terminal.
 */

import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatAge, formatLatency } from "../../src/cli/shared/text.ts";
import { bar, formatMoment, formatRate, harmless, sparkline } from "../../src/cli/top/figures.ts";
import { renderTop } from "../../src/cli/top/screen.ts";
import type { TopView } from "../../src/cli/top/view.ts";
import { BARE, BUSY, NOW, visible } from "./top_tools.ts";

function render(view: TopView, columns: number, rows?: number): string {
  return renderTop(view, { columns, rows, hasColours: false });
}

test("renderTop() shows a busy buffer on 80 columns", () => {
  assertEquals(
    render(BUSY, 80, 24),
    `sluice top  /var/lib/app/events.wal                                 21:14:03 UTC
state      open for 1 h 13 min · node 4711 · seen 0.4 s ago

backlog    █████████████▍░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  31.2 %  319 MiB of 1 GiB
           1 204 113 records · payloads 301 MiB · full in 12 min at this rate

put         12 410 records/s   1.5 MiB/s   ▆ ▃▅█▂▄▇▁▃▆█▂▅▇▁▄▆█▃▅▇▂▄▆ ▃▅█▂▄▇▁▃▆█▂
committed    1 900 records/s   234 KiB/s   ▄ ▁▁▁▁▁▂▂▂▂▂▂▃▃▃▃▃▃▄▄▄▄▄▄ ▁▁▁▁▁▂▂▂▂▂▂

oldest     1 min 14 s · overdue by 1 min 9 s
in flight  2 batches · 2 000 records
batches    812 emitted · 810 committed · 3 redelivered
puts       2 014 113 accepted · 0 rejected · 0 dropped
syncs      4 312 · mean 0.61 ms · p50 0.21 ms · p99 4.2 ms · max 31 ms
disk       21 segments · 324 MiB · nothing in quarantine

21:13:58   full, 14 times · the backlog was full at 1073741824 bytes
2026-11-24 warning NO_SPACE
           Cannot write "/var/lib/app/events.wal/00000000000000812345.wal":
           ENOSPC`,
  );
});

test("renderTop() shows the same on 40 columns", () => {
  assertEquals(
    render(BUSY, 40),
    `sluice top  …pp/events.wal  21:14:03 UTC
state      open for 1 h 13 min
           node 4711 · seen 0.4 s ago

backlog    ██████▌░░░░░░░░░░░░░░  31.2 %
           1 204 113 records
           319 MiB of 1 GiB
           payloads 301 MiB
           full in 12 min at this rate

put         12 410 records/s   1.5 MiB/s
           ▁▃▆█▂▅▇▁▄▆█▃▅▇▂▄▆ ▃▅█▂▄▇▁▃▆█▂
committed    1 900 records/s   234 KiB/s
           ▂▂▂▂▂▃▃▃▃▃▃▄▄▄▄▄▄ ▁▁▁▁▁▂▂▂▂▂▂

oldest     1 min 14 s
           overdue by 1 min 9 s
in flight  2 batches · 2 000 records
batches    812 emitted · 810 committed
           3 redelivered
puts       2 014 113 accepted
           0 rejected · 0 dropped
syncs      4 312 · mean 0.61 ms
           p50 0.21 ms · p99 4.2 ms
           max 31 ms
disk       21 segments · 324 MiB
           nothing in quarantine

21:13:58   full, 14 times
           the backlog was full at
           1073741824 bytes
2026-11-24 warning NO_SPACE
           Cannot write
           "/var/lib/app/events.wal/0000
           0000000000812345.wal": ENOSPC`,
  );
});

test("renderTop() shows what the directory alone tells, on 80 and on 40 columns", () => {
  assertEquals(
    render(BARE, 80),
    `sluice top  /var/lib/app/events.wal                                 21:14:03 UTC
state      not known · opened 1 h 13 min ago · node 4711
note       there is no status.json: an older version, statusMs 0, or killed at
           once: this is what the directory alone tells

backlog    at most 296 MiB
           at least 1 200 000 records

put        not known
committed    1 900 records/s   234 KiB/s   ▄ ▁▁▁▁▁▂▂▂▂▂▂▃▃▃▃▃▃▄▄▄▄▄▄ ▁▁▁▁▁▂▂▂▂▂▂

oldest     not known
in flight  2 batches · 2 000 records
batches    not known
puts       not known
syncs      not known
disk       21 segments · 324 MiB · 4.9 KiB in quarantine

problems   not known`,
  );
  assertEquals(
    render(BARE, 40),
    `sluice top  …pp/events.wal  21:14:03 UTC
state      not known
           opened 1 h 13 min ago
           node 4711
note       there is no status.json: an
           older version, statusMs 0, or
           killed at once: this is what
           the directory alone tells

backlog    at most 296 MiB
           at least 1 200 000 records

put        not known
committed    1 900 records/s   234 KiB/s
           ▂▂▂▂▂▃▃▃▃▃▃▄▄▄▄▄▄ ▁▁▁▁▁▂▂▂▂▂▂

oldest     not known
in flight  2 batches · 2 000 records
batches    not known
puts       not known
syncs      not known
disk       21 segments · 324 MiB
           4.9 KiB in quarantine

problems   not known`,
  );
});

test("renderTop() says what a buffer is, without claiming that its process lives", () => {
  const lineOf = (view: Partial<TopView>) => render({ ...BUSY, ...view }, 80).split("\n").slice(1, 3);
  const seenAt = NOW - 9_000_000;
  assertEquals(lineOf({ state: "silent", seenAt }), [
    "state      silent · nothing to do, or its process is gone · node 4711",
    "           seen 2 h 30 min ago",
  ]);
  assertEquals(lineOf({ state: "failed" })[0], "state      failed · has to be closed and opened again · node 4711");
  const closed = lineOf({ state: "closed", seenAt, owner: { pid: 1, runtime: "bun", openedAt: seenAt - 60_000 } });
  assertEquals(closed[0], "state      closed 2 h 30 min ago · bun 1 · was open for 1 min");
  assertEquals(lineOf({ state: "unknown", owner: undefined })[0], "state      not known");
});

test("renderTop() shows as many lines as there are rows, and the backlog longest", () => {
  for (const view of [BUSY, BARE]) {
    for (const columns of [24, 40, 80, 200]) {
      const height = render(view, columns).split("\n").length;
      for (let rows = 1; rows <= height + 3; rows++) {
        const lines = render(view, columns, rows).split("\n");
        assertEquals(lines.length, Math.min(rows, height));
        assert(lines.some((line) => line.startsWith("backlog ")), `no backlog on ${columns} x ${rows}`);
      }
    }
  }
  assertEquals(render(BUSY, 80, 1).slice(0, 11), "backlog    ");
});

test("renderTop() never writes a line that is wider than the terminal", () => {
  const long = "/a path/" + "x".repeat(300) + "/ü👋🏽";
  const problems = [{ type: "damage" as const, message: long, at: NOW, count: 1_000_000 }];
  const huge = {
    ...BUSY,
    path: long,
    problems,
    put: { records: 1e9, payloadBytes: 1e15 },
    backlog: { ...BUSY.backlog, records: Number.MAX_SAFE_INTEGER, bytes: 2 ** 52, maxBytes: 2 ** 53 - 1 },
  };
  for (const view of [BUSY, BARE, huge, { ...BARE, note: long }]) {
    for (let columns = 1; columns <= 130; columns++) {
      for (const line of render(view, columns).split("\n")) {
        assert([...line].length <= columns, `${columns} columns: ${line}`);
        assertEquals(line, line.trimEnd());
      }
    }
  }
});

test("renderTop() says the same without colours", () => {
  for (const view of [BUSY, BARE, { ...BUSY, state: "silent" as const }]) {
    for (const columns of [40, 80]) {
      const coloured = renderTop(view, { columns, rows: 30, hasColours: true });
      assertStringIncludes(coloured, "\x1b[");
      const lines = stripVTControlCharacters(coloured).split("\n").map((line) => line.trimEnd());
      assertEquals(lines.join("\n"), render(view, columns, 30));
      // Each line ends as it began, so that a line can be drawn alone.
      for (const line of visible(coloured).split("\n")) assertMatch(line, /^((␛\[[\d;]+m[^␛]+␛\[0m)|[^␛])*$/);
    }
  }
});

test("renderTop() lets nothing from outside act on the terminal", () => {
  const evil = "a\x1b[2Jb\x07\u009b31mc\r\n\u202ed\ud800";
  const view: TopView = {
    ...BUSY,
    path: evil,
    owner: { pid: 1, runtime: evil, openedAt: NOW },
    problems: [{ type: "warning", code: evil, message: evil, at: NOW, count: 1 }],
  };
  for (const one of [view, { ...BARE, note: evil }]) {
    assertMatch(render(one, 80), /^[\n\P{C}]*$/u);
    assertStringIncludes(render(one, 80), "a\u{fffd}[2Jb");
  }
});

test("renderTop() warns by words where the backlog is large, records are late, or something was dropped", () => {
  const colouredLine = (view: TopView, label: string) =>
    renderTop(view, { columns: 80, rows: undefined, hasColours: true }).split("\n").find((line) =>
      line.includes(label)
    )!;
  const full = { ...BUSY, backlog: { ...BUSY.backlog, bytes: 1_000_000_000 } };
  assertStringIncludes(render(full, 80), "nearly full");
  assertEquals(render(BUSY, 80).includes("nearly full"), false);
  assertStringIncludes(colouredLine(full, "93.1 %"), "\x1b[1;31m");
  assertStringIncludes(colouredLine(BUSY, "31.2 %"), "\x1b[32m");
  assertStringIncludes(render(BUSY, 80), "overdue by 1 min 9 s");
  assertStringIncludes(render({ ...BUSY, oldestAgeMs: 3000 }, 80), "3.0 s · due after 5.0 s");
  const dropped = { ...BUSY, puts: { accepted: 9, rejected: 2, dropped: 3 } };
  assertStringIncludes(render(dropped, 80), "9 accepted · 2 rejected · 3 dropped");
});

test("renderTop() draws no chart of less than three readings", () => {
  const chartOf = (readings: number) => {
    const history = { put: BUSY.history.put.slice(-readings), committed: BUSY.history.committed.slice(-readings) };
    return /[▁▂▃▄▅▆▇]/.test(render({ ...BUSY, history }, 80));
  };
  assertEquals([chartOf(2), chartOf(3)], [false, true]);
  assertMatch(render({ ...BUSY, put: undefined, history: { put: [], committed: [] } }, 80), /^put {8}measuring$/m);
});

test("bar() shows shares to an eighth of a cell, never a little as nothing, nor almost all as all", () => {
  const drawn = (share: number) => Object.values(bar(share, 4)).join("|");
  assertEquals([0, 1e-9, 0.25, 0.5, 0.53, 0.999, 1, 7].map(drawn), [
    "|░░░░",
    "▏|░░░",
    "█|░░░",
    "██|░░",
    "██▏|░",
    "███▉|",
    "████|",
    "████|",
  ]);
});

test("sparkline() draws the newest values, on the scale that is given", () => {
  assertEquals(sparkline([9, 0, 1, 4, 5, 8], 8, 5), " ▁▄▅█");
  assertEquals(sparkline([0, 0], 0, 5), "  ");
});

test("figures are short and never jump to another unit too early", () => {
  assertEquals([0, 0.04, 9.94, 9.96, 12_410.4].map(formatRate), ["0", "0.0", "9.9", "10", "12 410"]);
  assertEquals([0, 0.213, 2, 14.4, 99.6, 1500].map(formatLatency), [
    "0 ms",
    "0.21 ms",
    "2 ms",
    "14 ms",
    "100 ms",
    "1.5 s",
  ]);
  assertEquals([-5, 400, 3210, 60_000, 4_400_000, 1e12].map(formatAge), [
    "0.0 s",
    "0.4 s",
    "3.2 s",
    "1 min",
    "1 h 13 min",
    "more than a year",
  ]);
  assertEquals(formatMoment(NOW - 1000, NOW), "21:14:02");
  assertEquals(formatMoment(NOW - 86_400_000, NOW), "2026-11-24");
  assertEquals(harmless("a\n\tb\x1b[0m"), "a b\u{fffd}[0m");
});
