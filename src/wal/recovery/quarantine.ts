/**
 * The quarantine: damaged bytes are copied here before they are cut off or skipped. Nothing in it is ever deleted.
 *
 * Guarantees:
 * - A copy counts as made only when its content and its name are synced.
 * - A region is copied once, however often it is met.
 * - The copies never exceed the size limit. A copy that was not made is reported as such.
 * - No file system error reaches a caller, but for {@linkcode Quarantine.recordLosses}: a full disk must not keep valid
 *   records from being delivered.
 *
 * @module
 */

import { join } from "@std/path/join";
import { mergeRanges, type SequenceRange } from "../../base/sequences.ts";
import { FileSystemError } from "../../errors/mod.ts";
import { closeQuietly, copyBytes, fileSize, ifExists } from "../../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../../fs/file_system.ts";
import { discard, replaceFile } from "../../fs/replace_file.ts";
import { retryWhilePassing } from "../../fs/retry.ts";
import { QUARANTINE_NAME, RESTORED_SUFFIX } from "../names.ts";
import type { DamagedRegion } from "./damage.ts";
import { KnownLosses, type Losses, MAX_LOST_RANGES, type Region } from "./known_losses.ts";

/** Copies stop at this many bytes in all: enough for four default segments, too little to fill a disk. */
export const MAX_QUARANTINE_BYTES: number = 64 * 1024 * 1024;

/** The quarantine of one buffer: the directory `quarantine/`. */
export class Quarantine {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #confirm: () => void;
  readonly #onUnrecorded: (error: FileSystemError) => void;
  #losses: KnownLosses | undefined;
  #isSaved = true;
  #reportedMissing: readonly SequenceRange[] = [];
  #usedBytes: number | undefined;
  #copiedBytes = 0;
  #failure: FileSystemError | undefined;

