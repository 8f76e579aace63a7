/**
 * The file sink: identity across restarts, what it cuts and what it refuses, failures of single operations.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { textCodec } from "../../src/base/codec.ts";
import {
  BufferLockedError,
  DamagedLogError,
  DeliveryError,
  FileSystemError,
  NoSpaceError,
} from "../../src/errors/mod.ts";
import { type FileSink, fileSink, type FileSinkOptions } from "../../src/sinks/file.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fault, MemoryOperation } from "../../src/testing/memory_process.ts";
import { textOf } from "../fs/memory_outcomes.ts";
import { contextOf, deliveryOf } from "../support/deliveries.ts";
import { InstrumentedDisk, trackHandles, watch } from "../support/disk.ts";
import { settle } from "../support/event_loop.ts";

const PATH = "/out/records.ndjson";
const JOURNAL = `${PATH}.deliveries`;

/** A file system with the sink's directory. */
function newDisk(): MemoryFileSystem {
  const fileSystem = new MemoryFileSystem();
  fileSystem.writeFile("/out/other", new Uint8Array());
  return fileSystem;
}

function open(fileSystem: MemoryFileSystem, options: Partial<FileSinkOptions<number>> = {}): Promise<FileSink<number>> {
  return fileSink<number>(PATH, { fileSystem, ...options });
}

/** Delivery number n has the records 10n and 10n + 1. */
const delivery = (n: number) => deliveryOf([10 * n, 10 * n + 1], { firstSequence: 2 * n + 1 });
const linesOf = (...numbers: readonly number[]): string => numbers.map((n) => `${10 * n}\n${10 * n + 1}\n`).join("");

async function send(sink: FileSink<number>, ...numbers: readonly number[]): Promise<void> {
  for (const n of numbers) await sink(delivery(n), contextOf());
}

const put = (fileSystem: MemoryFileSystem, path: string, text: string): void =>
  fileSystem.writeFile(path, new TextEncoder().encode(text));

test("fileSink() writes a line for each record, in the order of the deliveries", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  assertEquals(sink.truncatedBytes, 0);
  await send(sink, 0, 1, 2);
  assertEquals(textOf(fileSystem, PATH), linesOf(0, 1, 2));
  await sink.close();
});

test("fileSink() writes a delivery once, however often it comes, also after a restart", async () => {
  const fileSystem = newDisk();
  for (let life = 0; life < 3; life++) {
    const sink = await open(fileSystem);
    await send(sink, 0, 1, 0, 1, 1);
    await sink.close();
  }
  assertEquals(textOf(fileSystem, PATH), linesOf(0, 1));
});

test("fileSink() tells deliveries apart by id alone: parts of a batch are others", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await sink(deliveryOf([1, 2]), contextOf());
  await sink(deliveryOf([1], { id: "half" }), contextOf());
  await sink(deliveryOf([9], { id: 'odd "id"\n\u{1f600}' }), contextOf());
  await sink(deliveryOf([9], { id: 'odd "id"\n\u{1f600}' }), contextOf());
  await sink.close();
  const again = await open(fileSystem);
  await again(deliveryOf([9], { id: 'odd "id"\n\u{1f600}' }), contextOf());
  await again.close();
  assertEquals(textOf(fileSystem, PATH), "1\n2\n1\n9\n");
});

test("fileSink() has a delivery on stable storage when it is acknowledged", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0, 1);
  for (let seed = 0; seed < 50; seed++) {
    const after = fileSystem.crash({ seed });
    assertEquals(textOf(after, PATH), linesOf(0, 1));
    const reopened = await open(after);
    await send(reopened, 1, 2);
    assertEquals(textOf(after, PATH), linesOf(0, 1, 2));
    await reopened.close();
  }
  await sink.close();
});

test("fileSink() syncs lines and journal at the same time, and acknowledges when both are stored", async () => {
  const disk = new InstrumentedDisk(newDisk());
  const sink = await open(disk.fileSystem);
  disk.forget();
  disk.hold();
  const sent = watch(Promise.resolve(sink(delivery(0), contextOf())));
  await settle();
  assertEquals(disk.list("write", "sync"), [
    "write records.ndjson",
    "write records.ndjson.deliveries",
    "sync records.ndjson.deliveries",
    "sync records.ndjson",
  ]);
  assertEquals([sent.state, textOf(disk.fileSystem, JOURNAL).endsWith("\n\n")], ["pending", false]);
  await disk.letGo();
  assertEquals([sent.state, textOf(disk.fileSystem, JOURNAL).endsWith("\n\n")], ["resolved", true]);
  await sink.close();
});

