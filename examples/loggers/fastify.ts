/**
 * Access logs of Fastify.
 *
 *     const buffer = await FileBuffer.open({ path: "./access.wal", codec: textCodec() });
 *     fastifyAccessLog(app, buffer);
 */

import process from "node:process";
import type { SyncRecordBuffer } from "@sluice/buffer";
import type { FastifyInstance } from "fastify";

export function fastifyAccessLog(app: FastifyInstance, buffer: SyncRecordBuffer<string>): void {
  app.addHook("onResponse", ({ method, url }, { statusCode: status, elapsedTime: ms }, done) => {
    const line = JSON.stringify({ at: Date.now() - ms, method, url, status, ms });
    try {
      buffer.putSync(line);
    } catch {
      process.stderr.write(`${line}\n`); // the buffer is full, closed or has failed
    }
    done();
  });
}
