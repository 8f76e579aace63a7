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
import type { MaybePromise } from "../base/maybe_promise.ts";
import { countSequences, subtractRanges } from "../base/sequences.ts";
import type { FileSystem } from "../fs/file_system.ts";
import { isLogFile } from "../wal/names.ts";
import { Ownership } from "../wal/ownership.ts";
import type { CommitState } from "../wal/position.ts";
import { LogReader } from "../wal/reader/log_reader.ts";
import type { DamagedRegion, OnDamage } from "../wal/recovery/damage.ts";
import { LostSequences } from "../wal/recovery/lost_sequences.ts";
import { Quarantine } from "../wal/recovery/quarantine.ts";
import { recover, type RecoveredLog } from "../wal/recovery/recovery.ts";
import { ReportedRegions } from "../wal/recovery/reported_regions.ts";
import { DEFAULT_RESERVE_BYTES, Reserve } from "../wal/reserve.ts";
import { withReserve } from "../wal/reserving_file_system.ts";
import { type Fsync, Log } from "../wal/writer/log.ts";
import type { BufferEvent, RecoveryReport } from "./events.ts";
import type {
  RecordAppender,
  RecordReader,
  RecordStore,
  StoreEnds,
  StoreEvents,
  StoreFigures,
  StoreHealth,
} from "./record_store.ts";
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

/** What a {@linkcode FileStore} is put together from. */
interface FileStoreParts {
  readonly log: Log;
  readonly reader: LogReader;
  readonly quarantine: Quarantine;
  readonly ownership: Ownership;
  readonly reserve: Reserve;
}

/** A store of records on disk. */
export class FileStore implements RecordStore {
  readonly uuid: string;
  readonly recovery: RecoveryReport;
  readonly appender: RecordAppender;
  readonly reader: RecordReader;
  readonly health: StoreHealth;
  readonly ends: StoreEnds;
  readonly #log: Log;
  readonly #parts: FileStoreParts;
  readonly #onChange: () => void;

  private constructor(uuid: string, recovery: RecoveryReport, parts: FileStoreParts, onChange: () => void) {
    this.uuid = uuid;
    this.recovery = recovery;
    this.appender = parts.log.appender;
    this.reader = parts.reader;
    this.health = parts.log.health;
    this.ends = parts.log.ends;
    this.#log = parts.log;
    this.#parts = parts;
    this.#onChange = onChange;
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
    const log = openLog(options, { ownership, recovered, quarantine, reserve });
    const reader = openReader(options, { log, ownership, recovered, quarantine });
    const recovery = reportOf(recovered, options.clock.monotonic() - startedAt);
    for (const region of recovered.damaged) options.tell({ type: "damage-found", region });
    options.tell({ type: "recovered", report: recovery });
    reserve.create();
    const parts = { log, reader, quarantine, ownership, reserve };
    return new FileStore(recovered.uuid, recovery, parts, options.onChange);
  }

  /** Whether the directory is still this owner's, as far as can be told. */
  isOwner(): boolean {
    return this.#parts.ownership.isStillOwner();
  }

  get commitState(): CommitState {
    return this.#log.commitState;
  }

  get maxHeldLogBytes(): number {
    return this.#log.segments.diskBytes + this.#log.appender.builder.length;
  }

  listen({ onVisible, onRejected, onFailed }: StoreEvents): void {
    const { log, reader } = this.#parts;
    log.health.listen(onFailed);
    log.listen({
      onWritten: (name, position, bytes) => reader.offer(name, position, bytes),
      onVisible: (putTime) => {
        onVisible(putTime);
        this.#onChange();
      },
      onRejected,
    });
  }

  ensureDurable(next: number): MaybePromise<void> {
    this.#onChange();
    return this.#log.ensureDurable(next);
  }

  saveCommit(state: CommitState): MaybePromise<void> {
    this.#onChange();
    return this.#log.saveCommit(state);
  }

  flush(): Promise<void> {
    return this.#log.flush();
  }

  figures(): StoreFigures {
    return { ...this.#log.figures, quarantinedBytes: this.#parts.quarantine.copiedBytes };
  }

  async close(): Promise<void> {
    const { reader, reserve, log } = this.#parts;
    reader.close();
    await reserve.close();
    await log.close();
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
    onWarning: (error) => tell({ type: "warned", error }),
  });
  reserve.adopt(names, { isNew: !names.some(isLogFile) });
  return reserve;
}

function openLog(
  options: FileStoreDeps,
  { ownership, recovered, quarantine, reserve }: {
    ownership: Ownership;
    recovered: RecoveredLog;
    quarantine: Quarantine;
    reserve: Reserve;
  },
): Log {
  const { path: directory, fileSystem, clock, time, fsync, segmentBytes, recordLimit, tell } = options;
  const { codecVersion, isJson, onClosing } = options;
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
      onSync: (durationMs) => tell({ type: "synced", durationMs }),
      onSegment: (type, segment) => tell({ type, segment }),
      onDamage: (region) => tell({ type: "damage-found", region }),
      onWarning: (error) => tell({ type: "warned", error }),
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
    if (!reported.has(region)) tell({ type: "damage-found", region });
  };
  const { uuid } = recovered;
  const lost = new LostSequences(recovered.lost);
  return new LogReader({ fileSystem, directory, uuid, quarantine, onDamage, view: log, report, ownership, lost });
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
