/**
 * What the sinks for AWS share: requests of bounded size, in order, and which records were not taken.
 *
 * Guarantees: a delivery that is larger than a request goes in several, one after the other. When some records of a request may
 * be taken later, nothing behind that request is sent, so that the order of requests is kept. The error names exactly the records
 * that were not taken, or are not known to have been: what was taken isn't sent again. Nothing is sent after the signal has been
 * aborted.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { abortable } from "../base/abortable.ts";
import { checkFunction, checkObject, describe } from "../base/validation.ts";
import { DeliveryError, type DeliveryErrorData, type FailedRecord } from "../errors/mod.ts";
import type { Delivery, Send } from "../producer/delivery.ts";
import { type AwsFault, classifyAwsFault, toAwsErrorData } from "./aws_errors.ts";
import { checkText } from "./encode_records.ts";
import type { RecordIdentity } from "./record_identity.ts";

/** What a sink uses of a client of AWS SDK v3. */
export interface AwsClient {
  /**
   * Sends a command.
   *
   * @param command What to do.
   * @param options A signal that ends it.
   * @returns The answer.
   */
  send(command: never, options?: { abortSignal?: AbortSignal }): Promise<unknown>;
}

/** A class of commands of AWS SDK v3, such as `PutRecordsCommand`. */
export type AwsCommand = new (input: never) => object;

/** The client's service and the command that a sink sends. */
export interface AwsOperation {
  /** Completes "Cannot make ...". */
  readonly sink: string;
  /** The client's `config.serviceId`. */
  readonly service: string;
  /** Name of the client's class. */
  readonly client: string;
  /** Name of the command's class. */
  readonly command: string;
}

/** Limits of a request, as the presets have them. */
export interface RequestLimits {
  readonly maxRecords: number;
  readonly maxRequestBytes?: number | undefined;
  readonly maxRecordBytes: number;
}

/** A record as a request has it. */
export interface Entry<E> {
  readonly index: number;
  readonly entry: E;
  /** As the service counts them. */
  readonly bytes: number;
}

/** An entry that an answer says was not taken. */
export interface RefusedEntry {
  /** Its position in the request. */
  readonly at: number;
  readonly code: string;
  readonly message?: string | undefined;
  /** Whether the answer says that the sender is at fault. */
  readonly isSenderFault?: boolean | undefined;
}

/** A service as a target. */
export interface AwsTarget<T, E> {
  readonly limits: RequestLimits;
  /** Whether `encode()` looks at records; without it they aren't decoded. */
  readonly readsRecords: boolean;
  /** Encodes a record; what it throws refuses the record. */
  encode(payload: Uint8Array, record: T, identity: RecordIdentity, index: number): Omit<Entry<E>, "index">;
  /** Puts entries into the order of a request, where the service demands one, and cuts where it demands that. */
  arrange?(entries: readonly Entry<E>[]): readonly (readonly Entry<E>[])[];
  /** The input of the command. */
  toInput(entries: readonly E[]): object;
  /** What an answer says about the entries. */
  refusedOf(answer: Answer, entries: readonly E[]): RefusedEntry[];
}

/** The members of answers that sinks read. */
export interface Answer {
  readonly [name: string]: unknown;
}

/** Refuses what is no client of the service or no class of the command, names that are missing, and functions that are none. */
export function checkAwsSink(
  client: unknown,
  options: { readonly command: unknown },
  operation: AwsOperation,
  names: readonly string[],
  functions: readonly string[],
): void {
  const doing = `make ${operation.sink}`;
  checkObject("options", options, doing);
  checkAwsClient(client, options.command, operation);
  for (const name of names) {
    const value: unknown = Reflect.get(options, name);
    if (typeof value === "string" && value !== "") continue;
    throw new TypeError(`Cannot ${doing}: ${name} must be a string that isn't empty, got ${describe(value)}`);
  }
  for (const name of functions) {
    const value: unknown = Reflect.get(options, name);
    if (value !== undefined) checkFunction(name, value, doing);
  }
}

function checkAwsClient(client: unknown, command: unknown, operation: AwsOperation): void {
  const { sink, service, client: name } = operation;
  const wanted = `it takes a client of AWS SDK v3, ${name}, and command: ${operation.command}`;
  const { send, config, makeRequest } = (client ?? {}) as Record<string, unknown>;
  if (typeof send !== "function") {
    const found = typeof makeRequest === "function" ? "what looks like a client of AWS SDK v2" : describe(client);
    throw new TypeError(`Cannot make ${sink}: ${wanted}; got ${found}`);
  }
  const other = (config as { serviceId?: unknown } | undefined)?.serviceId;
  if (typeof other === "string" && other !== service) {
    throw new TypeError(`Cannot make ${sink}: ${wanted}; got a client for ${other}`);
  }
  if (typeof command !== "function") throw new TypeError(`Cannot make ${sink}: ${wanted}; got ${describe(command)}`);
  // A bundler may have shortened the name; a whole one says what it is.
  if (command.name !== operation.command && command.name.endsWith("Command")) {
    throw new TypeError(`Cannot make ${sink}: ${wanted}; got ${command.name}`);
  }
}