test("fileSink() writes again what a failed sync of a killed process has left in the page cache", async () => {
  for (const path of [PATH, JOURNAL]) {
    const disk = new InstrumentedDisk(newDisk());
    const sink = await open(disk.fileSystem);
    disk.fail({ operation: "sync", path }, { kind: "lost", errno: "EIO" });
    await assertRejects(() => send(sink, 0), DeliveryError);
    const left = disk.fileSystem.kill();
    const next = await open(left);
    await send(next, 0);
    assertEquals(textOf(left, PATH), linesOf(0));
    for (let seed = 0; seed < 20; seed++) assertEquals(textOf(left.crash({ seed }), PATH), linesOf(0));
    await next.close();
  }
});

test("fileSink() writes deliveries that come at once one after the other, and one that comes twice once", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await Promise.all([0, 1, 0, 2, 1].map((n) => send(sink, n)));
  assertEquals(textOf(fileSystem, PATH), linesOf(0, 1, 2));
  await sink.close();
});

test("fileSink() gives an attempt up when its signal is aborted, and its work still counts", async () => {
  const disk = new InstrumentedDisk(newDisk());
  const sink = await open(disk.fileSystem);
  disk.hold();
  const controller = new AbortController();
  const reason = new Error("too slow");
  const given = watch(Promise.resolve(sink(delivery(0), contextOf({ signal: controller.signal }))));
  const waiting = watch(Promise.resolve(sink(delivery(1), contextOf({ signal: controller.signal }))));
  const next = watch(Promise.resolve(sink(delivery(0), contextOf())));
  await settle();
  controller.abort(reason);
  await settle();
  assertEquals([given.error, waiting.error, next.state], [reason, reason, "pending"]);
  await disk.letGo();
  assertEquals(next.state, "resolved");
  assertEquals(textOf(disk.fileSystem, PATH), linesOf(0));
  await sink.close();
});

test("fileSink() cuts off at open what no acknowledged delivery has left, and says how much", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0);
  await sink.close();
  for (const tail of ["1", "11\n12\n", "\0\0\0", "x".repeat(5000)]) {
    put(fileSystem, PATH, linesOf(0) + tail);
    const reopened = await open(fileSystem);
    assertEquals([reopened.truncatedBytes, textOf(fileSystem, PATH)], [tail.length, linesOf(0)]);
    await reopened.close();
  }
});

test("fileSink() takes a journal whose last line is torn for one without it", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0, 1);
  await sink.close();
  const journal = textOf(fileSystem, JOURNAL).slice(0, -1); // a power cut has taken the mark that the delivery is stored
  const lastLine = journal.lastIndexOf("\n", journal.length - 2) + 1;
  for (let end = lastLine; end <= journal.length; end++) {
    for (const filler of ["", "\0".repeat(journal.length - end)]) {
      put(fileSystem, PATH, linesOf(0, 1));
      put(fileSystem, JOURNAL, journal.slice(0, end) + filler);
      const reopened = await open(fileSystem);
      assertEquals(textOf(fileSystem, PATH), end < journal.length ? linesOf(0) : linesOf(0, 1));
      await send(reopened, 0, 1);
      assertEquals(textOf(fileSystem, PATH), linesOf(0, 1));
      await reopened.close();
    }
  }
});

test("fileSink() takes a last line without its mark for nothing where the file has other bytes", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0, 1);
  await sink.close();
  const journal = textOf(fileSystem, JOURNAL).slice(0, -1);
  for (
    const file of [
      linesOf(0),
      linesOf(0, 1).slice(0, -1),
      `${linesOf(0)}\0\0\0\0\0\n`,
      linesOf(0, 1).replace("11", "12"),
    ]
  ) {
    put(fileSystem, PATH, file);
    put(fileSystem, JOURNAL, journal);
    const reopened = await open(fileSystem);
    assertEquals([reopened.truncatedBytes, textOf(fileSystem, PATH)], [file.length - linesOf(0).length, linesOf(0)]);
    await send(reopened, 0, 1);
    assertEquals(textOf(fileSystem, PATH), linesOf(0, 1));
    await reopened.close();
  }
});

