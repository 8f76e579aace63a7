/**
 * Real disks, real errors: a file system that is full, out of inodes or read-only, a limit on the size of files, and system
 * calls that fail or kill on demand.
 *
 * What the machine doesn't allow is skipped, and said so in the test's name: mounting takes root on Linux, injecting
 * faults takes strace. The rest needs a POSIX shell.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertGreater, assertRejects } from "@std/assert";
import { join } from "@std/path/join";
import { FileBuffer, NoSpaceError, PermissionError, textCodec } from "../../../mod.ts";
import { segmentName } from "../../../src/wal/names.ts";
import { currentRuntime, runtimeArgs, startChild } from "../../support/children.ts";
import { Books, call, fill, isLinux, isRoot, RECORD_BYTES, testUnless, whyNot, withDirectory } from "./tools.ts";

const PROGRAM = "tests/faults/kill_loop/child.ts";

const STRACE = ["strace", "-f", "-qq", "-o", "/dev/null"] as const;
/** Stops the program only at the calls that are traced, which takes half the time; but signals are not sent then. */
const FAST = "--seccomp-bpf";

const noMount = !isLinux ? "takes Linux" : !isRoot ? "takes root" : whyNot(mountProbe);
const noShell = process.platform === "win32" ? "takes a POSIX shell" : undefined;
const noStrace = !isLinux ? "takes Linux" : whyNot(straceProbe);

function mountProbe(): void {
  const directory = mkdtempSync(join(tmpdir(), "sluice-mount-"));
  try {
    call("mount", "-t", "tmpfs", "-o", "size=64k", "sluice", directory);
    call("umount", directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function straceProbe(): void {
  const [program, ...args] = STRACE;
  call(program, ...args, FAST, "-e", "trace=getppid", "-e", "inject=getppid:error=EIO", "true");
}

/** Runs `body` in a file system of its own. */
async function withDisk(options: string, body: (disk: string) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const disk = join(directory, "disk");
    mkdirSync(disk);
    call("mount", "-t", "tmpfs", "-o", options, "sluice", disk);
    try {
      await body(disk);
    } finally {
      // Lazily, so that nothing stays mounted when the test fails with files open.
      call("umount", "-l", disk);
    }
  });
}

for (const fsync of ["always", 1000, "never"] as const) {
  testUnless(
    noMount,
    `FileBuffer with fsync ${fsync} on a full disk refuses puts, gives out what it has, and takes puts again`,
    async () => {
      await withDisk("size=1m", async (disk) => {
        const path = join(disk, "buffer");
        let books = await Books.open(path, [], { fsync });
        const error = await books.putUntilRefused(RECORD_BYTES);
        assertEquals([error.code, error.errno, error.path.startsWith(path)], ["NO_SPACE", "ENOSPC", true]);
        assertGreater(books.values.length, 100);
        fill(disk);
        await books.putUntilRefused(1);
        assertEquals(books.buffer.stats().rejected, 2);
        await books.take();
        await books.putUntilRefused(RECORD_BYTES);
        await books.buffer.flush();
        // Space comes back with the first segment that is done with.
        await books.takeSegment();
        const before = books.values.length;
        await books.putUntilRefused(RECORD_BYTES);
        assertGreater(books.values.length, before);
        fill(disk);
        await books.buffer.close();
        // Full from the start.
        books = await Books.open(path, books.values, { fsync });
        await books.putUntilRefused(RECORD_BYTES);
        await books.takeSegment();
        unlinkSync(join(disk, "filler"));
        await books.buffer.put("after all");
        books.values.push("after all");
        await books.takeAll();
        await books.buffer.close();
      });
    },
  );
}

testUnless(
  noMount,
  "FileBuffer.open() recovers on a disk that was filled by a process that is killed then",
  async () => {
    await withDisk("size=1m", async (disk) => {
      const path = join(disk, "buffer");
      const options = JSON.stringify({ fsync: "never", segmentBytes: 65_536 });
      const child = startChild(PROGRAM, ["puts", path, "1000000", String(RECORD_BYTES), options]);
      const closed = once(child, "close");
      let output = "";
      child.stdout!.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (/\nerr .*\n/.test(output)) child.kill("SIGKILL");
      });
      await closed;
      const lines = output.split("\n");
      assertEquals(lines.find((line) => line.startsWith("err"))?.split(" ").slice(2), ["NO_SPACE", "ENOSPC"]);
      fill(disk);
      const numbers = lines.filter((line) => line.startsWith("ack")).map((line) => line.split(" ")[2]!);
      assertGreater(numbers.length, 100);
      const books = await Books.open(path, numbers.map((number) => `${number} `.padEnd(RECORD_BYTES, ".")));
      await books.finish();
    });
  },
);

