/**
 * Holds events back while the log writes.
 *
 * Guarantees: no listener runs within a write. A listener may put, and its record would join the frames that are being written,
 * which are counted already. The events come right after the write, in order.
 *
 * @module
 */

import type { WriteGate } from "../wal/writer/log_events.ts";
import type { BufferEvent } from "./events.ts";

/** The way of one store's events to its buffer. */
export class EventGate implements WriteGate {
  readonly #tell: (event: BufferEvent) => void;
  readonly #held: BufferEvent[] = [];
  #isShut = false;

  constructor(tell: (event: BufferEvent) => void) {
    this.#tell = tell;
  }

  /** Sends an event on, or keeps it until the write has ended. */
  tell(event: BufferEvent): void {
    // Behind those that still wait, also where a listener of one of them causes this one.
    if (this.#isShut || this.#held.length > 0) this.#held.push(event);
    else this.#tell(event);
  }

  shut(): void {
    this.#isShut = true;
  }

  open(): void {
    this.#isShut = false;
    // A listener may write again, which shuts the gate: the rest comes after that write.
    while (this.#held.length > 0 && !this.#isShut) this.#tell(this.#held.shift()!);
  }
}
