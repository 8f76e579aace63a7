/**
 * Records in a log on disk: puts lock, recovery, log and reader together into a `RecordStore`.
 *
 * Guarantees: the directory is ours or empty before anything in it is touched; it is taken before anything in it is
 * read; whatever fails while opening, it is given back and no file stays open. The directory is fixed when it is opened, as
 * an absolute path without symbolic links: a change of the working directory, or of a link on the way to it, makes no
 * difference afterwards.
 *
 * @module
 */

import type { Clock } from "../base/clock.ts";
import type { Codec } from "../base/codec.ts";
import type { MaybePromise } from "../base/maybe_promise.ts";
import { countSequences, subtractRanges } from "../base/sequences.ts";
import type { BufferFailedError } from "../errors/mod.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { isLogFile } from "../wal/names.ts";
import { Ownership } from "../wal/ownership.ts";
import type { CommitState, LogPosition } from "../wal/position.ts";
import { LogReader } from "../wal/reader/log_reader.ts";
import type { ReadBatch, ReadLimits } from "../wal/reader/log_view.ts";
import type { DamagedRegion, OnDamage } from "../wal/recovery/damage.ts";
import { LostSequences } from "../wal/recovery/lost_sequences.ts";
import { Quarantine } from "../wal/recovery/quarantine.ts";
import { recover, type RecoveredLog } from "../wal/recovery/recovery.ts";
import { ReportedRegions } from "../wal/recovery/reported_regions.ts";
import { DEFAULT_RESERVE_BYTES, Reserve } from "../wal/reserve.ts";
import { withReserve } from "../wal/reserving_file_system.ts";
import { type Fsync, Log } from "../wal/writer/log.ts";
import type { BufferEvent, RecoveryReport } from "./events.ts";
import type { RecordStore, StoreEvents, StoreFigures } from "./record_store.ts";
import { prepareDirectory } from "./store_directory.ts";

/** What a {@linkcode FileStore} is opened with; all of it checked. */
export interface FileStoreDeps {
  readonly path: string;
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly time: () => number;
  readonly fsync: Fsync;
  readonly segmentBytes: number;
  /** 0: none. By default it depends on the file system. */
  readonly reserveBytes: number | undefined;
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
  readonly ownership: Ownership;
  readonly recovered: RecoveredLog;
  readonly recovery: RecoveryReport;
  readonly reserve: Reserve;
  readonly relay: Relay;
  readonly onChange: () => void;
}

/** A store of records on disk. */
export class FileStore implements RecordStore {
  readonly #log: Log;
  readonly #reader: LogReader;
  readonly #lost: LostSequences;
  readonly #parts: Parts;

  private constructor(parts: Parts) {
    this.#log = parts.log;
    this.#reader = parts.reader;
    this.#lost = new LostSequences(parts.recovered.lost);
    this.#parts = parts;
  }

  /** Opens the store in a directory, which is created if missing. */
  static async open(options: FileStoreDeps): Promise<FileStore> {
    const { fileSystem, clock, fsync, onDamage } = options;
    const startedAt = clock.monotonic();
    const { path: directory, names, naming } = await prepareDirectory(fileSystem, options.path);
    let ownership: Ownership | undefined;
    try {
      ownership = await Ownership.acquire({ fileSystem, directory, openedAt: clock.now() });
      const owned = ownership;
      const quarantine = new Quarantine(fileSystem, directory, { verifyOwnership: () => owned.verify() });
      const reserve = openReserve({ ...options, path: directory }, { names, ownership });
      const { forCommits } = withReserve(fileSystem, reserve);
      const isSynced = fsync === "always";
      const recovering = recover({
        fileSystem: forCommits,
        directory,
        ownership,
        quarantine,
        onDamage,
        isSynced,
      });
      // Side by side: the device works while the last segment is read.
      const [recovery, named] = await Promise.allSettled([recovering, naming]);
      if (recovery.status === "rejected") throw recovery.reason;
      const recovered = recovery.value;
      try {
        if (named.status === "rejected") throw named.reason;
        const parts = { startedAt, ownership, recovered, quarantine, reserve };
        return FileStore.#assemble({ ...options, path: directory }, parts);
      } catch (error) {
        recovered.cursor.close();
        throw error;
      }
    } catch (error) {
      await Promise.allSettled([naming]);
      ownership?.release();
      throw error;
    }
  }