testUnless(
  noMount,
  "FileBuffer without inodes refuses puts that need a new segment, and gives out what it has",
  async () => {
    await withDisk("size=4m,nr_inodes=12", async (disk) => {
      const path = join(disk, "buffer");
      let books = await Books.open(path, []);
      const error = await books.putUntilRefused(RECORD_BYTES);
      assertEquals([error.code, error.errno, error.operation], ["NO_SPACE", "ENOSPC", "open"]);
      await books.takeSegment();
      const before = books.values.length;
      await books.putUntilRefused(RECORD_BYTES);
      assertGreater(books.values.length, before);
      await books.buffer.close();
      books = await Books.open(path, books.values);
      await books.finish();
    });
  },
);

testUnless(
  noMount,
  "FileBuffer.open() of a new buffer on a full disk rejects, and succeeds when there is space",
  async () => {
    await withDisk("size=64k", async (disk) => {
      const path = join(disk, "buffer");
      fill(disk);
      for (let i = 0; i < 2; i++) {
        const error = await assertRejects(() => Books.open(path, []), NoSpaceError);
        assertEquals([error.code, error.errno], ["NO_SPACE", "ENOSPC"]);
      }
      unlinkSync(join(disk, "filler"));
      const books = await Books.open(path, []);
      assertEquals(await books.buffer.put("first"), 1);
      await books.buffer.close();
    });
  },
);

testUnless(
  noMount,
  "FileBuffer.open() on a read-only disk rejects with PermissionError, and changes nothing",
  async () => {
    await withDisk("size=1m", async (disk) => {
      const path = join(disk, "buffer");
      const books = await Books.open(path, []);
      for (const value of ["one", "two", "three"]) await books.buffer.put(value);
      await books.buffer.close();
      const state = () => readdirSync(path).sort().map((name) => [name, readFileSync(join(path, name), "latin1")]);
      const before = state();
      call("mount", "-o", "remount,ro", disk);
      for (
        const [opened, at] of [[path, path], [path, path], [join(disk, "new", "deep"), join(disk, "new")]] as const
      ) {
        const error = await assertRejects(() => FileBuffer.open({ path: opened }), PermissionError);
        assertEquals([error.code, error.errno, error.flag], ["PERMISSION", "EROFS", undefined]);
        assert(error.path.startsWith(at) && error.operation !== "", `${error.operation} ${error.path}`);
        assertEquals(error.message, `Cannot ${error.operation} "${error.path}": EROFS`);
      }
      assertEquals(state(), before);
      assertEquals(readdirSync(disk), ["buffer"]);
      call("mount", "-o", "remount,rw", disk);
      const again = await Books.open(path, ["one", "two", "three"]);
      await again.takeAll();
      await again.buffer.close();
    });
  },
);

testUnless(
  noShell ?? (isRoot ? "root may do anything" : undefined),
  "FileBuffer.open() in a directory without permission rejects with PermissionError",
  async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, "closed");
      mkdirSync(path, { mode: 0o500 });
      const error = await assertRejects(() => FileBuffer.open({ path: join(path, "buffer") }), PermissionError);
      assertEquals([error.code, error.errno, error.operation], ["PERMISSION", "EACCES", "makeDirectory"]);
    });
  },
);

/** What a child process has said, line by line. */
interface Said {
  readonly lines: readonly string[];
  readonly errors: string;
  readonly signal: string | null;
}

