/**
 * Records in a log on disk: puts lock, recovery, log and reader together into a `RecordStore`.
 *
 * Guarantees: the directory is ours or empty before anything in it is touched; it is locked before anything in it is
 * read; whatever fails while opening, the lock is given back and no file stays open.
 *
 * @module
 */

import { dirname } from "@std/path/dirname";
import type { BufferEvent, RecoveryReport } from "./buffer.ts";
import type { Clock } from "./clock.ts";
import type { Codec } from "./codec.ts";
import { type BufferFailedError, FileSystemError, NotABufferError } from "./errors.ts";
import type { FileLock, FileSystem } from "./fs/file_system.ts";
import type { RecordStore, StoreEvents, StoreFigures } from "./record_store.ts";
import { STATUS_NAME } from "./status.ts";
import type { MaybePromise } from "./turn_queue.ts";
import { CURSOR_NAME } from "./wal/cursor.ts";
import type { DamagedRegion, OnDamage } from "./wal/damage.ts";
import { type LogPosition, parseSegmentName } from "./wal/format.ts";
import { LOCK_NAME, lockDirectory, OWNER_NAME } from "./wal/lock.ts";
import { type Fsync, Log } from "./wal/log.ts";
import { LogReader } from "./wal/log_reader.ts";
import type { ReadBatch, ReadLimits } from "./wal/log_view.ts";
import { subtract } from "./wal/known_losses.ts";
import { Quarantine, QUARANTINE_NAME } from "./wal/quarantine.ts";
import { count, recover, type Recovered } from "./wal/recovery.ts";
import type { CommitState } from "./wal/segment_list.ts";

/** What a {@linkcode FileStore} is opened with; all of it checked. */
export interface FileStoreOptions {
  readonly path: string;
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly time: () => number;
  readonly fsync: Fsync;
  readonly segmentBytes: number;
  readonly recordLimit: number;
  readonly codecVersion: number;
  readonly isJson: boolean;
  readonly onDamage: OnDamage;
  readonly tell: (event: BufferEvent) => void;
  /** Records were acknowledged, handed over, committed or dropped. */
  readonly onChange: () => void;
  /** All is written; the lock is about to be given up. */
  readonly onClosing: () => void;
}

/** The names that a buffer's directory holds besides its segments. */
const OUR_NAMES: ReadonlySet<string> = new Set([CURSOR_NAME, LOCK_NAME, OWNER_NAME, QUARANTINE_NAME, STATUS_NAME]);

/** Passes on what the log says to whoever listens to the store by then. */
interface Relay {
  listener: StoreEvents | undefined;
  reader: LogReader | undefined;
}

/** What a {@linkcode FileStore} is put together from. */
interface Parts {
  readonly log: Log;
  readonly reader: LogReader;
  readonly quarantine: Quarantine;
  readonly recovered: Recovered;
  readonly recovery: RecoveryReport;
  readonly relay: Relay;
  readonly onChange: () => void;
}

/** A store of records on disk. */
export class FileStore implements RecordStore {
  readonly #log: Log;
  readonly #reader: LogReader;
  readonly #parts: Parts;

  private constructor(parts: Parts) {
    this.#log = parts.log;
    this.#reader = parts.reader;
    this.#parts = parts;
  }

  /** Opens the store in a directory, which is created if missing. */
  static async open(options: FileStoreOptions): Promise<FileStore> {
    const { path, fileSystem, clock } = options;
    const startedAt = clock.monotonic();
    const { naming } = await prepareDirectory(fileSystem, path);
    let lock: FileLock | undefined;
    try {
      lock = lockDirectory(fileSystem, path, clock.now());
      const quarantine = new Quarantine(fileSystem, path);
      const recovering = recover({ fileSystem, directory: path, quarantine, onDamage: options.onDamage });
      // Side by side: the device works while the last segment is read.
      const [recovery, named] = await Promise.allSettled([recovering, naming]);
      if (recovery.status === "rejected") throw recovery.reason;
      const recovered = recovery.value;
      try {
        if (named.status === "rejected") throw named.reason;
        return FileStore.#assemble(options, { startedAt, lock, recovered, quarantine });
      } catch (error) {
        recovered.cursor.close();
        throw error;
      }
    } catch (error) {
      await Promise.allSettled([naming]);
      lock?.release();
      throw error;
    }
  }

