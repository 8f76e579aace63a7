/** Each sink with the real types of its client. */

import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { metrics } from "@opentelemetry/api";
import { Cluster, Redis } from "ioredis";
import pg from "pg";
import postgres from "postgres";
import { createClient, createClientPool, createCluster } from "redis";
import { FileBuffer, Producer, type Send } from "@sluice/buffer";
import { instrument } from "@sluice/buffer/otel";
import { natsSink } from "@sluice/buffer/sinks/nats";
import { postgresSink, postgresTransactionSink } from "@sluice/buffer/sinks/postgres";
import { redisSink } from "@sluice/buffer/sinks/redis";

interface Payment {
  readonly account: number;
  readonly cents: number;
}

export async function deliverPayments(): Promise<void> {
  const buffer = await FileBuffer.open<Payment>({ path: "./payments.wal" });
  const sql = postgres("postgres://localhost/app");
  // What `apply` gets is inferred: the client's own transaction, and the records.
  const transacting = postgresTransactionSink(sql, {
    async apply(transaction, payments: readonly Payment[]) {
      for (const { account, cents } of payments) {
        await transaction`update accounts set balance = balance + ${cents} where id = ${account}`;
      }
    },
  });
  const named = postgresTransactionSink<Payment>(sql, {
    apply: (transaction, payments) => transaction.unsafe("select $1", [String(payments[0]?.cents)]),
  });
  const pool = new pg.Pool();
  const transactingPg = postgresTransactionSink(pool, {
    async apply(client, payments: readonly Payment[]) {
      for (const { account, cents } of payments) {
        await client.query("update accounts set balance = balance + $1 where id = $2", [cents, account]);
      }
    },
  });
  const single = postgresTransactionSink(new pg.Client(), {
    apply: (client, payments: readonly Payment[]) => client.query("select $1", [payments.length]),
  });
  const connection = await connect();
  const nats = natsSink<Payment>(jetstream(connection), { stream: "payments", subject: "payments" });
  const targets: readonly Send<Payment>[] = [
    transacting,
    transactingPg,
    single,
    named,
    postgresSink<Payment>(pool, { table: "payments" }),
    postgresSink<Payment>(new pg.Client(), { table: "payments" }),
    nats,
    postgresSink<Payment>(sql, { table: "payments", row: ({ account, cents }) => ({ account, cents }) }),
    redisSink<Payment>(createClient(), { stream: "payments", fields: ({ cents }) => ({ cents: String(cents) }) }),
    redisSink<Payment>(createCluster({ rootNodes: [] }), { stream: "payments" }),
    redisSink<Payment>(createClientPool(), { stream: "payments" }),
    redisSink<Payment>(new Redis(), { stream: "payments" }),
    redisSink<Payment>(new Cluster([]), { stream: "payments" }),
  ];
  for (const send of targets) await new Producer({ buffer, send }).close();
  instrument(buffer, { meter: metrics.getMeter("payments") });
}
