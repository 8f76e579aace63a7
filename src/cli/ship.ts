/**
 * `sluice ship PATH --to TARGET`: a crash-safe pipe. Lines from standard input, through a log on disk, to a target.
 *
 * Guarantees, and the parts that give them:
 * - A line that was read is persisted before more is read, and stays until the target has it: `line_ingester.ts`, `FileBuffer`.
 * - Each record arrives exactly once in a file, once at an HTTP server that keeps the keys it has seen, and at least once
 *   elsewhere. The order is kept with one delivery at a time. Killed at any moment and restarted, it continues where it was:
 *   `Producer` and the sinks.
 * - It ends by itself only when everything is delivered, or for a reason that it reports. Undelivered records are then on disk:
 *   `shipment.ts`.
 *
 * @module
 */

import { type Command, EXIT_FAILED, EXIT_OK } from "./shared/command.ts";
import { InterruptedError } from "./shared/terminal.ts";
import { parseShipOptions, SHIP_OPTIONS, SHIP_USAGE } from "./ship/options.ts";
import { ShipOutput } from "./ship/output.ts";
import { runShipment } from "./ship/shipment.ts";

export const shipCommand: Command = {
  name: "ship",
  usage: SHIP_USAGE,
  summary: "Deliver lines from standard input, safe from crashes",
  details: `Reads lines, persists each in the buffer at PATH before it reads on, and delivers them in
batches. Started again after any crash, it goes on with what is in the buffer.

  tail -F app.log | sluice ship ./app.wal --to https://collector/ingest --max-records 500
  sluice ship ./app.wal --to out.ndjson --format ndjson --resume < in.ndjson
  sluice ship ./app.wal --to https://collector/ingest --no-input

To a file: each line exactly once, in order. The file may be renamed at any time, as
logrotate does: the next delivery makes a new one, and SIGHUP does so at once. By HTTP: a POST of lines with an
Idempotency-Key; exactly once if the server keeps the keys, else at least once.
To standard output: at least once.

A kill takes what the pipe held and was not persisted. If the input can be read again
from its beginning, --resume goes on behind the last line that was.

Exit codes: 0 all is delivered; 2 the command line is wrong; 3 it can't go on, and says
why; 130 and 143 ended by Ctrl+C and SIGTERM. What isn't delivered is in the buffer then.`,
  options: SHIP_OPTIONS,
  async run(args, context) {
    const options = parseShipOptions(args);
    const shipOutput = new ShipOutput(options, context);
    const end = await runShipment(options, context, shipOutput);
    await shipOutput.end(end.kind, end.kind === "failed" ? end.error : undefined);
    if (end.kind === "failed") throw end.error;
    if (end.kind === "done") return EXIT_OK;
    return end.reason instanceof InterruptedError ? end.reason.exitCode : EXIT_FAILED;
  },
};