  static #assemble(
    options: FileStoreOptions,
    { startedAt, lock, recovered, quarantine }: {
      startedAt: number;
      lock: FileLock;
      recovered: Recovered;
      quarantine: Quarantine;
    },
  ): FileStore {
    const relay: Relay = { listener: undefined, reader: undefined };
    const log = openLog(options, { lock, recovered, quarantine, relay });
    const reader = relay.reader = openReader(options, { log, recovered, quarantine });
    const recovery = reportOf(recovered, options.clock.monotonic() - startedAt);
    for (const region of recovered.damaged) options.tell({ type: "damage", region });
    options.tell({ type: "recovered", report: recovery });
    return new FileStore({ log, reader, quarantine, recovered, recovery, relay, onChange: options.onChange });
  }

  get uuid(): string {
    return this.#parts.recovered.uuid;
  }

  get recovery(): RecoveryReport {
    return this.#parts.recovery;
  }

  get failure(): BufferFailedError | undefined {
    return this.#log.failure;
  }

  get end(): LogPosition {
    return this.#log.end;
  }

  get acceptedLogBytes(): number {
    return this.#log.acceptedLogBytes;
  }

  get commitState(): CommitState {
    return this.#log.commitState;
  }

  get position(): LogPosition {
    return this.#reader.position;
  }

  listen(events: StoreEvents): void {
    this.#parts.relay.listener = events;
  }

  lostFrom(next: number, before = Infinity): number {
    let lost = 0;
    for (const { first, last } of this.#parts.recovered.lost) {
      lost += Math.max(0, Math.min(last + 1, before) - Math.max(first, next));
    }
    return lost;
  }

  add<T>(codec: Codec<T>, record: T): number {
    return this.#log.builder.add(codec, record);
  }

  begin(): void {
    this.#log.builder.begin();
  }

  undo(): void {
    this.#log.builder.undo();
  }

  takeBack(): Uint8Array[] {
    const payloads = this.#log.builder.payloadsSinceBegin();
    this.#log.builder.undo();
    return payloads;
  }

  beginGroup(): void {
    this.#log.builder.beginGroup();
  }

  endGroup(): void {
    this.#log.builder.endGroup();
  }

  accept(count: number): Promise<number> {
    return this.#log.accept(count);
  }

  writeAccepted(): LogPosition {
    this.#log.writeAccepted();
    return this.#log.written;
  }

  settle(): Promise<void> | undefined {
    return this.#log.end.nextSequence < this.#log.written.nextSequence ? this.#log.sync() : undefined;
  }

  seek(position: LogPosition): void {
    this.#reader.seek(position);
  }

  read(limits: ReadLimits): MaybePromise<ReadBatch | undefined> {
    return this.#reader.read(limits);
  }

  nextPutTime(): number | undefined {
    return this.#reader.nextPutTime();
  }

  secure(next: number): Promise<void> | undefined {
    this.#parts.onChange();
    return this.#log.secure(next);
  }

  saveCommit(state: CommitState): Promise<void> | undefined {
    this.#parts.onChange();
    return this.#log.saveCommit(state);
  }

  flush(): Promise<void> {
    return this.#log.flush();
  }

  figures(): StoreFigures {
    const { syncs, syncMs, segments, diskBytes } = this.#log.figures;
    return { syncs, syncMs, segments, diskBytes, quarantinedBytes: this.#parts.quarantine.copiedBytes };
  }

  async close(): Promise<void> {
    this.#reader.close();
    await this.#log.close();
  }
}

/** A directory that is there; `naming` resolves when its name is durable. */
interface Directory {
  readonly names: readonly string[];
  readonly naming: Promise<void>;
}

/** Makes sure that the directory is there, and is ours or empty. */
async function prepareDirectory(fileSystem: FileSystem, path: string): Promise<Directory> {
  const directory = await listOrCreate(fileSystem, path);
  const { names, naming } = directory;
  if (names.some((name) => name === CURSOR_NAME || parseSegmentName(name) !== undefined)) return directory;
  // Mount points and desktops put things of their own into directories that count as empty.
  const foreign = names.filter((name) => !OUR_NAMES.has(name) && !name.startsWith(".") && name !== "lost+found");
  if (foreign.length === 0) return directory;
  await naming;
  throw new NotABufferError(path, foreign.sort().slice(0, 5));
}

/**
 * The names in a directory, which is created if missing. Directories are created one at a time, and the name of each is
 * synced before the next: so only the deepest one that is there can have a name that isn't durable yet (its creator
 * may have died before it could sync it), and that one is synced in any case.
 */