  /**
   * Of the buffer in `directory`. Creates nothing before it is needed.
   *
   * @param options `maxBytes` limits the copies; `verifyOwnership` throws if the directory isn't ours any more; `onUnrecorded` gets
   * what keeps losses from being recorded.
   */
  constructor(
    fileSystem: FileSystem,
    directory: string,
    { maxBytes = MAX_QUARANTINE_BYTES, verifyOwnership = () => {}, onUnrecorded = () => {} }: {
      readonly maxBytes?: number;
      readonly verifyOwnership?: () => void;
      readonly onUnrecorded?: (error: FileSystemError) => void;
    } = {},
  ) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#path = join(directory, QUARANTINE_NAME);
    this.#maxBytes = maxBytes;
    this.#confirm = verifyOwnership;
    this.#onUnrecorded = onUnrecorded;
  }

  /** The bytes copied by this object. */
  get copiedBytes(): number {
    return this.#copiedBytes;
  }

  /** Why the last copy or move failed; `undefined` if none failed, or the limit was reached. */
  get failure(): FileSystemError | undefined {
    return this.#failure;
  }

  /** The recorded losses; none if they can't be read. */
  get losses(): KnownLosses {
    try {
      return this.#readLosses();
    } catch (error) {
      this.#fail(error);
      return new KnownLosses();
    }
  }

  /**
   * Sequences that were reported missing, by this process or an earlier one: they must not be delivered any more.
   * Ascending, without overlaps.
   */
  get reportedMissing(): readonly SequenceRange[] {
    return this.#reportedMissing;
  }

  /** Reads them at the first call. */
  #readLosses(): KnownLosses {
    return this.#losses ??= KnownLosses.read(this.#fileSystem, this.#path);
  }

  /**
   * Records which sequences are lost because of these regions, and which of them are unproven. This precedes every step
   * that makes the losses harder to see. If it fails, they are known as long as this object lives.
   */
  async recordRegions(regions: readonly Omit<DamagedRegion, "quarantined">[]): Promise<void> {
    const lost = regions.flatMap(({ missing }) => missing ?? []);
    if (lost.length > 0) this.addReportedMissing(lost);
    const unproven = regions.filter((region) => region.unproven === true);
    const unprovenSequences = unproven.flatMap(({ missing }) => missing ?? []);
    const acceptedRegions = unproven.filter(({ length }) => length > 0)
      .map(({ segment, offset, length }) => ({ segment, offset, length }));
    try {
      const losses = this.#readLosses();
      const isKnown = lost.every((range) => losses.hasRecorded(range)) &&
        unproven.every((region) => losses.isAccepted(region));
      if (isKnown && this.#isSaved) return;
      await this.recordLosses({ lost, acceptedRegions, acceptedSequences: unprovenSequences, unprovenSequences });
    } catch (error) {
      this.#fail(error);
      this.#onUnrecorded(this.#failure!);
    }
  }

  /**
   * Adds sequences that were reported missing. Only the highest ranges are kept, because the log is read in ascending
   * order.
   */
  addReportedMissing(lost: readonly SequenceRange[]): void {
    this.#reportedMissing = mergeRanges([...this.#reportedMissing, ...lost]).slice(-MAX_LOST_RANGES);
  }

  /**
   * Records losses durably, unless they are recorded already.
   *
   * @throws {FileSystemError} if that fails.
   */
  async recordLosses(losses: Partial<Losses>): Promise<void> {
    const known = this.#readLosses().with(losses);
    this.#isSaved &&= known.equals(this.#readLosses());
    this.#losses = known;
    await this.#prepare();
    if (this.#isSaved) return;
    await known.save(this.#fileSystem, this.#path);
    this.#isSaved = true;
  }

  /** Whether there is a complete copy of a region of a segment. */
  has(region: Region): boolean {
    try {
      return this.#copySize(this.#pathOfCopy(region)) === region.length;
    } catch {
      return false;
    }
  }

  /**
   * Copies a region of a segment.
   *
   * @returns Whether there is a complete copy now, made by this call or an earlier one.
   */
  async copy(region: Region): Promise<boolean> {
    let source: FileHandle | undefined;
    try {
      source = await retryWhilePassing(() => this.#fileSystem.open(join(this.#directory, region.segment), "read"));
      await this.#prepare();
      const path = this.#pathOfCopy(region);
      const there = this.#copySize(path);
      if (there === region.length) return true;
      if (this.#usedBytes! + region.length - (there ?? 0) > this.#maxBytes) return false;
      await this.#copyTo(path, source, region);
      this.#usedBytes! += region.length - (there ?? 0);
      this.#copiedBytes += region.length;
      return true;
    } catch (error) {
      return this.#fail(error);
    } finally {
      closeQuietly(source);
    }
  }

  /**
   * Moves a file of the buffer into the quarantine. It is not subject to the limit, because it takes no additional space.
   */
  async move(name: string): Promise<boolean> {
    try {
      await this.#prepare();
      const path = join(this.#path, this.#freeName(name));
      await retryWhilePassing(() => this.#fileSystem.rename(join(this.#directory, name), path));
      await this.#fileSystem.syncDirectory(this.#path);
      await this.#fileSystem.syncDirectory(this.#directory);
      return true;
    } catch (error) {
      return this.#fail(error);
    }
  }

  /** A name that no file in the quarantine has, so that none is replaced. */
  #freeName(name: string): string {
    let free = name;
    for (let i = 2; this.#sizeOf(join(this.#path, free)) !== undefined; i++) free = `${name}-${i}`;
    return free;
  }

  /** Creates the directory durably, and adds up the copies in it. */
  async #prepare(): Promise<void> {
    this.#confirm();
    if (this.#usedBytes !== undefined) return;
    this.#fileSystem.makeDirectory(this.#path);
    await this.#fileSystem.syncDirectory(this.#directory);
    // A copy that an earlier process has made counts as made, so its name is synced here if that process could not do it.
    await this.#fileSystem.syncDirectory(this.#path);
    let used = 0;
    for (const name of this.#fileSystem.list(this.#path)) {
      if (name.endsWith(".bad")) used += this.#sizeOf(join(this.#path, name)) ?? 0;
    }
    this.#usedBytes = used;
  }

  /** Keeps a file system error instead of throwing it. */
  #fail(error: unknown): false {
    if (!(error instanceof FileSystemError)) throw error;
    this.#failure = error;
    return false;
  }

  #pathOfCopy({ segment, offset, length }: Region): string {
    return join(this.#path, `${segment}-${offset}-${length}.bad`);
  }

  /** The size of a copy, also if its records were restored. */
  #copySize(path: string): number | undefined {
    return this.#sizeOf(path) ?? this.#sizeOf(path + RESTORED_SUFFIX);
  }

  #sizeOf(path: string): number | undefined {
    return ifExists(() => fileSize(this.#fileSystem, path));
  }

  /**
   * The copy gets its name when its bytes are on stable storage: one that a power cut left half done may well have the
   * right length.
   */
  async #copyTo(path: string, source: FileHandle, region: { offset: number; length: number }): Promise<void> {
    await replaceFile(this.#fileSystem, path, (target) => copyBytes(source, region, target), { sync: "content" });
    try {
      await this.#fileSystem.syncDirectory(this.#path);
    } catch (error) {
      // A name that may be gone after a power cut counts as not made, and must not be taken for one that is.
      discard(this.#fileSystem, [path]);
      throw error;
    }
  }
}
