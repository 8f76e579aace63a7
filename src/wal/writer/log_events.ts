/**
 * What a log tells. Types only.
 *
 * @module
 */

import type { FileSystemError } from "../../errors/mod.ts";
import type { DamagedRegion } from "../recovery/damage.ts";

/** What happens in a log, for those who watch it. */
export interface LogEvents {
  /** A segment came or went. */
  readonly onSegment: (type: "segment-created" | "segment-removed", segment: string) => void;
  /** Bytes of a former owner turned up that nothing will deliver. */
  readonly onDamage: (region: DamagedRegion) => void;
  /** Something failed that costs no record. */
  readonly onWarning: (error: FileSystemError) => void;
  /** A sync has ended well. */
  readonly onSync: (durationMs: number) => void;
}

/** What becomes of records, for the reader and the buffer of a log. */
export interface LogListener {
  /** Frames were written to a segment; `bytes` are the log's own and change with the next put. */
  readonly onWritten: (segment: string, position: number, bytes: Uint8Array) => void;
  /** More records may be read. `putTime` is that of the first of them, on the log's own clock. */
  readonly onVisible: (putTime: number) => void;
  /** This number of puts was accepted, and then rejected. */
  readonly onRejected: (puts: number) => void;
}
