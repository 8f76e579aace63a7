/**
 * Sluice itself, by its public interface, with default options. Only an age at which a batch is due is set out of reach,
 * so that all batches are full on a slow machine, too.
 *
 * The module may be that of an older version: a method that it hasn't got is missing here as well.
 */

import type { Item } from "../records.ts";
import type { Contender, OpenOptions } from "./contender.ts";

export async function open({ cell, module, directory }: OpenOptions): Promise<Contender> {
  const { FileBuffer, MemoryBuffer, Producer }: typeof import("../../../mod.ts") = await import(module);
  const options = { maxRecords: cell.maxRecords, maxAgeMs: 2 ** 31 - 1 };
  const buffer = cell.contender === "memory" ? await MemoryBuffer.open<Item>(options) : await FileBuffer.open<Item>({
    ...options,
    path: directory,
    fsync: cell.isSynced ? "always" : "never",
    ...cell.work === "segments" ? { segmentBytes: 256 } : {},
  });
  return {
    put: (record) => buffer.put(record),
    putSync: typeof buffer.putSync === "function" ? (record) => void buffer.putSync(record) : undefined,
    putMany: (records) => buffer.putMany(records),
    shouldEmit: () => buffer.shouldEmit(),
    emit: async () => (await buffer.emit()).records,
    commit: () => buffer.commit(),
    isEmpty: () => buffer.stats().pendingRecords === 0,
    close: () => buffer.close(),
    startSending() {
      let sent = 0;
      const producer = new Producer<Item>({ buffer, send: ({ length }) => void (sent += length) });
      return { flush: () => producer.flush(), sent: () => sent, close: () => producer.close() };
    },
  };
}
