/**
 * Records in a log on disk: combines lock, recovery, log and reader into a `RecordStore`.
 *
 * Guarantees: a directory with foreign files is refused untouched; the directory is acquired before anything in it is
 * read; if opening fails, it is released and no file stays open. It is resolved once, to an absolute path without symbolic
 * links, so a later change of the working directory or of a link makes no difference.
 *
 * @module
 */

import type { MaybePromise } from "../base/maybe_promise.ts";
import { countSequences, subtractRanges } from "../base/sequences.ts";
import { isLogFile } from "../wal/names.ts";
import { Ownership } from "../wal/ownership.ts";
import type { CommitState } from "../wal/position.ts";
import { PutTimes } from "../wal/put_times.ts";
import { LogReader } from "../wal/reader/log_reader.ts";
import type { DamagedRegion, OnDamage } from "../wal/recovery/damage.ts";
import { KnownLosses } from "../wal/recovery/known_losses.ts";
import { LostSequences } from "../wal/recovery/lost_sequences.ts";
import { Quarantine } from "../wal/recovery/quarantine.ts";
import { recover, type RecoveredLog } from "../wal/recovery/recovery.ts";
import { DEFAULT_RESERVE_BYTES, Reserve } from "../wal/reserve.ts";
import { withReserve } from "../wal/reserving_file_system.ts";
import { Log, type LogDeps } from "../wal/writer/log.ts";
import type { LogHealth } from "../wal/writer/log_health.ts";
import { EventGate } from "./event_gate.ts";
import type { BufferEvent, RecoveryReport } from "./events.ts";
import type { BlockingStore, RecordStore, StoreEvents, StoreFigures } from "./record_store.ts";
import { prepareDirectory } from "./store_directory.ts";

/** What a {@linkcode FileStore} is opened with; all of it checked. */
interface FileStoreOptions
  extends Omit<LogDeps, "directory" | "ownership" | "recovered" | "quarantine" | "events" | "gate" | "putTimes"> {
  readonly path: string;
  /** 0: none. By default it depends on the file system. */
  readonly reserveBytes: number | undefined;
  readonly onDamage: OnDamage;
  readonly tell: (event: BufferEvent) => void;
  /** Records were handed over, committed or dropped. */
  readonly onChange: () => void;
}

/** The options, with events going through the gate. */
interface GatedOptions extends FileStoreOptions {
  readonly gate: EventGate;
}

/** What opening a store makes, one after the other. */
interface OpenedParts {
  readonly directory: string;
  readonly ownership: Ownership;
  readonly quarantine: Quarantine;
  readonly reserve: Reserve;
  readonly recovered: RecoveredLog;
}

/** A store of records on disk. */
export class FileStore implements BlockingStore {
  readonly uuid: string;
  /** When the directory was acquired: wall time, as it stands in `owner.json`. */
  readonly openedAt: number;
  readonly recovery: RecoveryReport;
  readonly appender: BlockingStore["appender"];
  readonly reader: LogReader;
  readonly health: LogHealth;
  readonly ends: RecordStore["ends"];
  readonly canSyncBlocking: boolean;
  readonly canPutBlocking: boolean;
  readonly #log: Log;
  readonly #parts: OpenedParts;
  readonly #onChange: () => void;

  private constructor(options: GatedOptions, parts: OpenedParts, startedAt: number) {
    const { clock, tell, onChange } = options;
    const { recovered, reserve } = parts;
    const putTimes = new PutTimes(clock);
    const log = this.#log = openLog(options, parts, putTimes);
    this.uuid = recovered.uuid;
    this.openedAt = parts.ownership.openedAt;
    this.appender = log.appender;
    this.reader = openReader(options, parts, log, putTimes);
    this.health = log.health;
    this.ends = log.ends;
    this.recovery = toRecoveryReport(recovered, clock.monotonic() - startedAt);
    this.#parts = parts;
    this.#onChange = onChange;
    this.canSyncBlocking = options.fileSystem.syncDirectoryBlocking !== undefined;
    this.canPutBlocking = this.canSyncBlocking || options.fsync !== "always";
    for (const region of recovered.damaged) tell({ type: "damage-found", region });
    tell({ type: "recovered", report: this.recovery });
    reserve.create();
  }

