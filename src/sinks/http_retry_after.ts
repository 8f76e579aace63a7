/**
 * The header field Retry-After (RFC 9110, section 10.2.3): how long a client should wait.
 *
 * Guarantees: both forms are parsed, a number of seconds and a date in each of the three notations that a recipient must accept
 * (section 5.6.7), and what servers send in their place: numbers of any size, with a sign or a fraction; several of them, of
 * which the largest counts; dates with one digit for the day, without the day of the week, with another zone, or in ISO 8601.
 * What is over is no wait, and no wait is longer than a number can say exactly. Anything else is ignored and never an error.
 * `Date.parse` isn't used for the notations of HTTP: its results depend on the runtime and on the local time zone.
 *
 * @module
 */

const MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec";
const WEEKDAY = "(?:[a-z]+,?\\s+)?";
const MONTH = "(?<month>[a-z]{3})[a-z]*";
const TIME = "(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)(?:\\.\\d+)?";
const ZONE = "(?:\\s*(?:GMT|UTC?|Z|(?<offset>[+-]\\d{4})))?";

/** IMF-fixdate and RFC 850, then asctime and `date`: as in section 5.6.7, and near enough to it. */
const DATES: readonly RegExp[] = [
  new RegExp(`^${WEEKDAY}(?<day>\\d{1,2})[ -]${MONTH}[ -](?<year>\\d{4}|\\d\\d)\\s+${TIME}${ZONE}$`, "i"),
  new RegExp(`^${WEEKDAY}${MONTH}\\s+(?<day>\\d{1,2})\\s+${TIME}${ZONE}\\s+(?<year>\\d{4})$`, "i"),
];
/** Every runtime parses this one alike. */
const ISO_DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/i;
/** One number of seconds, or several: the field was given more than once. */
const SECONDS = /^[+-]?\d+(\.\d*)?(\s*,\s*[+-]?\d+(\.\d*)?)*$/;

/**
 * Parses the field's value.
 *
 * @param value The value, or null if the field is missing.
 * @param now Wall time: milliseconds since 1970.
 * @param date The value of the response's field Date, or null. A date is compared with it where it can be parsed, because the server
 * has made both by one clock; else with `now`.
 * @returns Milliseconds from now, at least 0 and an integer that a number holds exactly; `undefined` if the value is missing or
 * malformed.
 */
export function retryAfterMs(value: string | null, now: number, date: string | null = null): number | undefined {
  const text = value?.trim() ?? "";
  const serverTime = parseDate(date?.trim() ?? "", now);
  const from = Number.isNaN(serverTime) ? now : serverTime;
  const ms = SECONDS.test(text) ? Math.max(...text.split(",").map(Number)) * 1000 : parseDate(text, now) - from;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, Math.ceil(ms)), Number.MAX_SAFE_INTEGER);
}

/** Parses a date to milliseconds since 1970; NaN if it is malformed. */
function parseDate(text: string, now: number): number {
  if (ISO_DATE.test(text)) return Date.parse(text.toUpperCase());
  const { day, month, year, hour, minute, second, offset } = matchDate(text)?.groups ?? {};
  const monthIndex = MONTHS.indexOf(month?.toLowerCase() ?? "?") / 3;
  if (!Number.isInteger(monthIndex) || monthIndex < 0) return Number.NaN;
  const at = Date.UTC(expandYear(year!, now), monthIndex, Number(day), Number(hour), Number(minute), Number(second));
  return at - offsetMs(offset);
}

/** The time by which a zone such as "+0130" is ahead. */
function offsetMs(offset = "+0000"): number {
  const minutes = Number(offset.slice(1, 3)) * 60 + Number(offset.slice(3));
  return (offset.startsWith("-") ? -minutes : minutes) * 60_000;
}

function matchDate(text: string): RegExpExecArray | undefined {
  for (const date of DATES) {
    const match = date.exec(text);
    if (match !== null) return match;
  }
  return undefined;
}

/** Expands a year of two digits to the latest such year that is at most 50 years ahead (section 5.6.7). */
function expandYear(year: string, now: number): number {
  if (year.length === 4) return Number(year);
  const latest = new Date(now).getUTCFullYear() + 50;
  return latest - (latest - Number(year)) % 100;
}
