/**
 * A `MemoryFileSystem` under the hand of a test: it notes every operation, fails those it is told to, and lets a sync
 * end when the test says so. And a buffer on it.
 */

import type { FileHandle, FileSystem } from "../../src/fs/file_system.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import type { Fault, MemoryOperation } from "../../src/testing/memory_process.ts";
import { settle } from "./event_loop.ts";
import { drainCopy, drainLog, type OpenLog, openLog, type TextBufferOptions } from "./logs.ts";

/** Which operations are meant: all that agree in what is stated; `path` is the end of it. */
export type Match = Partial<Pick<MemoryOperation, "operation" | "path" | "mode" | "index">>;

/** A sync that waits for the test. */
export interface HeldSync {
  readonly path: string;
  /** Lets it end. */
  readonly release: () => void;
}

interface PlannedFault {
  readonly match: Match;
  readonly fault: Fault;
  times: number;
}

/** The disk and what is done to it. */
export class InstrumentedDisk {
  /** The file system to open a buffer on. */
  readonly fileSystem: MemoryFileSystem;
  /** Every operation so far. */
  readonly operations: MemoryOperation[] = [];
  /** Syncs that wait, oldest first. */
  readonly held: HeldSync[] = [];
  #faults: PlannedFault[] = [];
  #isHolding = false;

  /** On the files of `base`, whose process is killed, or on a disk of its own. */
  constructor(base: MemoryFileSystem = new MemoryFileSystem()) {
    this.fileSystem = base.kill({
      onOperation: (operation) => {
        this.operations.push(operation);
        return this.#faultFor(operation);
      },
      whileSyncing: ({ path }) => {
        if (!this.#isHolding) return;
        return new Promise((release) => this.held.push({ path, release }));
      },
    });
  }

  /** Fails the next operations that match. */
  fail(match: Match, fault: Fault | string = "EIO", times: number = 1): void {
    this.#faults.push({ match, fault: typeof fault === "string" ? { kind: "fail", errno: fault } : fault, times });
  }

  /** Takes back what hasn't failed yet. */
  heal(): void {
    this.#faults = [];
  }

  /** How many planned faults haven't happened. */
  get plannedFaults(): number {
    return this.#faults.reduce((sum, { times }) => sum + times, 0);
  }

  /** From now on a sync ends only when it is released. */
  hold(): void {
    this.#isHolding = true;
  }

  /** Lets the oldest `count` syncs end that wait, then everything that follows from it happen. */
  async release(count: number = this.held.length): Promise<void> {
    for (const { release } of this.held.splice(0, count)) release();
    await settle();
  }

  /** Lets all syncs end, also those to come. */
  async letGo(): Promise<void> {
    this.#isHolding = false;
    await this.release();
  }

  /** Forgets the operations so far. */
  forget(): void {
    this.operations.length = 0;
  }

  /** The operations that match, each as its name and the last part of its path. */
  list(...names: readonly MemoryOperation["operation"][]): string[] {
    return this.operations.filter(({ operation }) => names.includes(operation))
      .map(({ operation, path }) => `${operation} ${shortName(path)}`);
  }

  #faultFor(operation: MemoryOperation): Fault | undefined {
    const planned = this.#faults.find(({ match }) => isMeant(operation, match));
    if (planned === undefined) return undefined;
    planned.times--;
    if (planned.times === 0) this.#faults = this.#faults.filter((one) => one !== planned);
    return planned.fault;
  }
}

function isMeant(operation: MemoryOperation, { path, ...rest }: Match): boolean {
  return (path === undefined || operation.path.endsWith(path)) &&
    Object.entries(rest).every(([key, value]) => Reflect.get(operation, key) === value);
}

/** The last part of a path; a segment's as its number. */
export function shortName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/^0*(\d+)\.wal/, "$1.wal");
}

/** Passes everything on to `fileSystem`, and knows which files are open. */
export function trackHandles(fileSystem: FileSystem): { fileSystem: FileSystem; openPaths: () => string[] } {
  const open = new Map<object, string>();
  const tracking: FileSystem = {
    name: fileSystem.name,
    open(path, mode): FileHandle {
      const handle = fileSystem.open(path, mode);
      const tracked: FileHandle = {
        size: () => handle.size(),
        read: (into, position) => handle.read(into, position),
        write: (bytes, position) => handle.write(bytes, position),
        truncate: (size) => handle.truncate(size),
        sync: () => handle.sync(),
        identify: () => handle.identify!(),
        close: () => {
          open.delete(tracked);
          handle.close();
        },
      };
      open.set(tracked, path);
      return tracked;
    },
    list: (path) => fileSystem.list(path),
    makeDirectory: (path) => fileSystem.makeDirectory(path),
    rename: (from, to) => fileSystem.rename(from, to),
    remove: (path) => fileSystem.remove(path),
    syncDirectory: (path) => fileSystem.syncDirectory(path),
    identify: (path) => fileSystem.identify!(path),
    resolve: (path) => fileSystem.resolve!(path),
    lock(path) {
      const lock = fileSystem.lock(path);
      const tracked = {
        release: () => {
          open.delete(tracked);
          lock.release();
        },
      };
      open.set(tracked, path);
      return tracked;
    },
  };
  return { fileSystem: tracking, openPaths: () => [...open.values()] };
}

/** What became of a promise, to look at without waiting for it. */
export interface Watched {
  /** `"pending"`, `"resolved"` or `"rejected"`. */
  state: string;
  value: unknown;
  error: unknown;
}

/** Watches a promise; a rejection counts as handled. */
export function watch(promise: Promise<unknown>): Watched {
  const watched: Watched = { state: "pending", value: undefined, error: undefined };
  promise.then(
    (value) => Object.assign(watched, { state: "resolved", value }),
    (error) => Object.assign(watched, { state: "rejected", error }),
  );
  return watched;
}

/** An open buffer and the disk under it. */
export interface OpenOnDisk extends OpenLog {
  readonly disk: InstrumentedDisk;
}

/** A buffer with one record in it, durable, on a disk that the test has in its hands. */
export async function openOn(options: TextBufferOptions = {}, base?: MemoryFileSystem): Promise<OpenOnDisk> {
  const disk = new InstrumentedDisk(base);
  const open = await openLog(disk.fileSystem, { fsync: "always", ...options });
  await open.buffer.put("first");
  await open.buffer.flush();
  disk.forget();
  return { ...open, disk };
}

/** The values that a power cut leaves, for every seed. */
export async function valuesAfterPowerCuts(fileSystem: MemoryFileSystem, seeds = 12): Promise<string[][]> {
  const outcomes: string[][] = [];
  for (let seed = 0; seed < seeds; seed++) {
    const { records } = await drainLog(fileSystem.crash({ seed }));
    outcomes.push(records.map(({ value }) => value));
  }
  return outcomes;
}

/** The values that are there now. */
export async function valuesIn(fileSystem: MemoryFileSystem): Promise<string[]> {
  return (await drainCopy(fileSystem)).records.map(({ value }) => value);
}