  /** Opens the store in a directory, which is created if missing. */
  static async open(given: FileStoreOptions): Promise<FileStore> {
    const gate = new EventGate(given.tell);
    const options = { ...given, gate, tell: (event: BufferEvent) => gate.tell(event) };
    const { fileSystem, clock, fsync, onDamage } = options;
    const startedAt = clock.monotonic();
    const { path: directory, names, naming } = await prepareDirectory(fileSystem, options.path);
    let ownership: Ownership | undefined;
    try {
      const owned = ownership = await Ownership.acquire({
        fileSystem,
        directory,
        openedAt: Math.floor(clock.now()),
      });
      const quarantine = new Quarantine(fileSystem, directory, {
        verifyOwnership: () => owned.verify(),
        onUnrecorded: (error) => options.tell({ type: "warned", error }),
      });
      const reserve = openReserve(options, { directory, names, ownership });
      const { forCommits } = withReserve(fileSystem, reserve);
      const isSynced = fsync === "always";
      const recovering = recover({ fileSystem: forCommits, directory, ownership, quarantine, onDamage, isSynced });
      // Side by side: the device works while the last segment is read.
      const [recovery, named] = await Promise.allSettled([recovering, naming]);
      if (recovery.status === "rejected") throw recovery.reason;
      const recovered = recovery.value;
      try {
        if (named.status === "rejected") throw named.reason;
        return new FileStore(options, { directory, ownership, quarantine, reserve, recovered }, startedAt);
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

  /** Whether the directory is still this owner's, as far as can be told. */
  isOwner(): boolean {
    return this.#parts.ownership.isStillOwner();
  }

  get commitState(): CommitState {
    return this.#log.commitState;
  }

  get maxHeldLogBytes(): number {
    return this.#log.segments.usage.bytes + this.#log.appender.builder.length;
  }

  listen({ onVisible, onRejected, onFailed }: StoreEvents): void {
    this.health.listen(onFailed);
    this.#log.listen({ reader: this.reader, onVisible, onRejected });
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

  flushBlocking(): void {
    this.#log.flushBlocking();
  }

  figures(): StoreFigures {
    return { ...this.#log.figures, quarantinedBytes: this.#parts.quarantine.copiedBytes };
  }

  async close(): Promise<void> {
    this.reader.close();
    await this.#parts.reserve.close();
    await this.#log.close();
  }
}

/** Adopts the reserve; it is created when the log is open. */
function openReserve(
  { fileSystem, tell, reserveBytes }: FileStoreOptions,
  { directory, names, ownership }: Pick<OpenedParts, "directory" | "ownership"> & { readonly names: readonly string[] },
): Reserve {
  const isNeeded = fileSystem.copiesOnWrite?.(directory) ?? false;
  const reserve = new Reserve({
    fileSystem,
    directory,
    mayChange: () => ownership.isStillOwner(),
    reserveBytes: reserveBytes ?? (isNeeded ? DEFAULT_RESERVE_BYTES : 0),
    onUsed: (bytesLeft, error) => tell({ type: "reserve-used", bytesLeft, error }),
    onRestored: (bytes) => tell({ type: "reserve-restored", bytes }),
    onWarning: (error) => tell({ type: "warned", error }),
  });
  reserve.adopt(names, { isNew: !names.some(isLogFile) });
  return reserve;
}

function openLog(options: GatedOptions, parts: OpenedParts, putTimes: PutTimes): Log {
  const { fileSystem, tell } = options;
  return new Log({
    ...options,
    ...parts,
    putTimes,
    fileSystem: withReserve(fileSystem, parts.reserve).forPuts,
    events: {
      onSync: (durationMs) => tell({ type: "synced", durationMs }),
      onSegment: (type, segment) => tell({ type, segment }),
      onDamage: (region) => tell({ type: "damage-found", region }),
      onWarning: (error) => tell({ type: "warned", error }),
    },
  });
}

function openReader(
  { fileSystem, onDamage, tell }: FileStoreOptions,
  parts: OpenedParts,
  log: Log,
  putTimes: PutTimes,
): LogReader {
  const { uuid, damaged, lost } = parts.recovered;
  // Recovery has reported these already.
  const reported = KnownLosses.of(damaged);
  const report = (region: DamagedRegion): void => {
    if (!reported.isAccepted(region)) tell({ type: "damage-found", region });
  };
  const files = { ...parts, fileSystem, uuid, onDamage, putTimes };
  return new LogReader({ ...files, view: log, report, lost: new LostSequences(lost) });
}

function toRecoveryReport(recovered: RecoveredLog, durationMs: number): RecoveryReport {
  const { end, committed, resume, boundaries, lost, damaged, truncatedBytes, cursorLost, cursorProblem } = recovered;
  const inFlight = (boundaries.at(-1) ?? committed).nextSequence;
  const dropped = { first: inFlight, last: resume.nextSequence - 1 };
  const missing = countSequences(subtractRanges(lost, [dropped]));
  const recoveredRecords = end.nextSequence - resume.nextSequence + inFlight - committed.nextSequence - missing;
  const problem = cursorProblem === undefined ? {} : { cursorProblem };
  return { recoveredRecords, truncatedBytes, damaged, cursorLost, ...problem, durationMs };
}
