/**
 * A listener may call its buffer whatever the event, also one that comes of a write: what it puts is a put like any other, and takes
 * nothing from those that are being written.
 */

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { MemoryFileSystem } from "../../src/testing/mod.ts";

/** Puts that a listener makes of each type of event: a put may cause the event that it is made at. */
const PUTS_A_TYPE = 3;

for (const fsync of ["always", "never"] as const) {
  test(`what listeners put, and what is put meanwhile, is all there, with "${fsync}"`, async () => {
    // Small segments, so that many of the writes begin one.
    const path = "/b";
    const options = { path, fileSystem: new MemoryFileSystem(), fsync, statusMs: 0, segmentBytes: 256 } as const;
    const acknowledged: [number, string][] = [];
    const types = new Set<string>();
    const putsMade = new Map<string, number>();
    const buffer = await FileBuffer.open<string>({ ...options, maxRecords: 4 });
    const put = async (record: string): Promise<void> => void acknowledged.push([await buffer.put(record), record]);
    buffer.subscribe(({ type }) => {
      const made = putsMade.get(type) ?? 0;
      if (made === PUTS_A_TYPE) return;
      putsMade.set(type, made + 1);
      void put(`${type} ${made}`).then(() => types.add(type));
    });
    let committed = 0;
    for (let round = 0; round < 8; round++) {
      await Promise.all([put(`${round} a`), put(`${round} b`)]);
      await put(`${round} c`);
      if (round % 4 !== 3) continue;
      const batch = await buffer.emit();
      await buffer.commit(batch);
      committed = batch.lastSequence;
    }
    await buffer.flush();
    await buffer.close();

    const again = await FileBuffer.open<string>(options);
    const found: [number, string][] = [];
    for await (const batch of again.batches({ flush: true })) {
      batch.records.forEach((record, i) => found.push([batch.firstSequence + i, record]));
      await again.commit(batch);
    }
    await again.close();
    acknowledged.sort(([a], [b]) => a - b);
    assertEquals(found, acknowledged.filter(([sequence]) => sequence > committed));
    for (const type of ["segment-created", "segment-removed", "synced"]) assertEquals(types.has(type), true, type);
  });
}