test("fileSink() refuses a damaged journal and a file that has lost a part, and changes nothing", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0, 1);
  await sink.close();
  const journal = textOf(fileSystem, JOURNAL);
  const cases: readonly (readonly [file: string, journal: string, message: string])[] = [
    [linesOf(0, 1), journal.replace(" 0 ", " 1 "), "line 1 is damaged"],
    [linesOf(0, 1), journal.replace("-1-2", "-1-3"), "line 2 is damaged"],
    [linesOf(0, 1), journal.replace("-3-4", "-3-5"), "line 4 is damaged"],
    [linesOf(0, 1), "", 'does not begin as "sluice-deliveries/2"'],
    [linesOf(0, 1), "another file\n", 'does not begin as "sluice-deliveries/2"'],
    [linesOf(0, 1), journal.slice(journal.indexOf("\n") + 1), 'does not begin as "sluice-deliveries/2"'],
    [linesOf(0), journal, "it has 4 bytes, and 10 were delivered into it"],
    ["", journal, "it has 0 bytes, and 10 were delivered into it"],
  ];
  for (const [file, text, message] of cases) {
    put(fileSystem, PATH, file);
    put(fileSystem, JOURNAL, text);
    const error = await assertRejects(() => open(fileSystem), DamagedLogError);
    assertStringIncludes(error.message, message);
    assertEquals([textOf(fileSystem, PATH), textOf(fileSystem, JOURNAL)], [file, text]);
  }
});

test("fileSink() takes over a file of whole lines that has no journal, and no other", async () => {
  const fileSystem = newDisk();
  put(fileSystem, PATH, "before\n");
  for (let life = 0; life < 2; life++) {
    const sink = await open(fileSystem);
    await send(sink, 0);
    await sink.close();
  }
  assertEquals(textOf(fileSystem, PATH), `before\n${linesOf(0)}`);

  const other = newDisk();
  put(other, PATH, "half a li");
  const error = await assertRejects(() => open(other), DamagedLogError);
  assertStringIncludes(error.message, "its last line has no line break");
  assertEquals(other.paths().filter((path) => path === JOURNAL), []);
});

test("fileSink() has a file that it takes over on stable storage before it counts on it", async () => {
  const fileSystem = newDisk();
  const file = fileSystem.open(PATH, "create");
  file.write(new TextEncoder().encode("before\n"), 0);
  await fileSystem.syncDirectory("/out");
  const sink = await open(fileSystem);
  for (let seed = 0; seed < 30; seed++) {
    const after = fileSystem.crash({ seed });
    const reopened = await open(after);
    await send(reopened, 0);
    await reopened.close();
    assertEquals(textOf(after, PATH), `before\n${linesOf(0)}`);
  }
  file.close();
  await sink.close();
});

test("fileSink() begins a file anew that was moved away, and still knows what it had", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0, 1);
  await sink.close();
  fileSystem.rename(PATH, "/out/rotated");
  const reopened = await open(fileSystem);
  await send(reopened, 1, 2);
  await reopened.close();
  assertEquals([textOf(fileSystem, "/out/rotated"), textOf(fileSystem, PATH)], [linesOf(0, 1), linesOf(2)]);
});

test("fileSink() keeps the last ids, and a journal of bounded length", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem, { knownIds: 16 });
  let longest = 0;
  for (let n = 0; n < 100; n++) {
    await send(sink, n);
    longest = Math.max(longest, textOf(fileSystem, JOURNAL).split(/\n+/).length - 2);
    if (n >= 16) await send(sink, n - 15);
  }
  assertEquals(longest, 31);
  await sink.close();
  const reopened = await open(fileSystem, { knownIds: 16 });
  await send(reopened, ...Array.from({ length: 16 }, (_, i) => 84 + i));
  assertEquals(textOf(fileSystem, PATH), linesOf(...Array(100).keys()));
  assertEquals(textOf(fileSystem, JOURNAL).split(/\n+/).length - 2, 16);
  await reopened.close();
});

