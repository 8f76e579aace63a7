/**
 * The disk of a simulation: one after the other, processes use it, each until it ends or dies at a planned operation.
 *
 * It is a `MemoryFileSystem` (whose head is the fault model) with a plan for each process: at which operation it dies,
 * which operations fail and how, how long a sync takes. Besides, it watches what the judge must know and no caller of the
 * buffer can: what a failed sync has made the system forget, how many files are open, and whether a disk that copies on
 * write has left the buffer a reserve.
 *
 * Guarantees: the same plans and calls give the same operations; nothing here depends on time or chance.
 */

import {
  type Fault,
  type FileHandle,
  type FileLock,
  type FileSystem,
  MemoryFileSystem,
  type MemoryOperation,
  type OpenMode,
} from "../../../src/testing/mod.ts";
import { CURSOR_FILE_BYTES } from "../../../src/wal/cursor_format.ts";
import { parseSegmentName, reserveName } from "../../../src/wal/names.ts";
import { RESERVE_PART_BYTES } from "../../../src/wal/reserve.ts";
import { filledBytes } from "../../support/bytes.ts";
import { yieldToEventLoop } from "../../support/event_loop.ts";

/** The directory of the buffer. */
export const PATH = "/data/buffer";
const CURSOR = `${PATH}/cursor`;

/** What is to happen to a process. */
export interface Plan {
  /** The number of the operation that it doesn't live to see. */
  readonly diesAt?: number;
  /** Whether the last write before its death is left half done: its first `bytes` bytes, as a part of its length. */
  readonly tears?: (length: number) => number;
  /** The fault of an operation, if it is to have one. */
  readonly fault?: (operation: MemoryOperation) => Fault | undefined;
  /** How many turns of the event loop a sync takes; 0 is a microtask. */
  readonly syncTurns?: () => number;
}

/** What the disk tells. */
export interface DiskWatcher {
  /** An operation begins, with that fault. */
  readonly onOperation?: (operation: MemoryOperation, fault: Fault | undefined) => void;
  /** The process dies here. */
  readonly onDeath?: (operation: MemoryOperation) => void;
  /** A sync of that segment has failed, and its unsynced pages count as clean. */
  readonly onForgotten?: (firstSequence: number) => void;
}

/** A disk and the process that uses it now. */
export class SimulationDisk {
  readonly #watcher: DiskWatcher;
  #fileSystem: MemoryFileSystem;
  #processFiles: FileSystem;
  #isDead = false;
  #isTorn = false;
  #syncs = { open: 0 };
  #faults = 0;
  /** Whether there was a moment without a reserve: what overwrites then may fail. */
  #hasLackedReserve = false;
  #operations = 0;
  #powerCuts = 0;
  #hasEverFailed = false;
  #mayHaveLeftovers = false;
  #resizes = 0;
  /** Writes of the cursor that were begun, and how many of them a finished sync covers. */
  #cursorWrites = 0;
  #cursorSynced = 0;
  /** The write of the cursor up to which its pages were forgotten by a failed sync. */
  #cursorForgotten = 0;
  /** What the process has open: handles and locks. */
  #open = new Set<object>();

  /** An empty one, that may be one that copies on write. */
  constructor(watcher: DiskWatcher = {}, { copyOnWrite = false }: { readonly copyOnWrite?: boolean } = {}) {
    this.#watcher = watcher;
    this.#fileSystem = new MemoryFileSystem({ copyOnWrite });
    this.#processFiles = this.#fileSystem;
  }

  /** The files as they are. */
  get files(): MemoryFileSystem {
    return this.#fileSystem;
  }

  /** The file system as the process sees it. */
  get processFiles(): FileSystem {
    return this.#processFiles;
  }

  /** Whether the process has died as planned, or is about to, in the middle of a write. */
  get isDead(): boolean {
    return this.#isDead || this.#isTorn;
  }

  /** How many syncs are under way. */
  get openSyncs(): number {
    return this.#syncs.open;
  }

  /** How many files and locks the process holds. */
  get openFiles(): number {
    return this.#open.size;
  }

