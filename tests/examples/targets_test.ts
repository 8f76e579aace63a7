/**
 * The recipes for MySQL and MariaDB, MQTT and S3, with the real packages and servers: records arrive although the server goes away and
 * answers are lost, and what is sent again is told from what is new. RabbitMQ's server starts slowly, and has a file of its own.
 */

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { test } from "node:test";
import type { S3 } from "@aws-sdk/client-s3";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { join } from "@std/path/join";
import type { Pool } from "mysql2/promise";
import { type DeadLetter, deadLetterCodec, MemoryBuffer, Producer } from "../../mod.ts";
import { mqttSink } from "../../examples/targets/mqtt.ts";
import { mysqlSink } from "../../examples/targets/mysql.ts";
import { s3Sink } from "../../examples/targets/s3.ts";
import { loadMqtt, loadMysql, loadS3 } from "../engines/clients.ts";
import { Program } from "../engines/program.ts";
import { type Server, whyNoClients } from "../engines/servers.ts";
import { refusalOf, testWithServer } from "../sinks/tools.ts";
import { currentRuntime } from "../support/children.ts";
import { deliveryOf } from "../support/deliveries.ts";
import { deliverThrough, type Item, ITEMS } from "./delivering.ts";

const TABLE = `create table records (
  batch_id varchar(200), sequence bigint, record json not null check (json_value(record, '$.n') >= 0),
  primary key (batch_id, sequence)
)`;

/** A pool of connections to an empty table. */
async function withPool(server: Server, use: (pool: Pool) => Promise<void>): Promise<void> {
  const { createPool } = await loadMysql();
  const pool = createPool({ host: "127.0.0.1", port: server.port, user: "root", multipleStatements: true });
  await pool.query("create database if not exists shop");
  await pool.end();
  const inShop = createPool({ host: "127.0.0.1", port: server.port, user: "root", database: "shop" });
  try {
    await inShop.query(TABLE);
    await use(inShop);
  } finally {
    await inShop.end();
  }
}

async function rowsOf(pool: Pool): Promise<Item[]> {
  const [rows] = await pool.query("select record from records order by json_value(record, '$.n') + 0");
  return (rows as { record: string | Item }[]).map(({ record }) =>
    typeof record === "string" ? JSON.parse(record) : record
  );
}