  static #assemble(
    options: FileStoreDeps,
    { startedAt, ownership, recovered, quarantine, reserve }: {
      startedAt: number;
      ownership: Ownership;
      recovered: RecoveredLog;
      quarantine: Quarantine;
      reserve: Reserve;
    },
  ): FileStore {
    const relay: Relay = { listener: undefined, reader: undefined };
    const log = openLog(options, { ownership, recovered, quarantine, reserve, relay });
    const reader = relay.reader = openReader(options, { log, ownership, recovered, quarantine });
    const recovery = reportOf(recovered, options.clock.monotonic() - startedAt);
    for (const region of recovered.damaged) options.tell({ type: "damage", region });
    options.tell({ type: "recovered", report: recovery });
    reserve.create();
    const { onChange } = options;
    return new FileStore({ log, reader, quarantine, ownership, recovered, recovery, reserve, relay, onChange });
  }

  get uuid(): string {
    return this.#parts.recovered.uuid;
  }

  /** Whether the directory is still this owner's, as far as can be told. */
  isOwner(): boolean {
    return this.#parts.ownership.isStillOwner();
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

  missingFrom(next: number, before = Infinity): number {
    return this.#lost.countFrom(next) - (before === Infinity ? 0 : this.#lost.countFrom(before));
  }

  add<T>(codec: Codec<T>, record: T): number {
    return this.#log.builder.add(codec, record);
  }

  savepoint(): void {
    this.#log.builder.savepoint();
  }

  rollback(): void {
    this.#log.builder.rollback();
  }

  withdraw(): Uint8Array[] {
    const payloads = this.#log.builder.payloadsSinceBegin();
    this.#log.builder.rollback();
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

  awaitAcknowledged(): Promise<void> | undefined {
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

  ensureDurable(next: number): Promise<void> | undefined {
    this.#parts.onChange();
    return this.#log.ensureDurable(next);
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
    await this.#parts.reserve.close();
    await this.#log.close();
  }
}

/** Takes over the reserve; it is made when the log is open. */
function openReserve(
  options: FileStoreDeps,
  { names, ownership }: { names: readonly string[]; ownership: Ownership },
): Reserve {
  const { fileSystem, path: directory, tell } = options;
  const isNeeded = fileSystem.copiesOnWrite?.(directory) ?? false;
  const reserve = new Reserve({
    fileSystem,
    directory,
    mayChange: () => ownership.isStillOwner(),
    reserveBytes: options.reserveBytes ?? (isNeeded ? DEFAULT_RESERVE_BYTES : 0),
    onUsed: (bytesLeft, error) => tell({ type: "reserve-used", bytesLeft, error }),
    onRestored: (bytes) => tell({ type: "reserve-restored", bytes }),
    onWarning: (error) => tell({ type: "warning", error }),
  });
  reserve.adopt(names, { isNew: !names.some(isLogFile) });
  return reserve;
}

function openLog(
  options: FileStoreDeps,
  { ownership, recovered, quarantine, reserve, relay }: {
    ownership: Ownership;
    recovered: RecoveredLog;
    quarantine: Quarantine;
    reserve: Reserve;
    relay: Relay;
  },
): Log {
  const { path: directory, fileSystem, clock, time, fsync, segmentBytes, recordLimit, tell } = options;
  const { codecVersion, isJson, onChange, onClosing } = options;
  return new Log({
    fileSystem: withReserve(fileSystem, reserve).forPuts,
    directory,
    clock,
    time,
    ownership,
    onClosing,
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
      onDamage: (region) => tell({ type: "damage", region }),
      onWarning: (error) => tell({ type: "warning", error }),
    },
  });
}

function openReader(
  options: FileStoreDeps,
  { log, ownership, recovered, quarantine }: {
    log: Log;
    ownership: Ownership;
    recovered: RecoveredLog;
    quarantine: Quarantine;
  },
): LogReader {
  const { path: directory, fileSystem, onDamage, tell } = options;
  const reported = new ReportedRegions(recovered.damaged);
  const report = (region: DamagedRegion): void => {
    if (!reported.has(region)) tell({ type: "damage", region });
  };
  const { uuid, resume } = recovered;
  const confirm = (): void => ownership.verify();
  return new LogReader({ fileSystem, directory, uuid, quarantine, onDamage, view: log, report, confirm }, resume);
}

function reportOf(recovered: RecoveredLog, durationMs: number): RecoveryReport {
  const { end, committed, resume, boundaries, lost, damaged, truncatedBytes, cursorLost, cursorProblem } = recovered;
  const inFlight = (boundaries.at(-1) ?? committed).nextSequence;
  const dropped = { first: inFlight, last: resume.nextSequence - 1 };
  const missing = countSequences(subtractRanges(lost, [dropped]));
  const recoveredRecords = end.nextSequence - resume.nextSequence + inFlight - committed.nextSequence - missing;
  const problem = cursorProblem === undefined ? {} : { cursorProblem };
  return { recoveredRecords, truncatedBytes, damaged, cursorLost, ...problem, durationMs };
}