  /** How many operations of this process have failed as planned. */
  get injectedFaults(): number {
    return this.#faults;
  }

  /** Those, and one more if the disk may have failed any call for want of a reserve. */
  get faults(): number {
    return this.#faults + (this.#hasLackedReserve ? 1 : 0);
  }

  /** Whether an operation of any process has failed as planned. */
  get hasEverFailed(): boolean {
    return this.#hasEverFailed;
  }

  /** Whether overwriting needs space. */
  get copiesOnWrite(): boolean {
    return this.#fileSystem.copiesOnWrite(PATH);
  }

  /** Whether the disk is of limited size. */
  get isLimited(): boolean {
    return this.#fileSystem.capacityBytes !== Infinity;
  }

  /** How often its size was changed. */
  get resizes(): number {
    return this.#resizes;
  }

  /** Gives it another size. */
  resize(bytes: number): void {
    this.#resizes++;
    this.#fileSystem.capacityBytes = bytes;
    this.#watchReserve();
  }

  /** How often the power was cut. */
  get powerCuts(): number {
    return this.#powerCuts;
  }

  /**
   * Whether a power cut may have undone the cut of what was written for rejected puts: it stands behind what was
   * acknowledged in its segment then, and ends the batch that comes to it.
   */
  get mayHaveLeftovers(): boolean {
    return this.#mayHaveLeftovers;
  }

  /** How many operations this process has begun. */
  get operations(): number {
    return this.#operations;
  }

  /**
   * Whether a power cut leaves the commit position no older than the last sync: unless a failed sync made the system
   * forget pages of the cursor, until it is written and synced again.
   */
  get isCursorReliable(): boolean {
    return this.#cursorForgotten === 0 || this.#cursorSynced > this.#cursorForgotten;
  }

  /** Starts a process on what the one before has left. */
  boot(plan: Plan): FileSystem {
    this.#isDead = this.#isTorn = false;
    this.#faults = this.#operations = 0;
    this.#syncs = { open: 0 };
    this.#open = new Set();
    this.#hasLackedReserve = false;
    this.#watchReserve();
    const fileSystem = this.#fileSystem = this.#fileSystem.kill({
      onOperation: (operation) => this.#onOperation(plan, operation),
      whileSyncing: () => yieldToEventLoop(plan.syncTurns?.() ?? 0),
    });
    return this.#processFiles = this.#watched(fileSystem);
  }

  /** Ends the process; what it wrote is there. */
  kill(): void {
    this.#isDead = true;
    this.#fileSystem = this.#fileSystem.kill();
  }

  /** Cuts the power, after the process has been killed. */
  cutPower(seed: number): void {
    this.#fileSystem = this.#fileSystem.crash({ seed });
    this.#powerCuts++;
    this.#mayHaveLeftovers ||= this.#hasEverFailed;
    this.#cursorSynced = this.#cursorWrites;
    this.#cursorForgotten = 0;
  }

  #onOperation(plan: Plan, operation: MemoryOperation): Fault | undefined {
    this.#operations++;
    const { diesAt = Infinity, tears } = plan;
    let fault: Fault | undefined;
    if (operation.index >= diesAt || this.#isTorn) {
      if (tears === undefined || this.#isTorn || operation.operation !== "write" || operation.length! < 2) {
        this.#watcher.onDeath?.(operation);
        this.kill();
        return undefined;
      }
      this.#isTorn = true;
      fault = { kind: "torn", errno: "EIO", bytes: tears(operation.length!) };
    } else {
      fault = plan.fault?.(operation);
      if (fault !== undefined) {
        this.#faults++;
        this.#hasEverFailed = true;
      }
    }
    this.#watcher.onOperation?.(operation, fault);
    this.#watch(operation, fault);
    return fault;
  }

  /** On a disk of limited size that copies on write nothing is promised while there is no reserve. */
  #watchReserve(): void {
    this.#hasLackedReserve ||= this.copiesOnWrite && this.isLimited && !hasReserve(this.#fileSystem);
  }

  #watch({ operation, path }: MemoryOperation, fault: Fault | undefined): void {
    this.#watchReserve();
    if (operation === "write" && path === CURSOR) this.#cursorWrites++;
    if (fault?.kind !== "lost") return;
    if (path !== CURSOR) this.#watcher.onForgotten?.(parseSegmentName(path.slice(PATH.length + 1)) ?? 0);
    else if (this.#cursorWrites > this.#cursorSynced) this.#cursorForgotten = this.#cursorWrites;
  }

  #watched(fileSystem: MemoryFileSystem): FileSystem {
    return {
      name: fileSystem.name,
      list: (path) => fileSystem.list(path),
      makeDirectory: (path) => fileSystem.makeDirectory(path),
      rename: (from, to) => fileSystem.rename(from, to),
      remove: (path) => fileSystem.remove(path),
      syncDirectory: (path) => this.#syncing(() => fileSystem.syncDirectory(path)),
      syncDirectoryBlocking: (path) => fileSystem.syncDirectoryBlocking(path),
      identify: (path) => fileSystem.identify(path),
      resolve: (path) => fileSystem.resolve(path),
      open: (path, mode) => this.#openFile(fileSystem, path, mode),
      lock: (path) => this.#lock(fileSystem.lock(path)),
    };
  }

  #openFile(fileSystem: MemoryFileSystem, path: string, mode: OpenMode): FileHandle {
    const handle = fileSystem.open(path, mode);
    const isCursor = path === CURSOR;
    const open = this.#open;
    open.add(handle);
    return {
      size: () => handle.size(),
      read: (into, position) => handle.read(into, position),
      write: (bytes, position) => handle.write(bytes, position),
      truncate: (size) => handle.truncate(size),
      sync: () =>
        this.#syncing(async () => {
          const covered = this.#cursorWrites;
          await handle.sync();
          if (isCursor) this.#cursorSynced = Math.max(this.#cursorSynced, covered);
        }),
      syncBlocking: () => handle.syncBlocking!(),
      identify: () => handle.identify!(),
      close() {
        open.delete(handle);
        handle.close();
      },
    };
  }

  #lock(lock: FileLock): FileLock {
    const open = this.#open;
    open.add(lock);
    return {
      release() {
        open.delete(lock);
        lock.release();
      },
    };
  }

  async #syncing(sync: () => Promise<void>): Promise<void> {
    const syncs = this.#syncs;
    syncs.open++;
    try {
      await sync();
    } finally {
      syncs.open--;
    }
  }
}

