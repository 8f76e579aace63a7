/**
 * Which messages of earlier attempts may still arrive at a stream, and whether new ones may be in flight together in spite of them.
 *
 * Guarantee: a message in doubt never stores a record a second time, provided that each message is stored only behind the place that it
 * expects, and that messages are sent one by one where `isSafeTogether()` says no:
 * 1. the place that a record's message expects never goes down from one attempt to the next;
 * 2. two messages that expect one place exclude each other, and one whose place is taken is refused for ever;
 * 3. while a message in doubt may still find its place free, and the new one expects another place, messages are sent one by one:
 *    then the place of every older copy is at most the one that is sent to. After a restart nobody knows what is in doubt; then
 *    this holds for the first thousand places, the most that were sent together.
 *
 * An atomic batch is like one message, so that it needs no such care. Either it finds the stream's end where its first message expects
 * it, and jumps over the places of all older copies of its records, or it is refused as a whole.
 *
 * Limit: the first condition fails when a record that was in flight before those behind it is given up, because these move up by a place.
 * A record that is too large is never sent, so that it takes no place. What remains is a record that only the server can refuse: its
 * subject is another stream's, or the limit was lowered meanwhile. If the acknowledgements behind it are lost as well, and those messages
 * arrive after the next attempt has looked, one of them is stored twice.
 *
 * @module
 */

/** Where the messages of a batch's records are to be stored. @internal */
export interface Places {
  readonly batchId: string;
  /** Which place the message of a sequence expects. */
  readonly places: ReadonlyMap<number, number>;
}

/** Remembers what is in doubt. @internal */
export class Doubts {
  /** No message in doubt expects this number or a higher one. */
  #fence = 0;
  /** The messages in doubt below the fence, where all of them are known. */
  #known: Places | undefined;

  /** Nothing is in doubt: the stream is new. */
  clear(): void {
    this.#fence = 0;
    this.#known = undefined;
  }

  /** Any message that expects a number below `fence` may be in doubt. */
  addUnknown(fence: number): void {
    if (fence <= this.#fence) return;
    this.#fence = fence;
    this.#known = undefined;
  }

  /** Whether messages may be in flight together that expect these places; `last` is the stream's last number. */
  isSafeTogether({ batchId, places }: Places, last: number): boolean {
    if (last >= this.#fence) return true;
    return this.#known?.batchId === batchId && agree(this.#known.places, places);
  }

  /** Remembers messages in doubt, which were sent when the stream's last number was `last`. */
  add({ batchId, places }: Places, last: number): void {
    if (places.size === 0) return;
    const isClear = last >= this.#fence;
    const before = this.#known?.batchId === batchId ? this.#known.places : undefined;
    const isKnown = isClear || (before !== undefined && agree(before, places));
    this.#known = isKnown ? { batchId, places: new Map([...(isClear ? [] : before!), ...places]) } : undefined;
    this.#fence = Math.max(this.#fence, ...[...places.values()].map((place) => place + 1));
  }
}

/** Whether each record that both have expects the same place. */
function agree(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): boolean {
  return [...after].every(([sequence, place]) => (before.get(sequence) ?? place) === place);
}
