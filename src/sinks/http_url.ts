/**
 * The URL of an HTTP sink, checked when the sink is made: what no request could ever reach is refused then.
 *
 * Guarantee: an error never shows a name or a password that the URL holds.
 *
 * @module
 */

/**
 * The ports that fetch refuses, because other protocols own them (https://fetch.spec.whatwg.org/#port-blocking). Bun reaches
 * them; they are refused there, too, so that a program runs on each runtime.
 */
const BLOCKED_PORTS: ReadonlySet<string> = new Set(
  ("0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137 " +
    "139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720 1723 " +
    "2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080").split(" "),
);

/** Whether fetch refuses the URL's port. */
export function isBlockedPort({ port }: URL): boolean {
  return BLOCKED_PORTS.has(port);
}

/**
 * Parses the URL of a sink.
 *
 * @param given The URL; a copy is returned.
 * @param options Whether requests go through the user's own function, which may reach any port.
 * @throws {TypeError} if it is not an absolute URL of http or https with a host, holds a name or a password, or names a port
 * that fetch refuses.
 */
export function parseHttpUrl(given: string | URL, { hasOwnFetch }: { readonly hasOwnFetch: boolean }): URL {
  const text = String(given).trim();
  if (!/^https?:/i.test(text)) return refuse(text, "must be one of http or https");
  // The parser takes "http:///ingest" for the host "ingest".
  if (!/^https?:\/\/[^/\\?#]/i.test(text)) return refuse(text, "must have a host");
  if (!URL.canParse(text)) return refuse(text, "must be valid");
  const url = new URL(text);
  // Some runtimes' fetch refuses them; they belong in a header on all runtimes.
  if (url.username !== "" || url.password !== "") return refuse(text, "must not hold a name or a password");
  if (!isBlockedPort(url) || hasOwnFetch) return url;
  return refuse(text, `must not have port ${url.port}, which fetch blocks, unless there is an option fetch`);
}

function refuse(text: string, what: string): never {
  const shown = text.replace(/^([a-z]*:)?.*@/is, "$1//…@");
  throw new TypeError(`Cannot make an HTTP sink: url ${what}, got ${JSON.stringify(shown)}`);
}
