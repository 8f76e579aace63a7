/**
 * A server of bytes: it says what a test tells it to, be it HTTP or not, at the head of a request or behind its body.
 */

import { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** A request, as far as a test needs it. */
export interface RawRequest {
  /** Counts the requests of all connections, from 1. */
  readonly number: number;
  readonly head: string;
  /** Its Content-Length. */
  readonly length: number;
}

/** What a server does. */
export interface RawServer {
  /** When the head has come. */
  readonly onHead?: (socket: Socket, request: RawRequest) => void;
  /** When the body has come, too. */
  readonly onRequest?: (socket: Socket, request: RawRequest) => void;
}

/** A running server. */
export interface RawTarget {
  readonly url: string;
  /** All requests whose heads have come. */
  readonly requests: RawRequest[];
  /** The number of connections so far. */
  readonly connections: () => number;
}

/** Runs a server until `use` has ended. */
export async function withRawServer(
  { onHead, onRequest }: RawServer,
  use: (target: RawTarget) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>();
  const requests: RawRequest[] = [];
  let connections = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections++;
    sockets.add(socket);
    let head: Buffer = Buffer.alloc(0);
    let request: RawRequest | undefined;
    let missing = 0;
    const onData = (data: Buffer): void => {
      if (request === undefined) {
        head = Buffer.concat([head, data]);
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        const text = head.subarray(0, end).toString("latin1");
        const length = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? 0);
        data = head.subarray(end + 4);
        head = Buffer.alloc(0);
        request = { number: requests.length + 1, head: text, length };
        requests.push(request);
        missing = length;
        onHead?.(socket, request);
      }
      missing -= data.length;
      if (missing > 0 || socket.destroyed) return;
      const whole = request;
      request = undefined;
      onRequest?.(socket, whole);
    };
    socket.on("data", onData).on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await use({
      url: `http://127.0.0.1:${port}/ingest`,
      requests,
      connections: () => connections,
    });
  } finally {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
}

/** A response in bytes. */
export function response(
  status: number,
  fields: readonly string[],
  body: string | Uint8Array = "",
): Uint8Array {
  const head = [`HTTP/1.1 ${status} Status`, ...fields, "", ""].join("\r\n");
  return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body as Uint8Array)]);
}
