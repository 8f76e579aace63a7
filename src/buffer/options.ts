/**
 * The options that all buffers share. `resolved_options.ts` checks them.
 *
 * @module
 */

import type { BufferEvent } from "./events.ts";
import type { Clock } from "../base/clock.ts";
import type { Codec } from "../base/codec.ts";

/**
 * What to do with a put that doesn't fit the backlog.
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
export type WhenFull = "reject" | "block" | "drop-oldest";

/**
 * Options that all buffers share. Every one is checked at `open()`: TypeError or RangeError names the option.
 *
 * @example The same options for the program and for its tests
 * ```ts
 * import { type BufferOptions, FileBuffer, MemoryBuffer } from "@sluice/buffer";
 * import { MemoryFileSystem } from "@sluice/buffer/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const options: BufferOptions<{ page: string }> = { maxRecords: 2, maxAgeMs: 1_000, maxRecordBytes: 64 * 1024 };
 *
 * const disk = { path: "/events.wal", fileSystem: new MemoryFileSystem() }; // in the program: a path alone
 * for (const buffer of [await FileBuffer.open({ ...disk, ...options }), await MemoryBuffer.open(options)]) {
 *   await buffer.putMany([{ page: "/" }, { page: "/about" }, { page: "/" }]);
 *   assertEquals((await buffer.emit()).length, 2);
 *   await buffer.close();
 * }
 * ```
 */
export interface BufferOptions<T> {
  /**
   * Turns records into payloads and back.
   *
   * @default {jsonCodec()}
   */
  readonly codec?: Codec<T>;
  /**
   * A batch is full at this many records; 1 to 1,000,000.
   *
   * @default {1000}
   */
  readonly maxRecords?: number;
  /**
   * A batch never holds more payload bytes than this, and a larger record is refused; 1 to 2^30.
   *
   * @default {1_000_000}
   */
  readonly maxBytes?: number;
  /**
   * A batch is due this many milliseconds after its first record was put; 0 to 2^31 - 1.
   *
   * @default {5_000}
   */
  readonly maxAgeMs?: number;
  /**
   * The most bytes that one record's payload may have; 1 to 2^30.
   *
   * @default {16 MiB}
   */
  readonly maxRecordBytes?: number;
  /**
   * The most bytes that uncommitted records may take, payloads and framing together; 1 to 2^53 - 1.
   *
   * @default {1 GiB}
   */
  readonly maxBacklogBytes?: number;
  /**
   * What a put does when the backlog is full: `"reject"` throws BufferFullError, `"block"` waits for commits,
   * `"drop-oldest"` drops the oldest batch that is not in flight, counts it and reports it as an event.
   *
   * @default {"reject"}
   */
  readonly whenFull?: WhenFull;
  /**
   * Time and timers.
   *
   * @default {systemClock}
   */
  readonly clock?: Clock;
  /** Is told what happens. Called synchronously, must be quick; an error that it throws is ignored. */
  readonly onEvent?: (event: BufferEvent) => void;
}
