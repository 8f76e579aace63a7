/**
 * The style sheet of a report: light and dark, for screens from 320 pixels on and for paper. Marks differ by pattern as well as by
 * colour.
 *
 * @module
 */

/** In the page's head, allowed by its hash. */
export const REPORT_STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f7f8f9; --card: #fff; --ink: #1b2027; --muted: #57616d; --line: #dde2e7; --track: #eceff2;
  --committed: #8a95a3; --pending: #2a6fdb; --in-flight: #b45309; --in-flight-2: #e0a15c; --dropped: #8a95a3;
  --torn: #7c3aed; --bad: #c5221f; --bad-2: #fbe3e1; --good: #1a7f37; --chart: #2a6fdb; --focus: #1b2027;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1216; --card: #171b21; --ink: #e6e9ed; --muted: #9ba5b1; --line: #2b323a; --track: #232931;
    --committed: #75808d; --pending: #5b9cf0; --in-flight: #f0a04b; --in-flight-2: #7a4a14; --dropped: #75808d;
    --torn: #b794f6; --bad: #f2716b; --bad-2: #4a1513; --good: #4ac26b; --chart: #5b9cf0; --focus: #e6e9ed;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 20px 16px 48px; max-width: 1040px; background: var(--ground); color: var(--ink);
  font: 14px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 22px; line-height: 1.25; }
h2 { margin: 0 0 2px; font-size: 15px; }
p { margin: 0; }
.muted, .tiles dt, th { color: var(--muted); }
.small { font-size: 12px; }
code, .mono { font: 12px/1.5 ui-monospace, monospace; }
section { margin-top: 16px; padding: 14px 16px 16px; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); min-width: 0; }
.verdict { display: flex; gap: 10px; margin-top: 16px; padding: 10px 16px; border: 1px solid; border-radius: 8px;
  background: var(--card); align-items: center; }
.verdict svg { flex: none; }
.verdict span { color: var(--ink); }
.good { color: var(--good); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1px; margin: 16px 0 0;
  border: 1px solid var(--line); border-radius: 8px; background: var(--line); overflow: hidden; }
.tiles div { min-width: 0; padding: 10px 14px 11px; background: var(--card); }
.tiles dt { font-size: 12px; }
.tiles dd { margin: 0; }
.tiles dd.figure { font-size: 19px; font-weight: 600; line-height: 1.3; }
.tiles dd.note { color: var(--muted); font-size: 12px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 0 16px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 6px 0 10px; padding: 0; list-style: none;
  font-size: 12px; }
.legend li { display: flex; align-items: center; gap: 6px; }
.rows { display: grid; grid-template-columns: max-content 1fr max-content; gap: 5px 12px; align-items: center;
  font-size: 12px; }
.rows > * { min-width: 0; }
.rows .size { text-align: right; color: var(--muted); }
svg { display: block; }
.chart { width: 100%; overflow: visible; touch-action: pan-y; border-radius: 2px; }
.chart:focus-visible, summary:focus-visible { outline: 2px solid var(--focus); outline-offset: 3px; }
.track { fill: var(--track); }
.committed { fill: var(--committed); } .pending { fill: var(--pending); } .inFlight { fill: url(#in-flight); }
.dropped { fill: url(#dropped); } .free { fill: none; stroke: var(--committed); stroke-dasharray: 2 3; }
.torn { fill: url(#torn); } .damaged { fill: url(#damaged); } .unusable { fill: url(#unusable); }
.missing { fill: var(--bad); }
.m { cursor: default; }
.m.on { stroke: var(--ink); stroke-width: 2; }
.bar { fill: var(--chart); pointer-events: none; }
.hit { fill: transparent; }
.hit.on { fill: var(--ink); fill-opacity: .1; stroke: none; }
.grid { stroke: var(--line); }
.chart text { fill: var(--muted); font-size: 11px; }
figure { margin: 0; }
ul.plain { margin: 6px 0 0; padding-left: 18px; }
ul.plain li { margin: 2px 0; }
table { width: 100%; margin-top: 8px; border-collapse: collapse; font-size: 12px; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 500; }
.n { text-align: right; white-space: nowrap; }
summary { cursor: pointer; font-size: 15px; font-weight: 600; }
footer { margin-top: 20px; }
#tip { position: fixed; z-index: 1; left: 0; top: 0; max-width: min(340px, calc(100vw - 16px)); padding: 7px 10px;
  border-radius: 6px; background: var(--ink); color: var(--ground); font-size: 12px; line-height: 1.45;
  white-space: pre-line; pointer-events: none; opacity: 0; visibility: hidden; transition: opacity .12s; }
#tip.on { opacity: 1; visibility: visible; }
#tip::first-line { font-weight: 600; }
.defs { position: absolute; width: 0; height: 0; }
@media (prefers-reduced-motion: reduce) { #tip { transition: none; } }
@media (max-width: 620px) {
  body { padding: 14px 10px 40px; }
  section { padding: 12px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .rows { grid-template-columns: 1fr max-content; grid-auto-flow: dense; gap: 2px 8px; }
  .rows > .bar-cell { grid-column: 1 / 3; margin-bottom: 6px; }
  .wide thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .wide tr { display: block; padding: 5px 0; border-bottom: 1px solid var(--line); }
  .wide td { display: inline; padding: 0; border: 0; }
  .wide td:nth-child(3)::before { content: "offset "; }
  .wide td:nth-child(5):not(:empty)::before { content: "sequences "; }
  .wide td:nth-child(7):not(:empty)::before { content: "put "; }
  .wide td:not(:last-child):not(:empty)::after { content: " \\00b7  "; color: var(--muted); }
}
@media print {
  body { max-width: none; padding: 0; background: none; }
  section, .verdict, .tiles { break-inside: avoid; }
  #tip { display: none; }
  svg { print-color-adjust: exact; }
}
`;
