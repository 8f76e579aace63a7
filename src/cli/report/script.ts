/**
 * The script of a report: shows a mark's title beside the mark, for mouse, finger and keyboard. Without it, a browser shows titles
 * for a mouse only. It sends nothing.
 *
 * @module
 */

/** At the end of the page, allowed by its hash. */
export const REPORT_SCRIPT = `
"use strict";
const tip = document.getElementById("tip");
const REACH = 14;
let shown;

function show(mark) {
  if (shown !== mark) {
    hide();
    shown = mark;
    mark.classList.add("on");
    tip.textContent = mark.tip;
  }
  const box = mark.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), document.documentElement.clientWidth - width - 8);
  const above = box.top - height - 8;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (above < 8 ? box.bottom + 8 : above) + "px";
  tip.classList.add("on");
}

function hide() {
  shown?.classList.remove("on");
  shown = undefined;
  tip.classList.remove("on");
}

for (const chart of document.querySelectorAll("svg.chart")) {
  const marks = [...chart.querySelectorAll(".m")];
  if (marks.length === 0) continue;
  for (const mark of marks) {
    const title = mark.querySelector("title");
    mark.tip = title.textContent;
    mark.setAttribute("aria-label", mark.tip);
    title.remove();
  }
  let current = 0;
  const go = (to) => {
    current = Math.min(Math.max(0, to), marks.length - 1);
    show(marks[current]);
  };
  // The narrowest of those that are nearest: a finger is wider than most damage.
  const nearest = (x, reach) => {
    let best = -1;
    let least = reach;
    marks.forEach((mark, i) => {
      const { left, right } = mark.getBoundingClientRect();
      const distance = x < left ? left - x : x > right ? x - right : 0;
      const wide = right - left > 2 * REACH;
      const score = distance + (wide ? reach / 2 : 0);
      if (distance < reach && score <= least) [best, least] = [i, score];
    });
    return best;
  };
  const point = (event) => {
    const at = nearest(event.clientX, event.pointerType === "mouse" ? 4 : REACH);
    if (at >= 0) go(at);
    else if (document.activeElement !== chart) hide();
  };
  chart.tabIndex = 0;
  chart.addEventListener("pointermove", point);
  chart.addEventListener("pointerdown", point);
  chart.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  chart.addEventListener("focus", () => chart.matches(":focus-visible") && go(current));
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const to = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: marks.length - 1 }[event.key];
    if (event.key === "Escape") hide();
    if (to === undefined) return;
    // Home and End would scroll the page as well.
    event.preventDefault();
    go(to);
  });
}
// A tip stays with its mark, also when the keyboard has just brought the mark into view.
addEventListener("scroll", () => shown && show(shown), { passive: true });
`;
