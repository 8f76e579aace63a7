/**
 * What a sink reads from the id of a batch: which buffer it is from, and where it begins.
 *
 * The identity of a record at a target is its batch's id and its own sequence, never the id of the delivery: a record
 * that first went in half a batch may come again in the whole one, after a crash, but its batch keeps its id for good.
 * The sequence alone would not do. After a power cut, sequences that were not synced are given out again, in batches
 * with other ids.
 *
 * @module
 */

/** `<uuid of the buffer>[-<checksum>]-<first sequence>-<last sequence>`, as `Batch.id` says. */
const BATCH_ID = /^(.+?)(?:-[0-9a-f]{8})?-(\d+)-(\d+)$/;

/** The batch and the sequence of a record: no other record ever has both, and this one always has. */
export interface RecordIdentity {
  /** Id of the record's batch. */
  readonly batchId: string;
  /** The record's sequence. */
  readonly sequence: number;
}

/** What became of a delivery, for counters. */
export interface SinkResult {
  /** Records that the target has stored now. */
  readonly stored: number;
  /** Records that it had already, from an earlier attempt. */
  readonly duplicates: number;
}

/** The buffer that a batch is from; what isn't the id of a batch is taken for a buffer of its own. @internal */
export function bufferOf(batchId: string): string {
  return BATCH_ID.exec(batchId)?.[1] ?? batchId;
}

/** Sequence of the first record of a batch; 0 for what isn't the id of one. @internal */
export function firstSequenceOf(batchId: string): number {
  return Number(BATCH_ID.exec(batchId)?.[2] ?? 0);
}

/** An identity as one word. @internal */
export function identityToText({ batchId, sequence }: RecordIdentity): string {
  return `${batchId}:${sequence}`;
}

/** The identity that `identityToText()` made a word of; `undefined` for any other word. @internal */
export function identityFromText(text: string): RecordIdentity | undefined {
  const [, batchId, sequence] = /^(.+):(\d+)$/.exec(text) ?? [];
  return batchId === undefined ? undefined : { batchId, sequence: Number(sequence) };
}
