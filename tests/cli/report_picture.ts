/**
 * Takes the picture of `report` in `examples/README.md`: `deno task picture:report`. A log that has everything in it, and the tip
 * of one stretch. Needs chromium, as the test in a browser does.
 *
 * `--dark` and `--width N` take another one, for whoever works on the page; `--out FILE` says where to.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { join } from "@std/path/join";
import { renderReport } from "../../src/cli/report/page.ts";
import { UUID_A } from "../support/frames.ts";
import { startBrowser } from "./browser.ts";
import { damagedLog, reportDataOf } from "./report_logs.ts";

const { values } = parseArgs({
  options: {
    dark: { type: "boolean", default: false },
    width: { type: "string", default: "860" },
    height: { type: "string", default: "780" },
    out: { type: "string", default: fileURLToPath(new URL("report.png", import.meta.url)) },
  },
});
const { dark, width, height, out } = values;

const scratch = mkdtempSync(join(tmpdir(), "sluice-picture-"));
const { browser, close } = await startBrowser();
try {
  const { fileSystem, clock } = await damagedLog();
  const data = { ...await reportDataOf(fileSystem, clock.now()), path: "/var/lib/shop/events.wal", uuid: UUID_A };
  const file = join(scratch, "report.html");
  writeFileSync(file, renderReport(data));
  const page = await browser.newPage({
    viewport: { width: Number(width), height: Number(height) },
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
  });
  await page.goto(pathToFileURL(file).href);
  await page.locator(".rows .damaged").nth(1).hover();
  await page.screenshot({ path: out });
} finally {
  await close();
  rmSync(scratch, { recursive: true });
}
console.log(`${out}: ${readFileSync(out).length} bytes`);
