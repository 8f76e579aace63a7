/**
 * Where things are in the drawings of a report: pure arithmetic, in percent of the width.
 *
 * @module
 */

/** A stretch on its row: where it begins and how wide it is, in percent. */
export interface Span {
  readonly x: number;
  readonly width: number;
}

/** A stretch that is hardly there by scale is still seen at this width: 2 pixels on a phone. */
export const MIN_WIDTH = 0.8;

/**
 * Lays out the stretches of a row of `bytes` bytes in `rowWidth` percent, to scale but for the narrow ones, which are widened at the
 * expense of wide ones and gaps. A row becomes wider if its stretches wouldn't fit.
 */
export function layOut(
  stretches: readonly { readonly at: number; readonly length: number }[],
  bytes: number,
  rowWidth: number,
): Span[] {
  const scale = bytes === 0 ? 0 : rowWidth / bytes;
  // Gaps and stretches in turn, and the gap at the end.
  const natural: number[] = [];
  let end = 0;
  for (const { at, length } of stretches) {
    natural.push((at - end) * scale, length * scale);
    end = at + length;
  }
  natural.push(Math.max(0, bytes - end) * scale);
  const least = (i: number): number => i % 2 === 1 ? MIN_WIDTH : 0;
  const widened = natural.map((width, i) => Math.max(width, least(i)));
  const excess = sum(widened) - rowWidth;
  const spare = sum(widened.map((width, i) => width - least(i)));
  const factor = excess > 0 && spare > 0 ? Math.max(0, 1 - excess / spare) : 1;
  const widths = widened.map((width, i) => least(i) + (width - least(i)) * factor);
  const spans: Span[] = [];
  let x = 0;
  for (let i = 0; i < widths.length - 1; i += 2) {
    x += widths[i]!;
    spans.push({ x, width: widths[i + 1]! });
    x += widths[i + 1]!;
  }
  return spans;
}

/** Ends of an axis whose half is a number without many digits, too. */
const CEILINGS = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10];

/** The end of an axis that begins at 0 and counts things: not below `max`, and even above 1. */
export function niceCeiling(max: number): number {
  if (max <= 1) return 1;
  if (max <= 10) return Math.ceil(max / 2) * 2;
  const power = 10 ** Math.floor(Math.log10(max));
  return Math.round(CEILINGS.find((step) => step * power >= max)! * power);
}

/** Up to `most` of the numbers from 0 to `count - 1`, evenly apart, from the first on. */
export function everyNth(count: number, most: number): number[] {
  const step = Math.max(1, Math.ceil(count / most));
  return Array.from({ length: Math.ceil(count / step) }, (_, i) => i * step);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((sum, n) => sum + n, 0);
}
