/**
 * Writes deliveries to a stream of bytes, or to a function that appends bytes: NDJSON, one line per record.
 *
 * ## What it guarantees, and what it can't
 *
 * Deliveries are written whole, one after the other. A delivery is acknowledged when the stream's `write()`, or the append
 * function, has resolved. That is **at least once**: bytes in a stream have no identity, and a stream can't be asked what it
 * has received. A delivery is duplicated when its attempt failed halfway, when it was aborted while its bytes were in transit, or
 * when the process died before the batch was committed. Half a line may precede the second copy. The stream decides what
 * "resolved" means: for a file or a pipe the operating system has the bytes, for a transform such as `CompressionStream` it only
 * has room for them.
 *
 * A failure is the target's, never the records', so that it makes no dead letters. One that a function opened is opened again, after
 * pauses that grow. One that was passed as such takes nothing any more: the error is `final`.
 *
 * For exactly once, use `fileSink` of `@sluice/buffer/sinks/file` for a file, or {@linkcode appendSink} with a function that
 * stores the delivery's id together with the bytes and skips an id that it has.
 *
 * @module
 */

import { runExclusive } from "../base/abortable.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import { DeliveryError } from "../errors/mod.ts";
import type { Delivery, Send, SendContext } from "../producer/delivery.ts";
import { type LineOptions, toLines } from "./lines.ts";

export type { LineOptions } from "./lines.ts";

/** Opens a stream to write to. Called at the first delivery, and after a failure. */
export type OpenStream = () => WritableStream<Uint8Array> | Promise<WritableStream<Uint8Array>>;

/** Appends the lines of a delivery. When it returns, or its promise resolves, they must be stored. */
export type Append<T> = (
  lines: Uint8Array,
  delivery: Delivery<T>,
  context: SendContext,
) => Promise<void> | void;

/**
 * Makes a `Send` that writes each delivery to a stream, as one chunk. The sink never closes the stream, and doesn't lock it
 * between deliveries.
 *
 * @param target The stream, or a function that opens one and, after a failure, another. A stream that was passed as such and has failed
 * stops the producer.
 * @param options How a record becomes a line.
 * @returns The function to pass to a producer as `send`.
 * @throws {TypeError} if `target` is neither a stream nor a function.
 * @typeParam T The records' type.
 *
 * @example Write to a stream with a reader
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { streamSink } from "@sluice/buffer/sinks/stream";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: standard output, a pipe, or the body of a request
 * const { readable, writable } = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
 * const text = new Response(readable).text();
 *
 * const buffer = await MemoryBuffer.open<{ n: number }>();
 * const producer = new Producer({ buffer, send: streamSink<{ n: number }>(writable) });
 * await producer.putMany([{ n: 1 }, { n: 2 }]);
 * await producer.flush();
 * await producer.close();
 * await writable.close(); // the sink leaves it open
 * assertEquals(await text, '{"n":1}\n{"n":2}\n');
 * await buffer.close();
 * ```
 *
 * @example Reopen the stream after a failure
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { streamSink } from "@sluice/buffer/sinks/stream";
 * import { assertEquals } from "@std/assert";
 *
 * let opened = 0;
 * const written: string[] = [];
 * const open = () => { // in a program: a connection
 *   const isFirst = ++opened === 1;
 *   return new WritableStream<Uint8Array>({
 *     write(lines) {
 *       if (isFirst) throw new Error("the connection is gone");
 *       written.push(new TextDecoder().decode(lines));
 *     },
 *   });
 * };
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer({ buffer, send: streamSink<string>(open), retry: { firstDelayMs: 1 } });
 * await producer.put("a");
 * await producer.flush();
 * assertEquals([opened, written], [2, ['"a"\n']]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function streamSink<T>(
  target: WritableStream<Uint8Array> | OpenStream,
  options: LineOptions<T> = {},
): Send<T> {
  if (typeof target !== "function" && typeof target?.getWriter !== "function") {
    throw new TypeError(`Cannot make a stream sink: target must be a WritableStream or a function that opens one`);
  }
  const writes = new SerialQueue();
  const canReopen = typeof target === "function";
  let stream: WritableStream<Uint8Array> | undefined;
  const write = async (lines: Uint8Array): Promise<void> => {
    const found = stream ??= canReopen ? await orTargetFault("can't be opened", target) : target;
    // Whoever else has the lock gives it back.
    const writer = await orTargetFault("can't be written to", () => found.getWriter());
    try {
      await writer.ready;
      await writer.write(lines);
    } catch (cause) {
      stream = undefined;
      throw toStreamError("failed", cause, { isFinal: !canReopen });
    } finally {
      writer.releaseLock();
    }
  };
  return (delivery, { signal }) => {
    const lines = toLines(delivery, options);
    return runExclusive(writes, () => write(lines), signal);
  };
}

/** Runs what comes before the lines: no record is at fault. */
async function orTargetFault<R>(what: string, run: () => R | Promise<R>): Promise<R> {
  try {
    return await run();
  } catch (cause) {
    throw cause instanceof DeliveryError ? cause : toStreamError(what, cause, { isFinal: false });
  }
}

/** A stream that has failed takes nothing any more, whatever is written: only the function that opened it helps. */
function toStreamError(what: string, cause: unknown, { isFinal }: { readonly isFinal: boolean }): DeliveryError {
  const reason = `the stream ${what}: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new DeliveryError({ reason, scope: "target", retryable: !isFinal, final: isFinal }, { cause });
}

/**
 * Makes a `Send` that passes the lines of each delivery to a function.
 *
 * @param append Stores the lines. Any error is retried; a {@linkcode DeliveryError} can say more.
 * @param options How a record becomes a line.
 * @returns The function to pass to a producer as `send`.
 * @throws {TypeError} if `append` is no function.
 * @typeParam T The records' type.
 *
 * @example An object store, where a resend overwrites the same object
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { appendSink } from "@sluice/buffer/sinks/stream";
 * import { assertEquals } from "@std/assert";
 *
 * const objects = new Map<string, string>();
 * const send = appendSink<{ n: number }>((lines, { id }, { attempt }) => {
 *   objects.set(`2026/${id}.ndjson`, new TextDecoder().decode(lines));
 *   if (attempt === 1) throw new Error("stored, but the answer was lost");
 * });
 * const buffer = await MemoryBuffer.open<{ n: number }>();
 * const producer = new Producer({ buffer, send, retry: { firstDelayMs: 1 } });
 * await producer.putMany([{ n: 1 }, { n: 2 }]);
 * await producer.flush();
 * assertEquals([...objects.values()], ['{"n":1}\n{"n":2}\n']);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function appendSink<T>(append: Append<T>, options: LineOptions<T> = {}): Send<T> {
  if (typeof append !== "function") {
    throw new TypeError(`Cannot make an append sink: append must be a function, got ${typeof append}`);
  }
  return (delivery, context) => append(toLines(delivery, options), delivery, context);
}
