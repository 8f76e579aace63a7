/**
 * Sends records to a stream of Redis, one entry a record, each once, whatever is sent again. Any number of producers may
 * share the stream.
 *
 * A part of a delivery goes in one call, a script that Redis runs as a whole, with nothing in between. The script looks
 * at what the stream has of the batch, adds the entries that it has not, and notes them, in a hash beside the stream.
 * Entries and note reach the append-only file as one transaction, so after a crash of the server either both are there or
 * neither is. That is why it is a script: between two commands the server could be killed, and with the note in the
 * entries themselves, nothing would be left to ask once a consumer has trimmed the stream or deleted them.
 *
 * **What is noted.** For each buffer the batches that came last, and which of their sequences are stored. A batch that
 * comes again is one of the last 16 that were in flight; twice as many are kept. The buffer's uuid and the batch's
 * checksum are part of the id, so records of a buffer that was begun anew, or that got sequences of records which a power
 * cut has taken, are never taken for duplicates: they are added.
 *
 * **Ids of the entries** are explicit and ascending: `<milliseconds>-<sequence of the record>`. The time is the server's
 * at the delivery; it is raised where the id would not be greater than the last of the stream, as Redis demands
 * (https://redis.io/docs/latest/commands/xadd/).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { abortable } from "../base/abortable.ts";
import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import type { Delivery, Send } from "../producer/delivery.ts";
import { bufferOf, type RecordIdentity, type SinkResult } from "./record_identity.ts";

export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export type { RecordIdentity, SinkResult } from "./record_identity.ts";

/** Redis does nothing else while the script runs: a thousand entries take it about two milliseconds. */
const MAX_CALL_RECORDS = 1_000;
/** A call with more payload than this ends, unless it is a single record. */
const MAX_CALL_BYTES = 2 ** 20;
/** Batches of a buffer that are remembered: twice as many as can be in flight. */
const REMEMBERED_BATCHES = 32;

/**
 * KEYS: stream, hash of notes. ARGV: buffer, batch, how many batches to remember; then, for each record, its sequence,
 * the number of names and values that follow, and these. A note is a list of batches: id, then first and last sequence of
 * each stored range, as text, because JSON here keeps 14 digits of a number.
 *
 * An error of XADD (such as a key of another type, or no memory) must not leave entries without their note: it is caught,
 * and told after the note was written.
 */
const SCRIPT = `
local stream, notes, buffer, batch = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local known = cjson.decode(redis.call('HGET', notes, buffer) or '[]')
local note
for _, one in ipairs(known) do
  if one[1] == batch then note = one end
end
if not note then
  note = { batch }
  table.insert(known, note)
  if #known > tonumber(ARGV[3]) then table.remove(known, 1) end
end
local function isStored(sequence)
  for i = 2, #note, 2 do
    if sequence >= tonumber(note[i]) and sequence <= tonumber(note[i + 1]) then return true end
  end
  return false
end

local lastTime, lastSequence = 0, 0
if redis.call('EXISTS', stream) == 1 then
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local time, sequence = string.match(info[i + 1], '^(%d+)-(%d+)$')
      lastTime, lastSequence = tonumber(time), tonumber(sequence)
    end
  end
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local stored, duplicates, failure = 0, 0, ''
local at = 4
while at <= #ARGV do
  local sequence, count = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if isStored(sequence) then
    duplicates = duplicates + 1
  else
    local time = math.max(now, lastTime)
    if time == lastTime and sequence <= lastSequence then time = time + 1 end
    local id = string.format('%.0f-%.0f', time, sequence)
    local answer = redis.pcall('XADD', stream, id, unpack(ARGV, at + 2, at + 1 + count))
    if type(answer) == 'table' and answer.err then
      failure = answer.err
      break
    end
    stored = stored + 1
    lastTime, lastSequence = time, sequence
    local text = string.format('%.0f', sequence)
    if #note > 1 and tonumber(note[#note]) == sequence - 1 then
      note[#note] = text
    else
      table.insert(note, text)
      table.insert(note, text)
    end
  end
  at = at + 2 + count
end
if stored > 0 then redis.call('HSET', notes, buffer, cjson.encode(known)) end
return { stored, duplicates, failure }
`;

