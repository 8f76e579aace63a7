/**
 * Sends records to a stream of Redis, one entry per record, each once, whatever is resent. Any number of producers may share the
 * stream.
 *
 * A part of a delivery, up to 1,000 records and 1 MiB, is one call: a script that Redis runs atomically. The script reads which
 * records of the batch are stored, adds the entries that are missing, and notes them in a hash beside the stream. Entries and note
 * reach the append-only file as one transaction: after a crash of the server it has both or neither. That is why it is a script. The
 * server could be killed between two commands; and a note in the entries themselves would be gone when a consumer trims the stream
 * or deletes entries.
 *
 * **What is noted.** For each buffer, the latest batches and which of their sequences are stored. A redelivered batch is one of
 * the last 16, which can be in flight; almost twice as many are kept. A batch's id includes the buffer's uuid and the batch's
 * checksum. So the records of a recreated buffer, and those that reuse sequences lost in a power cut, are never taken for duplicates.
 *
 * **Ids of the entries** are explicit and ascending: `<milliseconds>-<sequence of the record>`. The time is the server's at the
 * delivery. It is increased where the id would not be greater than the stream's last, as Redis requires
 * (https://redis.io/docs/latest/commands/xadd/).
 *
 * **What an error means.**
 *
 * | what is said | whose fault | what happens |
 * |---|---|---|
 * | `NOAUTH`, `NOPERM`, `WRONGPASS`, `WRONGTYPE`, `OOM`, `READONLY`, `MISCONF`, any other kind | the server's, until somebody acts | the records wait |
 * | `LOADING`, `BUSY`, `CLUSTERDOWN`, `TRYAGAIN`, `MASTERDOWN`, `NOREPLICAS`, a lost connection | the server's, for now | the records wait |
 * | nothing, for as long as an attempt may take | the connection's | the client reconnects, the records come again |
 * | the client is closed | its owner's | the producer stops; `resume()` goes on |
 * | an argument is larger than `proto-max-bulk-len` | that record's | it is refused, and all others are added |
 *
 * A connection that is cut three times by the same record of more than 1 MiB, though the server answers between, counts as the last
 * row: the answer may be lost with the connection.
 *
 * @module
 */

import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import type { Delivery, Send } from "../producer/delivery.ts";
import { checkText } from "./encode_records.ts";
import type { RecordIdentity, SinkResult } from "./record_identity.ts";
import { type IoRedisClient, type RedisClient, toConnection } from "./redis_client.ts";
import { type Entry, MAX_ENTRY_WORDS, SCRIPT, toEntry } from "./redis_script.ts";
import { StreamWriter } from "./redis_writer.ts";

export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export type { RecordIdentity, SinkResult } from "./record_identity.ts";
export type { IoRedisClient, RedisClient } from "./redis_client.ts";

/** Options of {@linkcode redisSink}. */
export interface RedisSinkOptions<T> {
  /** Key of the stream. */
  readonly stream: string;
  /**
   * Key of the hash that notes what was stored. In a cluster it must be in the stream's slot, as the default is: of a key with
   * a part in braces, that part alone decides on the slot.
   *
   * @default {"{<stream>}:delivered"}
   */
  readonly notes?: string | undefined;
  /**
   * Makes the fields of a record's entry; at least one, and always the same for the same record.
   *
   * @default {one field `data` with the payload}
   */
  readonly fields?:
    | ((record: T, identity: RecordIdentity) => Readonly<Record<string, string | Uint8Array>>)
    | undefined;
  /**
   * Whether the client is told to reconnect when the time of an attempt was over and nothing came back meanwhile, as when a network
   * swallows everything. The client's other commands fail then, and a client of `redis` loses its subscriptions. With false the
   * client must notice by itself: see its options `socketTimeout` and `pingInterval`.
   *
   * @default {true}
   */
  readonly reconnect?: boolean | undefined;
  /** Called after every delivery, when the stream has all of it. */
  readonly onDelivered?: ((result: SinkResult) => void) | undefined;
}

