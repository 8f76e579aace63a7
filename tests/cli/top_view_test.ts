/**
 * What `top` makes of its readings: rates between two of them, where the backlog goes, what isn't known, and that it never
 * says that a process lives.
 */

import { test } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import type { BufferStatus, StatusReading } from "../../src/buffer/status_format.ts";
import { type TopReading, TopWatch } from "../../src/cli/top/view.ts";
import { FileSystemError } from "../../src/errors/mod.ts";
import type { SegmentHeader } from "../../src/wal/format.ts";
import type { CursorState } from "../../src/wal/position.ts";
import { NOW, readingOf, statusWith } from "./top_tools.ts";

/** A status so many ms after NOW: records and bytes put and committed so far, bytes of backlog, records dropped. */
function at(
  ms: number,
  { put = 0, committed = 0, backlogBytes = 0, dropped = 0 }: {
    put?: number;
    committed?: number;
    backlogBytes?: number;
    dropped?: number;
  },
): BufferStatus {
  return statusWith({
    at: NOW + ms,
    end: { nextSequence: 1 + put, payloadBytes: 100 * put },
    committed: { nextSequence: 1 + committed, payloadBytes: 100 * committed },
    stats: { backlogBytes, dropped },
  });
}

test("TopWatch measures rates from one status to the next, however long that took", () => {
  const watch = new TopWatch("/b");
  const first = watch.add(readingOf(at(0, { put: 500, committed: 100 }), 0));
  assertEquals([first.put, first.committed], [undefined, undefined]);
  const second = watch.add(readingOf(at(1000, { put: 2500, committed: 600 }), 1000));
  assertEquals([second.put, second.committed], [
    { records: 2000, payloadBytes: 200_000 },
    { records: 500, payloadBytes: 50_000 },
  ]);
  const third = watch.add(readingOf(at(5000, { put: 2600, committed: 2600 }), 5100));
  assertEquals([third.put?.records, third.committed?.records], [25, 500]);
  assertEquals(third.history, { put: [2000, 25], committed: [500, 500] });
});

test("TopWatch keeps the rates until a status is late; then nothing goes by any more", () => {
  const watch = new TopWatch("/b");
  watch.add(readingOf(at(0, {}), 0));
  const status = at(1000, { put: 1000 });
  assertEquals(watch.add(readingOf(status, 1000)).put?.records, 1000);
  const early = watch.add(readingOf(status, 3400));
  assertEquals([early.state, early.put?.records], ["open", 1000]);
  const late = watch.add(readingOf(status, 3600));
  assertEquals([late.state, late.put?.records, late.committed?.records], ["silent", 0, 0]);
  // After a pause the first status speaks of all of it.
  const awake = watch.add(readingOf(at(11_000, { put: 2000 }), 11_000));
  assertEquals([awake.state, awake.put?.records], ["open", 100]);
});

test("TopWatch doesn't count what was dropped as committed", () => {
  const watch = new TopWatch("/b");
  watch.add(readingOf(at(0, {})));
  assertEquals(watch.add(readingOf(at(1000, { committed: 700, dropped: 200 }), 1000)).committed?.records, 500);
  assertEquals(watch.add(readingOf(at(2000, { committed: 700, dropped: 300 }), 2000)).committed?.records, 0);
});

test("TopWatch measures anew when another process has opened the buffer", () => {
  const watch = new TopWatch("/b");
  watch.add(readingOf(at(0, { put: 5 }), 0));
  assertEquals(watch.add(readingOf(at(1000, { put: 9 }), 1000)).put?.records, 4);
  const owner = { pid: 4712, runtime: "node", openedAt: new Date(NOW + 1500).toISOString() };
  const byOther = (ms: number, put: number) => {
    return readingOf({ ...at(ms, { put }), pid: 4712, openedAt: NOW + 1500 }, ms, { owner });
  };
  assertEquals(watch.add(byOther(2000, 1000)).put, undefined);
  assertEquals(watch.add(byOther(3000, 1001)).put?.records, 1);
});

/** A reading at `monotonic`, while the wall clock is `wallMs` behind NOW. */
function readAt(monotonic: number, wallMs: number, status: BufferStatus): TopReading {
  return { ...readingOf(status, wallMs), monotonic };
}

