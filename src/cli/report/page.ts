/**
 * A report as one HTML page that needs nothing else.
 *
 * Guarantees: the same data gives the same page; a path or a file name is only text on it; it can't load or send anything, because
 * its policy allows, by their hashes, only its own style sheet and script; its size is bounded, because the data is.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { basename } from "@std/path/basename";
import { KINDS, legendOf, logRows, PATTERN_STYLE, PATTERNS, sizeChart, timeChart } from "./charts.ts";
import type { ReportData, Stretch } from "./data.ts";
import { problemsOf, recoverySteps } from "./recovery_steps.ts";
import { REPORT_SCRIPT } from "./script.ts";
import { REPORT_STYLE } from "./style.ts";
import { bytesText, durationText, escapeHtml, numberText, plural, rangeText, secondText, timeText } from "./words.ts";

export function renderReport(data: ReportData): string {
  const style = REPORT_STYLE + PATTERN_STYLE;
  const name = basename(data.path) || data.path;
  const policy = `default-src 'none'; style-src '${hashOf(style)}'; script-src '${hashOf(REPORT_SCRIPT)}'; ` +
    "base-uri 'none'; form-action 'none'";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(name)}: ${data.isSound ? "sound" : "not sound"}</title>
<style>${style}</style>
</head>
<body>
<svg class="defs" aria-hidden="true"><defs>${PATTERNS}</defs></svg>
${headOf(data, name)}
<main>
${[tiles(data), theLog(data), charts(data), recovery(data), quarantine(data), table(data)].join("\n")}
</main>
<footer class="muted small">Times are in UTC. The directory was read, not changed; beside a live writer this is how it was
at that moment.</footer>
<div id="tip" role="status"></div>
<script>${REPORT_SCRIPT}</script>
</body>
</html>
`;
}

/** As a policy names it. */
function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

function headOf(data: ReportData, name: string): string {
  const { isSound, path, uuid, generatedAt, counts } = data;
  const icon = isSound ? '<path d="M6 10.5l3 3 5.5-6.5"/>' : '<path d="M7 7l6 6M13 7l-6 6"/>';
  const tail = counts.tornBytes > 0 ? " The unfinished write at its end was never acknowledged." : "";
  const state = isSound
    ? `Every frame of every segment is right, and nothing is missing.${tail}`
    : escapeHtml(problemsOf(data)) + ".";
  return `<header>
<h1><bdi>${escapeHtml(name)}</bdi></h1>
<p class="muted small"><bdi class="mono">${escapeHtml(path)}</bdi><br>buffer <span class="mono">${
    escapeHtml(uuid ?? "unknown")
  }</span><br>as of ${timeText(generatedAt)} UTC</p>
</header>
<div class="verdict ${isSound ? "good" : "bad"}"><svg width="20" height="20" fill="none" stroke="currentColor" ` +
    `stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">` +
    `<circle cx="10" cy="10" r="9"/>${icon}</svg>` +
    `<p><strong>${isSound ? "Sound." : "Not sound."}</strong> <span>${state}</span></p></div>`;
}

function tiles({ counts, owner, generatedAt, quarantine }: ReportData): string {
  const { committedThrough, oldestPutTime } = counts;
  const onDisk = numberText(counts.committedRecords);
  const badBytes = counts.damagedBytes + counts.unusableBytes;
  const setAside = quarantine.bytes > 0 ? `, ${bytesText(quarantine.bytes)} in quarantine` : "";
  const tile = (what: string, figure: string, note: string): string =>
    `<div><dt>${what}</dt><dd class="figure">${escapeHtml(figure)}</dd><dd class="note">${escapeHtml(note)}</dd></div>`;
  const list = [
    tile("Pending", numberText(counts.pendingRecords), `${bytesText(counts.pendingBytes)}, records not committed`),
    tile(
      "In flight",
      numberText(counts.inFlightRecords),
      `in ${plural(counts.inFlightBatches, "batch", "batches")}; pending, too`,
    ),
    committedThrough === undefined
      ? tile("Committed", "unknown", "the cursor doesn't say")
      : tile("Committed", numberText(committedThrough), `last sequence; ${onDisk} still on disk`),
    oldestPutTime === undefined
      ? tile("Oldest pending", "none", "everything is committed")
      : tile("Oldest pending", durationText(generatedAt - oldestPutTime), `put ${secondText(oldestPutTime)}`),
    tile(
      "Damage",
      counts.damagedRegions + counts.unusableFiles === 0 ? "none" : bytesText(badBytes),
      `${plural(counts.missingRecords, "record")} missing, ${plural(counts.tornBytes, "torn byte")}`,
    ),
    tile("Disk", bytesText(counts.segmentBytes + quarantine.bytes), plural(counts.segments, "segment") + setAside),
    tile("Last sequence", numberText(counts.lastSequence), "the highest given out"),
    owner === undefined
      ? tile("Last opened by", "unknown", "there is no owner.json")
      : tile("Last opened by", `${owner.runtime} ${owner.pid}`, secondText(Date.parse(owner.openedAt))),
  ];
  return `<dl class="tiles">\n${list.join("\n")}\n</dl>`;
}

