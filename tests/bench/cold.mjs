/**
 * A short-lived process: opens, puts records one by one, emits and commits each hundred, closes, ends.
 * `cold.mjs ours|sqlite BUNDLE DIRECTORY COUNT`. It writes its time on processors, in microseconds. JavaScript, so that no time goes
 * into taking types off.
 */

import { mkdirSync, writeSync } from "node:fs";
import process from "node:process";

const BATCH = 100;
const [kind, bundle, directory, count] = process.argv.slice(2);

async function openOurs() {
  const { FileBuffer } = await import(bundle);
  const buffer = await FileBuffer.open({ path: directory, maxRecords: BATCH, fsync: "never" });
  return {
    put: (record) => buffer.put(record),
    isFull: () => buffer.shouldEmit(),
    emit: async () => (await buffer.emit()).records,
    commit: () => buffer.commit(),
    close: () => buffer.close(),
  };
}

async function openSqlite() {
  const { DatabaseSync } = await import("node:sqlite");
  mkdirSync(directory, { recursive: true });
  const database = new DatabaseSync(`${directory}/records.db`);
  database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL");
  database.exec("CREATE TABLE records(sequence INTEGER PRIMARY KEY, data TEXT NOT NULL)");
  const insert = database.prepare("INSERT INTO records(data) VALUES(?)");
  const select = database.prepare("SELECT sequence, data FROM records ORDER BY sequence LIMIT ?");
  const remove = database.prepare("DELETE FROM records WHERE sequence <= ?");
  let waiting = 0;
  let last = 0;
  return {
    put(record) {
      insert.run(JSON.stringify(record));
      waiting++;
    },
    isFull: () => waiting === BATCH,
    emit() {
      const rows = select.all(BATCH);
      last = rows.at(-1).sequence;
      return rows.map(({ data }) => JSON.parse(data));
    },
    commit() {
      remove.run(last);
      waiting = 0;
    },
    close: () => database.close(),
  };
}

const queue = await (kind === "ours" ? openOurs() : openSqlite());
let taken = 0;
for (let id = 0; id < Number(count); id++) {
  const done = queue.put({ id, user: `user${id % 50}`, page: `/item/${id}`, ms: 17, ok: true, text: "x".repeat(46) });
  if (done !== undefined) await done;
  if (!queue.isFull()) continue;
  for (const record of await queue.emit()) {
    if (record.id !== taken++) throw new Error(`Wrong record: ${record.id} in place of number ${taken - 1}`);
  }
  await queue.commit();
}
await queue.close();
if (taken !== Number(count)) throw new Error(`Wrong number of records: ${taken} came out of ${count}`);
const { user, system } = process.cpuUsage();
writeSync(1, String(user + system));
