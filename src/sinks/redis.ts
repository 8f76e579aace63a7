/**
 * Sends records to a stream of Redis, one entry per record, each once, whatever is resent. Any number of producers may share the
 * stream.
 *
 * A part of a delivery is one call, a script that Redis runs atomically. The script reads which records of the batch are stored,
 * adds the entries that are missing, and notes them in a hash beside the stream. Entries and note reach the append-only file as
 * one transaction: after a crash of the server it has both or neither. That is why it is a script. The server could be killed
 * between two commands; and a note in the entries themselves would be gone when a consumer trims the stream or deletes entries.
 *
 * **What is noted.** For each buffer, the latest batches and which of their sequences are stored. A redelivered batch is one of
 * the last 16, which can be in flight; twice as many are kept. A batch's id includes the buffer's uuid and the batch's checksum.
 * So the records of a recreated buffer, and those that reuse sequences lost in a power cut, are never taken for duplicates.
 *
 * **Ids of the entries** are explicit and ascending: `<milliseconds>-<sequence of the record>`. The time is the server's at the
 * delivery. It is increased where the id would not be greater than the stream's last, as Redis requires
 * (https://redis.io/docs/latest/commands/xadd/).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { abortable } from "../base/abortable.ts";
import { DeliveryError, type FailedRecord } from "../errors/mod.ts";
import type { Delivery, Send } from "../producer/delivery.ts";
import { checkText } from "./encode_records.ts";
import { parseBufferUuid, type RecordIdentity, type SinkResult } from "./record_identity.ts";

export type { Delivery, Send, SendContext } from "../producer/delivery.ts";
export type { RecordIdentity, SinkResult } from "./record_identity.ts";

/** Redis does nothing else while the script runs: about two milliseconds for a thousand entries. */
const MAX_CALL_RECORDS = 1_000;
/** The most payload in one call, unless it is a single record. */
const MAX_CALL_BYTES = 2 ** 20;
/** Names and values of one entry: Lua's `unpack` takes somewhat less than 8,000. */
const MAX_ENTRY_WORDS = 7_800;
/** Batches that are noted per buffer: twice as many as can be in flight. */
const REMEMBERED_BATCHES = 32;

/**
 * KEYS: stream, hash of notes. ARGV: buffer, batch, how many batches to keep; then for each record its sequence, the number of
 * names and values that follow, and these. A note is a list of batches: id, then first and last sequence of each stored range,
 * as text, because JSON in Redis keeps only 14 digits of a number.
 *
 * An error of XADD (a key of another type, out of memory) must not leave entries without their note: it is caught, and returned
 * after the note was written.
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
 * What the sink uses of a client of Redis; `createClient()` and `createCluster()` of `redis` have it.
 *
 * @typeParam Argument The client's own type for an argument. The sink passes strings and `Buffer`s.
 */
export interface RedisClient<Argument = string | Uint8Array> {
  /** Runs a script. */
  eval(script: string, options: { keys: string[]; arguments: Argument[] }): Promise<unknown>;
}

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
  /** Called after every delivery, when the stream has all of it. */
  readonly onDelivered?: ((result: SinkResult) => void) | undefined;
}

