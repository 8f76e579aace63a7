/**
 * Tools for testing programs that use a buffer: a file system that crashes on demand, and a clock that a test moves by hand.
 * Sluice's own tests are written with them.
 *
 * ## Fault model
 *
 * The faults that a {@linkcode MemoryFileSystem} simulates, and what a `FileBuffer` on it guarantees:
 *
 * | fault | how | what the buffer still guarantees |
 * |---|---|---|
 * | the process dies | `kill()` | every acknowledged record is recovered, whatever `fsync` says; the batch in flight is redelivered with the same id and the same records |
 * | the power goes | `crash({ seed })` | what a sync has covered is recovered: with `fsync: "always"` every acknowledged record, batch and commit; otherwise all but the last interval, and what `flush()` and `close()` made durable. A gap in the middle is reported |
 * | an operation fails: without effect, halfway, or after it | `onOperation` | the error reaches the caller; a rejected put leaves nothing behind. Only after `BUFFER_FAILED` is it unknown whether the operations in progress survive until the next `open()` |
 * | a sync fails and the system drops the pages (Linux) | `onOperation`, kind `"lost"` | the buffer fails and says so; it never acknowledges anything by retrying |
 * | the disk is full | `capacityBytes` | puts reject; emit and commit still work; puts work again when there is space |
 * | the disk is full, and overwriting needs space (btrfs, ZFS) | `capacityBytes`, `copyOnWrite` | the same, with a reserve: `reserveBytes` |
 *
 * No log survives a disk that reports a sync without doing it, or one that loses synced data. A buffer then detects what is
 * missing or changed, reports it, and delivers the rest.
 *
 * The head of `src/testing/memory_file_system.ts` has the exact rules, down to which part of an unsynced write a power cut may
 * leave. `tests/README.md` in the repository says which test proves what.
 *
 * @example A producer survives being killed at any moment
 * ```ts
 * import { FileBuffer } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const options = { path: "/buffer", fsync: "never", statusMs: 0 } as const; // no timers for processes that are dead
 * for (let moment = 0, died = true; died; moment++) {
 *   died = false;
 *   let left = new MemoryFileSystem();
 *   const fileSystem: MemoryFileSystem = left.kill({
 *     onOperation({ index }) {
 *       if (index !== moment) return;
 *       died = true;
 *       left = fileSystem.kill();
 *     },
 *   });
 *   const acknowledged: string[] = [];
 *   try {
 *     const buffer = await FileBuffer.open<string>({ ...options, fileSystem });
 *     for (const record of ["a", "b", "c"]) {
 *       await buffer.put(record);
 *       acknowledged.push(record);
 *     }
 *     await buffer.close();
 *   } catch (error) {
 *     if (!died) throw error;
 *   }
 *
 *   if (!died) left = fileSystem.kill();
 *   const buffer = await FileBuffer.open<string>({ ...options, fileSystem: left });
 *   const found: string[] = [];
 *   for await (const batch of buffer.batches({ flush: true })) {
 *     found.push(...batch.records);
 *     await buffer.commit(batch);
 *   }
 *   await buffer.close();
 *   // One more may be there: written, but the process died before the put resolved.
 *   assertEquals(found.slice(0, acknowledged.length), acknowledged);
 * }
 * ```
 *
 * @example After a power cut, what was flushed is there, whatever the seed
 * ```ts
 * import { FileBuffer } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem, fsync: "never" });
 * await buffer.put("flushed");
 * await buffer.flush();
 * await buffer.put("not flushed");
 *
 * for (let seed = 0; seed < 20; seed++) {
 *   const after = await FileBuffer.open<string>({ path: "/buffer", fileSystem: fileSystem.crash({ seed }) });
 *   const batch = await after.emit();
 *   assertEquals(batch.records[0], "flushed");
 *   await after.close();
 * }
 * await buffer.close();
 * ```
 *
 * @example A full disk that gets space again
 * ```ts
 * import { FileBuffer, NoSpaceError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem();
 * const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem });
 * await buffer.put("fits");
 * fileSystem.capacityBytes = fileSystem.usedBytes;
 * await assertRejects(() => buffer.put("doesn't"), NoSpaceError);
 * await buffer.commit(await buffer.emit());
 * fileSystem.capacityBytes = Infinity;
 * assertEquals(await buffer.put("fits again"), 2);
 * await buffer.close();
 * ```
 *
 * @example A full disk on which overwriting needs space
 * ```ts
 * import { FileBuffer, NoSpaceError } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const fileSystem = new MemoryFileSystem({ copyOnWrite: true }); // as btrfs and ZFS do
 * const events: string[] = [];
 * const onEvent = ({ type }: { type: string }) => events.push(type);
 * const buffer = await FileBuffer.open<string>({ path: "/buffer", fileSystem, onEvent });
 * await buffer.put("fits");
 * await buffer.flush();
 * fileSystem.capacityBytes = fileSystem.usedBytes;
 * await buffer.commit(await buffer.emit()); // on a part of the reserve
 * assertEquals(events.filter((type) => type.startsWith("reserve")), ["reserve-used"]);
 * await assertRejects(() => buffer.put("the reserve is for commits"), NoSpaceError);
 *
 * fileSystem.capacityBytes = Infinity;
 * await buffer.put("fits again");
 * assertEquals(events.filter((type) => type.startsWith("reserve")), ["reserve-used", "reserve-restored"]);
 * await buffer.close();
 * ```
 *
 * @module
 */

export { MemoryFileSystem } from "./memory_file_system.ts";
export type { FileHandle, FileLock, FileSystem, OpenMode } from "../fs/file_system.ts";
export { ManualClock, type ManualTimer } from "./manual_clock.ts";
export type { Clock, TimerOptions } from "../base/clock.ts";
export type { Fault, MemoryFileSystemOptions, MemoryOperation, MemoryOperationName } from "./memory_process.ts";
