/**
 * Every operation on files fails in turn, in one fixed life of a buffer: the failure reaches the caller, nothing
 * acknowledged is lost, nothing that was refused comes back, no file stays open, and the next process goes on.
 */

import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { BufferFailedError, FileSystemError, SluiceError } from "../../src/errors/mod.ts";
import type { Fault, MemoryOperation } from "../../src/testing/memory_process.ts";
import type { Fsync } from "../../src/wal/writer/log.ts";
import { InstrumentedDisk, shortName, trackHandles } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";
import { assertSound, drainLog, type LogRecord, makeLog, type OpenLog, openLog, texts } from "../support/logs.ts";

const OPTIONS = { segmentBytes: 300, maxRecords: 3 };

/** What one life of a buffer came to. */
interface Life {
  readonly acknowledged: LogRecord[];
  /** Values whose put was rejected, while the buffer went on or while it failed. */
  readonly rejected: Set<string>;
  readonly unknown: Set<string>;
  readonly errors: unknown[];
  readonly warnings: unknown[];
  /** All up to here are committed, and all up to here may be. */
  committed: number;
  mayBeCommitted: number;
}

/** Opens a log of five records, puts, emits, commits, flushes and closes. Each call is made, whatever the others did. */
async function live(fileSystem: Parameters<typeof openLog>[0], life: Life, fsync: Fsync): Promise<void> {
  const attempt = async (call: () => Promise<void>): Promise<void> => {
    try {
      await call();
    } catch (error) {
      life.errors.push(error);
    }
  };
  let open: OpenLog | undefined;
  await attempt(async () => {
    open = await openLog(fileSystem, { ...OPTIONS, fsync });
  });
  if (open === undefined) return;
  const { buffer, events, clock } = open;
  const put = (...values: string[]) =>
    attempt(async () => {
      try {
        const first = values.length === 1 ? await buffer.put(values[0]!) : (await buffer.putMany(values)).first;
        values.forEach((value, i) => life.acknowledged.push({ sequence: first + i, value }));
      } catch (error) {
        const { unknown, rejected } = life;
        // A failed buffer makes no promise about what it was just writing.
        const isUnknown = error instanceof BufferFailedError && fsync !== "always";
        for (const value of values) (isUnknown ? unknown : rejected).add(value);
        throw error;
      }
    });
  const emitAndCommit = () =>
    attempt(async () => {
      const batch = await buffer.emit();
      life.mayBeCommitted = batch.lastSequence;
      await buffer.commit(batch);
      life.committed = batch.lastSequence;
    });
  for (const value of texts(4, "put")) await put(value);
  await emitAndCommit();
  await Promise.all(texts(3, "together").map((value) => put(value.padEnd(60))));
  await put(...texts(3, "many"));
  await attempt(() => buffer.flush());
  await emitAndCommit();
  await emitAndCommit();
  clock.advance(1000);
  await settle();
  await put("the last");
  await attempt(() => buffer.close());
  for (const event of events) if (event.type === "warned" || event.type === "failed") life.warnings.push(event.error);
  assertEquals(clock.timers, [], "timers left");
}

/** The log that each life begins with. */
async function makeStart(): Promise<{ disk: () => InstrumentedDisk; acknowledged: readonly LogRecord[] }> {
  const { fileSystem, acknowledged } = await makeLog(texts(5, "before"), { ...OPTIONS, ends: "closed" });
  const files = fileSystem.paths().map((path) => [path, fileSystem.readFile(path)] as const);
  const disk = () => {
    const disk = new InstrumentedDisk();
    for (const [path, bytes] of files) disk.fileSystem.writeFile(path, bytes);
    return disk;
  };
  return { disk, acknowledged };
}

