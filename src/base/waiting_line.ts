/**
 * A queue whose entries may leave from anywhere.
 *
 * Guarantee: joining, leaving and taking the first cost the same, however long the queue. In an array, the others would move.
 *
 * @module
 */

interface Place<E> {
  readonly entry: E;
  before: Place<E> | undefined;
  behind: Place<E> | undefined;
}

/** A doubly linked queue. */
export class WaitingLine<E> {
  #first: Place<E> | undefined;
  #last: Place<E> | undefined;

  /** The entry that has waited longest. */
  get first(): E | undefined {
    return this.#first?.entry;
  }

  /**
   * Adds an entry at the end.
   *
   * @returns Removes it. To be called at most once, while the entry is in the queue.
   */
  join(entry: E): () => void {
    const place: Place<E> = { entry, before: this.#last, behind: undefined };
    if (this.#last === undefined) this.#first = place;
    else this.#last.behind = place;
    this.#last = place;
    return () => this.#leave(place);
  }

  /** Removes the first entry. */
  shift(): void {
    if (this.#first !== undefined) this.#leave(this.#first);
  }

  /** Removes all entries and returns them in order. */
  takeAll(): E[] {
    const entries: E[] = [];
    for (let place = this.#first; place !== undefined; place = place.behind) entries.push(place.entry);
    this.#first = this.#last = undefined;
    return entries;
  }

  #leave({ before, behind }: Place<E>): void {
    if (before === undefined) this.#first = behind;
    else before.behind = behind;
    if (behind === undefined) this.#last = before;
    else behind.before = before;
  }
}