test("fileSink() excludes a second one until it is closed, and leaves no file open", async () => {
  const { fileSystem, openPaths } = trackHandles(newDisk());
  const sink = await fileSink<number>(PATH, { fileSystem });
  await assertRejects(() => fileSink(PATH, { fileSystem }), BufferLockedError);
  await send(sink, 0);
  await sink.close();
  await sink.close();
  assertEquals(openPaths(), []);
  const error = await assertRejects(() => send(sink, 1), DeliveryError);
  assertEquals([error.scope, error.final], ["target", true]);
  const again = await fileSink<number>(PATH, { fileSystem });
  await again[Symbol.asyncDispose]();
  assertEquals(openPaths(), []);
});

test("fileSink() finishes the delivery that is under way before it closes", async () => {
  const disk = new InstrumentedDisk(newDisk());
  const sink = await open(disk.fileSystem);
  disk.hold();
  const sent = watch(Promise.resolve(sink(delivery(0), contextOf())));
  const closed = watch(sink.close());
  await settle();
  assertEquals([sent.state, closed.state], ["pending", "pending"]);
  await disk.letGo();
  assertEquals([sent.state, closed.state], ["resolved", "resolved"]);
});

const FAULTS: readonly Fault[] = [
  { kind: "fail", errno: "EIO" },
  { kind: "after", errno: "EIO" },
  { kind: "torn", errno: "ENOSPC", bytes: 3 },
  { kind: "lost", errno: "EIO" },
];

for (const fault of FAULTS) {
  test(`fileSink() gets over each operation that fails (${fault.kind}), and loses and doubles nothing`, async () => {
    let failures = 0;
    for (let failing = 0, done = false; !done; failing++) {
      done = true;
      const base = newDisk();
      const fileSystem: MemoryFileSystem = base.kill({
        onOperation({ index, operation }) {
          if (index < failing) return;
          const isMeant = fault.kind === "torn" ? operation === "write" : fault.kind !== "lost" || operation === "sync";
          if (!done || !isMeant || operation === "close") return;
          done = false;
          failing = index;
          return fault;
        },
      });
      const attempt = async <R>(work: () => Promise<R>): Promise<R> => {
        for (let tries = 0; tries < 2; tries++) {
          try {
            return await work();
          } catch (error) {
            if (!((error instanceof DeliveryError ? error.cause : error) instanceof FileSystemError)) throw error;
            failures++;
          }
        }
        throw new Error("a second failure, where there is one fault");
      };
      const sink = await attempt(() => open(fileSystem));
      for (const n of [0, 1, 2]) await attempt(() => send(sink, n));
      assertEquals(textOf(fileSystem, PATH), linesOf(0, 1, 2));
      for (let seed = 0; seed < 5; seed++) {
        const reopened = await open(fileSystem.crash({ seed }));
        assertEquals(reopened.truncatedBytes, 0);
        await reopened.close();
        assertEquals(textOf(fileSystem.crash({ seed }), PATH), linesOf(0, 1, 2), `operation ${failing}, seed ${seed}`);
      }
      await sink.close();
    }
    assert(failures > 0, "no operation has failed");
  });
}

test("fileSink() leaves nothing of a failed delivery when another follows that is shorter", async () => {
  for (
    const { operation, path, fault } of [
      { operation: "write", path: PATH, fault: { kind: "torn", errno: "EIO", bytes: 12 } },
      { operation: "sync", path: PATH, fault: { kind: "fail", errno: "EIO" } },
      { operation: "write", path: JOURNAL, fault: { kind: "torn", errno: "EIO", bytes: 60 } },
    ] as const
  ) {
    const disk = new InstrumentedDisk(newDisk());
    const sink = await open(disk.fileSystem);
    disk.fail({ operation, path }, fault);
    await assertRejects(async () => await sink(deliveryOf([1111, 2222, 3333]), contextOf()), DeliveryError);
    await sink(deliveryOf([4], { id: "4" }), contextOf());
    assertEquals(textOf(disk.fileSystem, PATH), "4\n");
    assertEquals(textOf(disk.fileSystem, JOURNAL).split(/\n+/).map((line) => line.split(" ")[1]), [
      "0",
      "2",
      undefined,
    ]);
    await sink.close();
  }
});

