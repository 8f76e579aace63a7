/**
 * `@sluice/buffer/otel` with the SDK that is built into Deno, in a process of its own, whose exports a collector takes.
 */

import { spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assertEquals } from "@std/assert";
import { currentRuntime, runtimeArgs } from "../support/children.ts";
import { OtlpServer } from "./otlp_server.ts";
import { isSteady, ORDERS, SHIPPING, SHIPPING_ATTEMPTS } from "./tools.ts";

const ON_DENO = { timeout: 60_000, skip: currentRuntime().name !== "deno" };

test("Deno exports what instrument() observes, without a permission, until it is ended", ON_DENO, async () => {
  const server = await OtlpServer.start();
  const child = spawn(
    process.execPath,
    [...runtimeArgs(currentRuntime(), []), fileURLToPath(new URL("otel_child.ts", import.meta.url))],
    {
      env: {
        ...process.env,
        OTEL_DENO: "true",
        OTEL_EXPORTER_OTLP_ENDPOINT: server.url,
        OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
        OTEL_METRIC_EXPORT_INTERVAL: "50",
      },
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  const exited = new Promise<number | null>((resolve) => child.on("close", resolve));
  const died = exited.then((code) => Promise.reject(new Error(`the program has ended with ${code}`)));
  died.catch(() => {});
  try {
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const syncs = Number((await lines.next()).value);

    const full = await Promise.race([died, server.next(({ lines }) => lines.includes(SHIPPING.at(-1)!))]);
    assertEquals(
      full.lines.filter((line) => isSteady(line)).sort(),
      [...ORDERS, ...SHIPPING].sort(),
    );
    assertEquals(
      full.lines.filter((line) => line.includes("#count")).sort(),
      [...SHIPPING_ATTEMPTS, `sluice.buffer.sync.duration#count{sluice.buffer.name=orders} ${syncs}`].sort(),
    );
    assertEquals(full.kinds["sluice.buffer.record.put"], "{record} counter cumulative");
    assertEquals(full.kinds["sluice.buffer.backlog.size"], "By up-down-counter cumulative");
    assertEquals(full.kinds["sluice.buffer.queue.age"], "s gauge");
    assertEquals(full.kinds["sluice.buffer.sync.duration"], "s histogram cumulative");

    child.stdin!.write("end\n");
    // Of the buffer only the histogram is left, which an SDK keeps.
    const rest = await Promise.race([died, server.next(({ lines }) => !lines.includes(ORDERS[0]!))]);
    assertEquals(rest.lines.filter((line) => isSteady(line)).sort(), [...SHIPPING].sort());
  } finally {
    child.stdin!.end();
    assertEquals(await exited, 0);
    await server.stop();
  }
});