/**
 * What the sink uses of a client of Redis; `createClient()` and `createCluster()` of `redis` are such.
 *
 * @example A client that is asked again while the server loads its data
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type RedisClient, redisSink } from "@sluice/buffer/sinks/redis";
 * import { assertEquals } from "@std/assert";
 *
 * let calls = 0;
 * const client: RedisClient = {
 *   eval() {
 *     if (++calls === 1) return Promise.reject(new Error("LOADING Redis is loading the dataset in memory"));
 *     return Promise.resolve([1, 0, ""]); // stored, known, no failure
 *   },
 * };
 * const buffer = await MemoryBuffer.open<string>();
 * const send = redisSink<string>(client, { stream: "lines" });
 * const producer = new Producer({ buffer, send, retry: { firstDelayMs: 1 } });
 * await producer.put("a");
 * await producer.flush();
 * assertEquals([calls, producer.stats().deliveredRecords], [2, 1]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface RedisClient {
  /** Runs a script. */
  eval(script: string, options: { keys: string[]; arguments: (string | Buffer)[] }): Promise<unknown>;
}

/**
 * Options of {@linkcode redisSink}.
 *
 * @example Fields that a consumer can read without JSON
 * ```ts
 * import type { RedisSinkOptions } from "@sluice/buffer/sinks/redis";
 * import { assertEquals } from "@std/assert";
 *
 * const options: RedisSinkOptions<{ user: string; at: Date }> = {
 *   stream: "{logins}:2026", // the braces say which slot of a cluster
 *   notes: "{logins}:notes", // in the same slot
 *   fields: ({ user, at }, { sequence }) => ({ user, at: at.toISOString(), n: String(sequence) }),
 * };
 * assertEquals(options.fields?.({ user: "ada", at: new Date(0) }, { batchId: "5f0c-7-7", sequence: 7 }), {
 *   user: "ada",
 *   at: "1970-01-01T00:00:00.000Z",
 *   n: "7",
 * });
 * ```
 */
export interface RedisSinkOptions<T> {
  /** Key of the stream. */
  readonly stream: string;
  /**
   * Key of the hash that notes what was stored. In a cluster it must be in the slot of the stream, as the default is.
   *
   * @default {"{<stream>}:delivered"}
   */
  readonly notes?: string;
  /**
   * Names and values of the entry for a record; at least one, and the same for the same record.
   *
   * @default {one field `data` with the payload}
   */
  readonly fields?: (record: T, identity: RecordIdentity) => Readonly<Record<string, string | Uint8Array>>;
  /** Is told of every delivery that the stream has. */
  readonly onDelivered?: (result: SinkResult) => void;
}

/**
 * Makes a {@linkcode Send} that adds to a stream of Redis, each record as an entry.
 *
 * A key of another type, a missing permission and the like can't be mended by trying again; a server that is loading, out
 * of memory, read-only or away can. Records for which `fields` throws are reported as failed, all others are added.
 *
 * @param client A client of Redis that is connected.
 * @param options The stream, and what an entry holds.
 * @returns The function to give to a producer.
 * @throws {TypeError} if an option is missing or of the wrong type.
 *
 * @example An entry for each record
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type RedisClient, redisSink } from "@sluice/buffer/sinks/redis";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: const client = await createClient({ url: "redis://localhost" }).connect();
 * const calls: (string | Uint8Array)[][] = [];
 * const client: RedisClient = {
 *   eval(_script, { keys, arguments: words }) {
 *     calls.push([...keys, ...words.slice(-4)]);
 *     return Promise.resolve([1, 0, ""]);
 *   },
 * };
 * const send = redisSink<{ user: string }>(client, { stream: "logins", fields: ({ user }) => ({ user }) });
 * const buffer = await MemoryBuffer.open<{ user: string }>();
 * const producer = new Producer({ buffer, send });
 * await producer.put({ user: "ada" });
 * await producer.flush();
 * assertEquals(calls, [["logins", "{logins}:delivered", "1", "2", "user", "ada"]]); // sequence 1, two words
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function redisSink<T>(client: RedisClient, options: RedisSinkOptions<T>): Send<T> {
  const { stream, notes, fields, onDelivered } = options;
  if (typeof stream !== "string" || stream === "") {
    throw new TypeError(`Cannot make a sink: stream must be a key, got ${String(stream)}`);
  }
  if (notes !== undefined && (typeof notes !== "string" || notes === "")) {
    throw new TypeError(`Cannot make a sink: notes must be a key, got ${String(notes)}`);
  }
  if (fields !== undefined && typeof fields !== "function") {
    throw new TypeError(`Cannot make a sink: fields must be a function, got ${String(fields)}`);
  }
  const keys = [stream, notes ?? notesOf(stream)];
  return async (delivery, { signal }) => {
    const { entries, failed } = entriesOf(delivery, fields);
    const result = { stored: 0, duplicates: 0 };
    for (const part of partsOf(entries)) {
      // The parts of an attempt that was given up, and of the next one, may run in any order: each is one step for
      // Redis, and adds only what isn't there.
      const head = [bufferOf(delivery.batchId), delivery.batchId, String(REMEMBERED_BATCHES)];
      const answer = await abortable(client.eval(SCRIPT, { keys, arguments: [...head, ...part] }), signal)
        .catch((error) => {
          throw signal.aborted ? error : failureOf(error);
        });
      const [stored, duplicates, failure] = answer as [number, number, string];
      result.stored += stored;
      result.duplicates += duplicates;
      if (failure !== "") throw failureOf(new Error(failure));
    }
    onDelivered?.(result);
    if (failed.length > 0) throw new DeliveryError({ reason: failed[0]!.reason, failed, retryable: false });
  };
}

/** A key in the same slot of a cluster as the stream: the part in braces, or the whole, decides. */
function notesOf(stream: string): string {
  return /\{[^}]+\}/.test(stream) ? `${stream}:delivered` : `{${stream}}:delivered`;
}