/** What may fail without anybody being told: it costs nothing, and nothing could be done about it. */
function isHarmless(at: number, operations: readonly MemoryOperation[], errno: string): boolean {
  const { operation, path, mode } = operations[at]!;
  // A look ahead at when the next record was put: reading it for good makes the same calls again.
  const isReadOfSegment = path.endsWith(".wal") && (mode === "read" || ["read", "size"].includes(operation));
  const isMadeAgain = operations.slice(at + 1).some((later) => later.operation === operation && later.path === path);
  // "After" it has failed by itself: ENOENT is what the caller expects, and gets.
  const isGone = operations.slice(0, at).some((before) => before.operation === "remove" && before.path === path);
  return operation === "close" || (operation === "open" && isGone) ||
    (/owner\.json(\.new)?$/.test(path) && errno === "ENOSPC") ||
    // There was none to be removed: "after" comes too late.
    (operation === "remove" && path.endsWith(".new")) ||
    // What was lost before: an open must not fail for want of it.
    path.endsWith("losses.json") ||
    // Where a new cursor has no room, the old one is gone on with.
    (/cursor(\.new)?$/.test(path) && errno === "ENOSPC") ||
    // A limit for files keeps space from being set aside, but no put from being written.
    (operation === "truncate" && errno === "ENOSPC") ||
    (isReadOfSegment && isMadeAgain) ||
    // So is a look whether the directory is still ours, but for the one before the last word in the status file.
    (operation === "identify" && (isMadeAgain || operations.slice(at + 1).every((one) => one.operation === "close")));
}

const FAULTS: readonly Fault[] = [
  { kind: "fail", errno: "EIO" },
  { kind: "fail", errno: "ENOSPC" },
  { kind: "after", errno: "EIO" },
];

for (const fsync of ["always", 1000, "never"] as const) {
  test(`FileBuffer with fsync ${fsync} reports each operation that fails, and loses nothing by it`, async () => {
    const start = await makeStart();
    const told = new Map<string, Set<string>>();
    for (const fault of FAULTS) {
      for (let at = 0, isDone = false; !isDone; at++) {
        const disk = start.disk();
        disk.fail({ index: at }, fault);
        const { fileSystem, openPaths } = trackHandles(disk.fileSystem);
        const life: Life = {
          acknowledged: [...start.acknowledged],
          rejected: new Set(),
          unknown: new Set(),
          errors: [],
          warnings: [],
          committed: 0,
          mayBeCommitted: 0,
        };
        await live(fileSystem, life, fsync);
        isDone = disk.plannedFaults > 0;
        const operation = disk.operations[at];
        const { operation: name, path = "" } = operation ?? {};
        const note = `${fault.kind} ${fault.errno} at operation ${at}: ${name} ${shortName(path)}`;
        assertEquals(openPaths(), [], `${note}: still open`);
        if (operation !== undefined) {
          assertTold(life, { at, operations: disk.operations, errno: fault.errno, note });
          const ways = told.get(`${name}`) ?? new Set();
          told.set(`${name}`, ways.add(life.errors.length > 0 ? "error" : "event"));
        } else {
          assertEquals([life.errors, life.warnings], [[], []], "without a fault");
        }
        await assertNothingLost(disk, life, note);
      }
    }
    // Every kind of operation was met on the way.
    for (const name of ["open", "read", "size", "write", "sync", "syncDirectory", "list", "lock", "remove", "close"]) {
      assert(told.has(name), `no ${name} has failed`);
    }
  });
}

/** The failure reached the caller: a call rejected with it, or an event told of it. */
function assertTold(
  life: Life,
  { at, operations, errno, note }: { at: number; operations: readonly MemoryOperation[]; errno: string; note: string },
): void {
  for (const error of life.errors) assertInstanceOf(error, SluiceError, note);
  const { operation, path } = operations[at]!;
  const isTold = [...life.errors, ...life.warnings].some((error) => {
    const cause = error instanceof BufferFailedError ? error.cause : error;
    return cause instanceof FileSystemError && cause.errno === errno && cause.operation === operation &&
      cause.path === path;
  });
  assert(isTold || isHarmless(at, operations, errno), `${note}: nobody was told, but ${life.errors}`);
}

/** What the next process finds. */
async function assertNothingLost(disk: InstrumentedDisk, life: Life, note: string): Promise<void> {
  const { acknowledged, rejected, unknown } = life;
  const drained = await drainLog(disk.fileSystem.kill(), OPTIONS);
  for (const { value } of drained.records) assert(!rejected.has(value), `${note}: "${value}" was refused`);
  const first = drained.records[0]?.sequence ?? Infinity;
  assert(first > life.committed, `${note}: ${first} is committed`);
  const from = first > life.mayBeCommitted ? life.mayBeCommitted : life.committed;
  const pending = acknowledged.filter(({ sequence }) => sequence > from);
  const known = new Set(acknowledged.map(({ sequence }) => sequence));
  const perhaps = drained.records.filter(({ sequence, value }) => !known.has(sequence) && unknown.has(value));
  assertSound(drained, { acknowledged: pending, perhaps, note });
}
