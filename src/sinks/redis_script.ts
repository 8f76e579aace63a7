/**
 * The script that adds records to a stream of Redis, and what is sent to it.
 *
 * **One argument for all records.** What a call costs is mostly its arguments: Redis reads each one by itself, and Lua copies it
 * twice. So the records of a call are packed as one, which the script unpacks (MessagePack, which every Redis has built in).
 *
 * **Atomic.** The script reads which records of the batch are stored, notes those that are missing, and adds their entries. The note
 * comes first: where writing it is refused (a permission, no memory), nothing was added, however often the call comes again. An error
 * of XADD is caught, and the note is cut back to what was added.
 *
 * **A call that arrives late** adds nothing. It may, when a connection was left because nothing came back, and the network delivers
 * in the end what was written to it. By then its batch may be forgotten. Each call has its sender and the number that the sender
 * gave the batch. A batch that isn't noted, though one 16 numbers on is known, or that is from an earlier sender, is refused. A sender
 * that is alive takes another name and calls again.
 *
 * **The answer** repeats the call's number: after a protocol error some clients take the answer to one command for that to another.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";

/** Redis does nothing else while the script runs: about two milliseconds for a thousand entries. */
const MAX_CALL_RECORDS = 1_000;
/** The most that is packed as one argument: a server's limits of an argument and of a command can't be set to less than 1 MiB. */
const MAX_PACKED_BYTES = 2 ** 20 - 2 ** 14;
/** Names and values of one entry: Lua's `unpack` takes somewhat less than 8,000. */
export const MAX_ENTRY_WORDS = 7_800;
/** What is noted per buffer: almost twice as many batches as can be in flight, and who sent them. */
const MAX_NOTES = 32;
/** The most batches that can be in flight. */
const MAX_IN_FLIGHT = 16;
/** Earlier senders that are known to be gone. */
const MAX_PAST_SENDERS = 16;
/** Head and sequence of a run, and the head of a word. */
const MAX_RUN_BYTES = 40;
const MAX_WORD_HEAD_BYTES = 5;

/** What the script answers to a call of a sender that it takes for a past one. */
export const LATE = "LATE";

/**
 * KEYS: stream, hash of notes. ARGV: buffer, batch, sender, the sender's number of the batch, number of the call; then the words,
 * packed as one or each by itself. Words are runs: sequence of the first record, how many records, how many names, the names, then
 * the values of each record.
 *
 * A note is a list of batches: id, then first and last sequence of each stored range, as text, because JSON in Redis keeps only
 * 14 digits of a number. One item has no id: the sender, its highest number, and the past senders.
 */
export const SCRIPT = `
local stream, notes, buffer, batch = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local sender, number = ARGV[3], tonumber(ARGV[4])
local known = cjson.decode(redis.call('HGET', notes, buffer) or '[]')
local note, senders
for _, one in ipairs(known) do
  if one[1] == batch then note = one elseif one[1] == '' then senders = one end
end
if not senders then
  senders = { '', sender, '0' }
  table.insert(known, 1, senders)
end
if senders[2] ~= sender then
  for i = 4, #senders do
    if senders[i] == sender then return { 0, 0, '${LATE}', 0, ARGV[5] } end
  end
  table.insert(senders, 4, senders[2])
  senders[${4 + MAX_PAST_SENDERS}] = nil
  senders[2], senders[3] = sender, '0'
end
if not note then
  if number + ${MAX_IN_FLIGHT} <= tonumber(senders[3]) then return { 0, 0, '${LATE}', 0, ARGV[5] } end
  note = { batch }
  table.insert(known, note)
  while #known > ${MAX_NOTES} do table.remove(known, known[1] == senders and 2 or 1) end
end
if number > tonumber(senders[3]) then senders[3] = ARGV[4] end

local words, at = ARGV, 6
if #ARGV == 6 then words, at = cmsgpack.unpack(ARGV[6]), 1 end

local ranges = #note
local function isStored(sequence)
  for i = 2, ranges, 2 do
    if sequence >= tonumber(note[i]) and sequence <= tonumber(note[i + 1]) then return true end
  end
  return false
end
local function add(first, last)
  if #note > 1 and tonumber(note[#note]) == first - 1 then
    note[#note] = string.format('%.0f', last)
  else
    table.insert(note, string.format('%.0f', first))
    table.insert(note, string.format('%.0f', last))
  end
end

local missing, duplicates = {}, 0
local before = cjson.encode(note)
while at <= #words do
  local first, count, width = tonumber(words[at]), tonumber(words[at + 1]), tonumber(words[at + 2])
  local names = at + 3
  local values = names + width
  local part
  for i = 0, count - 1 do
    if ranges > 1 and isStored(first + i) then
      duplicates, part = duplicates + 1, nil
    elseif part then
      part.last = first + i
    else
      part = { first = first + i, last = first + i, width = width, names = names, values = values + i * width }
      table.insert(missing, part)
    end
  end
  at = values + count * width
end
if #missing == 0 then return { 0, duplicates, '', 0, ARGV[5] } end
for _, part in ipairs(missing) do add(part.first, part.last) end

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
local time = math.max(clock[1] * 1000 + math.floor(clock[2] / 1000), lastTime)
redis.call('HSET', notes, buffer, cjson.encode(known))

local call, format = redis.pcall, string.format
local stored = 0
for done, part in ipairs(missing) do
  if time == lastTime and part.first <= lastSequence then time = time + 1 end
  local head, value, width = format('%.0f-', time), part.values, part.width
  local name, entry = words[part.names], {}
  for i = 1, width do entry[2 * i - 1] = words[part.names + i - 1] end
  for sequence = part.first, part.last do
    local answer
    if width == 1 then
      answer = call('XADD', stream, head .. format('%.0f', sequence), name, words[value])
    else
      for i = 1, width do entry[2 * i] = words[value + i - 1] end
      answer = call('XADD', stream, head .. format('%.0f', sequence), unpack(entry))
    end
    if type(answer) == 'table' and answer.err then
      local old = cjson.decode(before)
      for i = #note, 1, -1 do note[i] = old[i] end
      for i = 1, done - 1 do add(missing[i].first, missing[i].last) end
      if sequence > part.first then add(part.first, sequence - 1) end
      redis.call('HSET', notes, buffer, cjson.encode(known))
      return { stored, duplicates, answer.err, format('%.0f', sequence), ARGV[5] }
    end
    stored, value = stored + 1, value + width
  end
  lastTime, lastSequence = time, part.last
end
return { stored, duplicates, '', 0, ARGV[5] }
`;

