/**
 * A program that uses a buffer, for tests that need another process: `buffer_child.ts COMMAND PATH [ARGUMENT]`. It says
 * what it did on standard output, a line each.
 *
 * - `put FSYNC`: puts, emits and commits until it is killed; `ack N`, `batch ID`, `commit N` when that is done
 * - `write`: puts records of all kinds as bytes, and closes; `read`: shows them, and leaves the batches as they are
 * - `hold`: has it open until its input ends; `open`: tries to open it, and closes it again
 * - `leave`: puts, leaves it open and has nothing more to do; `age`: waits for a record to grow old
 * - `all`: calls every method once
 */

import process from "node:process";
import { text } from "node:stream/consumers";
import {
  type BufferLockedError,
  bytesCodec,
  FileBuffer,
  type Fsync,
  type PermissionError,
  SluiceError,
} from "../../mod.ts";
import { say } from "../support/children.ts";
import { yieldToEventLoop } from "../support/event_loop.ts";
import { drain } from "../support/logs.ts";

const RECORDS: readonly string[] = ["", "plain", "grüße, 世界 👋🏽", "\0\x01\u2028", "x".repeat(100_000)];

/** Puts in small bursts, and has a consumer going, until the process is killed. */
async function put(path: string, fsync: Fsync): Promise<void> {
  const buffer = await FileBuffer.open<{ n: number }>({ path, fsync, segmentBytes: 4096, maxRecords: 7 });
  let next = 1;
  for (;;) {
    const puts = Array.from({ length: 5 }, () => buffer.put({ n: next++ }));
    const { first, last } = await buffer.putMany([{ n: next++ }, { n: next++ }]);
    for (const sequence of await Promise.all(puts)) say(`ack ${sequence}`);
    say(`ack ${first}`);
    say(`ack ${last}`);
    if (next % 4 === 0 && buffer.shouldEmit()) {
      const batch = await buffer.emit();
      say(`batch ${batch.id}`);
      if (next % 3 === 0) {
        await buffer.commit(batch);
        say(`commit ${batch.lastSequence}`);
      }
    }
    // The event loop turns, as it does in a program that has other things to do.
    await yieldToEventLoop();
  }
}

function allBytes(): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, i) => i);
}

async function write(path: string): Promise<void> {
  const buffer = await FileBuffer.open({ path, codec: bytesCodec() });
  for (const record of RECORDS) await buffer.put(new TextEncoder().encode(record));
  await buffer.putMany([allBytes(), new Uint8Array(0)]);
  await buffer.commit(await buffer.emit());
  for (const record of RECORDS) await buffer.put(new TextEncoder().encode(record));
  await buffer.put(allBytes());
  say((await buffer.emit()).id);
  await buffer.close();
}

async function read(path: string): Promise<void> {
  const buffer = await FileBuffer.open({ path, codec: bytesCodec() });
  const batch = await buffer.emit();
  const expected = [...RECORDS.map((record) => new TextEncoder().encode(record)), allBytes()];
  const isEqual = batch.length === expected.length &&
    batch.records.every((bytes, i) =>
      bytes.length === expected[i].length && bytes.every((b, j) => b === expected[i][j])
    );
  say(`${batch.id} ${batch.redelivered} ${isEqual} ${batch.firstSequence}`);
  await buffer.close();
}

async function all(path: string): Promise<void> {
  const buffer = await FileBuffer.open<string>({ path, maxRecords: 2, segmentBytes: 256, fsync: "always" });
  for (let i = 0; i < 10; i++) await buffer.put(`record ${i}`);
  await buffer.putMany(["a", "b"]);
  if (buffer.shouldEmit()) await buffer.commit(await buffer.emit());
  await drain(buffer);
  const writer = buffer.writable().getWriter();
  await writer.write("c");
  await writer.close();
  await buffer.flush();
  await buffer.clear();
  await buffer.close();
  say(String(buffer.stats().puts));
}

async function run([command, path, argument]: readonly string[]): Promise<void> {
  switch (command) {
    case "put":
      return await put(path, argument === "always" || argument === "never" ? argument : Number(argument));
    case "write":
      return await write(path);
    case "read":
      return await read(path);
    case "all":
      return await all(path);
    case "hold": {
      const buffer = await FileBuffer.open({ path });
      say("open");
      await text(process.stdin);
      return await buffer.close();
    }
    case "open": {
      const buffer = await FileBuffer.open({ path });
      await buffer.close();
      return say("opened");
    }
    case "leave": {
      const buffer = await FileBuffer.open({ path, fsync: 3_600_000 });
      return say(String(await buffer.put("a")));
    }
    case "age": {
      const buffer = await FileBuffer.open<string>({ path, maxAgeMs: 200 });
      await buffer.put("old enough");
      for await (const batch of buffer.batches()) {
        say(batch.records.join());
        await buffer.commit(batch);
        break;
      }
      return await buffer.close();
    }
  }
  throw new TypeError(`Cannot do "${command}"`);
}

try {
  await run(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SluiceError)) throw error;
  const { name, code, path, owner, flag } = error as BufferLockedError & PermissionError;
  say(JSON.stringify({ name, code, path, owner, flag }));
}
