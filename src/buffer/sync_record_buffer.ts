/**
 * The contract of a buffer that can put and flush within a call. A buffer whose records are safe only on another machine can't.
 *
 * Types only; `local_buffer.ts` implements them.
 *
 * @module
 */

import type { RecordBuffer } from "./record_buffer.ts";

/**
 * A buffer that can also put and flush within a call, for code that can't await. `FileBuffer` and `MemoryBuffer` are. Both calls block the
 * process while they work.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 */
export interface SyncRecordBuffer<T, In = T> extends RecordBuffer<T, In> {
  /**
   * Accepts one record, behind the puts before it, and returns when it is persisted as durably as the buffer promises: with
   * `fsync: "always"` the call waits for the device. The puts of the same tick before it are persisted with it.
   *
   * It never waits for space: when the backlog is full it throws, also with `whenFull` `"block"` and `"drop-oldest"`, and while other
   * puts wait.
   *
   * @param record What to keep.
   * @returns Its sequence.
   * @throws {SluiceError} as `put()`; nothing of the record stays then.
   * @throws {TypeError} if it has to sync, and `fileSystem` has no `syncDirectoryBlocking()`.
   *
   * @example A fatal line before the process ends
   * ```ts
   * import { MemoryBuffer } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const buffer = await MemoryBuffer.open<string>();
   * void buffer.put("first");
   * assertEquals(buffer.putSync("fatal: no such table"), 2);
   * assertEquals((await buffer.emit()).records, ["first", "fatal: no such table"]);
   * await buffer.close();
   * ```
   */
  putSync(record: In): number;

  /**
   * Returns when every record put so far is on stable storage, whatever the option `fsync` says. Commits aren't part of it: one that a
   * power cut takes means that its batch comes again.
   *
   * @throws {TypeError} if `fileSystem` has no `syncDirectoryBlocking()`.
   * @throws {FileSystemError} if a file can't be opened for the moment; nothing is lost.
   *
   * @example The last words of a program
   * ```ts
   * import { FileBuffer, type SyncRecordBuffer } from "@sluice/buffer";
   * import { MemoryFileSystem } from "@sluice/buffer/testing";
   * import { assertEquals } from "@std/assert";
   *
   * function onExit(buffer: SyncRecordBuffer<string>): void {
   *   buffer.putSync("exit");
   *   buffer.flushSync(); // also what was put before, whatever `fsync` says
   * }
   *
   * const fileSystem = new MemoryFileSystem();
   * const buffer = await FileBuffer.open<string>({ path: "/b", fileSystem, statusMs: 0 });
   * void buffer.put("working"); // nobody waits for it
   * onExit(buffer);
   * const again = await FileBuffer.open<string>({ path: "/b", fileSystem: fileSystem.crash({ seed: 1 }) });
   * assertEquals((await again.emit()).records, ["working", "exit"]);
   * await again.close();
   * await buffer.close();
   * ```
   */
  flushSync(): void;
}
