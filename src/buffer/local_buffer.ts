/**
 * What the buffers share whose log is on this machine: they can also put and flush within a call, for loggers and for handlers of
 * `exit` and `uncaughtException`, which can't await.
 *
 * @module
 */

import { BaseBuffer, type BufferDeps } from "./base_buffer.ts";
import type { BlockingStore } from "./record_store.ts";
import type { SyncRecordBuffer } from "./sync_record_buffer.ts";

/** What a {@linkcode LocalBuffer} is made from. @internal */
export interface LocalBufferDeps<T, In = T> extends BufferDeps<T, In> {
  readonly store: BlockingStore;
}

/**
 * Common base of {@linkcode FileBuffer} and {@linkcode MemoryBuffer}.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 *
 * @example A function for any buffer that can put within a call
 * ```ts
 * import { type LocalBuffer, MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * function logLine(buffer: LocalBuffer<string>, line: string): void {
 *   buffer.putSync(`${line}\n`);
 * }
 *
 * const buffer = await MemoryBuffer.open<string>();
 * logLine(buffer, "started");
 * assertEquals((await buffer.emit()).records, ["started\n"]);
 * await buffer.close();
 * ```
 */
export abstract class LocalBuffer<T, In = T> extends BaseBuffer<T, In> implements SyncRecordBuffer<T, In> {
  readonly #store: BlockingStore;

  /** Made by `open()` of the subclasses. @internal */
  protected constructor(deps: LocalBufferDeps<T, In>) {
    super(deps);
    this.#store = deps.store;
  }

  /** Accepts one record within the call; see {@linkcode SyncRecordBuffer.putSync}. */
  putSync(record: In): number {
    const { appender, canPutBlocking } = this.#store;
    if (!canPutBlocking) throw unableTo("put");
    return this.putBlocking(record, appender);
  }

  /** Syncs everything put within the call; see {@linkcode SyncRecordBuffer.flushSync}. */
  flushSync(): void {
    if (!this.#store.canSyncBlocking) throw unableTo("flush");
    this.flushBlocking(() => this.#store.flushBlocking());
  }
}

function unableTo(verb: string): TypeError {
  return new TypeError(`Cannot ${verb}: fileSystem can't sync within a call, it has no syncDirectoryBlocking()`);
}
