/**
 * What a sink reads from a batch's id: the buffer that it is from, and its first sequence.
 *
 * The identity of a record at a target is its batch's id and its own sequence, never the delivery's id: a record that was first sent
 * in half a batch may be resent in the whole one after a crash, but its batch keeps its id. The sequence alone is not enough: after
 * a power cut, sequences that were not synced are reused, in batches with other ids.
 *
 * @module
 */

/** `<uuid of the buffer>[-<checksum>]-<first sequence>-<last sequence>`, the form of `Batch.id`. */
const BATCH_ID = /^(.+?)(?:-[0-9a-f]{8})?-(\d+)-(\d+)$/;

/**
 * The batch and the sequence of a record. No other record ever has the same pair, and a record always keeps its own.
 */
export interface RecordIdentity {
  /** Id of the record's batch. */
  readonly batchId: string;
  /** The record's sequence. */
  readonly sequence: number;
}

/** What became of a delivery's records, for counters. */
export interface SinkResult {
  /** Records that this delivery stored. */
  readonly stored: number;
  /** Records that the target already had, from an earlier attempt. */
  readonly duplicates: number;
}

/** The buffer that a batch is from. Any other text counts as a buffer of its own. @internal */
export function parseBufferUuid(batchId: string): string {
  return BATCH_ID.exec(batchId)?.[1] ?? batchId;
}

/** The sequence of a batch's first record; 0 if the text is no batch id. @internal */
export function parseFirstSequence(batchId: string): number {
  return Number(BATCH_ID.exec(batchId)?.[2] ?? 0);
}

/** Encodes an identity as one word. @internal */
export function identityToText({ batchId, sequence }: RecordIdentity): string {
  return `${batchId}:${sequence}`;
}

/** Decodes what `identityToText()` encoded; `undefined` for any other text. @internal */
export function identityFromText(text: string): RecordIdentity | undefined {
  const [, batchId, sequence] = /^(.+):(\d+)$/.exec(text) ?? [];
  return batchId === undefined ? undefined : { batchId, sequence: Number(sequence) };
}
