/**
 * The contract between a cell and what it measures: Sluice, or what it is measured beside.
 */

import type { Item } from "../records.ts";
import type { Cell } from "../rows.ts";

/** How a contender is opened. */
export interface OpenOptions {
  readonly cell: Cell;
  /** URL of the package, for our own. */
  readonly module: string;
  readonly directory: string;
  /** The thousand records whose texts all others have, for contenders that encode beforehand. */
  readonly pool: readonly Item[];
}

/**
 * The work, as each contender does it. What is finished at the return gives nothing back; only a promise is awaited.
 * Contenders that only put have none of the methods that may be missing.
 */
export interface Contender {
  /** Puts record `index`, as safe as the cell says. */
  put(record: Item, index: number): Promise<unknown> | void;
  /** The same within the call. */
  putSync?: ((record: Item) => void) | undefined;
  /** Puts a thousand records at once. */
  putMany(records: readonly Item[]): Promise<unknown> | void;
  close(): Promise<void> | void;
  /** Whether a full batch is there. */
  shouldEmit?(): boolean;
  /** The oldest records that are not committed, decoded. */
  emit?(): Promise<readonly Item[]> | readonly Item[];
  /** Drops what `emit()` gave, as safe as a put. */
  commit?(): Promise<void> | void;
  /** Whether nothing is left. */
  isEmpty?(): boolean;
  /** Starts to deliver to a `send` that does nothing. */
  startSending?(): {
    readonly flush: () => Promise<void>;
    readonly sent: () => number;
    readonly close: () => Promise<void>;
  };
}