test("fileSink() rejects while the disk is full, and goes on when there is space", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0);
  fileSystem.capacityBytes = fileSystem.usedBytes + 3;
  for (let i = 0; i < 3; i++) {
    const error = await assertRejects(() => send(sink, 1), DeliveryError);
    assertInstanceOf(error.cause, NoSpaceError);
  }
  fileSystem.capacityBytes = Infinity;
  await send(sink, 1);
  assertEquals(textOf(fileSystem, PATH), linesOf(0, 1));
  await sink.close();
});

/** What the file system says, at which operation, and whether trying again soon may help. */
const TARGET_FAULTS:
  readonly (readonly [errno: string, operation: MemoryOperation["operation"], isRetryable: boolean])[] = [
    ["ENOSPC", "write", false],
    ["EDQUOT", "write", false],
    ["ENOSPC", "sync", false],
    ["EROFS", "write", false],
    ["EACCES", "identify", false],
    ["EPERM", "write", false],
    ["EMFILE", "identify", true],
    ["EIO", "sync", true],
  ];

test("fileSink() reports a failure of the file system as the target's, and says whether somebody has to act", async () => {
  for (const [errno, operation, isRetryable] of TARGET_FAULTS) {
    const disk = new InstrumentedDisk(newDisk());
    const sink = await open(disk.fileSystem);
    disk.fail({ operation, path: PATH }, { kind: "fail", errno });
    const { scope, retryable, final, failed, cause } = await assertRejects(() => send(sink, 0), DeliveryError);
    assertEquals([scope, retryable, final, failed], ["target", isRetryable, false, undefined], errno);
    assertEquals((cause as FileSystemError).errno, errno);
    await send(sink, 0);
    assertEquals(textOf(disk.fileSystem, PATH), linesOf(0));
    await sink.close();
  }
});

test("fileSink() waits while its journal is damaged, and goes on when somebody has removed it", async () => {
  const fileSystem = newDisk();
  const sink = await open(fileSystem);
  await send(sink, 0);
  for (const path of [PATH, JOURNAL, `${PATH}.lock`]) fileSystem.remove(path);
  put(fileSystem, JOURNAL, "another file\n");
  const damaged = await assertRejects(() => send(sink, 1), DeliveryError);
  assertInstanceOf(damaged.cause, DamagedLogError);
  assertEquals([damaged.scope, damaged.retryable], ["target", false]);
  fileSystem.remove(JOURNAL);
  await send(sink, 1);
  await sink.close();
});

test("fileSink() writes nothing of a delivery with a record that is no line", async () => {
  const fileSystem = newDisk();
  const sink = await fileSink<string>(PATH, { fileSystem });
  const mixed = deliveryOf(["fine", "two\nlines"], { codec: textCodec() });
  const error = await assertRejects(async () => await sink(mixed, contextOf()), DeliveryError);
  assertEquals(error.failed?.map(({ retryable }) => retryable), [true, false]);
  assertEquals(textOf(fileSystem, PATH), "");
  await sink(deliveryOf(["fine"], { id: "rest", codec: textCodec() }), contextOf());
  assertEquals(textOf(fileSystem, PATH), "fine\n");
  await sink.close();
});

test("fileSink() refuses wrong options by name", async () => {
  const fileSystem = newDisk();
  for (const path of ["", undefined, 7]) {
    const error = await assertRejects(() => fileSink(path as string, { fileSystem }), TypeError);
    assertStringIncludes(error.message, "path");
  }
  for (const knownIds of [15, 1_000_001, 16.5, NaN]) {
    const error = await assertRejects(() => open(fileSystem, { knownIds }), RangeError);
    assertStringIncludes(error.message, "knownIds");
  }
  await assertRejects(() => fileSink("/missing/out", { fileSystem }), FileSystemError, "ENOENT");
});

test("fileSink() works on this runtime's own file system", async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-"));
  try {
    const path = join(directory, "out.ndjson");
    for (let life = 0; life < 2; life++) {
      const sink = await fileSink<number>(path);
      await send(sink, 0, 1);
      await sink.close();
    }
    assertEquals(readFileSync(path, "utf8"), linesOf(0, 1));
    assertEquals(readdirSync(directory).filter((name) => name.endsWith(".new")), []);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