for (const jump of [3_600_000, -3_600_000]) {
  test(`TopWatch measures on when the wall clock jumps by ${jump} ms, for the program and for itself`, () => {
    const watch = new TopWatch("/b");
    watch.add(readAt(0, 0, at(0, {})));
    assertEquals(watch.add(readAt(1000, 1000, at(1000, { put: 100 }))).put?.records, 100);
    // Before the program writes again.
    const same = watch.add(readAt(1500, 1500 + jump, at(1000, { put: 100 })));
    assertEquals([same.state, same.put?.records, same.now - same.seenAt!], ["open", 100, 500]);
    const next = watch.add(readAt(2000, 2000 + jump, at(2000 + jump, { put: 300 })));
    assertEquals([next.state, next.put?.records, next.now - next.seenAt!], ["open", 200, 0]);
    // It ends, and the wall clock is set back to what it was.
    const early = watch.add(readAt(4400, 4400, at(2000 + jump, { put: 300 })));
    assertEquals([early.state, early.now - early.seenAt!], ["open", 2400]);
    const late = watch.add(readAt(4600, 4600, at(2000 + jump, { put: 300 })));
    assertEquals([late.state, late.put?.records], ["silent", 0]);
  });

  test(`TopWatch knows the owner's status when the wall clock was set by ${jump} ms before it was written`, () => {
    const status = { ...at(jump, {}), openMs: 3_600_000 };
    const running = new TopWatch("/b").add(readAt(5, jump, status));
    assertEquals([running.source, running.state, running.now - running.owner!.openedAt], ["status", "open", 3_600_000]);
    // Another process has opened the buffer since, and has not written yet.
    const owner = { pid: 4712, runtime: "node", openedAt: new Date(NOW + 10).toISOString() };
    const earlier = new TopWatch("/b").add({ ...readingOf(status, 20, { owner }), monotonic: 5 });
    assertEquals([earlier.source, earlier.owner?.pid], ["directory", 4712]);
    // The same process id, as in containers.
    const again = { pid: status.pid, runtime: "node", openedAt: owner.openedAt };
    assertEquals(new TopWatch("/b").add({ ...readingOf(status, 20, { owner: again }) }).source, "directory");
  });
}

test("TopWatch says when the backlog will be full, or empty, or that it is steady", () => {
  const trendOf = (backlogs: readonly number[]) => {
    const watch = new TopWatch("/b");
    return backlogs.map((backlogBytes, i) => watch.add(readingOf(at(1000 * i, { backlogBytes }), 1000 * i)).trend);
  };
  assertEquals(trendOf([0])[0], undefined);
  const filling = trendOf([0, 2 ** 20, 2 ** 21])[2];
  assertEquals(filling?.kind, "full");
  assertAlmostEquals(filling!.inMs, 1000 * (1024 - 2), 1);
  const emptying = trendOf([10_000_000, 9_000_000, 8_000_000])[2];
  assertEquals([emptying?.kind, emptying?.inMs], ["empty", 8000]);
  assertEquals(trendOf([1_000_000, 1_020_000, 1_005_000])[2]?.kind, "steady");
  assertEquals(trendOf([0, 0])[1]?.kind, "steady");
  // Of the last readings only: it fills again.
  const turned = trendOf([9e8, ...Array.from({ length: 20 }, (_, i) => 1e6 * i)]).at(-1);
  assertEquals(turned?.kind, "full");
});

test("TopWatch has no trend for a buffer that is closed or silent", () => {
  for (const [state, afterMs] of [["closed", 1000], ["open", 60_000]] as const) {
    const watch = new TopWatch("/b");
    watch.add(readingOf(at(0, { backlogBytes: 1 }), 0));
    const view = watch.add(readingOf({ ...at(1000, { backlogBytes: 1e6 }), state }, afterMs));
    assertEquals([view.state, view.trend], [state === "open" ? "silent" : "closed", undefined]);
  }
});

test("TopWatch lets the oldest record grow older where nothing is written any more", () => {
  const status = statusWith({ stats: { pendingRecords: 3, inFlightRecords: 2, oldestAgeMs: 700 } });
  const ageAfter = (ms: number, one = status) => new TopWatch("/b").add(readingOf(one, ms)).oldestAgeMs;
  assertEquals([ageAfter(800), ageAfter(60_000)], [700, 60_700]);
  assertEquals(ageAfter(60_000, { ...status, state: "closed" }), 60_700);
  assertEquals(
    ageAfter(0, statusWith({ stats: { pendingRecords: 2, inFlightRecords: 2, oldestAgeMs: 0 } })),
    undefined,
  );
});

