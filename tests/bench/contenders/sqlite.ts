/**
 * A table in SQLite, in WAL mode: `node:sqlite` on Node and Deno, `bun:sqlite` on Bun.
 *
 * A put is an INSERT of its own, a thousand are one transaction, a commit is a DELETE. A killed process loses nothing
 * with synchronous=OFF or NORMAL; with FULL each transaction is synced.
 */

import { join } from "node:path";
import process from "node:process";
import type { Item } from "../records.ts";
import type { Contender, OpenOptions } from "../workloads.ts";

interface Statement {
  run(...values: unknown[]): unknown;
  all(...values: unknown[]): unknown[];
}

/** What both modules have in common. */
interface Database {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): void;
}

interface Row {
  readonly sequence: number;
  readonly data: string;
}

async function openDatabase(path: string): Promise<Database> {
  const isBun = process.versions["bun"] !== undefined;
  // Not a literal: each runtime knows only one of the two.
  const name = isBun ? "bun:sqlite" : "node:sqlite";
  const module = await import(name);
  return isBun ? new module.Database(path) : new module.DatabaseSync(path);
}

export async function open({ directory, setting, maxRecords }: OpenOptions): Promise<Contender> {
  const database = await openDatabase(join(directory, "records.db"));
  database.exec("PRAGMA journal_mode=WAL");
  database.exec(`PRAGMA synchronous=${setting}`);
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
      batch = select.all(maxRecords) as Row[];
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
