/**
 * Appends to a log: accepts records, writes them, and acknowledges them.
 *
 * - **One write per tick.** `accept` only assigns a sequence; at the end of the tick, one call writes all that was accepted.
 *   Nothing is acknowledged before it is written.
 * - **A failed write leaves nothing.** The segment writer cuts the file back. The sequences are reused, which is right because
 *   everything that was accepted and not yet written fails as well.
 * - **A sync per put** (`isSynced`): a write is acknowledged by the first sync that begins after it; see `sync_queue.ts`.
 *
 * @module
 */

import { PacedReplies } from "../../base/event_loop.ts";
import type { MaybePromise } from "../../base/maybe_promise.ts";
import { FileSystemError } from "../../errors/mod.ts";
import type { Ownership } from "../ownership.ts";
import type { LogPosition } from "../position.ts";
import type { PutTimes } from "../put_times.ts";
import { FrameBuilder } from "./frame_builder.ts";
import type { LogEnds } from "./log_ends.ts";
import type { LogListener, WriteGate } from "./log_events.ts";
import type { LogHealth } from "./log_health.ts";
import { PutGroup } from "./put_group.ts";
import type { Rotation } from "./rotation.ts";
import type { SegmentList } from "./segment_list.ts";
import type { SyncQueue } from "./sync_queue.ts";

/** The writes that are acknowledged before the event loop gets a turn: a few milliseconds' worth. */
const WRITES_A_TURN = 2000;
/** The answers of puts are chained to it, so that they come as soon as the tick has ended. */
const TICK: Promise<void> = Promise.resolve();

export interface LogAppenderDeps {
  /** The buffer's own time: wall time at the start, then monotonic. */
  readonly time: () => number;
  readonly putTimes: PutTimes;
  /** Whether a put is acknowledged only after a sync. */
  readonly isSynced: boolean;
  /** How long ago the ownership may have been verified when a write is acknowledged without a sync. */
  readonly maxUnverifiedMs: number;
  readonly ownership: Pick<Ownership, "verify">;
  readonly health: LogHealth;
  readonly ends: LogEnds;
  readonly segments: SegmentList;
  readonly rotation: Rotation;
  readonly syncs: SyncQueue;
  readonly gate: WriteGate;
}

/** Appends to one log. */
export class LogAppender {
  /** Records are added here, and become part of the log by `accept`. */
  readonly builder: FrameBuilder = new FrameBuilder();
  readonly #deps: LogAppenderDeps;
  readonly #ends: LogEnds;
  #listener: LogListener | undefined;
  /** The sequence that the next record gets. */
  #next: number;
  /** The unwritten puts of this tick; `undefined` if there are none. */
  #group: PutGroup | undefined;
  readonly #replies = new PacedReplies(WRITES_A_TURN);
  /** The unacknowledged writes: their first sequences and put times. Only with `isSynced`. */
  #unsynced: { readonly first: number; readonly putTime: number }[] = [];
  /** When the ownership was last verified before a write, on the log's own clock. */
  #verifiedAt: number;

  constructor(deps: LogAppenderDeps) {
    this.#deps = deps;
    this.#ends = deps.ends;
    this.#next = deps.ends.written.nextSequence;
    this.#verifiedAt = deps.time();
  }

  /** Reports to `listener` from now on. */
  listen(listener: LogListener): void {
    this.#listener = listener;
  }

  /** Bytes of all frames accepted so far, from the start of the log, and of those added since. */
  get acceptedLogBytes(): number {
    return this.#ends.written.logBytes + this.builder.length;
  }

