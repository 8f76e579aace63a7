/**
 * The header field Retry-After (RFC 9110, section 10.2.3): how long a server asks to be left alone.
 *
 * Guarantees: both forms are understood, a number of seconds and a date in each of the three notations that a recipient
 * must accept (section 5.6.7); anything else is no answer, never an error. Dates are read here and not by `Date.parse`,
 * whose results for two of the three notations differ between runtimes and with the local time zone.
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
 * Reads the field's value.
 *
 * @param value The value, or null if the field is missing.
 * @param now Wall time: milliseconds since 1970.
 * @returns Milliseconds from now, at least 0; `undefined` if there is no value, or none that makes sense.
 */
export function retryAfterMs(value: string | null, now: number): number | undefined {
  const text = value?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const date = httpDate(text, now);
  return date === undefined ? undefined : Math.max(0, date - now);
}

/** Milliseconds since 1970 of an HTTP-date; `undefined` if it is none. */
function httpDate(text: string, now: number): number | undefined {
  const { day, month, year, hour, minute, second } = matchOf(text)?.groups ?? {};
  const monthIndex = MONTHS.indexOf(month ?? "?") / 3;
  if (!Number.isInteger(monthIndex) || monthIndex < 0) return undefined;
  const at = Date.UTC(fullYear(year!, now), monthIndex, Number(day), Number(hour), Number(minute), Number(second));
  return Number.isNaN(at) ? undefined : at;
}

function matchOf(text: string): RegExpExecArray | undefined {
  for (const date of DATES) {
    const match = date.exec(text);
    if (match !== null) return match;
  }
  return undefined;
}

/** Two digits are the latest year with these digits that is not more than 50 years ahead (section 5.6.7). */
function fullYear(year: string, now: number): number {
  if (year.length === 4) return Number(year);
  const latest = new Date(now).getUTCFullYear() + 50;
  return latest - (latest - Number(year)) % 100;
}
