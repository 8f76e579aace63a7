/**
 * The quarantine: bad bytes are set aside here before anything happens to them, never deleted.
 *
 * Guarantees: a copy is synced, and so is its name, before it counts as made; the same region is copied once, however
 * often it is met; the directory never grows past its limit, and an unmade copy is reported as such. Setting aside never
 * fails a caller: a full disk must not keep good records from being delivered.
 *
 * @module
 */

import { join } from "@std/path/join";
import { mergeRanges, type SequenceRange } from "../../base/sequences.ts";
import { FileSystemError } from "../../errors/mod.ts";
import { closeQuietly, fileSize, isNoSuchFile } from "../../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../../fs/file_system.ts";
import { QUARANTINE_NAME, RESTORED_SUFFIX } from "../names.ts";
import type { DamagedRegion } from "./damage.ts";
import { KnownLosses, type Losses, MAX_LOST_RANGES } from "./known_losses.ts";
/** Copies stop at this many bytes in all: enough for four default segments, too little to fill a disk. */
export const MAX_QUARANTINE_BYTES: number = 64 * 1024 * 1024;
/** How much is copied at a time. */
const CHUNK_BYTES = 256 * 1024;

/** Values of a {@linkcode Quarantine} that have a default. */
export interface QuarantineOptions {
  readonly maxBytes?: number;
  readonly verifyOwnership?: () => void;
}

/** What the copy of a region is called. */
function copyName(segment: string, offset: number, length: number): string {
  return `${segment}-${offset}-${length}.bad`;
}

/** Copies bad regions of segments into `quarantine/`. */
export class Quarantine {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #confirm: () => void;
  #losses: KnownLosses | undefined;
  #isSaved = true;
  #namedMissing: readonly SequenceRange[] = [];
  #usedBytes: number | undefined;
  #copiedBytes = 0;
  #failure: FileSystemError | undefined;

  /**
   * Of the buffer in `directory`; nothing is created before it is needed.
   *
   * @param options Copies stop at `maxBytes`; `confirm` throws if the directory isn't ours any more.
   */
  constructor(
    fileSystem: FileSystem,
    directory: string,
    { maxBytes = MAX_QUARANTINE_BYTES, verifyOwnership = () => {} }: QuarantineOptions = {},
  ) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#path = join(directory, QUARANTINE_NAME);
    this.#maxBytes = maxBytes;
    this.#confirm = verifyOwnership;
  }

  /** Bytes copied by this object. */
  get copiedBytes(): number {
    return this.#copiedBytes;
  }

  /** Why the last copy or move that was not made failed; `undefined` if there was no room for it. */
  get failure(): FileSystemError | undefined {
    return this.#failure;
  }

  /** What is known to be lost: nothing, if it can't be read. */
  get losses(): KnownLosses {
    try {
      return this.#readLosses();
    } catch (error) {
      this.#fail(error);
      return new KnownLosses();
    }
  }

  /**
   * Sequences that were named missing, by this process or by an earlier one whose word was read: they must not be delivered
   * any more. In order, without overlaps.
   */
  get reportedMissing(): readonly SequenceRange[] {
    return this.#namedMissing;
  }

  /** Read once, when it is first asked for. */
  #readLosses(): KnownLosses {
    return this.#losses ??= KnownLosses.read(this.#fileSystem, this.#path);
  }

  /**
   * Writes down that sequences are lost, and what of it is unproven, before anything is done that makes it harder to see.
   * Where that fails, it is known at least as long as this object is.
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
    }
  }

  /** Sequences were named missing; the highest ones are remembered, because nobody reads the others any more. */
  addReportedMissing(lost: readonly SequenceRange[]): void {
    this.#namedMissing = mergeRanges([...this.#namedMissing, ...lost]).slice(-MAX_LOST_RANGES);
  }

  /**
   * Writes losses down, durably, unless they are known already.
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

  /** Whether a whole copy of a region of a segment is there. */
  has({ segment, offset, length }: { segment: string; offset: number; length: number }): boolean {
    const path = join(this.#path, copyName(segment, offset, length));
    try {
      return (this.#sizeOf(path) ?? this.#sizeOf(path + RESTORED_SUFFIX)) === length;
    } catch {
      return false;
    }
  }

  /**
   * Copies a region of a segment.
   *
   * @returns Whether a whole copy is there now, made by this call or an earlier one.
   */
  async copy(region: { segment: string; offset: number; length: number }): Promise<boolean> {
    const name = copyName(region.segment, region.offset, region.length);
    let source: FileHandle | undefined;
    try {
      source = this.#fileSystem.open(join(this.#directory, region.segment), "read");
      await this.#prepare();
      const path = join(this.#path, name);
      const there = this.#sizeOf(path) ?? this.#sizeOf(path + RESTORED_SUFFIX);
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

  /** Moves a whole file of the buffer into the quarantine: it takes no space that it didn't take before. */
  async move(name: string): Promise<boolean> {
    try {
      await this.#prepare();
      this.#fileSystem.rename(join(this.#directory, name), join(this.#path, this.#freeName(name)));
      await this.#fileSystem.syncDirectory(this.#path);
      await this.#fileSystem.syncDirectory(this.#directory);
      return true;
    } catch (error) {
      return this.#fail(error);
    }
  }

  /** A name that no file in the quarantine has: nothing is replaced. */
  #freeName(name: string): string {
    let free = name;
    for (let i = 2; this.#sizeOf(join(this.#path, free)) !== undefined; i++) free = `${name}-${i}`;
    return free;
  }

  /** Makes the directory, durably, and counts what is in it. */
  async #prepare(): Promise<void> {
    this.#confirm();
    if (this.#usedBytes !== undefined) return;
    this.#fileSystem.makeDirectory(this.#path);
    await this.#fileSystem.syncDirectory(this.#directory);
    // What an earlier process has made counts as made, also if it could not sync the names any more.
    await this.#fileSystem.syncDirectory(this.#path);
    let used = 0;
    for (const name of this.#fileSystem.list(this.#path)) {
      if (name.endsWith(".bad")) used += this.#sizeOf(join(this.#path, name)) ?? 0;
    }
    this.#usedBytes = used;
  }

  /** A file system that refuses is no reason to fail a caller. */
  #fail(error: unknown): false {
    if (!(error instanceof FileSystemError)) throw error;
    this.#failure = error;
    return false;
  }

  #sizeOf(path: string): number | undefined {
    try {
      return fileSize(this.#fileSystem, path);
    } catch (error) {
      if (isNoSuchFile(error)) return undefined;
      throw error;
    }
  }

  /**
   * The copy gets its name when its bytes are on stable storage: one that a power cut left half done may well have the
   * right length.
   */
  async #copyTo(path: string, source: FileHandle, region: { offset: number; length: number }): Promise<void> {
    const unfinished = `${path}.new`;
    if (this.#sizeOf(unfinished) !== undefined) this.#fileSystem.remove(unfinished);
    const target = this.#fileSystem.open(unfinished, "create");
    let made = unfinished;
    try {
      const chunk = new Uint8Array(Math.min(CHUNK_BYTES, region.length));
      for (let at = 0; at < region.length; at += chunk.length) {
        const part = chunk.subarray(0, Math.min(chunk.length, region.length - at));
        target.write(part.subarray(0, source.read(part, region.offset + at)), at);
      }
      await target.sync();
      this.#fileSystem.rename(unfinished, path);
      made = path;
      await this.#fileSystem.syncDirectory(this.#path);
    } catch (error) {
      closeQuietly(target);
      this.#fileSystem.remove(made);
      throw error;
    }
    closeQuietly(target);
  }
}