function theLog(data: ReportData): string {
  const { rows, segmentsPerRow, counts } = data;
  if (rows.length === 0) return section("Log", `<p class="muted">There are no segments.</p>`);
  const notes = [
    segmentsPerRow === 1
      ? "A bar is a segment, named by its first sequence"
      : `A bar is up to ${segmentsPerRow} segments, named by the first sequences of the first and the last`,
    "lengths are to scale, but what is narrow is widened to be seen",
  ];
  if (rows.some(({ stretches }) => stretches.some(({ joined }) => joined > 1))) {
    notes.push("some neighbours are drawn as one, as the worst of them");
  }
  const gone = counts.goneSegments === 0
    ? ""
    : ` The writer removed ${plural(counts.goneSegments, "segment")} while the log was read.`;
  return section("Log", `<p class="muted small">${notes.join("; ")}.${gone}</p>\n${legendOf(data)}\n${logRows(data)}`);
}

function charts(data: ReportData): string {
  if (data.sizes.length === 0) return "";
  const figure = (title: string, chart: string): string =>
    `<section><figure><figcaption><h2>${title}</h2></figcaption>${chart}</figure></section>`;
  return `<div class="pair">${figure("Record sizes", sizeChart(data))}${figure("Put times", timeChart(data))}</div>`;
}

function recovery(data: ReportData): string {
  const steps = recoverySteps(data).map((step) => `<li>${escapeHtml(step)}</li>`);
  const note =
    "As repair --dry-run plans it. In the last segment when the buffer is opened, in the others when reading comes to them.";
  const list = `<ul class="plain">${steps.join("\n")}</ul>`;
  return section("What recovery would do", `<p class="muted small">${note}</p>${list}`);
}

function quarantine({ quarantine }: ReportData): string {
  const { files, bytes, listed } = quarantine;
  if (files === 0) return section("Quarantine", `<p class="muted">Empty: nothing was ever set aside.</p>`);
  const lines = listed.map((file) =>
    `<tr><td class="mono"><bdi>${escapeHtml(file.name)}</bdi><td class="n">${bytesText(file.bytes)}`
  );
  const more = files > listed.length ? `<p class="muted small">And ${numberText(files - listed.length)} more.</p>` : "";
  return section(
    "Quarantine",
    `<p class="muted small">${plural(files, "file")}, ${bytesText(bytes)}: what was set aside earlier.</p>` +
      `<table><thead><tr><th>File<th class="n">Size</thead><tbody>${lines.join("\n")}</tbody></table>${more}`,
  );
}

function table({ rows, segmentsPerRow }: ReportData): string {
  const lines = rows.flatMap(({ stretches }) => stretches.map(tableLine));
  if (lines.length === 0) return "";
  const headings = ["What", "Segment", "Offset", "Length", "Sequences", "Records", "Put"];
  const note = segmentsPerRow === 1 ? "" : ` A line may go on in the segments behind the one it names.`;
  return `<section><details><summary>The log as a table</summary>
<p class="muted small">What the bars show, in the same order.${note}</p>
<table class="wide"><thead><tr>${headings.map((heading) => `<th>${heading}`).join("")}</thead><tbody>
${lines.join("\n")}
</tbody></table></details></section>`;
}

function tableLine(stretch: Stretch): string {
  const { kind, segment, offset, length, sequences, records, putFrom, putTo } = stretch;
  const name = KINDS.find(([one]) => one === kind)![1];
  const cells = [
    name,
    escapeHtml(segment),
    numberText(offset),
    bytesText(length),
    sequences === undefined ? "" : rangeText(sequences),
    records === 0 ? "" : plural(records, "record"),
    putFrom === undefined ? "" : secondText(putFrom) + (putTo === putFrom ? "" : ` to ${secondText(putTo!)}`),
  ];
  return `<tr>${cells.map((cell) => `<td>${cell}`).join("")}`;
}

function section(title: string, content: string): string {
  return `<section><h2>${title}</h2>\n${content}\n</section>`;
}
