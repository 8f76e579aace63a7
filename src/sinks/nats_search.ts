/**
 * Finds which records of a batch a stream has, by reading back from its end.
 *
 * Guarantee: it names exactly the records that are stored behind the floor, or says that it can't know. Each place is read before
 * it counts, because late messages and strays may lie between the records of any batch of this buffer.
 *
 * It need not go further back than the floor, the stream's end before the batch was first sent. After a restart there is none; then
 * it ends behind 16 earlier batches of the same buffer: no more are in flight together, so what lies before was stored before the batch
 * was first handed over. Messages are read in pages. Runs of other buffers, which the stream has from earlier times, are skipped
 * in a few steps, and 64 of them end the search.
 *
 * @module
 */

import {
  identityFromText,
  identityToText,
  parseBufferUuid,
  parseFirstSequence,
  type RecordIdentity,
} from "./record_identity.ts";

/** The header with a record's identity. @internal */
export const IDENTITY_HEADER = "Sluice-Record";
/** The header that the server looks at, within its duplicate window. @internal */
export const MESSAGE_ID_HEADER = "Nats-Msg-Id";

/** The most batches of one buffer in flight. */
const MAX_IN_FLIGHT = 16;
/** The most runs of other buffers that are skipped. */
const MAX_OTHER_RUNS = 64;
/** The most messages without an identity that are passed. */
const MAX_STRAYS = 200_000;
/** The most messages that are requested together. */
const MAX_PAGE = 256;

/** The first and last number of a stream. @internal */
export interface StreamEnds {
  readonly first_seq: number;
  readonly last_seq: number;
}

/** A stored message, as far as it is looked at. @internal */
export type StoredHeader = { readonly header: { get(name: string): string } } | null;

/** What was found. @internal */
export interface Found {
  /** Sequences of the batch that are stored. */
  readonly stored: ReadonlySet<number>;
  /** Whether a message is from somebody else. */
  readonly hasStrays: boolean;
  /** Whether records may have been stored of which nothing is left to read. */
  readonly isUnknown: boolean;
}

/** The identity of a stored message; `undefined` if it is somebody else's, or gone. @internal */
export function identityOf(message: StoredHeader): RecordIdentity | undefined {
  const header = message?.header;
  return identityFromText(header?.get(IDENTITY_HEADER) || header?.get(MESSAGE_ID_HEADER) || "");
}

/** Reads a stream backwards. @internal */
export class StreamSearch {
  readonly #read: (seq: number) => Promise<StoredHeader>;
  readonly #ends: StreamEnds;
  readonly #pages = new Map<number, Promise<RecordIdentity | undefined>>();
  #pageLength = 1;

  constructor(read: (seq: number) => Promise<StoredHeader>, ends: StreamEnds) {
    this.#read = read;
    this.#ends = ends;
  }

  /** Whether the last message is somebody else's. */
  async hasStrayAtEnd(): Promise<boolean> {
    const { first_seq, last_seq } = this.#ends;
    return last_seq > 0 && last_seq >= first_seq && await this.#identityAt(last_seq) === undefined;
  }

  /** Searches behind `floor`, which is `undefined` if it isn't known. */
  async find(batchId: string, floor: number | undefined): Promise<Found> {
    const stored = new Set<number>();
    const { first_seq, last_seq } = this.#ends;
    const buffer = parseBufferUuid(batchId);
    const first = parseFirstSequence(batchId);
    const earlier = new Set<string>();
    const lowest = Math.max(first_seq, (floor ?? 0) + 1, 1);
    let [strays, otherRuns, ours] = [0, 0, 0];
    const toFound = (isUnknown: boolean): Found => ({ stored, hasStrays: strays + otherRuns > 0, isUnknown });
    for (let at = last_seq; at >= lowest;) {
      const found = await this.#identityAt(at);
      if (found !== undefined && parseBufferUuid(found.batchId) !== buffer) {
        if (++otherRuns >= MAX_OTHER_RUNS && floor === undefined) return toFound(false);
        at = await this.#startOfRun(found, at, lowest) - 1;
        continue;
      }
      if (found === undefined) strays++;
      else ours++;
      if (strays > MAX_STRAYS) return toFound(true);
      if (found?.batchId === batchId) stored.add(found.sequence);
      else if (found !== undefined && parseFirstSequence(found.batchId) < first) earlier.add(found.batchId);
      if (earlier.size > MAX_IN_FLIGHT && floor === undefined) return toFound(false);
      this.#requestPage(--at, lowest);
    }
    // What was stored behind the floor, or behind an earlier batch of ours, can't be gone while that is there.
    const isGone = first_seq > 1 &&
      (floor === undefined ? ours + otherRuns === 0 : first_seq > floor + 1);
    return toFound(isGone);
  }

  /** Finds where the consecutive records begin that end with `last` at `at`. */
  async #startOfRun(last: RecordIdentity, at: number, lowest: number): Promise<number> {
    const isInRun = async (place: number): Promise<boolean> => {
      const found = await this.#identityAt(place);
      return found?.batchId === last.batchId && found.sequence === last.sequence - (at - place);
    };
    let before = Math.max(lowest, at - (last.sequence - parseFirstSequence(last.batchId)));
    if (before >= at || await isInRun(before)) return Math.min(before, at);
    let start = at;
    while (start - before > 1) {
      const middle = Math.floor((before + start) / 2);
      if (await isInRun(middle)) start = middle;
      else before = middle;
    }
    return start;
  }

  /** Requests what is probably read next, more each time. */
  #requestPage(from: number, lowest: number): void {
    if (from < lowest || this.#pages.has(from)) return;
    this.#pages.clear();
    this.#pageLength = Math.min(this.#pageLength * 2, MAX_PAGE);
    for (let at = from; at > from - this.#pageLength && at >= lowest; at--) {
      const page = this.#request(at);
      // The one that reads it gets the error.
      page.catch(() => {});
      this.#pages.set(at, page);
    }
  }

  #identityAt(seq: number): Promise<RecordIdentity | undefined> {
    return this.#pages.get(seq) ?? this.#request(seq);
  }

  async #request(seq: number): Promise<RecordIdentity | undefined> {
    return identityOf(await this.#read(seq));
  }
}

/** The headers that say whose message it is. @internal */
export function identityLines(identity: RecordIdentity, hasMessageId: boolean): string {
  const text = identityToText(identity);
  return `${IDENTITY_HEADER}: ${text}\r\n` + (hasMessageId ? `${MESSAGE_ID_HEADER}: ${text}\r\n` : "");
}