/** Runs the program below another one, such as a shell or strace. */
async function runBelow(above: readonly string[], args: readonly string[]): Promise<Said> {
  const { command } = currentRuntime();
  const program = fileURLToPath(new URL(`../../../${PROGRAM}`, import.meta.url));
  const [first, ...rest] = [...above, command, ...runtimeArgs(), program, ...args];
  const child = spawn(first!, rest, { stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 });
  let [output, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => output += text);
  child.stderr.setEncoding("utf8").on("data", (text: string) => errors += text);
  const [, signal] = await once(child, "close");
  return { lines: output.trimEnd().split("\n"), errors, signal };
}

/** Opens what the program has left: what it was told is there, what was refused is not; no more than one is unknown. */
async function assertKept(path: string, { lines }: Said, note: string): Promise<void> {
  const acknowledged = lines.filter((line) => line.startsWith("ack")).map((line) => Number(line.split(" ")[2]));
  const refused = lines.filter((line) => line.startsWith("err")).map((line) => Number(line.split(" ")[1]));
  const buffer = await FileBuffer.open<string>({ path, codec: textCodec() });
  assertEquals(buffer.recovery.damaged, [], note);
  const numbers: number[] = [];
  for await (const batch of buffer.batches({ flush: true })) {
    for (const value of batch.records) numbers.push(Number.parseInt(value));
    await buffer.commit(batch);
  }
  assertGreater(await buffer.put("appended"), numbers.length, note);
  await buffer.close();
  const unknown = Math.max(0, ...acknowledged, ...refused.filter((number) => number > 0)) + 1;
  const expected = numbers.includes(unknown) ? [...acknowledged, unknown] : acknowledged;
  assertEquals(numbers, expected, `${note}: what is there`);
}

testUnless(noShell, "FileBuffer takes a limit on the size of files for a full disk", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "buffer");
    // In blocks of 512 bytes. Deno dies of the signal unless it is ignored from the start.
    const above = ["sh", "-c", `trap "" XFSZ; ulimit -f 128; exec "$@"`, "sh"];
    const said = await runBelow(above, ["puts", path, "9", "20000", "{}"]);
    assertEquals(said.errors, "");
    assertEquals(said.lines.slice(0, 4), ["open", "ack 1 1", "ack 2 2", "ack 3 3"]);
    const refused = Array.from({ length: 6 }, (_, i) => `err ${i + 4} NO_SPACE EFBIG`);
    assertEquals(said.lines.slice(4), [...refused, "closed"]);
    assertEquals(statSync(join(path, segmentName(1))).size, 160 + 3 * 20_032);
    await assertKept(path, said, "EFBIG");
  });
});

/** A system call on one file that doesn't do what it should. */
interface FaultRow {
  readonly name: string;
  /** Of the buffer's directory; the directory itself if empty. */
  readonly file: string;
  /** What strace injects. */
  readonly rules: readonly string[];
  /** What the program says besides that everything went well. */
  readonly says: readonly string[];
}

/** Two records a segment, so that the third segment is the fifth record's. */
const TWO_A_SEGMENT = { fsync: "always", segmentBytes: 512 };
const THIRD = segmentName(5);
const WRITES = "write,pwrite64";

/** What the program says when the buffer fails at record `from` of ten. */
function failed(from: number, how: string): string[] {
  return Array.from({ length: 10 - from + 1 }, (_, i) => `err ${from + i} BUFFER_FAILED ${how}`);
}

