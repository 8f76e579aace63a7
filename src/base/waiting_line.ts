/**
 * Those who wait for something, in the order in which they came; anyone may leave at any time.
 *
 * Guarantee: to join, to leave and to be the next one costs the same, however many wait. An array moves all the others.
 *
 * @module
 */

/** A place in the line. */
interface Place<E> {
  readonly entry: E;
  before: Place<E> | undefined;
  behind: Place<E> | undefined;
}

/** A line. */
export class WaitingLine<E> {
  #first: Place<E> | undefined;
  #last: Place<E> | undefined;

  /** The one who has waited longest. */
  get first(): E | undefined {
    return this.#first?.entry;
  }

  /**
   * Puts one behind all others.
   *
   * @returns Takes it out again; to be called once, while it is there.
   */
  join(entry: E): () => void {
    const place: Place<E> = { entry, before: this.#last, behind: undefined };
    if (this.#last === undefined) this.#first = place;
    else this.#last.behind = place;
    this.#last = place;
    return () => this.#leave(place);
  }

  /** Takes the first one out. */
  shift(): void {
    if (this.#first !== undefined) this.#leave(this.#first);
  }

  /** Takes all out, in order. */
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
