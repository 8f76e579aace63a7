/** A thread that tries to open a buffer which its process has open, and tells what it gets. */

import { parentPort, workerData } from "node:worker_threads";
import { type BufferLockedError, FileBuffer } from "../../mod.ts";

try {
  await (await FileBuffer.open({ path: workerData })).close();
  parentPort!.postMessage({ message: "opened" });
} catch (error) {
  const { message, sameProcess } = error as BufferLockedError;
  parentPort!.postMessage({ message, sameProcess });
}