  /**
   * Makes the last `count` records added to the builder part of the log.
   *
   * @returns Resolves with the first one's sequence when they are persisted. If it rejects, none of them is in the log.
   */
  accept(count: number): Promise<number> {
    const firstSequence = this.#next;
    this.#next += count;
    const group = this.#group ??= new PutGroup();
    group.puts++;
    return TICK.then(() => {
      // The first one to arrive here writes for all.
      if (group === this.#group) this.writeAccepted();
      return group.answer(firstSequence);
    });
  }

  /**
   * As `accept`, but within the call: it writes what was accepted in this tick, and with `isSynced` syncs it.
   *
   * @returns The first one's sequence. If it throws, none of them is in the log.
   */
  acceptBlocking(count: number): number {
    const { gate, isSynced } = this.#deps;
    const firstSequence = this.#next;
    this.#next += count;
    const group = this.#group ??= new PutGroup();
    group.puts++;
    gate.shut();
    try {
      if (isSynced) this.#prepareSync(group);
      if (group === this.#group) {
        this.#group = undefined;
        this.#writeGroup(group, true);
      }
    } finally {
      gate.open();
    }
    // Its outcome is known by now.
    return group.answer(firstSequence) as number;
  }

  /** Before a write that is synced within the call: opens and syncs whatever else has to be, so that nothing is written if that fails. */
  #prepareSync(group: PutGroup): void {
    const { health, rotation, syncs } = this.#deps;
    try {
      if (health.failure !== undefined) throw health.failure;
      const { writer } = rotation.segmentFor(this.builder.length, this.#ends.written);
      syncs.syncOthersBlocking(writer);
      writer.prepareBlocking();
    } catch (error) {
      const wasBegun = error instanceof FileSystemError && error.operation.startsWith("sync");
      this.#group = undefined;
      this.builder.reset();
      this.#next = this.#ends.written.nextSequence;
      this.#reject(group, wasBegun ? health.fail(error) : health.failure ?? error);
    }
  }

  /** Writes what was accepted, without waiting for the end of the tick; returns where the log ends then. */
  writeAccepted(): LogPosition {
    const group = this.#group;
    if (group === undefined) return this.#ends.written;
    this.#group = undefined;
    const { gate } = this.#deps;
    gate.shut();
    let end: LogPosition;
    try {
      this.#writeGroup(group, false);
    } finally {
      end = this.#ends.written;
      gate.open();
    }
    return end;
  }

  /** Writes a group, and answers its puts or hands them to the sync that does. */
  #writeGroup(group: PutGroup, isBlocking: boolean): void {
    const { time, isSynced, syncs } = this.#deps;
    const putTime = time();
    const first = this.#ends.written.nextSequence;
    try {
      this.#write(putTime);
    } catch (error) {
      return this.#undoWrite(error, group, isBlocking);
    }
    if (isSynced) {
      this.#unsynced.push({ first, putTime });
      if (isBlocking) return this.#syncGroup(group);
      syncs.wait({ resolve: () => group.resolve(), reject: (failure) => this.#reject(group, failure) });
      return;
    }
    this.#ends.acknowledged = this.#ends.written;
    if (!isBlocking && this.#replies.mustHold()) this.#replies.hold(group);
    else group.resolve();
    syncs.schedule();
    this.#listener?.onVisible(putTime);
  }

  /** Syncs within the call what a group wrote. */
  #syncGroup(group: PutGroup): void {
    try {
      this.#deps.syncs.syncBlocking();
    } catch (error) {
      // All that had to be opened was opened before the write: whatever it is, the write can't stay unsynced.
      return this.#reject(group, this.#deps.health.fail(error));
    }
    group.resolve();
  }

  /** Resolves when everything written by now is acknowledged or rejected; `undefined` if it is already. */
  awaitAcknowledged(): MaybePromise<void> {
    const { acknowledged, written } = this.#ends;
    if (acknowledged.nextSequence >= written.nextSequence) return undefined;
    this.writeAccepted();
    return this.#deps.syncs.sync();
  }

  /** Everything up to `end` is on stable storage: acknowledges what isn't yet. */
  onSynced(end: LogPosition): void {
    if (end.nextSequence <= this.#ends.acknowledged.nextSequence) return;
    const putTime = this.#unsynced[0]?.putTime ?? this.#deps.time();
    if (end === this.#ends.written) this.#unsynced.length = 0;
    else this.#unsynced = this.#unsynced.filter(({ first }) => first >= end.nextSequence);
    this.#ends.acknowledged = end;
    this.#listener?.onVisible(putTime);
  }

  /** Resolves the answers that wait for the event loop. */
  close(): void {
    this.#replies.flush();
  }

  /** Writes the builder's frames to the active segment, or to a new one. */
  #write(putTime: number): void {
    const { health, maxUnverifiedMs, ownership, putTimes, rotation, segments, syncs } = this.#deps;
    // With `isSynced`, the sync that a put waits for verifies the ownership.
    if (putTime - this.#verifiedAt >= maxUnverifiedMs) {
      ownership.verify();
      this.#verifiedAt = putTime;
    }
    if (health.failure !== undefined) throw health.failure;
    const { builder } = this;
    const { written, vouchedSequence: acknowledged } = this.#ends;
    const { nextSequence: sequence, payloadBytes, logBytes } = written;
    const { length } = builder;
    const { writer, header } = rotation.segmentFor(length, written);
    builder.seal({ sequence, putTime: putTimes.stamp(sequence, putTime), salt: header.salt, acknowledged });
    const { bytes } = builder;
    const { position } = writer;
    writer.write(bytes);
    this.#listener?.reader.offer(writer.name, position, bytes);
    segments.usage.addToLast(length);
    syncs.touched(writer);
    this.#ends.written = {
      nextSequence: sequence + builder.records,
      payloadBytes: payloadBytes + builder.payloadBytes,
      logBytes: logBytes + length,
    };
    builder.reset();
  }

  /** After a failed write: discards the frames and rejects their puts. */
  #undoWrite(error: unknown, group: PutGroup, isBlocking: boolean): void {
    const { health, rotation, syncs, isSynced } = this.#deps;
    const writer = rotation.active?.writer;
    this.builder.reset();
    this.#next = this.#ends.written.nextSequence;
    if (writer?.isBroken) health.fail(error);
    const reason = health.failure ?? error;
    if (writer === undefined || health.failure !== undefined || !writer.isDirty) {
      this.#reject(group, reason);
      return;
    }
    // The cut must become as durable as the put would have been, or a power cut could undo it.
    syncs.touched(writer);
    if (!isSynced) {
      syncs.schedule();
      this.#reject(group, reason);
      return;
    }
    if (isBlocking) {
      try {
        syncs.syncBlocking();
      } catch (failure) {
        return this.#reject(group, health.fail(failure));
      }
      return this.#reject(group, reason);
    }
    syncs.wait({
      resolve: () => this.#reject(group, reason),
      // Then it is unknown whether the cut is durable.
      reject: (failure) => this.#reject(group, failure),
    });
  }

  #reject(group: PutGroup, error: unknown): void {
    group.reject(error);
    this.#listener?.onRejected(group.puts);
  }
}