testWithServer("mariadb", "mysql.ts stores each record once, also over a killed server", async (server) => {
  await withPool(server, async (pool) => {
    const outage = { end: () => server.kill(), start: () => server.start() };
    assertGreater(await deliverThrough(mysqlSink<Item>(pool, "records"), outage), 100);
    assertEquals(await rowsOf(pool), ITEMS);

    // What the table refuses is put aside, and nothing else.
    await pool.query("truncate table records");
    const dead = await MemoryBuffer.open<DeadLetter<Item>>({ codec: deadLetterCodec<Item>() });
    const buffer = await MemoryBuffer.open<Item>();
    const producer = new Producer({ buffer, send: mysqlSink<Item>(pool, "records"), deadLetters: dead });
    await producer.putMany([{ n: 1 }, { n: -2 }, { n: 3 }]);
    await producer.flush();
    assertEquals(await rowsOf(pool), [{ n: 1 }, { n: 3 }]);
    assertEquals(dead.stats().pendingRecords, 1);
    await producer.close();
    await buffer.close();
    await dead.close();

    // So is what a trigger refuses, and what servers refuse without a state of its own.
    const refusalBy = async (error: Error) => {
      const { scope, split, final } = await refusalOf(
        mysqlSink<Item>({ query: () => Promise.reject(error) } as never, "records"),
        deliveryOf<Item>([{ n: 1 }]),
      );
      return [scope, split, final];
    };
    await pool.query(`create trigger refuse before insert on records for each row
      if json_value(new.record, '$.n') = 13 then signal sqlstate '45000' set message_text = 'unlucky'; end if`);
    const unlucky = await refusalOf(mysqlSink<Item>(pool, "records"), deliveryOf<Item>([{ n: 12 }, { n: 13 }]));
    assertEquals([unlucky.scope, unlucky.split, unlucky.retryable], ["record", true, false]);
    for (const [errno, sqlState] of [[1265, "01000"], [1366, "HY000"], [3819, "HY000"]] as const) {
      const error = Object.assign(new Error("refused"), { errno, sqlState });
      assertEquals(await refusalBy(error), ["record", true, false]);
    }
    assertEquals(await refusalBy(Object.assign(new Error("locked"), { errno: 1205, sqlState: "HY000" })), [
      "target",
      false,
      false,
    ]);

    const fault = async (from: Pool, table: string) => {
      const { scope, retryable, tooLarge } = await refusalOf(
        mysqlSink<Item>(from, table),
        deliveryOf<Item>([{ n: 1 }]),
      );
      return [scope, retryable, tooLarge];
    };
    assertEquals(await fault(pool, "missing"), ["target", false, false]);
    const { createPool } = await loadMysql();
    const options = { host: "127.0.0.1", port: server.port, database: "shop" };
    const stranger = createPool({ ...options, user: "nobody", password: "wrong" });
    assertEquals(await fault(stranger, "records"), ["target", false, false]);
    await stranger.end();
    const closed = await refusalOf(mysqlSink<Item>(stranger, "records"), deliveryOf<Item>([{ n: 1 }]));
    assertEquals([closed.scope, closed.final], ["target", true]);

    await pool.query("set global max_allowed_packet = 16384");
    const narrow = createPool({ ...options, user: "root" });
    const large = deliveryOf(Array.from({ length: 40 }, (_, n) => ({ n, text: "x".repeat(1_000) })));
    const { tooLarge } = await refusalOf(mysqlSink<Item>(narrow, "records"), large);
    assertEquals(tooLarge, true);
    await narrow.end();

    await server.stop();
    assertEquals(await fault(pool, "records"), ["target", true, false]);
  });
});

testWithServer(
  "mosquitto",
  "mqtt.ts publishes each record, and copies can be told, also over a restart",
  async (server) => {
    const { connectAsync } = await loadMqtt();
    const url = `mqtt://127.0.0.1:${server.port}`;
    const options = { protocolVersion: 5, reconnectPeriod: 20 } as const;
    const session = { clean: false, clientId: "reader", properties: { sessionExpiryInterval: 600 } };
    const reader = await connectAsync(url, { ...options, ...session });
    const received = new Map<string, Item>();
    let messages = 0;
    const { promise: complete, resolve } = Promise.withResolvers<void>();
    reader.on("error", () => {}).on("message", (_topic, payload, { properties }) => {
      messages++;
      const { batchId, sequence } = properties!.userProperties!;
      const key = `${batchId} ${sequence}`;
      if (!received.has(key)) received.set(key, JSON.parse(String(payload)));
      if (received.size === ITEMS.length) resolve();
    });
    await reader.subscribeAsync("records", { qos: 1 });
    const client = await connectAsync(url, options);
    client.on("error", () => {});
    const send = mqttSink<Item>(client, "records");
    const outage = { end: () => server.stop(), start: () => server.start(), isSilent: true };
    assertGreater(await deliverThrough(send, outage), 100);
    await complete;
    assertEquals([...received.values()], ITEMS);
    assert(messages > ITEMS.length, `${messages} messages`);

    const closed = new Promise<void>((resolve) => client.once("close", () => resolve()));
    await server.stop();
    await closed;
    const away = await refusalOf(send, deliveryOf<Item>([{ n: 1 }]));
    assertEquals([away.scope, away.retryable, away.final], ["target", true, false]);
    await client.endAsync(true);
    await reader.endAsync(true);
    const ended = await refusalOf(send, deliveryOf<Item>([{ n: 1 }]));
    assertEquals([ended.scope, ended.final], ["target", true]);
  },
);

