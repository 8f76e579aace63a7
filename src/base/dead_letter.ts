/**
 * Dead letters as payloads: what is known of an undeliverable record, and the record's own bytes.
 *
 * A letter's payload is one JSON object, a tab, and the bytes, as they are. So a letter of a line is a line, `cut -f1` and
 * `cut -f2-` take it apart, and it is longer than the record's payload by a head of a few hundred bytes.
 *
 * Guarantee: `decode` brings the bytes back as they were, whatever codec made them, and whether or not that codec still
 * decodes them. `JSON.stringify` escapes tabs, so the first one ends the head.
 *
 * @module
 */

import { type Codec, type EncodedRecord, jsonCodec } from "./codec.ts";
import { kindOf } from "./json_text.ts";

/**
 * A record that could not be delivered.
 *
 * @typeParam T The records of the buffer.
 */
export interface DeadLetter<T> extends EncodedRecord {
  /** The same each time that this record becomes a letter: skip a letter whose key is known. */
  readonly key: string;
  /** The record's payload, byte for byte: `putEncoded()` of a buffer puts it back. */
  readonly payload: Uint8Array;
  /** The version of the codec that encoded the payload. */
  readonly codecVersion: number;
  /** The record; missing if its payload doesn't decode. It isn't kept, but decoded from the payload. */
  readonly record?: T;
  /** Why it could not be delivered; at most 1,000 characters. */
  readonly error: string;
  /** How often this process has tried to send it. */
  readonly attempts: number;
  /** Its sequence. */
  readonly sequence: number;
  /** The batch that it was in. */
  readonly batchId: string;
  /** When the letter was written, in wall time: milliseconds since 1970. */
  readonly time: number;
}

/** The longest head: 1,000 characters of six bytes each, as JSON escapes them, and what else is said. */
export const MAX_LETTER_HEAD_BYTES: number = 8 * 1024;

/** Tells these payloads from JSON, which has version 0 by default. */
const VERSION = 1;
const TAB = 0x09;

const encoder = new TextEncoder();
const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The codec of a buffer for dead letters. A {@linkcode Producer} asks for it, because a buffer with it holds a letter about
 * every record that a buffer can hold: `maxRecordBytes` is 1 GiB and 8 KiB by default, and at most; a letter that is longer than
 * `maxBytes` is a batch of its own; and `maxBacklogBytes` is 2 GiB and 8 KiB by default.
 *
 * @param codec The codec of the buffer that the records come from; it decodes {@linkcode DeadLetter.record}.
 * @returns The codec.
 * @typeParam T The records of that buffer.
 *
 * @example The very bytes, also of what no longer decodes
 * ```ts
 * import { bytesCodec, deadLetterCodec, MemoryBuffer, Producer, DeliveryError } from "@sluice/buffer";
 * import { assertEquals } from "@std/assert";
 *
 * const codec = bytesCodec();
 * const buffer = await MemoryBuffer.open({ codec });
 * const deadLetters = await MemoryBuffer.open({ codec: deadLetterCodec(codec) });
 * const producer = new Producer({
 *   buffer,
 *   send() {
 *     throw new DeliveryError({ reason: "no such column", retryable: false });
 *   },
 *   deadLetters,
 * });
 * await producer.put(Uint8Array.of(200, 0, 255));
 * await producer.flush();
 * const [letter] = (await deadLetters.emit()).records;
 * assertEquals([letter.payload, letter.sequence], [Uint8Array.of(200, 0, 255), 1]);
 * await producer.close();
 * await buffer.close();
 * await deadLetters.close();
 * ```
 */
export function deadLetterCodec<T>(codec: Codec<T, never> = jsonCodec<T>()): Codec<DeadLetter<T>> {
  return {
    version: VERSION,
    encode: encodeLetter,
    decode(bytes, version) {
      const { codecVersion, ...head } = decodeHead(bytes, version);
      const payload = bytes.slice(bytes.indexOf(TAB) + 1);
      try {
        return { ...head, codecVersion, payload, record: codec.decode(payload, codecVersion) };
      } catch {
        return { ...head, codecVersion, payload };
      }
    },
  };
}

/** Whether a codec is one of `deadLetterCodec`'s. @internal */
export function isDeadLetterCodec({ encode }: Codec<unknown, never>): boolean {
  return (encode as unknown) === encodeLetter;
}

function encodeLetter<T>(letter: DeadLetter<T>): Uint8Array {
  if (!(letter?.payload instanceof Uint8Array)) throw new TypeError(`expected a DeadLetter, got ${kindOf(letter)}`);
  const { payload, record: _, ...about } = letter;
  const head = encoder.encode(`${JSON.stringify(about)}\t`);
  const bytes = new Uint8Array(head.length + payload.length);
  bytes.set(head);
  bytes.set(payload, head.length);
  return bytes;
}

function decodeHead(bytes: Uint8Array, version: number): Omit<DeadLetter<never>, "payload" | "record"> {
  const end = bytes.indexOf(TAB);
  const head = version === VERSION && end > 0 ? JSON.parse(strictDecoder.decode(bytes.subarray(0, end))) : undefined;
  if (typeof head?.key !== "string" || !Number.isInteger(head.codecVersion)) {
    throw new TypeError("it is no dead letter");
  }
  return head;
}
