/**
 * The header field Retry-After (RFC 9110, section 10.2.3): how long a client should wait.
 *
 * Guarantees: both forms are parsed, a number of seconds and a date in each of the three notations that a recipient must accept
 * (section 5.6.7). Anything else is ignored and never an error. `Date.parse` isn't used: for two of the three notations its
 * results depend on the runtime and on the local time zone.
 *
 * @module
 */

const MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";
const TIME = "(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)";

/** IMF-fixdate, RFC 850, asctime: as in section 5.6.7. */
const DATES: readonly RegExp[] = [
  new RegExp(`^[A-Z][a-z]{2}, (?<day>\\d\\d) (?<month>[A-Z][a-z]{2}) (?<year>\\d{4}) ${TIME} GMT$`),
  new RegExp(`^[A-Z][a-z]+day, (?<day>\\d\\d)-(?<month>[A-Z][a-z]{2})-(?<year>\\d\\d) ${TIME} GMT$`),
  new RegExp(`^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \\d]\\d) ${TIME} (?<year>\\d{4})$`),
];

/**
 * Parses the field's value.
 *
 * @param value The value, or null if the field is missing.
 * @param now Wall time: milliseconds since 1970.
 * @returns Milliseconds from now, at least 0; `undefined` if the value is missing or malformed.
 */
export function retryAfterMs(value: string | null, now: number): number | undefined {
  const text = value?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const date = parseHttpDate(text, now);
  return date === undefined ? undefined : Math.max(0, date - now);
}

/** Parses an HTTP-date to milliseconds since 1970; `undefined` if it is malformed. */
function parseHttpDate(text: string, now: number): number | undefined {
  const { day, month, year, hour, minute, second } = matchDate(text)?.groups ?? {};
  const monthIndex = MONTHS.indexOf(month ?? "?") / 3;
  if (!Number.isInteger(monthIndex) || monthIndex < 0) return undefined;
  const at = Date.UTC(expandYear(year!, now), monthIndex, Number(day), Number(hour), Number(minute), Number(second));
  return Number.isNaN(at) ? undefined : at;
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
