/**
 * Access logs of Hono. A line is in the buffer before its response is sent.
 *
 *     const buffer = await FileBuffer.open({ path: "./access.wal", codec: textCodec() });
 *     app.use(honoAccessLog(buffer));
 */

import process from "node:process";
import type { SyncRecordBuffer } from "@sluice/buffer";
import type { MiddlewareHandler } from "hono";

export function honoAccessLog(buffer: SyncRecordBuffer<string>): MiddlewareHandler {
  return async (context, next) => {
    const at = Date.now();
    await next();
    const { req: { method, path }, res: { status } } = context;
    const line = JSON.stringify({ at, method, path, status, ms: Date.now() - at });
    try {
      buffer.putSync(line);
    } catch {
      process.stderr.write(`${line}\n`); // the buffer is full, closed or has failed
    }
  };
}