/** The arguments for one record. */
interface Entry {
  readonly words: readonly (string | Buffer)[];
  readonly bytes: number;
}

function entriesOf<T>(
  delivery: Delivery<T>,
  fields: RedisSinkOptions<T>["fields"],
): { entries: readonly Entry[]; failed: readonly FailedRecord[] } {
  const entries: Entry[] = [];
  const failed: FailedRecord[] = [];
  for (let index = 0; index < delivery.length; index++) {
    const sequence = delivery.sequences[index]!;
    const payload = delivery.payloads[index]!;
    try {
      const values = fields === undefined
        ? { data: payload }
        : fields(delivery.records[index]!, { batchId: delivery.batchId, sequence });
      const words = Object.entries(values).flatMap(([name, value]) => [name, toWord(name, value)]);
      if (words.length === 0) throw new TypeError("an entry needs a field");
      const bytes = words.reduce((sum, word) => sum + word.length, 0);
      entries.push({ words: [String(sequence), String(words.length), ...words], bytes });
    } catch (error) {
      failed.push({ index, retryable: false, reason: String(error) });
    }
  }
  return { entries, failed };
}

function toWord(name: string, value: string | Uint8Array): string | Buffer {
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError(`field "${name}" must be a string or bytes, got ${typeof value}`);
}

/** Cuts the entries into calls of bounded size. */
function* partsOf(entries: readonly Entry[]): Generator<(string | Buffer)[]> {
  let words: (string | Buffer)[] = [];
  let records = 0;
  let bytes = 0;
  for (const entry of entries) {
    if (records === MAX_CALL_RECORDS || (records > 0 && bytes + entry.bytes > MAX_CALL_BYTES)) {
      yield words;
      words = [];
      records = 0;
      bytes = 0;
    }
    words.push(...entry.words);
    records++;
    bytes += entry.bytes;
  }
  if (records > 0) yield words;
}

/**
 * Errors of the server that the next attempt won't meet with certainty. The first word of an error is its kind, see
 * https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors; those not named here are for good.
 */
const PASSING =
  /^(LOADING|OOM|READONLY|MISCONF|BUSY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|UNKILLABLE|NOTREADY)\b/;
const KIND = /^[A-Z]+\b/;

function failureOf(error: unknown): DeliveryError {
  const message = error instanceof Error ? error.message : String(error);
  // What the system says has a code, and what the client says doesn't begin with a kind: the connection is gone.
  const isReply = typeof (error as { code?: unknown }).code !== "string" && KIND.test(message);
  return new DeliveryError({ reason: message, retryable: !isReply || PASSING.test(message) }, { cause: error });
}
