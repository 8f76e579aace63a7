/**
 * What a log reports. Types only.
 *
 * @module
 */

import type { FileSystemError } from "../../errors/mod.ts";
import type { LogReader } from "../reader/log_reader.ts";
import type { DamagedRegion } from "../recovery/damage.ts";

/** What happens in a log, for events. */
export interface LogEvents {
  /** A segment was created or removed. */
  readonly onSegment: (type: "segment-created" | "segment-removed", segment: string) => void;
  /** Bytes of a former owner were found that nothing will deliver. */
  readonly onDamage: (region: DamagedRegion) => void;
  /** Something failed without loss of a record. */
  readonly onWarning: (error: FileSystemError) => void;
  /** A sync has succeeded. */
  readonly onSync: (durationMs: number) => void;
}

/** Keeps events from being told within a write. */
export interface WriteGate {
  /** A write begins: events wait. */
  shut(): void;
  /** It has ended, and all figures are right: tells what waits. */
  open(): void;
}

/** What becomes of records, for the reader and the buffer of a log. */
export interface LogListener {
  /** Is offered the frames that were written; their bytes are the log's own and change with the next put. */
  readonly reader: Pick<LogReader, "offer">;
  /** More records were acknowledged; the first of them was put at `putTime`, in the buffer's own time. */
  readonly onVisible: (putTime: number) => void;
  /** This number of accepted puts was rejected. */
  readonly onRejected: (puts: number) => void;
}