/**
 * Makes a {@linkcode Send} that adds each record to a stream of Redis, as an entry.
 *
 * Faults of the server are told from those of a record, see the head of this module: no record becomes undeliverable because a
 * password is wrong, memory is short, or a key is of another type. Records for which `fields` throws are reported as failed; all
 * others are added.
 *
 * @param client A client of `redis` from version 4 on (also of a cluster, a pool or sentinels), of `ioredis`, or of `iovalkey`.
 * @param options The stream, and how a record becomes an entry.
 * @returns The function to pass to a producer as `send`.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another package's.
 * @typeParam T The records' type.
 *
 * @example An entry for each record
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type RedisClient, redisSink } from "@sluice/buffer/sinks/redis";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: const client = await createClient({ url: "redis://localhost" }).connect(), or new Redis() of ioredis.
 * const calls: string[][] = [];
 * const client: RedisClient = {
 *   eval(_script, { keys, arguments: words }) {
 *     calls.push(keys);
 *     return Promise.resolve([1, 0, "", 0, words[4]]); // one record stored
 *   },
 * };
 * const send = redisSink<{ user: string }>(client, { stream: "logins", fields: ({ user }) => ({ user }) });
 * const buffer = await MemoryBuffer.open<{ user: string }>();
 * const producer = new Producer({ buffer, send });
 * await producer.put({ user: "ada" });
 * await producer.flush();
 * assertEquals(calls, [["logins", "{logins}:delivered"]]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function redisSink<T>(
  client: RedisClient<never> | IoRedisClient<never>,
  options: RedisSinkOptions<T>,
): Send<T> {
  const { stream, notes, fields, reconnect = true, onDelivered } = options;
  const connection = toConnection(client, SCRIPT);
  if (typeof stream !== "string" || stream === "") {
    throw new TypeError(`Cannot make a Redis sink: stream must be a key, got ${String(stream)}`);
  }
  if (notes !== undefined && (typeof notes !== "string" || notes === "")) {
    throw new TypeError(`Cannot make a Redis sink: notes must be a key, got ${String(notes)}`);
  }
  if (fields !== undefined && typeof fields !== "function") {
    throw new TypeError(`Cannot make a Redis sink: fields must be a function, got ${String(fields)}`);
  }
  if (typeof reconnect !== "boolean") {
    throw new TypeError(`Cannot make a Redis sink: reconnect must be a boolean, got ${String(reconnect)}`);
  }
  const writer = new StreamWriter({ connection, keys: [stream, notes ?? defaultNotesKey(stream)], reconnect });
  return async (delivery, { signal }) => {
    const { entries, unfit } = encodeEntries(delivery, fields);
    const { stored, duplicates, failed: tooLarge } = await writer.write(delivery, entries, signal);
    onDelivered?.({ stored, duplicates });
    const failed = [...unfit, ...tooLarge];
    if (failed.length > 0) throw new DeliveryError({ reason: failed[0]!.reason, failed, retryable: false });
  };
}

/** A key in the stream's slot of a cluster: the part in braces decides, or else the whole key. */
function defaultNotesKey(stream: string): string {
  return /\{[^}]+\}/.test(stream) ? `${stream}:delivered` : `{${stream}}:delivered`;
}

/** The name of the one field that an entry has by default. */
const PAYLOAD_NAMES: readonly string[] = ["data"];

function encodeEntries<T>(
  delivery: Delivery<T>,
  fields: RedisSinkOptions<T>["fields"],
): { entries: readonly Entry[]; unfit: readonly FailedRecord[] } {
  const { batchId, sequences, payloads } = delivery;
  const entries: Entry[] = [];
  const unfit: FailedRecord[] = [];
  if (fields === undefined) {
    for (let index = 0; index < delivery.length; index++) {
      entries.push(toEntry(index, sequences[index]!, PAYLOAD_NAMES, [payloads[index]!]));
    }
    return { entries, unfit };
  }
  // Outside of the loop: a payload that doesn't decode is none of a field's faults.
  const { records } = delivery;
  for (let index = 0; index < delivery.length; index++) {
    const sequence = sequences[index]!;
    try {
      const values = fields(records[index]!, { batchId, sequence });
      const names = Object.keys(values);
      if (names.length === 0) throw new TypeError("an entry needs a field");
      if (2 * names.length > MAX_ENTRY_WORDS) throw new TypeError(`an entry has at most ${MAX_ENTRY_WORDS / 2} fields`);
      entries.push(toEntry(index, sequence, names, names.map((name) => toValue(name, values[name]))));
    } catch (error) {
      unfit.push({ index, retryable: false, reason: String(error) });
    }
  }
  return { entries, unfit };
}

function toValue(name: string, value: unknown): string | Uint8Array {
  checkText(name, `the name of field ${JSON.stringify(name)}`);
  if (typeof value === "string") return checkText(value, `field "${name}"`);
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`field "${name}" must be a string or bytes, got ${typeof value}`);
}