async function listOrCreate(fileSystem: FileSystem, path: string): Promise<Directory> {
  const missing: string[] = [];
  let there = path;
  let names = listIfThere(fileSystem, there, false);
  while (names === undefined && dirname(there) !== there) {
    missing.unshift(there);
    there = dirname(there);
    names = listIfThere(fileSystem, there, true);
  }
  const naming = syncName(fileSystem, there);
  // Who waits for it comes later.
  naming.catch(() => {});
  if (missing.length === 0) return { names: names ?? [], naming };
  await naming;
  for (const directory of missing) {
    fileSystem.makeDirectory(directory);
    await syncName(fileSystem, directory);
  }
  return { names: [], naming };
}

/** The names in a directory; `undefined` if it isn't there. We need not be allowed to look into one above ours. */
function listIfThere(fileSystem: FileSystem, path: string, isAbove: boolean): string[] | undefined {
  try {
    return fileSystem.list(path);
  } catch (error) {
    if (!(error instanceof FileSystemError)) throw error;
    if (error.errno === "ENOENT") return undefined;
    if (error.errno === "ENOTDIR") throw new NotABufferError(path, [], { cause: error });
    if (error.code === "PERMISSION" && isAbove) return [];
    throw error;
  }
}

/** Makes a directory's name durable, unless we may not look into the directory that it is in. */
async function syncName(fileSystem: FileSystem, directory: string): Promise<void> {
  try {
    await fileSystem.syncDirectory(dirname(directory));
  } catch (error) {
    if (!(error instanceof FileSystemError) || error.code !== "PERMISSION") throw error;
  }
}

function openLog(
  options: FileStoreOptions,
  { lock, recovered, quarantine, relay }: {
    lock: FileLock;
    recovered: Recovered;
    quarantine: Quarantine;
    relay: Relay;
  },
): Log {
  const { path: directory, fileSystem, clock, time, fsync, segmentBytes, recordLimit, tell } = options;
  const { codecVersion, isJson, onChange, onClosing } = options;
  const release = (): void => {
    onClosing();
    lock.release();
  };
  return new Log({
    fileSystem,
    directory,
    clock,
    time,
    lock: { release },
    recovered,
    quarantine,
    fsync,
    segmentBytes,
    recordLimit,
    codecVersion,
    isJson,
    events: {
      onWritten: (name, position, bytes) => relay.reader?.offer(name, position, bytes),
      onVisible: (putTime) => {
        relay.listener?.onVisible(putTime);
        onChange();
      },
      onRejected: (puts) => relay.listener?.onRejected(puts),
      onFailed: (error) => relay.listener?.onFailed(error),
      onSync: (durationMs) => tell({ type: "synced", durationMs }),
      onSegment: (type, segment) => tell({ type, segment }),
      onWarning: (error) => tell({ type: "warning", error }),
    },
  });
}

function openReader(
  options: FileStoreOptions,
  { log, recovered, quarantine }: { log: Log; recovered: Recovered; quarantine: Quarantine },
): LogReader {
  const { path: directory, fileSystem, onDamage, tell } = options;
  const report = (region: DamagedRegion): void => {
    if (!isKnown(region, recovered.damaged)) tell({ type: "damage", region });
  };
  const { uuid, resume } = recovered;
  return new LogReader({ fileSystem, directory, uuid, quarantine, onDamage, view: log, report }, resume);
}

/** Whether recovery has reported all of that region already: its bytes, and the sequences that are missing. */
function isKnown(region: DamagedRegion, known: readonly DamagedRegion[]): boolean {
  const { segment, offset, length, missing } = region;
  return known.some((one) =>
    (length === 0 || (one.segment === segment && one.offset === offset && one.length === length)) &&
    (missing === undefined ||
      (one.missing !== undefined && one.missing.first <= missing.first && missing.last <= one.missing.last))
  );
}

function reportOf(recovered: Recovered, durationMs: number): RecoveryReport {
  const { end, committed, resume, boundaries, lost, damaged, truncatedBytes, cursorLost } = recovered;
  const inFlight = (boundaries.at(-1) ?? committed).nextSequence;
  const dropped = { first: inFlight, last: resume.nextSequence - 1 };
  const missing = count(subtract(lost, [dropped]));
  const recoveredRecords = end.nextSequence - resume.nextSequence + inFlight - committed.nextSequence - missing;
  return { recoveredRecords, truncatedBytes, damaged, cursorLost, durationMs };
}
