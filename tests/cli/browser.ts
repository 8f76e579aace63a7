/**
 * Debian's chromium, driven by playwright-core, for tests and for the picture of `report`: no display, no network.
 */

import { existsSync } from "node:fs";
import type * as Playwright from "npm:playwright-core@1.65.1";
import { loadPackage } from "../support/npm_packages.ts";

const VERSION = "1.65.1";
const CHROMIUM = "/usr/bin/chromium";

/** A browser that runs. */
export interface RunningBrowser {
  readonly browser: Playwright.Browser;
  /** Ends it. */
  readonly close: () => Promise<void>;
}

/** Why there is no browser here; `undefined` if there is one. */
export function whyNoBrowser(): string | undefined {
  return existsSync(CHROMIUM) ? undefined : `${CHROMIUM} is not there: apt-get install chromium`;
}

/** Starts a browser. */
export async function startBrowser(): Promise<RunningBrowser> {
  const loaded = await loadPackage<typeof Playwright>("playwright-core", VERSION);
  if (loaded === undefined) throw new Error(`npm can't install playwright-core ${VERSION}`);
  // As root chromium wants to have no sandbox; the pages are our own.
  const browser = await loaded.module.chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  return {
    browser,
    async close() {
      await browser.close();
      loaded.remove();
    },
  };
}
