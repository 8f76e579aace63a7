/**
 * The page that `report` writes, in a real browser: it opens from a file, asks nobody for anything, says the right
 * numbers, and its hovers work with mouse, finger and keyboard, wide and narrow, light and dark.
 *
 * The page is made by the command as a process of its own. Where there is no chromium, the tests are skipped.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Browser, BrowserContextOptions, Page } from "npm:playwright-core@1.65.1";
import { assert, assertEquals, assertLessOrEqual, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path/join";
import type { ReportData } from "../../src/cli/report/data.ts";
import { currentRuntime, runChild } from "../support/children.ts";
import { type RunningBrowser, startBrowser, whyNoBrowser } from "./browser.ts";
import { damagedLog, writeTo } from "./report_logs.ts";

const PHONE = { width: 320, height: 640 };
/** The runtime has no part in it, and playwright-core is made for Node: so once, on the newest, and not on five. */
const isHere = currentRuntime().name === "node" && Number.parseInt(process.versions.node, 10) >= 24;
const why = isHere ? whyNoBrowser() : "runs on Node 24 only";

let scratch = "";
let running: RunningBrowser;
let url = "";
let data: ReportData;

before(async () => {
  if (why !== undefined) return;
  scratch = mkdtempSync(join(tmpdir(), "sluice-report-"));
  const directory = join(scratch, `"><img src=x onerror=alert(1)> & 'events'.wal`);
  const { fileSystem } = await damagedLog();
  writeTo(fileSystem, directory);
  const page = join(scratch, "report.html");
  const permissions = ["--allow-read", `--allow-write=${scratch}`];
  const args = ["report", directory, "--out", page];
  const [written, json] = await Promise.all([
    runChild("src/cli/sluice.ts", args, { permissions }),
    runChild("src/cli/sluice.ts", ["report", directory, "--json"], { permissions: ["--allow-read"] }),
  ]);
  assertEquals([written.code, written.stderr], [1, ""]);
  data = JSON.parse(json.stdout);
  url = pathToFileURL(page).href;
  running = await startBrowser();
});

after(async () => {
  await running?.close();
  if (scratch !== "") rmSync(scratch, { recursive: true });
});

/** Runs `use` with the page in a window of its own, which must have said nothing and asked for nothing. */
async function withPage(options: BrowserContextOptions, use: (page: Page) => Promise<void>): Promise<void> {
  const browser: Browser = running.browser;
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const said: string[] = [];
  const asked: string[] = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  page.on("dialog", (dialog) => (said.push(dialog.message()), dialog.dismiss()));
  page.on("request", (request) => asked.push(request.url()));
  try {
    await page.goto(url);
    await use(page);
    assertEquals(said, []);
    assertEquals(asked, [url]);
  } finally {
    await context.close();
  }
}

/** What the tip says; empty if there is none. */
async function tipOf(page: Page): Promise<string> {
  const tip = page.locator("#tip");
  return await tip.isVisible() ? await tip.innerText() : "";
}

type Box = { readonly x: number; readonly y: number; readonly width: number; readonly height: number };

/** Nothing of the box is outside the window. */
function assertInside(box: Box, width: number, height: number): void {
  const isInside = box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height;
  assert(isInside, JSON.stringify(box));
}

