/**
 * A program that uses a buffer until it is killed: `crash_child.ts COMMAND PATH [ARGUMENT ...]`. It says what it did on
 * standard output, a line each, so that whoever killed it knows what was acknowledged.
 *
 * - `life ROUND SEED DIES`: opens the buffer, waiting for it if it is locked; then puts, emits and commits for ever. With
 *   `DIES` not 0 it kills itself at its so many-th change of a file: before it, after it, or in the middle of a write.
 *   `start`, `locked`, `open RECOVERED DAMAGED LOST`, `ack SEQUENCE VALUE`, `batch ID REDELIVERED VALUE ...`, `commit ID`
 * - `puts COUNT BYTES OPTIONS`: puts so many records of so many bytes one after the other, then closes.
 *   `open`, `ack SEQUENCE NUMBER`, `err NUMBER CODE ERRNO` (`open` and `close` for a number), `closed`
 */

import process from "node:process";
import { FileBuffer, type FileSystem, type Fsync, SluiceError, textCodec } from "../../../mod.ts";
import { detectFileSystem } from "../../../src/fs/detect.ts";
import { say } from "../../support/children.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";
import { seededRandom } from "../../support/random.ts";
import { valueOf } from "./ledger.ts";

/** A file system that kills its process at the `at`-th operation that changes something. */
function dyingFileSystem(fileSystem: FileSystem, at: number, random: (below: number) => number): FileSystem {
  let left = at;
  const die = () => process.kill(process.pid, "SIGKILL");
  /** Carries `operation` out, and dies before or after it if its time has come. */
  const change = <R>(operation: () => R): R => {
    if (--left !== 0) return operation();
    if (random(2) === 0) die();
    let result: R | undefined;
    try {
      return result = operation();
    } finally {
      // Also if it has failed: what was to be removed need not be there.
      if (result instanceof Promise) result.then(die, die);
      else die();
    }
  };
  return {
    name: fileSystem.name,
    list: (path) => fileSystem.list(path),
    lock: (path) => fileSystem.lock(path),
    makeDirectory: (path) => change(() => fileSystem.makeDirectory(path)),
    rename: (from, to) => change(() => fileSystem.rename(from, to)),
    remove: (path) => change(() => fileSystem.remove(path)),
    syncDirectory: (path) => change(() => fileSystem.syncDirectory(path)),
    open(path, mode) {
      const handle = mode === "create" ? change(() => fileSystem.open(path, mode)) : fileSystem.open(path, mode);
      return {
        size: () => handle.size(),
        read: (into, position) => handle.read(into, position),
        close: () => handle.close(),
        truncate: (size) => change(() => handle.truncate(size)),
        sync: () => change(() => handle.sync()),
        write(bytes, position) {
          const part = left === 1 && random(2) === 0 ? random(bytes.length + 1) : bytes.length;
          change(() => handle.write(bytes.subarray(0, part), position));
        },
      };
    },
  };
}

/** Opens the buffer; while somebody else has it, tries again and again. */
async function openWhenFree(path: string, fileSystem: FileSystem, fsync: Fsync): Promise<FileBuffer<string>> {
  for (let isTold = false;; isTold = true) {
    try {
      return await FileBuffer.open({
        path,
        fileSystem,
        fsync,
        codec: textCodec(),
        segmentBytes: 2048,
        maxRecords: 5,
        statusMs: 0,
      });
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code !== "BUFFER_LOCKED") throw error;
      if (!isTold) say("locked");
      await yieldToEventLoop();
    }
  }
}

async function live(path: string, [round, seed, dies]: readonly number[]): Promise<void> {
  const random = seededRandom(seed!);
  const native = await detectFileSystem();
  const fileSystem = dies === 0 ? native : dyingFileSystem(native, dies!, random);
  say("start");
  const fsync = (["always", "never", 3] as const)[random(3)]!;
  const buffer = await openWhenFree(path, fileSystem, fsync);
  const { recoveredRecords, damaged, cursorLost } = buffer.recovery;
  say(`open ${recoveredRecords} ${damaged.length} ${cursorLost}`);
  let number = 0;
  const next = () => valueOf(round!, number++);
  const ack = (sequence: number, value: string) => say(`ack ${sequence} ${value}`);
  const put = async () => {
    const value = next();
    ack(await buffer.put(value), value);
  };
  const putMany = async () => {
    const values = Array.from({ length: 1 + random(4) }, next);
    const { first } = await buffer.putMany(values);
    values.forEach((value, i) => ack(first + i, value));
  };
  for (;;) {
    // The more there is, the more likely it is to be taken out.
    const isFull = random(40) < buffer.stats().pendingRecords;
    if (isFull) {
      const batch = await buffer.emit();
      say(`batch ${batch.id} ${batch.redelivered} ${batch.records.join(" ")}`);
      if (random(4) > 0) {
        await buffer.commit(batch);
        say(`commit ${batch.id}`);
      }
    } else {
      await Promise.all(Array.from({ length: 1 + random(4) }, () => random(3) > 0 ? put() : putMany()));
    }
    await yieldToEventLoop();
  }
}

async function puts(path: string, [count, bytes, options]: readonly string[]): Promise<void> {
  let buffer: FileBuffer<string>;
  try {
    buffer = await FileBuffer.open<string>({ path, codec: textCodec(), ...JSON.parse(options ?? "{}") });
  } catch (error) {
    return say(`err open ${describe(error)}`);
  }
  say("open");
  for (let n = 1; n <= Number(count); n++) {
    try {
      say(`ack ${await buffer.put(`${n} `.padEnd(Number(bytes), "."))} ${n}`);
    } catch (error) {
      say(`err ${n} ${describe(error)}`);
    }
    await yieldToEventLoop();
  }
  try {
    await buffer.close();
    say("closed");
  } catch (error) {
    say(`err close ${describe(error)}`);
  }
}

/** Code and errno of an error of the package, the errno that of its cause if it has none. */
function describe(error: unknown): string {
  if (!(error instanceof SluiceError)) throw error;
  const { errno } = error as { errno?: string };
  return `${error.code} ${errno ?? (error.cause as { errno?: string } | undefined)?.errno}`;
}

const [command, path, ...rest] = process.argv.slice(2);
if (command === "life") await live(path!, rest.map(Number));
else if (command === "puts") await puts(path!, rest);
else throw new TypeError(`Cannot do "${command}"`);
