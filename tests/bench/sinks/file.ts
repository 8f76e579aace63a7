/**
 * A file: `fileSink()` beside one write and one `fdatasync` of the same lines. By hand nothing says which delivery is in the file, so
 * that what was written before a crash comes twice.
 */

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileSink } from "../../../src/sinks/file.ts";
import type { BenchRecord, SinkContest } from "./contest.ts";

export const contests: readonly SinkContest[] = [{
  name: "file",
  goal: 0.6,
  async open() {
    const directory = fs.mkdtempSync(join(tmpdir(), "sluice-bench-file-"));
    const sink = await fileSink<BenchRecord>(join(directory, "ours.ndjson"));
    const file = fs.openSync(join(directory, "by-hand.ndjson"), "w");
    return {
      ours: sink,
      byHand({ payloads, byteLength }) {
        const lines = Buffer.allocUnsafe(byteLength + payloads.length);
        let at = 0;
        for (const payload of payloads) {
          lines.set(payload, at);
          at += payload.length;
          lines[at++] = 0x0a;
        }
        fs.writeSync(file, lines);
        return new Promise((resolve, reject) => {
          fs.fdatasync(file, (error) => error ? reject(error) : resolve());
        });
      },
      async close() {
        await sink.close();
        fs.closeSync(file);
        fs.rmSync(directory, { recursive: true });
      },
    };
  },
}];