test("mqtt.ts adds no copies while the broker acknowledges nothing", { timeout: 60_000 }, async (t) => {
  const why = await whyNoClients();
  if (why !== undefined) return t.skip(why);
  const { connectAsync } = await loadMqtt();
  const sockets: Socket[] = [];
  const broker = createServer((socket) => {
    sockets.push(socket.on("error", () => {}));
    // It takes the connection (CONNACK), and says nothing more.
    socket.once("data", () => socket.write(new Uint8Array([0x20, 3, 0, 0, 0])));
  });
  await once(broker.listen(0, "127.0.0.1"), "listening");
  const { port } = broker.address() as AddressInfo;
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5, reconnectPeriod: 0 });
  client.on("error", () => {});
  let published = 0;
  const publishAsync = client.publishAsync.bind(client);
  client.publishAsync = (...args: Parameters<typeof publishAsync>) => (published++, publishAsync(...args));
  const send = mqttSink<Item>(client, "records");
  const delivery = deliveryOf<Item>([{ n: 1 }, { n: 2 }]);
  const attempts = Array.from({ length: 10 }, () => refusalOf(send, delivery));
  await client.endAsync(true);
  for (const { final } of await Promise.all(attempts)) assertEquals(final, true);
  for (const socket of sockets) socket.destroy();
  broker.close();
  await once(broker, "close");
  assertEquals(published, 2);
});

/** The items of all objects, in the order of their numbers, and how many objects there are. */
async function objectsOf(client: S3): Promise<{ readonly objects: number; readonly items: Item[] }> {
  const { Contents = [] } = await client.listObjectsV2({ Bucket: "records" });
  const items: Item[] = [];
  for (const { Key } of Contents) {
    const { Body } = await client.getObject({ Bucket: "records", Key });
    const text = await Body!.transformToString();
    items.push(...text.trimEnd().split("\n").map((line) => JSON.parse(line)));
  }
  return { objects: Contents.length, items: items.sort((a, b) => a.n - b.n) };
}

test("s3.ts has each delivery as one object, also over a killed server", { timeout: 60_000 }, async (t) => {
  const why = await whyNoClients();
  if (why !== undefined) return t.skip(why);
  const directory = mkdtempSync(join(tmpdir(), "sluice-s3-"));
  let port = 0;
  let server: Program | undefined;
  const start = async () => {
    server = new Program("tests/examples/s3_server.ts", [directory, String(port)], currentRuntime());
    for await (const line of server.lines()) {
      port = Number(line.split(" ")[1]);
      return;
    }
    throw new Error((await server.end()).errors);
  };
  const end = async () => {
    server?.kill();
    await server?.end();
  };
  try {
    await start();
    const { S3 } = await loadS3();
    const connect = (accessKeyId: string) =>
      new S3({
        endpoint: `http://127.0.0.1:${port}`,
        region: "us-east-1",
        credentials: { accessKeyId, secretAccessKey: "S3RVER" },
        forcePathStyle: true,
        maxAttempts: 1,
      });
    const client = connect("S3RVER");
    assertGreater(await deliverThrough(s3Sink<Item>(client, "records"), { end, start }), 100);
    assertEquals(await objectsOf(client), { objects: 20, items: [...ITEMS] });

    const fault = async (from: S3, bucket: string) => {
      const { scope, retryable } = await refusalOf(s3Sink<Item>(from, bucket), deliveryOf<Item>([{ n: 1 }]));
      return [scope, retryable];
    };
    assertEquals(await fault(client, "missing"), ["target", false]);
    const stranger = connect("wrong");
    assertEquals(await fault(stranger, "records"), ["target", false]);
    await end();
    assertEquals(await fault(client, "records"), ["target", true]);
    client.destroy();
    stranger.destroy();
  } finally {
    await end();
    rmSync(directory, { recursive: true });
  }
});
