/**
 * What a simulated buffer says that it has dropped to make room.
 *
 * A drop is told at once. While an emit is open, the batch before it may have been handed over already, and whoever asked
 * for it not been told yet: so drops can be kept until the emit says what came first.
 */

/** Records that were dropped together. */
export interface Drop {
  readonly first: number;
  readonly last: number;
  /** Whether it is promised to outlive a power cut. */
  readonly isSafe: boolean;
}

/** The drops of a buffer. */
export class Drops {
  #told: readonly Drop[] = [];
  #taken: readonly Drop[] = [];
  #hasTaken = false;

  /** Whether there are drops that are not taken in yet. */
  get areWaiting(): boolean {
    return this.#told.length > 0;
  }

  /** Whether anything was ever dropped. */
  get hasTaken(): boolean {
    return this.#hasTaken;
  }

  /** The buffer says so. */
  tell(drop: Drop): void {
    this.#told = [...this.#told, drop];
  }

  /** Those that were told, of records below a sequence: they are taken in. */
  take(below: number): readonly Drop[] {
    if (this.#told.length === 0) return [];
    const drops = this.#told.filter(({ first }) => first < below);
    this.#told = this.#told.filter(({ first }) => first >= below);
    this.#taken = [...this.#taken, ...drops];
    this.#hasTaken ||= drops.length > 0;
    return drops;
  }

  /** Whether a sequence is among those of this process that are taken in. */
  has(sequence: number): boolean {
    return this.#taken.some(({ first, last }) => first <= sequence && sequence <= last);
  }

  /** The process has ended: what it has dropped is done, or came back. */
  forget(): void {
    this.#taken = [];
  }
}