/**
 * Makes a {@linkcode Send} that adds each record to a stream of Redis, as an entry.
 *
 * A key of another type, a missing permission and the like are permanent failures. A server that is loading, out of memory,
 * read-only or unreachable is tried again. Records for which `fields` throws are reported as failed; all others are added.
 *
 * @param client A connected client of Redis.
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
export function redisSink<T>(client: RedisClient<never>, options: RedisSinkOptions<T>): Send<T> {
  const { stream, notes, fields, onDelivered } = options;
  checkClient(client);
  if (typeof stream !== "string" || stream === "") {
    throw new TypeError(`Cannot make a Redis sink: stream must be a key, got ${String(stream)}`);
  }
  if (notes !== undefined && (typeof notes !== "string" || notes === "")) {
    throw new TypeError(`Cannot make a Redis sink: notes must be a key, got ${String(notes)}`);
  }
  if (fields !== undefined && typeof fields !== "function") {
    throw new TypeError(`Cannot make a Redis sink: fields must be a function, got ${String(fields)}`);
  }
  const keys = [stream, notes ?? defaultNotesKey(stream)];
  return async (delivery, { signal }) => {
    const { entries, failed } = encodeEntries(delivery, fields);
    const result = { stored: 0, duplicates: 0 };
    for (const part of splitIntoCalls(entries)) {
      // Parts of an aborted attempt and of the next one may run in any order: each is atomic in Redis, and adds only what is
      // missing.
      const head = [parseBufferUuid(delivery.batchId), delivery.batchId, String(REMEMBERED_BATCHES)];
      const answer: unknown = await abortable(
        client.eval(SCRIPT, { keys, arguments: [...head, ...part] as never[] }),
        signal,
      )
        .catch((error) => {
          throw signal.aborted ? error : toDeliveryError(error);
        });
      if (!Array.isArray(answer) || answer.length !== 3) {
        throw new DeliveryError({ reason: `the client answered ${String(answer)} to eval()`, retryable: false });
      }
      const [stored, duplicates, failure] = answer as [number, number, string];
      result.stored += stored;
      result.duplicates += duplicates;
      if (failure !== "") throw toDeliveryError(new Error(failure));
    }
    onDelivered?.(result);
    if (failed.length > 0) throw new DeliveryError({ reason: failed[0]!.reason, failed, retryable: false });
  };
}

/** Refuses clients whose `eval()` takes other arguments: every attempt would fail, as if the server were at fault. */
function checkClient(client: unknown): void {
  const { eval: run, defineCommand, send_command: send } = (client ?? {}) as Record<string, unknown>;
  const found = typeof run !== "function"
    ? `got ${client === null ? null : typeof client}`
    : typeof defineCommand === "function"
    ? "got what looks like a client of ioredis"
    : typeof send === "function"
    ? "got what looks like a client of redis before version 4"
    : undefined;
  if (found === undefined) return;
  throw new TypeError(`Cannot make a Redis sink: client must be one of the package redis, with eval(); ${found}`);
}

/** A key in the stream's slot of a cluster: the part in braces decides, or else the whole key. */
function defaultNotesKey(stream: string): string {
  return /\{[^}]+\}/.test(stream) ? `${stream}:delivered` : `{${stream}}:delivered`;
}

/** The script's arguments for one record. */
interface Entry {
  readonly words: readonly (string | Buffer)[];
  readonly bytes: number;
}

function encodeEntries<T>(
  delivery: Delivery<T>,
  fields: RedisSinkOptions<T>["fields"],
): { entries: readonly Entry[]; failed: readonly FailedRecord[] } {
  const entries: Entry[] = [];
  const failed: FailedRecord[] = [];
  // Outside of the loop: a payload that doesn't decode is none of a field's faults.
  const records = fields === undefined ? undefined : delivery.records;
  for (let index = 0; index < delivery.length; index++) {
    const sequence = delivery.sequences[index]!;
    const payload = delivery.payloads[index]!;
    try {
      const values = records === undefined
        ? { data: payload }
        : fields!(records[index]!, { batchId: delivery.batchId, sequence });
      const words = Object.entries(values).flatMap(([name, value]) => [
        checkText(name, `the name of field ${JSON.stringify(name)}`),
        toWord(name, value),
      ]);
      if (words.length === 0) throw new TypeError("an entry needs a field");
      if (words.length > MAX_ENTRY_WORDS) throw new TypeError(`an entry has at most ${MAX_ENTRY_WORDS / 2} fields`);
      const bytes = words.reduce((sum, word) => sum + word.length, 0);
      entries.push({ words: [String(sequence), String(words.length), ...words], bytes });
    } catch (error) {
      failed.push({ index, retryable: false, reason: String(error) });
    }
  }
  return { entries, failed };
}

function toWord(name: string, value: string | Uint8Array): string | Buffer {
  if (typeof value === "string") return checkText(value, `field "${name}"`);
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError(`field "${name}" must be a string or bytes, got ${typeof value}`);
}

/** Splits the entries into calls of bounded size. */
function* splitIntoCalls(entries: readonly Entry[]): Generator<(string | Buffer)[]> {
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
 * Temporary errors of the server. The first word of an error is its kind, see
 * https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors; all other kinds are permanent.
 */
const TEMPORARY =
  /^(LOADING|OOM|READONLY|MISCONF|BUSY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|UNKILLABLE|NOTREADY)\b/;
const KIND = /^[A-Z]+\b/;

function toDeliveryError(error: unknown): DeliveryError {
  const message = error instanceof Error ? error.message : String(error);
  // A system error has a code, and a client's message doesn't begin with a kind: in both cases the connection is gone.
  const isReply = typeof (error as { code?: unknown }).code !== "string" && KIND.test(message);
  return new DeliveryError({ reason: message, retryable: !isReply || TEMPORARY.test(message) }, { cause: error });
}
