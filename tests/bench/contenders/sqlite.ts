/**
 * A table in SQLite, in WAL mode, by `node:sqlite`.
 *
 * A put is an INSERT of its own, a thousand are one transaction, a commit is a DELETE. A killed process loses nothing
 * with synchronous=NORMAL; with FULL each transaction is synced.
 */

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Item } from "../records.ts";
import type { Contender, OpenOptions } from "./contender.ts";

interface Row {
  readonly sequence: number;
  readonly data: string;
}

export function open({ cell: { isSynced, maxRecords }, directory }: OpenOptions): Contender {
  const database = new DatabaseSync(join(directory, "records.db"));
  database.exec("PRAGMA journal_mode=WAL");
  database.exec(`PRAGMA synchronous=${isSynced ? "FULL" : "NORMAL"}`);
  database.exec("CREATE TABLE IF NOT EXISTS records(sequence INTEGER PRIMARY KEY, data TEXT NOT NULL)");
  const insert = database.prepare("INSERT INTO records(data) VALUES(?)");
  const select = database.prepare("SELECT sequence, data FROM records ORDER BY sequence LIMIT ?");
  const remove = database.prepare("DELETE FROM records WHERE sequence <= ?");
  // Two looks into the index; count(*) would read the whole table.
  const span = database.prepare(
    "SELECT (SELECT max(sequence) FROM records) - (SELECT min(sequence) FROM records) + 1 AS count",
  );
  let pending = (span.all()[0] as { count: number | null }).count ?? 0;
  let batch: readonly Row[] = [];

  return {
    put(record) {
      insert.run(JSON.stringify(record));
      pending++;
    },
    putMany(records) {
      database.exec("BEGIN");
      for (const record of records) insert.run(JSON.stringify(record));
      database.exec("COMMIT");
      pending += records.length;
    },
    shouldEmit: () => pending >= maxRecords,
    emit() {
      batch = select.all(maxRecords) as unknown as Row[];
      return batch.map((row) => JSON.parse(row.data) as Item);
    },
    commit() {
      remove.run(batch.at(-1)!.sequence);
      pending -= batch.length;
    },
    isEmpty: () => select.all(1).length === 0,
    close: () => database.close(),
  };
}
