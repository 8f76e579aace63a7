/**
 * What tests of the sinks for engines share: batches and parts of them, made by hand, so that a test says what comes again
 * and when; and real servers.
 */

import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import type postgres from "postgres";
import { assertInstanceOf } from "@std/assert";
import { join } from "@std/path/join";
import { type Delivery, DeliveryError, type Send } from "../../mod.ts";
import { loadPostgres } from "../engines/clients.ts";
import { Server, type ServerName, whyNot } from "../engines/servers.ts";
import { type ChildResult, runChild } from "../support/children.ts";
import { contextOf, deliveryOf, UUID } from "../support/deliveries.ts";

/** What a delivery is made from. */
export interface BatchOptions {
  /** Which of the batch's sequences are in it; all by default. */
  readonly sequences?: readonly number[];
  readonly redelivered?: boolean;
  /** That of the buffer. */
  readonly uuid?: string;
  /** Stands for the frames that the batch is from. */
  readonly checksum?: string;
}

/** A delivery of a batch from `first` to `last`, or of a part of it. The record of sequence n is `valueOf(n)`. */
export function batchOf<T>(
  [first, last]: readonly [number, number],
  valueOf: (sequence: number) => T,
  { sequences, redelivered = false, uuid = UUID, checksum = "00c0ffee" }: BatchOptions = {},
): Delivery<T> {
  const batchId = `${uuid}-${checksum}-${first}-${last}`;
  const chosen = sequences ?? Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const id = sequences === undefined ? batchId : `${batchId}.${chosen.join("+")}`;
  return deliveryOf(chosen.map(valueOf), { id, batchId, sequences: chosen, redelivered });
}

/** Sends once. */
export async function send<T>(sink: Send<T>, delivery: Delivery<T>, attempt = 1): Promise<void> {
  await sink(delivery, contextOf({ attempt }));
}

/** Sends, and gives the DeliveryError that it must reject with. */
export async function refusalOf<T>(sink: Send<T>, delivery: Delivery<T>, attempt = 1): Promise<DeliveryError> {
  try {
    await send(sink, delivery, attempt);
  } catch (error) {
    assertInstanceOf(error, DeliveryError);
    return error;
  }
  throw new Error("it was not refused");
}

/** A test that needs a real server; skipped, with the reason, where there is none. */
export function testWithServer(engine: ServerName, name: string, body: (server: Server) => Promise<void>): void {
  test(name, { timeout: 60_000 }, async (t) => {
    const why = await whyNot(engine);
    if (why !== undefined) return t.skip(why);
    const server = await Server.make(engine);
    try {
      await body(server);
    } finally {
      await server.remove();
    }
  });
}

/**
 * Gives a way to run an example that has a client, in a directory of its own. Outside Deno it is copied to where the clients are
 * installed, as into a project of a user's.
 */
export async function withExample(
  name: string,
  body: (run: () => Promise<ChildResult>) => Promise<void>,
): Promise<void> {
  const example = new URL(`../../examples/${name}.ts`, import.meta.url);
  const clients = process.env["SLUICE_CLIENTS"];
  const cwd = mkdtempSync(join(clients ?? tmpdir(), "sluice-example-"));
  try {
    copyFileSync(example, join(cwd, `${name}.ts`));
    const program = clients === undefined ? example : pathToFileURL(join(cwd, `${name}.ts`));
    await body(() => runChild(program, [], { cwd }));
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

/** A client of PostgreSQL, ended when the body has ended. */
export async function withSql(
  port: number,
  body: (sql: postgres.Sql) => Promise<void>,
  user = "postgres",
): Promise<void> {
  const open = await loadPostgres();
  const sql = open({ host: "127.0.0.1", port, user, database: "postgres", fetch_types: false, onnotice: () => {} });
  try {
    await body(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