/** The same files on a disk of their own, everything synced. */
export function copyOf(fileSystem: MemoryFileSystem): MemoryFileSystem {
  const copyOnWrite = fileSystem.copiesOnWrite(PATH);
  const copy = new MemoryFileSystem({ capacityBytes: fileSystem.capacityBytes, copyOnWrite });
  for (const path of fileSystem.paths()) copy.writeFile(path, fileSystem.readFile(path));
  // One that was of limited size is full: what can be drained then can be drained.
  if (copyOnWrite && copy.capacityBytes < Infinity) copy.capacityBytes = copy.usedBytes;
  return copy;
}

/** The names in the buffer's directory, those of segments with their first sequences. */
export function segmentsIn(fileSystem: MemoryFileSystem): { name: string; firstSequence: number; size: number }[] {
  return fileSystem.paths().flatMap((path) => {
    const name = path.slice(PATH.length + 1);
    const firstSequence = parseSegmentName(name);
    return firstSequence === undefined ? [] : [{ name, firstSequence, size: filledBytes(fileSystem.readFile(path)) }];
  });
}

/** Whether a buffer can be opened and drained however full the disk is: a cursor is there, and a reserve if need be. */
export function needsNoSpace(files: MemoryFileSystem): boolean {
  const hasCursor = files.paths().includes(CURSOR) && files.readFile(CURSOR).length >= CURSOR_FILE_BYTES;
  return hasCursor && (!files.copiesOnWrite(PATH) || hasReserve(files));
}

/** Whether the part of the reserve is there that is given up last. */
function hasReserve(files: MemoryFileSystem): boolean {
  const path = `${PATH}/${reserveName(1)}`;
  return files.paths().includes(path) && files.readFile(path).length >= RESERVE_PART_BYTES;
}
