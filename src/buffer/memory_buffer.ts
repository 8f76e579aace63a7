/**
 * `MemoryBuffer`: the same interface without a file. For tests, and for data that may go with the process.
 *
 * It guarantees what `RecordBuffer` says, within one process: order, batches with stable identity, limits, ages. Records
 * are encoded at the put all the same, so that what comes out is `decode(encode(record))` here, too.
 *
 * @module
 */

import { stampClock } from "../base/clock.ts";
import { isJsonCodec } from "../base/codec.ts";
import { LocalBuffer } from "./local_buffer.ts";
import { MemoryStore } from "./memory_store.ts";
import { type BufferOptions, resolveOptions } from "./options.ts";

/**
 * Options of {@linkcode MemoryBuffer.open}.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 */
export type MemoryBufferOptions<T, In = T> = BufferOptions<T, In>;

/**
 * A buffer in memory. Its methods are described at {@linkcode RecordBuffer}.
 *
 * @typeParam T The records of the buffer.
 * @typeParam In What may be put; more than `T` where a schema fills in defaults.
 *
 * @example Put, emit, commit
 * ```ts
 * import { MemoryBuffer } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
 * await buffer.putMany(["a", "b", "c"]);
 * const batch = await buffer.emit();
 * assertEquals(batch.records, ["a", "b"]);
 * await buffer.commit(batch);
 * assertEquals(buffer.stats().pendingRecords, 1);
 * await buffer.close();
 * ```
 */
export class MemoryBuffer<T, In = T> extends LocalBuffer<T, In> {
  /**
   * Makes an empty buffer.
   *
   * @typeParam T The records of the buffer.
   * @typeParam In What may be put; more than `T` where a schema fills in defaults.
   * @param options All of them have defaults.
   * @returns The buffer.
   * @throws {TypeError} if an option has the wrong type, or is unknown.
   * @throws {RangeError} if a number is out of range.
   *
   * @example Every record a batch of its own, at once
   * ```ts
   * import { MemoryBuffer, type MemoryBufferOptions } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const options: MemoryBufferOptions<string> = { maxRecords: 1, maxAgeMs: 0 };
   * const buffer = await MemoryBuffer.open(options);
   * await buffer.putMany(["a", "b"]);
   * assertEquals(buffer.shouldEmit(), true);
   * assertEquals((await buffer.emit()).records, ["a"]);
   * await buffer.close();
   * ```
   *
   * @example Keep the newest records, and know what that costs
   * ```ts
   * import { MemoryBuffer, type WhenFull } from "@sluice/buffer";
   * import { assertEquals } from "@std/assert";
   *
   * const whenFull: WhenFull = "drop-oldest"; // right for samples, wrong for payments
   * const buffer = await MemoryBuffer.open<number>({ whenFull, maxBacklogBytes: 100, maxRecords: 5 });
   * for (let sample = 1; sample <= 100; sample++) await buffer.put(sample);
   *
   * const { dropped, rejected, pendingRecords } = buffer.stats();
   * assertEquals([rejected, dropped + pendingRecords], [0, 100]);
   * const kept: number[] = [];
   * for await (const batch of buffer.batches({ flush: true })) {
   *   kept.push(...batch);
   *   await buffer.commit(batch);
   * }
   * assertEquals(kept.at(-1), 100);
   * await buffer.close();
   * ```
   */
  static open<T, In = T>(options: MemoryBufferOptions<T, In> = {}): Promise<MemoryBuffer<T, In>> {
    try {
      const resolved = resolveOptions(options);
      const time = stampClock(resolved.clock);
      const { codec } = resolved;
      const store = new MemoryStore(time, { codecVersion: codec.version ?? 0, isJson: isJsonCodec(codec) });
      return Promise.resolve(new MemoryBuffer<T, In>({ store, options: resolved, time }));
    } catch (error) {
      return Promise.reject(error);
    }
  }
}
