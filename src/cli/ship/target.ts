/**
 * Where `ship` delivers to: an HTTP server, a file, or standard output.
 *
 * Each sink documents its guarantees. A file is opened again at SIGHUP, as a logger does. Two failures are not the target's, and no record may become a dead letter because of them: a
 * standard output without a reader, and a sandbox that blocks requests. They end the whole shipment, by `onBroken`.
 *
 * @module
 */

import { DeliveryError } from "../../errors/mod.ts";
import type { Send } from "../../producer/delivery.ts";
import { fileSink } from "../../sinks/file.ts";
import { httpSink } from "../../sinks/http.ts";
import { isBlockedPort } from "../../sinks/http_url.ts";
import { appendSink } from "../../sinks/stream.ts";
import { type CommandContext, OutputClosedError, ShipError, UsageError } from "../shared/command.ts";
import type { LineFormat } from "./line_formats.ts";

export type Destination =
  | { readonly kind: "http"; readonly url: URL }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "output" };

export interface Target {
  readonly send: Send<unknown>;
  readonly close: () => Promise<void>;
}

/** The names of Deno's errors when its sandbox refuses. */
const SANDBOX_ERRORS: ReadonlySet<string> = new Set(["NotCapable", "PermissionDenied"]);

/** Parses `--to`; throws for a URL that is malformed, neither http nor https, or with a port that fetch blocks. */
export function parseDestination(to: string): Destination {
  if (to === "-") return { kind: "output" };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(to)?.[1]?.toLowerCase();
  const looksLikeHttp = /^https?:/i.test(to);
  if (scheme === undefined && !looksLikeHttp) {
    if (to === "") refuse(to, "must not be empty");
    if (to.includes("\0")) refuse(to, "must be a path");
    return { kind: "file", path: to };
  }
  if (scheme !== "http" && scheme !== "https") {
    refuse(to, looksLikeHttp ? "is no URL" : `must be a URL of http or https, a file or -`);
  }
  if (!URL.canParse(to)) refuse(to, "is no URL");
  const url = new URL(to);
  if (url.username !== "" || url.password !== "") {
    // The URL is not shown: it has a password.
    throw new UsageError(`Cannot use --to: it must not hold a name or a password; --header "Authorization: ..." does`);
  }
  if (isBlockedPort(url)) refuse(to, `must not have port ${url.port}, which fetch blocks`);
  return { kind: "http", url };
}

/** The target's name for messages: a URL without its query, which may have a token. */
export function nameOf(destination: Destination): string {
  if (destination.kind === "output") return "standard output";
  return destination.kind === "file" ? destination.path : destination.url.origin + destination.url.pathname;
}

/**
 * Opens a target. Throws what the sink throws: a file may be locked, damaged, or in a missing directory. `onBroken` is called, with
 * the reason, when no attempt can succeed in this process.
 */
export async function openTarget(
  { destination, format, headers, gzip, onBroken }: {
    readonly destination: Destination;
    readonly format: LineFormat;
    readonly headers: Headers;
    readonly gzip: boolean;
    readonly onBroken: (error: Error) => void;
  },
  { fileSystem, output, clock, onHangup }: Pick<CommandContext, "fileSystem" | "output" | "clock" | "onHangup">,
): Promise<Target> {
  const lineOptions = { emptyLines: format === "lines" };
  if (destination.kind === "file") {
    const send = await fileSink<unknown>(destination.path, { fileSystem, ...lineOptions });
    // A failure is met again, and reported, by the next delivery.
    const cancel = onHangup?.(() => void send.reopen().catch(() => {}));
    return {
      send,
      close() {
        cancel?.();
        return send.close();
      },
    };
  }
  const contentType = format === "lines" ? "text/plain" : "application/x-ndjson";
  const send = destination.kind === "http"
    ? httpSink<unknown>(destination.url, { headers, gzip, contentType, clock, ...lineOptions })
    : appendSink<unknown>((lines) => output.write(lines, { untilTaken: true }), lineOptions);
  return { send: guarded(send, onBroken), close: () => Promise.resolve() };
}

/** Passes failures that aren't the target's to `onBroken`. */
function guarded(send: Send<unknown>, onBroken: (error: Error) => void): Send<unknown> {
  return async (delivery, context) => {
    try {
      await send(delivery, context);
    } catch (error) {
      const broken = brokenBy(error);
      if (broken === undefined) throw error;
      onBroken(broken);
      throw broken;
    }
  };
}

function brokenBy(error: unknown): Error | undefined {
  if (error instanceof OutputClosedError) return error;
  const cause = error instanceof DeliveryError ? error.cause : error;
  if (!(cause instanceof Error) || !SANDBOX_ERRORS.has(cause.name)) return undefined;
  // The message names the host and says --allow-net.
  return new ShipError(`Cannot send: ${cause.message}`, { cause });
}

function refuse(to: string, what: string): never {
  throw new UsageError(`Cannot use --to=${to}: it ${what}`);
}