/** The middle of a mark. */
async function middleOf(page: Page, selector: string): Promise<{ x: number; y: number }> {
  const mark = page.locator(selector).first();
  await mark.scrollIntoViewIfNeeded();
  const box = (await mark.boundingBox())!;
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

function isTest(name: string, body: () => Promise<void>): void {
  test(name, { skip: why ?? false }, body);
}

isTest("the page says what the data says, and takes the path for text", async () => {
  await withPage({ viewport: { width: 1000, height: 800 } }, async (page) => {
    const tiles = await page.locator(".tiles div").allInnerTexts();
    const figures = new Map(tiles.map((tile) => tile.split("\n")).map(([what, figure]) => [what, figure]));
    const digits = (text: string | undefined): number => Number(text!.replaceAll(/\D/g, ""));
    assertEquals(digits(figures.get("Pending")), data.counts.pendingRecords);
    assertEquals(digits(figures.get("In flight")), 300);
    assertEquals(digits(figures.get("Committed")), 450);
    assertEquals(digits(figures.get("Last sequence")), 1800);
    assertEquals(figures.get("Damage")?.replace("\xa0", " "), "24.2 KiB");
    assertEquals(await page.locator(".verdict strong").innerText(), "Not sound.");
    assertEquals(await page.locator("h1").innerText(), `"><img src=x onerror=alert(1)> & 'events'.wal`);
    assertEquals(await page.locator(".rows .chart").count(), data.counts.segments);
    assertEquals(await page.locator("img").count(), 0);
    assertEquals(await page.locator("script").count(), 1);
    const lines = await page.locator("table.wide tbody tr").count();
    assertEquals(lines, data.rows.reduce((sum, { stretches }) => sum + stretches.length, 0));
  });
});

isTest("a mouse over a stretch shows what it is, and away from it nothing", async () => {
  await withPage({ viewport: { width: 1000, height: 800 }, reducedMotion: "reduce" }, async (page) => {
    const damaged = await middleOf(page, ".rows .damaged");
    await page.mouse.move(damaged.x, damaged.y);
    const tip = await tipOf(page);
    const { offset, length } = data.regions[0]!;
    assertStringIncludes(tip, "Damaged\n00000000000000000888.wal\n");
    assertStringIncludes(tip.replaceAll("\u202f", ""), `offset ${offset}, ${length} bytes\nmissing: sequence 893`);
    const box = (await page.locator("#tip").boundingBox())!;
    assertInside(box, 1000, 800);
    // It stands beside the stretch, not on it.
    assert(box.y + box.height <= damaged.y || box.y >= damaged.y, JSON.stringify({ box, damaged }));
    await page.mouse.move(5, 5);
    assertEquals(await tipOf(page), "");
  });
});

isTest("every mark has a hover of its own, with the numbers of its stretch", async () => {
  await withPage({ viewport: { width: 1000, height: 800 }, reducedMotion: "reduce" }, async (page) => {
    const charts = page.locator(".rows .chart");
    const digits = (text: string): string => text.replaceAll("\u202f", "");
    for (const [row, { stretches }] of data.rows.entries()) {
      await charts.nth(row).focus();
      for (const [i, { offset, sequences }] of stretches.entries()) {
        // Focus alone shows nothing, unless the keyboard brought it.
        await page.keyboard.press(i === 0 ? "Home" : "ArrowRight");
        const tip = digits(await tipOf(page));
        assertStringIncludes(tip, `offset ${offset},`);
        if (sequences !== undefined) assertStringIncludes(tip, `${sequences.first}`);
        assertInside((await page.locator("#tip").boundingBox())!, 1000, 800);
      }
    }
  });
});

isTest("the keyboard goes from bar to bar and from stretch to stretch", async () => {
  await withPage({ viewport: { width: 1000, height: 800 }, reducedMotion: "reduce" }, async (page) => {
    const seen: string[] = [];
    // The fourth segment is committed in part.
    for (let i = 0; i < 4; i++) await page.keyboard.press("Tab");
    for (const key of ["", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home", "Escape"]) {
      if (key !== "") await page.keyboard.press(key);
      seen.push((await tipOf(page)).split("\n")[0]!);
    }
    // Home and End are for the stretches, not for the page.
    assertEquals(await page.evaluate("scrollY"), 0);
    assertEquals(seen, ["Committed", "In flight", "In flight", "Committed", "In flight", "Committed", ""]);
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Tab");
    assertStringIncludes(await tipOf(page), "00000000000000000523.wal");
    // Behind the rows come the charts.
    for (let i = 0; i < data.rows.length - 4; i++) await page.keyboard.press("Tab");
    assertStringIncludes(await tipOf(page), "32 to 63 bytes\n");
  });
});

isTest("a finger finds a stretch that is narrower than itself, on a phone without a sideways scroll", async () => {
  const options = { viewport: PHONE, hasTouch: true, isMobile: true, colorScheme: "dark" } as const;
  await withPage(options, async (page) => {
    const width = await page.evaluate("document.documentElement.scrollWidth");
    assertEquals(width, PHONE.width);
    await page.locator("summary").click();
    assertEquals(await page.evaluate("document.documentElement.scrollWidth"), PHONE.width, "with the table");
    const wide = await page.evaluate(`[...document.querySelectorAll("body *:not(pattern *)")]
      .filter((one) => one.getBoundingClientRect().right > ${PHONE.width} + .5).map((one) => one.outerHTML.slice(0, 80))`);
    assertEquals(wide, []);
    const damaged = await middleOf(page, ".rows .damaged");
    await page.touchscreen.tap(damaged.x + 6, damaged.y);
    assertStringIncludes(await tipOf(page), "Damaged\n");
    assertInside((await page.locator("#tip").boundingBox())!, PHONE.width, PHONE.height);
  });
});

isTest(
  "dark mode has other colours, and enough contrast in both; nothing moves for who wants less motion",
  async () => {
    await withPage({ viewport: { width: 1000, height: 800 } }, async (page) => {
      const grounds: unknown[] = [];
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        grounds.push(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
        const colours = await page.evaluate(`(() => {
        const style = getComputedStyle(document.documentElement);
        return Object.fromEntries(["card", "ground", "ink", "muted", "committed", "pending", "in-flight", "torn", "bad",
          "good", "chart"].map((name) => [name, style.getPropertyValue("--" + name).trim()]));
      })()`) as Record<string, string>;
        // WCAG 2.2, 1.4.3 and 1.4.11: 4.5 for text, 3 for what is drawn.
        for (const text of ["ink", "muted", "bad", "good"]) {
          for (const ground of ["card", "ground"]) assertContrast(colours, text, ground, 4.5);
        }
        for (const mark of ["committed", "pending", "in-flight", "torn", "bad", "chart"]) {
          assertContrast(colours, mark, "card", 3);
        }
      }
      assertNotEquals(grounds[0], grounds[1]);
      const durations: unknown[] = [];
      for (const reducedMotion of ["no-preference", "reduce"] as const) {
        await page.emulateMedia({ reducedMotion });
        durations.push(await page.evaluate('getComputedStyle(document.getElementById("tip")).transitionDuration'));
      }
      assertEquals(durations, ["0.12s", "0s"]);
    });
  },
);

isTest("without scripts the titles are there, for the browser to show", async () => {
  await withPage({ javaScriptEnabled: false }, async (page) => {
    const title = await page.locator(".rows .damaged title").first().textContent();
    assertStringIncludes(title ?? "", "Damaged\n");
  });
});

/** By the formula of WCAG 2.2 for relative luminance. */
function assertContrast(colours: Readonly<Record<string, string>>, a: string, b: string, least: number): void {
  const [high, low] = [a, b].map((name) => luminanceOf(colours[name]!)).sort((x, y) => y - x);
  const ratio = (high! + 0.05) / (low! + 0.05);
  assertLessOrEqual(least, ratio, `${a} on ${b}: ${ratio.toFixed(2)}`);
}

function luminanceOf(colour: string): number {
  const digits = colour.slice(1).length === 3 ? colour.slice(1).replaceAll(/./g, "$&$&") : colour.slice(1);
  const [red, green, blue] = [0, 2, 4].map((at) => {
    const part = Number.parseInt(digits.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
}
