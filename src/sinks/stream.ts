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

import type { Delivery, Send, SendContext } from "../delivery.ts";
import { DeliveryError } from "../errors.ts";
import { TurnQueue } from "../turn_queue.ts";
import { inTurn } from "./abortable.ts";
import { type LineOptions, toLines } from "./ndjson.ts";

export type { LineOptions } from "./ndjson.ts";

/** Makes a stream to write to: called at the first delivery, and after one has failed. */
export type OpenStream = () => WritableStream<Uint8Array> | Promise<WritableStream<Uint8Array>>;

/** Appends the lines of a delivery; when it returns, or its promise resolves, they are where they belong. */
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
 * @example Write to a stream
 * ```ts
 * import { streamSink } from "@sluice/buffer/sinks/stream";
 *
 * const send = streamSink<{ n: number }>(Deno.stdout.writable);
 * if (typeof send !== "function") throw new Error("not a send function");
 * ```
 */
export function streamSink<T>(
  target: WritableStream<Uint8Array> | OpenStream,
  options: LineOptions<T> = {},
): Send<T> {
  if (typeof target !== "function" && typeof target?.getWriter !== "function") {
    throw new TypeError(`Cannot make a stream sink: target must be a WritableStream or a function that opens one`);
  }
  const writes = new TurnQueue();
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
    return inTurn(writes, () => write(lines), signal);
  };
}

/**
 * Makes a `Send` that hands the lines of each delivery to a function.
 *
 * @param append Where they go. It may throw a {@linkcode DeliveryError} to say more than "try again".
 * @returns What to give to a producer as `send`.
 * @throws {TypeError} if `append` is no function.
 *
 * @example Append to a list, once for each id
 * ```ts
 * import { appendSink } from "@sluice/buffer/sinks/stream";
 *
 * const objects = new Map<string, Uint8Array>();
 * const send = appendSink<{ n: number }>((lines, { id }) => {
 *   objects.set(`2026/${id}.ndjson`, lines); // an object store: a resend overwrites the same object
 * });
 * if (typeof send !== "function") throw new Error("not a send function");
 * ```
 */
export function appendSink<T>(append: Append<T>, options: LineOptions<T> = {}): Send<T> {
  if (typeof append !== "function") {
    throw new TypeError(`Cannot make an append sink: append must be a function, got ${typeof append}`);
  }
  return (delivery, context) => append(toLines(delivery, options), delivery, context);
}
