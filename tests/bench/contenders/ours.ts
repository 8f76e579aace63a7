/**
 * Sluice itself, by its public interface, with default options. Only an age at which a batch is due is set out of reach,
 * so that all batches are full on a slow machine, too.
 */

import { FileBuffer, type Fsync } from "../../../mod.ts";
import type { Item } from "../records.ts";
import type { Contender, OpenOptions } from "../workloads.ts";

export async function open({ directory, setting, maxRecords, segmentBytes }: OpenOptions): Promise<Contender> {
  const fsync: Fsync = setting === "always" || setting === "never" ? setting : Number(setting);
  const buffer = await FileBuffer.open<Item>({
    path: directory,
    maxRecords,
    maxAgeMs: 2 ** 31 - 1,
    fsync,
    ...segmentBytes === undefined ? {} : { segmentBytes },
  });
  return {
    put: (record) => buffer.put(record),
    putMany: (records) => buffer.putMany(records),
    shouldEmit: () => buffer.shouldEmit(),
    emit: async () => (await buffer.emit()).records,
    commit: () => buffer.commit(),
    isEmpty: () => buffer.stats().pendingRecords === 0,
    close: () => buffer.close(),
  };
}