const FAULTS: readonly FaultRow[] = [
  { name: "no fault", file: THIRD, rules: [], says: [] },
  {
    name: "a segment's sync fails",
    file: THIRD,
    rules: ["fdatasync:error=EIO"],
    says: failed(5, "EIO"),
  },
  {
    name: "a sync is interrupted",
    file: THIRD,
    rules: ["fdatasync:error=EINTR:when=1"],
    says: [],
  },
  {
    name: "a segment can't be created",
    file: THIRD,
    rules: ["openat:error=ENOSPC:when=1"],
    says: ["err 5 NO_SPACE ENOSPC"],
  },
  {
    name: "too many open files",
    file: THIRD,
    rules: ["openat:error=EMFILE:when=1"],
    says: ["err 5 FILE_SYSTEM EMFILE"],
  },
  {
    name: "a header isn't written",
    file: THIRD,
    rules: [`${WRITES}:error=ENOSPC:when=1`],
    says: ["err 5 NO_SPACE ENOSPC"],
  },
  { name: "the disk is full", file: THIRD, rules: [`${WRITES}:error=ENOSPC:when=2`], says: ["err 5 NO_SPACE ENOSPC"] },
  {
    name: "the quota is used up",
    file: THIRD,
    rules: [`${WRITES}:error=EDQUOT:when=3`],
    says: ["err 6 NO_SPACE EDQUOT"],
  },
  { name: "a write fails", file: THIRD, rules: [`${WRITES}:error=EIO:when=3`], says: ["err 6 FILE_SYSTEM EIO"] },
  { name: "a write is interrupted", file: THIRD, rules: [`${WRITES}:error=EINTR:when=2`], says: [] },
  {
    name: "a write fails and can't be undone",
    file: THIRD,
    rules: [`${WRITES}:error=EIO:when=3`, "ftruncate:error=EIO:when=2+"],
    says: failed(6, "EIO"),
  },
  { name: "files are limited", file: THIRD, rules: ["ftruncate:error=EFBIG:when=1"], says: [] },
  {
    name: "no space can be set aside",
    file: THIRD,
    rules: ["ftruncate:error=EIO:when=1"],
    says: ["err 5 FILE_SYSTEM EIO"],
  },
  { name: "the directory can't be synced", file: "", rules: ["fsync:error=EIO"], says: ["err open FILE_SYSTEM EIO"] },
  {
    name: "the cursor can't be written",
    file: "cursor",
    rules: [`${WRITES}:error=EIO`],
    says: ["err close FILE_SYSTEM EIO"],
  },
  {
    name: "a new cursor can't be written",
    file: "cursor.new",
    rules: [`${WRITES}:error=EIO`],
    says: ["err open FILE_SYSTEM EIO"],
  },
];

testUnless(noStrace, "FileBuffer reports what the system reports, and keeps what it has acknowledged", async () => {
  await withDirectory(async (directory) => {
    for (const [i, { name, file, rules, says }] of FAULTS.entries()) {
      const path = join(directory, `${i}`);
      const said = await inject(join(path, file), rules, path);
      assertEquals([said.errors, said.signal], ["", null], name);
      assertEquals(said.lines.filter((line) => line.startsWith("err")), says, name);
      const acks = said.lines.filter((line) => line.startsWith("ack"));
      const failed = says.filter((line) => /^err \d/.test(line)).length;
      assertEquals(acks.length, says[0]?.startsWith("err open") ? 0 : 10 - failed, name);
      await assertKept(path, said, name);
    }
  });
});

testUnless(noStrace, "FileBuffer keeps what it has acknowledged when a system call is its last", async () => {
  await withDirectory(async (directory) => {
    let row = 0;
    for (const [file, calls] of [[THIRD, ["openat", WRITES, "fdatasync"]], ["cursor.new", [WRITES]]] as const) {
      for (const call of calls) {
        for (const when of call === WRITES ? [1, 2, 3] : [1]) {
          const name = `${call} number ${when} of ${file} kills`;
          const path = join(directory, `${row++}`);
          const said = await inject(join(path, file), [`${call}:signal=SIGKILL:when=${when}`], path);
          assertEquals([said.errors, said.signal], ["", "SIGKILL"], name);
          assert(!said.lines.includes("closed"), name);
          await assertKept(path, said, name);
        }
      }
    }
  });
});

/** Lets the program put ten records while system calls on `file` do what `rules` say. */
function inject(file: string, rules: readonly string[], path: string): Promise<Said> {
  const calls = ["fdatasync", ...rules.map((rule) => rule.split(":")[0])];
  const injected = rules.flatMap((rule) => ["-e", `inject=${rule}`]);
  const speed = rules.some((rule) => rule.includes("signal=")) ? [] : [FAST];
  const above = [...STRACE, ...speed, "-e", `trace=${calls.join()}`, "-P", file, ...injected];
  return runBelow(above, ["puts", path, "10", "100", JSON.stringify(TWO_A_SEGMENT)]);
}
