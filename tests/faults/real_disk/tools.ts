/**
 * What the tests on real disks share: how one is skipped, how a disk is filled up, and a buffer with books about what it
 * has acknowledged.
 */

import { spawnSync } from "node:child_process";
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path/join";
import { type BufferEvent, FileBuffer, type FileBufferOptions, NoSpaceError, textCodec } from "../../../mod.ts";

/** Programs are started, file systems mounted. */
const SLOW = { timeout: 120_000 };

export const isLinux = process.platform === "linux";
export const isRoot = process.getuid?.() === 0;

/** Registers a test, or says why it isn't one here. */
export function testUnless(reason: string | undefined, name: string, body: () => Promise<void>): void {
  if (reason === undefined) {
    test(name, SLOW, body);
  } else {
    console.log(`skipped, ${reason}: ${name}`);
    test(`${name} (skipped: ${reason})`, { skip: reason }, () => {});
  }
}

/** The first line of what `probe` fails with. */
export function whyNot(probe: () => void): string | undefined {
  try {
    probe();
    return undefined;
  } catch (error) {
    return (error as Error).message.split("\n")[0];
  }
}

export function call(program: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
  if (error !== undefined) throw new Error(`takes ${program}`, { cause: error });
  if (status !== 0) throw new Error(`${program} fails: ${stderr}`);
}

export async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-disk-"));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/**
 * Takes all the space that is left. Twice, because what a sync has written out may leave room that was only set aside.
 *
 * @param codes What the error may be that says that there is none.
 */
export function fill(disk: string, codes: readonly unknown[] = ["ENOSPC"]): void {
  const file = openSync(join(disk, "filler"), "a");
  try {
    for (let round = 0; round < 2; round++) {
      for (let length = 65_536; length >= 1; length >>= 1) {
        try {
          while (writeSync(file, new Uint8Array(length)) === length);
        } catch (error) {
          assert(codes.includes((error as { code?: string }).code), `${error}`);
        }
      }
      fsyncSync(file);
    }
  } finally {
    closeSync(file);
  }
}

export const RECORD_BYTES = 8_000;
const OPTIONS = { codec: textCodec(), segmentBytes: 65_536, maxRecords: 4 };

/** A buffer and the values that it has acknowledged and not seen committed. */
export class Books {
  readonly path: string;
  readonly buffer: FileBuffer<string>;
  readonly values: string[];
  readonly #events: BufferEvent[];
  #count = 0;

  private constructor(path: string, buffer: FileBuffer<string>, values: string[], events: BufferEvent[]) {
    this.path = path;
    this.buffer = buffer;
    this.values = values;
    this.#events = events;
  }

  /** Opens the buffer, in which these values must be. */
  static async open(path: string, values: string[], options: Partial<FileBufferOptions<string>> = {}): Promise<Books> {
    const events: BufferEvent[] = [];
    const onEvent = (event: BufferEvent) => events.push(event);
    const buffer = await FileBuffer.open<string>({ ...OPTIONS, ...options, path, onEvent });
    assertEquals([buffer.recovery.recoveredRecords, buffer.recovery.damaged], [values.length, []]);
    return new Books(path, buffer, values, events);
  }

  /** Puts a value of that length. */
  async put(length: number): Promise<void> {
    const value = `${this.#count++} `.padEnd(length, "-");
    await this.buffer.put(value);
    this.values.push(value);
  }

  /** Puts values until one is refused, and gives the error. */
  async putUntilRefused(length: number): Promise<NoSpaceError> {
    for (let i = 0; i < 10_000; i++) {
      try {
        await this.put(length);
      } catch (error) {
        assert(error instanceof NoSpaceError, `${error}`);
        return error;
      }
    }
    throw new Error("the disk is never full");
  }

  /** Takes one batch out. */
  async take(): Promise<void> {
    const batch = await this.buffer.emit();
    assertEquals(batch.records, this.values.slice(0, batch.length));
    await this.buffer.commit(batch);
    this.values.splice(0, batch.length);
  }

  /** Takes batches out until a segment is gone. */
  async takeSegment(): Promise<void> {
    const isRemoved = () => this.#events.some(({ type }) => type === "segment-removed");
    this.#events.length = 0;
    while (!isRemoved()) {
      await this.take();
      // Removing waits for a sync, behind the commit's back.
      await this.buffer.flush();
      for (let turn = 0; turn < 100 && !isRemoved(); turn++) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async takeAll(): Promise<void> {
    while (this.values.length > 0) await this.take();
    assertEquals(this.buffer.stats().pendingRecords, 0);
  }

  /** Shows that all is well again: everything comes out, and a put goes in. */
  async finish(): Promise<void> {
    await this.takeSegment();
    await this.takeAll();
    await this.buffer.put("after all");
    await this.buffer.close();
  }
}
