/** Opens a buffer, then a file sink, under Node's permission model; prints what became of each as a line of JSON. */

import process from "node:process";
import { FileBuffer } from "../../src/buffer/file_buffer.ts";
import { PermissionError } from "../../src/errors/mod.ts";
import { fileSink } from "../../src/sinks/file.ts";
import { say } from "../support/children.ts";

async function attempt(open: () => Promise<{ close(): Promise<void> }>): Promise<void> {
  try {
    await (await open()).close();
    say(JSON.stringify("ok"));
  } catch (error) {
    if (!(error instanceof PermissionError)) throw error;
    const { errno, operation, flag, advice, message } = error;
    say(JSON.stringify({ errno, operation, flag, advice, message }));
  }
}

const [path, elsewhere] = process.argv.slice(2);
for (const fsync of ["always", "never"] as const) {
  await attempt(() => FileBuffer.open({ path: `${path}/buffer`, fsync }));
}
await attempt(() => fileSink(`${path}/out.ndjson`));
await attempt(() => FileBuffer.open({ path: elsewhere! }));
