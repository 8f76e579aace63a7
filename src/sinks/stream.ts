/**
 * Deliveries into a stream of bytes, or whatever appends bytes: NDJSON, one line a record.
 *
 * ## What it guarantees, and what it can't
 *
 * Deliveries are written whole and one after the other; one counts as taken when the stream's `write()`, or the append
 * function, has resolved. That is all: **at least once**. Bytes that went into a stream carry no identity, and nothing
 * can be asked for what it has got. So a delivery is there twice when its attempt failed half way, when it was given up
 * while its bytes were already on their way, or when the process died before the batch was committed; and half a line
 * may stand before the second copy. What "resolved" means is the stream's affair: for a file or a pipe that the
 * operating system has the bytes, for a transform such as `CompressionStream` no more than that it has room for them.
 *
 * Where once is wanted: `fileSink` of `@sluice/buffer/sinks/file` for a file, or {@linkcode appendSink} with a function
 * that stores the delivery's id together with the bytes and skips an id that it has.
 *
 * @module
 */

import { runExclusive } from "../base/abortable.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import { DeliveryError } from "../errors/mod.ts";
import type { Delivery, Send, SendContext } from "../producer/delivery.ts";
import { type LineOptions, toLines } from "./lines.ts";

export type { LineOptions } from "./lines.ts";

/**
 * Makes a stream to write to: called at the first delivery, and after one has failed.
 *
 * @example A stream that is opened anew after a failure
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type OpenStream, streamSink } from "@sluice/buffer/sinks/stream";
 * import { assertEquals } from "@std/assert";
 *
 * let opened = 0;
 * const written: string[] = [];
 * const open: OpenStream = () => { // in a program: a connection
 *   const isFirst = ++opened === 1;
 *   return new WritableStream({
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
export type OpenStream = () => WritableStream<Uint8Array> | Promise<WritableStream<Uint8Array>>;

/**
 * Appends the lines of a delivery; when it returns, or its promise resolves, they are where they belong.
 *
 * @example An object for each delivery, whose name is its identity
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type Append, appendSink } from "@sluice/buffer/sinks/stream";
 * import { assertEquals } from "@std/assert";
 *
 * const bucket = new Map<string, string>(); // in a program: a store that takes an object whole or not at all
 * const append: Append<string> = (lines, { id }, { signal }) => {
 *   signal.throwIfAborted();
 *   bucket.set(`${id}.ndjson`, new TextDecoder().decode(lines));
 * };
 * const buffer = await MemoryBuffer.open<string>({ maxRecords: 2 });
 * const producer = new Producer({ buffer, send: appendSink(append) });
 * await producer.putMany(["a", "b", "c"]);
 * await producer.flush();
 * assertEquals(Array.from(bucket, ([name, lines]) => [name.slice(36), lines]), [
 *   ["-1-2.ndjson", '"a"\n"b"\n'],
 *   ["-3-3.ndjson", '"c"\n'],
 * ]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export type Append<T> = (
  lines: Uint8Array,
  delivery: Delivery<T>,
  context: SendContext,
) => Promise<void> | void;

/**
 * Makes a `Send` that writes each delivery to a stream, as one chunk. The stream is never closed; between two
 * deliveries it isn't locked.
 *
 * @param target The stream; or a function that opens one, so that there can be a new one when it has failed. When a
 * stream that was given as such fails, no retry can mend that, and the error says so.
 * @returns What to give to a producer as `send`.
 * @throws {TypeError} if `target` is neither.
 *
 * @example Into a stream that somebody reads
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
 */
export function streamSink<T>(
  target: WritableStream<Uint8Array> | OpenStream,
  options: LineOptions<T> = {},
): Send<T> {
  if (typeof target !== "function" && typeof target?.getWriter !== "function") {
    throw new TypeError(`Cannot make a stream sink: target must be a WritableStream or a function that opens one`);
  }
  const writes = new SerialQueue();
  let stream: WritableStream<Uint8Array> | undefined;
  const write = async (lines: Uint8Array): Promise<void> => {
    stream ??= typeof target === "function" ? await target() : target;
    const writer = stream.getWriter();
    try {
      await writer.ready;
      await writer.write(lines);
    } catch (cause) {
      stream = undefined;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new DeliveryError({ reason: `the stream failed: ${why}`, retryable: typeof target === "function" }, {
        cause,
      });
    } finally {
      writer.releaseLock();
    }
  };
  return (delivery, { signal }) => {
    const lines = toLines(delivery, options);
    return runExclusive(writes, () => write(lines), signal);
  };
}

/**
 * Makes a `Send` that hands the lines of each delivery to a function.
 *
 * @param append Where they go. It may throw a {@linkcode DeliveryError} to say more than "try again".
 * @returns What to give to a producer as `send`.
 * @throws {TypeError} if `append` is no function.
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