const CURSOR: CursorState = {
  place: 1,
  isSynced: false,
  generation: 1,
  uuid: "u",
  lastSequence: 900,
  committed: { nextSequence: 101, payloadBytes: 10_000, logBytes: 12_000 },
  resume: { nextSequence: 141, payloadBytes: 14_000, logBytes: 16_000 },
  boundaries: [
    { nextSequence: 121, payloadBytes: 12_000, logBytes: 14_000 },
    { nextSequence: 141, payloadBytes: 14_000, logBytes: 16_000 },
  ],
};

const HEADER: SegmentHeader = {
  codecVersion: 0,
  uuid: "u",
  firstSequence: 801,
  payloadBytesBefore: 80_000,
  logBytesBefore: 90_000,
  createdAt: NOW,
  unacknowledged: 0,
  salt: 1,
  recordLimit: 1000,
  isJson: true,
};

test("TopWatch says what the directory alone tells, and that nothing else is known", () => {
  const directory = {
    cursor: CURSOR,
    lastHeader: HEADER,
    segments: [{ bytes: 500 }, { bytes: 700 }],
    quarantine: [{ bytes: 30 }],
  };
  const watch = new TopWatch("/b");
  const view = watch.add(readingOf({ kind: "missing" }, 0, directory));
  assertEquals(view, {
    path: "/b",
    now: NOW,
    source: "directory",
    note: "there is no status.json: an older version, statusMs 0, or killed at once",
    state: "unknown",
    owner: { pid: 4711, runtime: "node", openedAt: NOW - 3_600_000 },
    backlog: { isExact: false, records: 800, bytes: 78_000 + 540 },
    committed: undefined,
    inFlight: { batches: 2, records: 40 },
    disk: { segments: 2, bytes: 1200 },
    quarantine: { files: 1, bytes: 30 },
    history: { put: [], committed: [] },
  });
  const committed = { nextSequence: 201, payloadBytes: 20_000, logBytes: 24_000 };
  const later = watch.add(readingOf({ kind: "missing" }, 2000, { ...directory, cursor: { ...CURSOR, committed } }));
  assertEquals(later.committed, { records: 50, payloadBytes: 5000 });
});

test("TopWatch does without a cursor, a header and an owner", () => {
  const view = new TopWatch("/b").add(readingOf({ kind: "missing" }, 0, { owner: undefined, segments: [] }));
  assertEquals([view.owner, view.inFlight, view.backlog.records, view.disk], [
    undefined,
    undefined,
    undefined,
    { segments: 0, bytes: 0 },
  ]);
});

test("TopWatch says why the status file doesn't do", () => {
  const error = FileSystemError.from({ errno: "EACCES", operation: "open", path: "/b/status.json" });
  const reasons: readonly (readonly [Exclude<StatusReading, { kind: "status" }>, string])[] = [
    [{ kind: "bad" }, "status.json is not whole"],
    [{ kind: "version", version: 7 }, "status.json is of a newer version, 7"],
    [{ kind: "unreadable", error }, error.message],
  ];
  for (const [reading, note] of reasons) {
    const view = new TopWatch("/b").add(readingOf(reading));
    assertEquals([view.source, view.note], ["directory", note]);
  }
});

test("TopWatch doesn't take the status of an earlier process for that of the owner", () => {
  const owner = { pid: 5000, runtime: "bun", openedAt: new Date(NOW + 1).toISOString() };
  const earlier = new TopWatch("/b").add(readingOf(statusWith({ state: "closed" }), 60_000, { owner }));
  assertEquals([earlier.source, earlier.note], ["directory", "status.json is of an earlier process"]);
  assertEquals(earlier.owner?.pid, 5000);
  const { pid, openedAt } = { ...owner, openedAt: NOW + 1 };
  const own = new TopWatch("/b").add(readingOf(statusWith({ pid, openedAt, at: NOW + 2 }), 60_000, { owner }));
  assertEquals(own.source, "status");
});
