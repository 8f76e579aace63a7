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
import { FileSystemError } from "../errors.ts";
import { closeQuietly } from "../fs/close.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";

/** Name of the directory in a buffer's directory. */
export const QUARANTINE_NAME = "quarantine";
/** Copies stop at this many bytes in all: enough for four default segments, too little to fill a disk. */
export const MAX_QUARANTINE_BYTES: number = 64 * 1024 * 1024;
/** How much is copied at a time. */
const CHUNK_BYTES = 256 * 1024;

/** Copies bad regions of segments into `quarantine/`. */
export class Quarantine {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #path: string;
  #usedBytes: number | undefined;
  #copiedBytes = 0;

  /** Of the buffer in `directory`; nothing is created before it is needed. */
  constructor(fileSystem: FileSystem, directory: string) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#path = join(directory, QUARANTINE_NAME);
  }

  /** Bytes copied by this object. */
  get copiedBytes(): number {
    return this.#copiedBytes;
  }

  /**
   * Copies a region of a segment.
   *
   * @returns Whether a whole copy is there now, made by this call or an earlier one.
   */
  async copy(region: { segment: string; offset: number; length: number }): Promise<boolean> {
    const name = `${region.segment}-${region.offset}-${region.length}.bad`;
    let source: FileHandle | undefined;
    try {
      source = this.#fileSystem.open(join(this.#directory, region.segment), "read");
      await this.#prepare();
      const path = join(this.#path, name);
      const there = this.#sizeOf(path);
      if (there === region.length) return true;
      if (this.#usedBytes! + region.length - (there ?? 0) > MAX_QUARANTINE_BYTES) return false;
      if (there !== undefined) this.#fileSystem.remove(path);
      await this.#copyTo(path, source, region);
      this.#usedBytes! += region.length - (there ?? 0);
      this.#copiedBytes += region.length;
      return true;
    } catch (error) {
      if (error instanceof FileSystemError) return false;
      throw error;
    } finally {
      closeQuietly(source);
    }
  }

  /** Moves a whole file of the buffer into the quarantine: it takes no space that it didn't take before. */
  async move(name: string): Promise<boolean> {
    try {
      await this.#prepare();
      this.#fileSystem.rename(join(this.#directory, name), join(this.#path, name));
      await this.#fileSystem.syncDirectory(this.#path);
      await this.#fileSystem.syncDirectory(this.#directory);
      return true;
    } catch (error) {
      if (error instanceof FileSystemError) return false;
      throw error;
    }
  }

  /** Makes the directory, durably, and counts what is in it. */
  async #prepare(): Promise<void> {
    if (this.#usedBytes !== undefined) return;
    this.#fileSystem.makeDirectory(this.#path);
    await this.#fileSystem.syncDirectory(this.#directory);
    let used = 0;
    for (const name of this.#fileSystem.list(this.#path)) {
      if (name.endsWith(".bad")) used += this.#sizeOf(join(this.#path, name)) ?? 0;
    }
    this.#usedBytes = used;
  }

  #sizeOf(path: string): number | undefined {
    try {
      const handle = this.#fileSystem.open(path, "read");
      try {
        return handle.size();
      } finally {
        closeQuietly(handle);
      }
    } catch (error) {
      if (error instanceof FileSystemError && error.errno === "ENOENT") return undefined;
      throw error;
    }
  }

  async #copyTo(path: string, source: FileHandle, region: { offset: number; length: number }): Promise<void> {
    const target = this.#fileSystem.open(path, "create");
    try {
      const chunk = new Uint8Array(Math.min(CHUNK_BYTES, region.length));
      for (let at = 0; at < region.length; at += chunk.length) {
        const part = chunk.subarray(0, Math.min(chunk.length, region.length - at));
        target.write(part.subarray(0, source.read(part, region.offset + at)), at);
      }
      await target.sync();
      await this.#fileSystem.syncDirectory(this.#path);
    } catch (error) {
      closeQuietly(target);
      this.#fileSystem.remove(path);
      throw error;
    }
    closeQuietly(target);
  }
}
