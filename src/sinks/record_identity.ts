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

/**
 * The batch and the sequence of a record: no other record ever has both, and this one always has.
 *
 * @example A key of one's own for each record
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { type RecordIdentity, redisSink } from "@sluice/buffer/sinks/redis";
 * import { assertMatch } from "@std/assert";
 *
 * const fields = (order: { item: string }, { batchId, sequence }: RecordIdentity) => ({
 *   key: `${batchId}:${sequence}`, // the same each time that the record is sent
 *   item: order.item,
 * });
 *
 * const words: string[] = [];
 * const client = {
 *   eval(_script: string, { arguments: some }: { arguments: (string | Uint8Array)[] }) { // in a program: a client
 *     words.push(...some.map(String));
 *     return Promise.resolve([1, 0, ""]);
 *   },
 * };
 * const buffer = await MemoryBuffer.open<{ item: string }>();
 * const producer = new Producer({ buffer, send: redisSink<{ item: string }>(client, { stream: "orders", fields }) });
 * await producer.put({ item: "a book" });
 * await producer.flush();
 * assertMatch(words[words.indexOf("key") + 1], /^.+-1-1:1$/);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export interface RecordIdentity {
  /** Id of the record's batch. */
  readonly batchId: string;
  /** The record's sequence. */
  readonly sequence: number;
}

/**
 * What became of a delivery, for counters.
 *
 * @example Count duplicates that the target has skipped
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { redisSink, type SinkResult } from "@sluice/buffer/sinks/redis";
 * import { assertEquals } from "@std/assert";
 *
 * const totals = { stored: 0, duplicates: 0 };
 * const onDelivered = ({ stored, duplicates }: SinkResult) => {
 *   totals.stored += stored;
 *   totals.duplicates += duplicates;
 * };
 *
 * const client = { eval: () => Promise.resolve([1, 2, ""]) }; // one is new, two are known
 * const buffer = await MemoryBuffer.open<string>();
 * const producer = new Producer({ buffer, send: redisSink<string>(client, { stream: "lines", onDelivered }) });
 * await producer.putMany(["a", "b", "c"]);
 * await producer.flush();
 * assertEquals(totals, { stored: 1, duplicates: 2 });
 * await producer.close();
 * await buffer.close();
 * ```
 */
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