/** Makes the `Send` of a service. */
export function sendByRequests<T, E>(client: AwsClient, command: AwsCommand, target: AwsTarget<T, E>): Send<T> {
  return async (delivery, { signal }) => {
    const failures = new Failures();
    const entries = encodeAll(delivery, target, failures);
    const requests = (target.arrange?.(entries) ?? [entries]).flatMap((part) => cut(part, target.limits));
    for (const [at, request] of requests.entries()) {
      signal.throwIfAborted();
      let answer: unknown;
      try {
        const input = target.toInput(request.map(({ entry }) => entry));
        answer = await abortable(client.send(new command(input as never) as never, { abortSignal: signal }), signal);
      } catch (error) {
        signal.throwIfAborted();
        const rest = requests.slice(at).flat();
        const data = toAwsErrorData(error);
        const isWhole = rest.length === delivery.length;
        throw new DeliveryError(isWhole ? data : failures.withRest(rest, data), { cause: error });
      }
      const refused = target.refusedOf((answer ?? {}) as Answer, request.map(({ entry }) => entry));
      if (failures.add(refused, request)) {
        throw failures.toError(delivery.length, requests.slice(at + 1).flat());
      }
    }
    if (!failures.isEmpty) throw failures.toError(delivery.length, []);
  };
}

function encodeAll<T, E>(delivery: Delivery<T>, target: AwsTarget<T, E>, failures: Failures): readonly Entry<E>[] {
  const entries: Entry<E>[] = [];
  const { batchId, sequences, payloads } = delivery;
  // Outside of the loop: a payload that doesn't decode is none of an entry's faults.
  const records: readonly T[] = target.readsRecords ? delivery.records : [];
  for (let index = 0; index < delivery.length; index++) {
    const identity = { batchId, sequence: sequences[index]! };
    try {
      const encoded = target.encode(payloads[index]!, records[index]!, identity, index);
      const { maxRecordBytes } = target.limits;
      if (encoded.bytes > maxRecordBytes) {
        throw new RangeError(`it has ${encoded.bytes} bytes, and the most are ${maxRecordBytes}`);
      }
      entries.push({ index, ...encoded });
    } catch (error) {
      failures.refuse(index, `record ${index}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return entries;
}

/** Cuts entries into requests that the service takes. */
function cut<E>(entries: readonly Entry<E>[], { maxRecords, maxRequestBytes = Infinity }: RequestLimits): Entry<E>[][] {
  const requests: Entry<E>[][] = [];
  let bytes = 0;
  for (const entry of entries) {
    const last = requests.at(-1);
    if (last === undefined || last.length === maxRecords || bytes + entry.bytes > maxRequestBytes) {
      requests.push([entry]);
      bytes = entry.bytes;
    } else {
      last.push(entry);
      bytes += entry.bytes;
    }
  }
  return requests;
}

/** Records of a delivery that were not taken. */
class Failures {
  readonly #failed: FailedRecord[] = [];
  /** All faults there were. */
  readonly #faults = new Set<AwsFault>();

  get isEmpty(): boolean {
    return this.#failed.length === 0;
  }

  refuse(index: number, reason: string): void {
    this.#faults.add("refused");
    this.#failed.push({ index, retryable: false, reason });
  }

  /** Adds what an answer refuses; returns whether any of it may be taken later. */
  add(refused: readonly RefusedEntry[], request: readonly Entry<unknown>[]): boolean {
    let mayBeTaken = false;
    for (const { at, code, message, isSenderFault } of refused) {
      const fault = classifyAwsFault(code, message ?? "") ?? (isSenderFault === true ? "refused" : "passing");
      const retryable = fault === "passing" || fault === "lasting";
      this.#faults.add(fault);
      this.#failed.push({ index: request[at]!.index, retryable, reason: message ? `${code}: ${message}` : code });
      mayBeTaken ||= retryable;
    }
    return mayBeTaken;
  }

  /** The error about all of them, and the records that were not sent because of them. */
  toError(length: number, unsent: readonly Entry<unknown>[]): DeliveryError {
    const first = this.#failed.find(({ retryable }) => retryable) ?? this.#failed[0]!;
    const reason = `${this.#failed.length} of ${length} records were not taken; ${first.reason}`;
    const faults = [...this.#faults];
    const isTargetFault = faults.every((fault) => fault === "passing" || fault === "lasting");
    const scope = isTargetFault ? { scope: "target", retryable: !this.#faults.has("lasting") } as const : {};
    return new DeliveryError({ reason, ...scope, failed: this.#withUnsent(unsent) });
  }

  /** The error of a request when only its records and those behind it are left: all others were taken, or are refused. */
  withRest(rest: readonly Entry<unknown>[], { reason, scope, retryable }: DeliveryErrorData): DeliveryErrorData {
    const failed = this.#withUnsent(rest);
    // Else, what it was refused for shows when these records come again, alone.
    return scope === "target" && this.isEmpty ? { reason, scope, retryable, failed } : { reason, failed };
  }

  #withUnsent(unsent: readonly Entry<unknown>[]): FailedRecord[] {
    const more = unsent.map(({ index }) => ({ index, retryable: true, reason: "not sent, or not known to be taken" }));
    return [...this.#failed, ...more].sort((a, b) => a.index - b.index);
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What a service takes as the text of a message. */
export function toMessageText(payload: Uint8Array | string, what: string): string {
  return typeof payload === "string" ? checkText(payload, what) : decoder.decode(payload);
}

/** Bytes of a text in UTF-8. */
export function utf8Length(text: string): number {
  return Buffer.byteLength(text);
}
