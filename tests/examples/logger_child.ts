/**
 * A program that logs by each of the recipes of `examples/loggers/`: `logger_child.ts COMMAND DIRECTORY`. Each text becomes one line in the
 * buffer that the directory has for the recipe.
 *
 * - `fatal`: logs `NAME-tight-0` to `-3` into a buffer that is too small for them, says `held NAME N` for what it holds, `body NAME BODY` for what is made of that for
 *   a collector, and logs `NAME-tight-4` when the buffer is closed. Then `NAME-line-0` to `-10` into the directory's buffers. Where a call is all that it takes, the
 *   last one is followed by `process.exit(1)` at once.
 * - `forever`: logs `NAME-line-0`, `NAME-line-1` ... and says `logged NAME N` after each, until it is killed.
 */

import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { join } from "@std/path/join";
import { type Batch, FileBuffer, MemoryBuffer, type SyncRecordBuffer, textCodec } from "../../mod.ts";
import { say } from "../support/children.ts";
import { yieldToEventLoop } from "../support/event_loop.ts";

/** Logs a text. The line is in the buffer when it returns, or its promise resolves. */
type Log = (text: string) => void | Promise<void>;

/** Those that need more than a call come first. */
const LOGGERS: Readonly<Record<string, (buffer: SyncRecordBuffer<string>) => Promise<Log>>> = {
  express: (buffer) =>
    requests(buffer, async (counted) => {
      const { default: express } = await import("express");
      const { expressAccessLog } = await import("../../examples/loggers/express.ts");
      const app = express();
      app.use(expressAccessLog(counted));
      app.get("/{*path}", (_request: unknown, response: { send(text: string): void }) => response.send("hello"));
      return await listen(app);
    }),
  fastify: (buffer) =>
    requests(buffer, async (counted) => {
      const { fastify } = await import("fastify");
      const { fastifyAccessLog } = await import("../../examples/loggers/fastify.ts");
      const app = fastify();
      fastifyAccessLog(app, counted);
      app.get("*", () => "hello");
      return await app.listen({ host: "127.0.0.1", port: 0 });
    }),
  hono: (buffer) =>
    requests(buffer, async (counted) => {
      const { Hono } = await import("hono");
      const { getRequestListener } = await import("@hono/node-server");
      const { honoAccessLog } = await import("../../examples/loggers/hono.ts");
      const app = new Hono();
      app.use(honoAccessLog(counted));
      app.get("*", (context) => context.text("hello"));
      return await listen(getRequestListener(app.fetch));
    }),
  async pino(buffer) {
    const { pino } = await import("pino");
    const { pinoDestination } = await import("../../examples/loggers/pino.ts");
    const log = pino({}, pinoDestination(buffer));
    return (text) => log.fatal({ user: 7 }, text);
  },
  async winston(buffer) {
    const { createLogger } = await import("winston");
    const { winstonTransport } = await import("../../examples/loggers/winston.ts");
    const log = createLogger({ transports: [winstonTransport(buffer)] });
    return (text) => void log.error(text, { user: 7 });
  },
  async logtape(buffer) {
    const { configure, getLogger, jsonLinesFormatter } = await import("@logtape/logtape");
    const { logTapeSink } = await import("../../examples/loggers/logtape.ts");
    await configure({
      reset: true,
      sinks: { buffer: logTapeSink(buffer, jsonLinesFormatter) },
      loggers: [
        { category: "shop", sinks: ["buffer"] },
        // What LogTape says about itself, such as that a sink has thrown.
        { category: ["logtape", "meta"], sinks: [] },
      ],
    });
    const log = getLogger("shop");
    return (text) => log.fatal(text, { user: 7 });
  },
  async otel_logs(buffer) {
    const { LoggerProvider, SimpleLogRecordProcessor } = await import("@opentelemetry/sdk-logs");
    const { logRecordExporter } = await import("../../examples/loggers/otel_logs.ts");
    const processors = [new SimpleLogRecordProcessor({ exporter: logRecordExporter(buffer) })];
    const log = new LoggerProvider({ processors }).getLogger("shop");
    return (body) => log.emit({ body, attributes: { user: 7 } });
  },
  async otel_spans(buffer) {
    const { SimpleSpanProcessor, TracerProvider } = await import("@opentelemetry/sdk-trace");
    const { spanExporter } = await import("../../examples/loggers/otel_spans.ts");
    const spanProcessors = [new SimpleSpanProcessor({ exporter: spanExporter(buffer) })];
    const tracer = new TracerProvider({ spanProcessors }).getTracer("shop");
    return (text) => tracer.startSpan(text, { attributes: { user: 7 } }).end();
  },
};

/** What a sink sends, where records of the log are requests. */
const BODIES: Readonly<Record<string, (batch: Batch<string>) => Promise<string>>> = {
  otel_logs: async (batch) => (await import("../../examples/loggers/otel_logs.ts")).logsRequest(batch),
  otel_spans: async (batch) => (await import("../../examples/loggers/otel_spans.ts")).tracesRequest(batch),
};

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Logs by a request to a server; the line of some servers comes a moment after the response. */
async function requests(
  buffer: SyncRecordBuffer<string>,
  serve: (counted: SyncRecordBuffer<string>) => Promise<string>,
): Promise<Log> {
  let puts = 0;
  const counted = { putSync: (line: string) => (puts++, buffer.putSync(line)) };
  const url = await serve(counted as SyncRecordBuffer<string>);
  return async (text) => {
    const before = puts;
    const response = await fetch(`${url}/${text}`);
    if (await response.text() !== "hello") throw new Error(`status ${response.status}`);
    while (puts === before) await yieldToEventLoop();
  };
}

const [command, directory] = process.argv.slice(2) as [string, string];

/** Logs into the directory's buffer for a recipe. */
async function makeLog(name: string): Promise<Log> {
  return await LOGGERS[name]!(await FileBuffer.open({ path: join(directory, name), codec: textCodec() }));
}

async function logTight(name: string): Promise<void> {
  const buffer = await MemoryBuffer.open({ codec: textCodec(), maxBytes: 2_000, maxBacklogBytes: 2_000 });
  const log = await LOGGERS[name]!(buffer);
  for (let i = 0; i < 4; i++) await log(`${name}-tight-${i}-${"x".repeat(600)}`);
  const batch = await buffer.emit();
  say(`held ${name} ${batch.records.length}`);
  if (BODIES[name] !== undefined) say(`body ${name} ${await BODIES[name](batch)}`);
  await buffer.close();
  await log(`${name}-tight-4`);
}

async function logFatal(): Promise<void> {
  for (const name of Object.keys(LOGGERS)) await logTight(name);
  const logs = new Map<string, Log>();
  for (const name of Object.keys(LOGGERS)) logs.set(name, await makeLog(name));
  for (let i = 0; i <= 10; i++) {
    for (const [name, log] of logs) {
      const pending = log(`${name}-line-${i}`);
      if (pending !== undefined) await pending;
    }
  }
  process.exit(1);
}

async function logForever(): Promise<void> {
  const logs = new Map<string, Log>();
  for (const name of Object.keys(LOGGERS)) logs.set(name, await makeLog(name));
  for (let i = 0;; i++) {
    for (const [name, log] of logs) {
      await log(`${name}-line-${i}`);
      say(`logged ${name} ${i}`);
    }
  }
}

await (command === "fatal" ? logFatal() : logForever());