/** Who calls the script; one for each sink. */
export class Sender {
  #name = randomUUID();
  #number = 0;
  #call = 0;
  /** Numbers of the latest batches, in their order. */
  readonly #batches = new Map<string, number>();

  /** The arguments in front of the words, with a new number of the call as the last. */
  head(buffer: string, batchId: string): string[] {
    let number = this.#batches.get(batchId);
    if (number === undefined) {
      this.#batches.set(batchId, number = ++this.#number);
      if (this.#batches.size > MAX_NOTES) this.#batches.delete(this.#batches.keys().next().value!);
    }
    return [buffer, batchId, this.#name, String(number), String(++this.#call)];
  }

  /** Takes another name than that of a call, which the script took for one of a sender that is gone. */
  rename(head: readonly string[]): void {
    if (head[2] !== this.#name) return;
    this.#name = randomUUID();
    this.#number = 0;
    this.#batches.clear();
  }
}

/** A record as it is sent. */
export interface Entry {
  /** Its position in the delivery. */
  readonly index: number;
  readonly sequence: number;
  readonly names: readonly string[];
  readonly values: readonly (string | Uint8Array)[];
  /** The most that it can take when it is packed. */
  readonly bytes: number;
}

/** Makes an entry of the names and values of a record. */
export function toEntry(
  index: number,
  sequence: number,
  names: readonly string[],
  values: readonly (string | Uint8Array)[],
): Entry {
  let bytes = MAX_RUN_BYTES;
  for (const name of names) bytes += byteLength(name) + MAX_WORD_HEAD_BYTES;
  for (const value of values) bytes += byteLength(value) + MAX_WORD_HEAD_BYTES;
  return { index, sequence, names, values, bytes };
}

/** Splits entries into the parts that are sent by a call each. */
export function* splitIntoCalls(entries: readonly Entry[]): Generator<readonly Entry[]> {
  let begin = 0;
  let bytes = 0;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    if (i > begin && (i - begin === MAX_CALL_RECORDS || bytes + entry.bytes > MAX_PACKED_BYTES)) {
      yield entries.slice(begin, i);
      begin = i;
      bytes = 0;
    }
    bytes += entry.bytes;
  }
  if (entries.length > begin) yield entries.slice(begin);
}

/** Whether no server may refuse an argument of this call as too large. */
export function isSmall(entries: readonly Entry[]): boolean {
  return entries.length !== 1 || entries[0]!.bytes <= MAX_PACKED_BYTES;
}

/** The arguments with the records: packed as one, but for a record that is too large for that. */
export function toWords(entries: readonly Entry[]): (string | Buffer)[] {
  const runs: Entry[][] = [];
  for (const entry of entries) {
    const run = runs.at(-1);
    const before = run?.at(-1);
    if (before !== undefined && before.sequence === entry.sequence - 1 && haveSameNames(before, entry)) {
      run!.push(entry);
    } else runs.push([entry]);
  }
  if (isSmall(entries)) return [pack(runs, entries.reduce((sum, { bytes }) => sum + bytes, 0) + MAX_WORD_HEAD_BYTES)];
  const { sequence, names, values } = entries[0]!;
  return [String(sequence), "1", String(names.length), ...names, ...values.map(toBuffer)];
}

function haveSameNames({ names }: Entry, { names: others }: Entry): boolean {
  return names === others || (names.length === others.length && names.every((name, i) => name === others[i]));
}

/** Packs runs as an array of strings, in `maxBytes` or less. */
function pack(runs: readonly (readonly Entry[])[], maxBytes: number): Buffer {
  const packed = Buffer.allocUnsafe(maxBytes);
  let words = 0;
  let at = MAX_WORD_HEAD_BYTES;
  const add = (word: string | Uint8Array): void => {
    const begin = at + MAX_WORD_HEAD_BYTES;
    if (typeof word === "string") at = begin + packed.write(word, begin);
    else {
      packed.set(word, begin);
      at = begin + word.length;
    }
    packed[begin - MAX_WORD_HEAD_BYTES] = 0xdb; // a string, its length in 32 bits
    packed.writeUInt32BE(at - begin, begin - 4);
    words++;
  };
  for (const run of runs) {
    const { sequence, names } = run[0]!;
    add(String(sequence));
    add(String(run.length));
    add(String(names.length));
    for (const name of names) add(name);
    for (const { values } of run) for (const value of values) add(value);
  }
  packed[0] = 0xdd; // an array, its length in 32 bits
  packed.writeUInt32BE(words, 1);
  return packed.subarray(0, at);
}

function toBuffer(value: string | Uint8Array): string | Buffer {
  return typeof value === "string" ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

function byteLength(word: string | Uint8Array): number {
  return typeof word === "string" ? Buffer.byteLength(word) : word.length;
}
