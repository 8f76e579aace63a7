/**
 * What the tests of recipes for targets share: records that are delivered while the server goes away and some answers are lost.
 */

import { MemoryBuffer, Producer, type Send } from "../../mod.ts";

/** A record of a test. */
export interface Item {
  readonly n: number;
}

/** After it the target has everything, and the producer doesn't know. */
const LOST_ANSWER = new Error("the answer was lost");
const RECORDS = 1_000;
const RECORDS_IN_A_BATCH = 50;

/** The records, in the order of their puts. */
export const ITEMS: readonly Item[] = Array.from({ length: RECORDS }, (_, n) => ({ n }));

/** What happens to the server while the producer delivers. */
export interface Outage {
  /** Takes it away. */
  end(): Promise<void>;
  /** Brings it back; not before an attempt has failed, unless `isSilent`. */
  start(): Promise<void>;
  /** Whether the client waits for the server by itself, so that no attempt fails. */
  readonly isSilent?: boolean;
}

/** Delivers all the items; gives the number of records that were sent again. */
export async function deliverThrough(send: Send<Item>, { end, start, isSilent = false }: Outage): Promise<number> {
  let sends = 0;
  let resent = 0;
  let isBack: Promise<void> | undefined;
  const { promise: failed, resolve: noticeFailure } = Promise.withResolvers<void>();
  const buffer = await MemoryBuffer.open<Item>({ maxRecords: RECORDS_IN_A_BATCH, maxAgeMs: 60_000 });
  const producer = new Producer<Item>({
    buffer,
    async send(delivery, context) {
      sends++;
      if (context.attempt > 1) resent += delivery.length;
      // Amid the records the server goes, while one delivery is under way.
      if (sends === 7) {
        isBack = end().then(async () => {
          if (!isSilent) await failed;
          await start();
        });
      }
      await send(delivery, context);
      if (context.attempt === 1 && sends % 3 === 0) throw LOST_ANSWER;
    },
    retry: { firstDelayMs: 5, maxDelayMs: 50 },
    onEvent(event) {
      if (event.type === "attempt-failed" && event.error !== LOST_ANSWER) noticeFailure();
    },
  });
  await producer.putMany([...ITEMS]);
  await producer.flush();
  await isBack;
  await producer.close();
  await buffer.close();
  return resent;
}
