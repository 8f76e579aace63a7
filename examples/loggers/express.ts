/**
 * Access logs of Express, or of any other server that takes such handlers. A response that was cut off has a line, too.
 *
 *     const buffer = await FileBuffer.open({ path: "./access.wal", codec: textCodec() });
 *     app.use(expressAccessLog(buffer));
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import process from "node:process";
import type { SyncRecordBuffer } from "@sluice/buffer";

export function expressAccessLog(buffer: SyncRecordBuffer<string>) {
  return ({ method, url }: IncomingMessage, response: ServerResponse, next: () => void): void => {
    const at = Date.now();
    response.once("close", () => {
      const line = JSON.stringify({ at, method, url, status: response.statusCode, ms: Date.now() - at });
      try {
        buffer.putSync(line);
      } catch {
        process.stderr.write(`${line}\n`); // the buffer is full, closed or has failed
      }
    });
    next();
  };
}
