/**
 * A client of Redis without a server: it takes apart what the sink sends to the script, and answers as it is told to.
 */

import { Buffer } from "node:buffer";
import type { RedisClient } from "../../src/sinks/redis.ts";

/** A record as the script gets it. */
export interface FakeEntry {
  readonly sequence: number;
  /** Names and values, by turns. */
  readonly words: readonly string[];
}

/** A call of the script. */
export interface FakeCall {
  readonly keys: readonly string[];
  readonly entries: readonly FakeEntry[];
  /** Whether the records were one argument. */
  readonly isPacked: boolean;
}

/** The client. */
export class FakeRedis implements RedisClient {
  readonly calls: FakeCall[] = [];
  readonly #answer: (call: FakeCall) => unknown;

  /** What `answer` gives is the script's answer; by default it says that all records were stored. */
  constructor(answer: (call: FakeCall) => unknown = ({ entries }) => [entries.length, 0, ""]) {
    this.#answer = answer;
  }

  async eval(_script: string, options: { keys: string[]; arguments: (string | Uint8Array)[] }): Promise<unknown> {
    const [head, words] = [options.arguments.slice(0, 5), options.arguments.slice(5)];
    const isPacked = words.length === 1;
    const call = { keys: options.keys, entries: parse(isPacked ? unpack(words[0]!) : words), isPacked };
    this.calls.push(call);
    const answer = await this.#answer(call);
    return Array.isArray(answer) && answer.length === 3 ? [...answer, 0, head[4]] : answer;
  }
}

function unpack(packed: string | Uint8Array): Buffer[] {
  const bytes = Buffer.from(packed as Uint8Array);
  const words: Buffer[] = [];
  for (let at = 5; at < bytes.length;) {
    const begin = at + 5;
    at = begin + bytes.readUInt32BE(at + 1);
    words.push(bytes.subarray(begin, at));
  }
  if (words.length !== bytes.readUInt32BE(1)) throw new Error(`${words.length} words instead of those announced`);
  return words;
}

function parse(words: readonly (string | Uint8Array)[]): FakeEntry[] {
  const texts = words.map((word) => Buffer.from(word as string).toString());
  const entries: FakeEntry[] = [];
  for (let at = 0; at < texts.length;) {
    const [first, count, width] = texts.slice(at, at + 3).map(Number) as [number, number, number];
    const names = texts.slice(at + 3, at + 3 + width);
    at += 3 + width;
    for (let i = 0; i < count; i++, at += width) {
      entries.push({ sequence: first + i, words: names.flatMap((name, k) => [name, texts[at + k]!]) });
    }
  }
  return entries;
}
