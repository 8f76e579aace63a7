/**
 * To a table of MySQL or MariaDB, each record once: the key of a row is its record's identity, and a row that is there
 * already stays as it is. Rows that the table refuses become dead letters, and the others of their delivery arrive.
 *
 *     create table orders (batch_id varchar(200), sequence bigint, record json not null, primary key (batch_id, sequence))
 *
 *     const pool = createPool("mysql://root@127.0.0.1/shop"); // of mysql2/promise
 *     const producer = new Producer({ buffer, send: mysqlSink<Order>(pool, "orders") });
 *
 * `UPDATE sequence = sequence` changes nothing; `INSERT IGNORE` would also ignore a value that doesn't fit, and store another.
 */

import { DeliveryError, type Send } from "@sluice/buffer";
import type { Pool, QueryError } from "mysql2/promise";

export const mysqlSink = <T>(pool: Pool, table: string): Send<T> => async ({ batchId, sequences, records }) => {
  const rows = records.map((record, i) => [batchId, sequences[i], JSON.stringify(record)]);
  const insert = "INSERT INTO ?? (batch_id, sequence, record) VALUES ? ON DUPLICATE KEY UPDATE sequence = sequence";
  try {
    await pool.query(insert, [table, rows]);
  } catch (cause) {
    const { code, errno, message: reason, sqlState = "" } = cause as QueryError & { sqlState?: string };
    if (code === "ER_NET_PACKET_TOO_LARGE") throw new DeliveryError({ reason, tooLarge: true }, { cause });
    // A value, a constraint, or a trigger's signal: some of the records are the reason. MySQL has two without a state of their own.
    const isOfRow = /^(01|2[23]|45)/.test(sqlState) || errno === 1366 || errno === 3819;
    if (isOfRow) throw new DeliveryError({ reason, split: true, retryable: false }, { cause });
    const final = reason === "Pool is closed.";
    throw new DeliveryError({ reason, scope: "target", retryable: !/^(28|42)/.test(sqlState), final }, { cause });
  }
};
