/**
 * Sinks for CloudWatch Logs and EventBridge; `aws.ts` documents what all sinks for AWS have in common.
 *
 * @module
 */

import { checkFunction } from "../base/validation.ts";
import type { Send } from "../producer/delivery.ts";
import {
  type AwsClient,
  type AwsCommand,
  checkAwsSink,
  type Entry,
  type RefusedEntry,
  sendByRequests,
  toMessageText,
  utf8Length,
} from "./aws_request.ts";
import { refusedByPosition } from "./aws_streams.ts";
import { checkText } from "./encode_records.ts";
import { CLOUDWATCH_LOGS, EVENTBRIDGE } from "./presets.ts";
import type { RecordIdentity } from "./record_identity.ts";

/** Options of {@linkcode cloudWatchLogsSink}. */
export interface CloudWatchLogsSinkOptions<T> {
  /** The class `PutLogEventsCommand` of `@aws-sdk/client-cloudwatch-logs`. */
  readonly command: AwsCommand;
  /** Name of the log group. */
  readonly logGroupName: string;
  /** Name of the log stream, which must be there. */
  readonly logStreamName: string;
  /** When a record happened, in milliseconds since 1970; it must always be the same for the same record. */
  readonly timestamp: (record: T, identity: RecordIdentity) => number;
  /**
   * The text of a record's event.
   *
   * @default {the payload, which must be UTF-8}
   */
  readonly message?: ((record: T, identity: RecordIdentity) => string) | undefined;
}

/** Options of {@linkcode eventBridgeSink}. */
export interface EventBridgeSinkOptions<T> {
  /** The class `PutEventsCommand` of `@aws-sdk/client-eventbridge`. */
  readonly command: AwsCommand;
  /** Where the events are from, such as `"shop.orders"`. */
  readonly source: string;
  /** The kind of all events, or a function that returns that of a record. */
  readonly detailType: string | ((record: T) => string);
  /**
   * Name or ARN of the event bus.
   *
   * @default {the account's default bus}
   */
  readonly eventBusName?: string | undefined;
  /**
   * The detail of a record's event, the text of a JSON object: this is the place for the identity.
   *
   * @default {the payload, which must be such a text}
   */
  readonly detail?: ((record: T, identity: RecordIdentity) => string) | undefined;
}

/** The longest time between the first and the last event of a request. */
const MAX_SPAN_MS = 24 * 60 * 60 * 1000;

/**
 * Makes a {@linkcode Send} that puts records into a log stream of CloudWatch Logs, by `PutLogEvents`, in the order of their times.
 *
 * Events that are too old, too new or expired are refused one by one, for good.
 *
 * @param client A `CloudWatchLogsClient`, best with `maxAttempts: 1`.
 * @param options The command's class, the log stream, and a record's time.
 * @returns The function to pass to a producer as `send`. It rejects with a `DeliveryError`, or with the signal's reason.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another service's.
 * @typeParam T The records' type.
 *
 * @example A log stream
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { cloudWatchLogsSink } from "@sluice/buffer/sinks/aws";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: import { CloudWatchLogsClient, PutLogEventsCommand } from "@aws-sdk/client-cloudwatch-logs";
 * class PutLogEventsCommand {
 *   input: { logEvents: { timestamp: number; message: string }[] };
 *   constructor(input: PutLogEventsCommand["input"]) {
 *     this.input = input;
 *   }
 * }
 * const events: { timestamp: number; message: string }[] = [];
 * const client = {
 *   async send({ input }: PutLogEventsCommand) {
 *     events.push(...input.logEvents);
 *     return {};
 *   },
 * };
 * const buffer = await MemoryBuffer.open<{ at: number; text: string }>();
 * const send = cloudWatchLogsSink<{ at: number; text: string }>(client, {
 *   command: PutLogEventsCommand,
 *   logGroupName: "shop",
 *   logStreamName: "web-1",
 *   timestamp: ({ at }) => at,
 *   message: ({ text }) => text,
 * });
 * const producer = new Producer({ buffer, send });
 * await producer.putMany([{ at: 2, text: "later" }, { at: 1, text: "earlier" }]);
 * await producer.flush();
 * assertEquals(events, [{ timestamp: 1, message: "earlier" }, { timestamp: 2, message: "later" }]);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function cloudWatchLogsSink<T>(client: AwsClient, options: CloudWatchLogsSinkOptions<T>): Send<T> {
  const operation = {
    sink: "a CloudWatch Logs sink",
    service: "CloudWatch Logs",
    client: "CloudWatchLogsClient",
    command: "PutLogEventsCommand",
  };
  checkAwsSink(client, options, operation, ["logGroupName", "logStreamName"], ["message"]);
  const { command, logGroupName, logStreamName, timestamp, message } = options;
  checkFunction("timestamp", timestamp, `make ${operation.sink}`);
  return sendByRequests<T, LogEvent>(client, command, {
    limits: CLOUDWATCH_LOGS,
    readsRecords: true,
    encode(payload, record, identity) {
      const at = timestamp(record, identity);
      if (!Number.isInteger(at) || at < 0) throw new RangeError(`timestamp must be a whole number, got ${at}`);
      const text = toMessageText(message === undefined ? payload : message(record, identity), "message");
      if (text === "") throw new RangeError("a log event can't be empty");
      return {
        entry: { timestamp: at, message: text },
        bytes: utf8Length(text) + CLOUDWATCH_LOGS.recordOverheadBytes,
      };
    },
    arrange: arrangeByTime,
    toInput: (logEvents) => ({ logGroupName, logStreamName, logEvents }),
    refusedOf: ({ rejectedLogEventsInfo }, events) => rejectedEvents(rejectedLogEventsInfo, events.length),
  });
}

/**
 * Makes a {@linkcode Send} that puts records onto an event bus of EventBridge, by `PutEvents`.
 *
 * @param client An `EventBridgeClient`, best with `maxAttempts: 1`.
 * @param options The command's class, and what an event says about itself.
 * @returns The function to pass to a producer as `send`. It rejects with a `DeliveryError`, or with the signal's reason.
 * @throws {TypeError} if an option is missing or of the wrong type, or if `client` is another service's.
 * @typeParam T The records' type.
 *
 * @example Events with their identity
 * ```ts
 * import { MemoryBuffer, Producer } from "@sluice/buffer";
 * import { eventBridgeSink } from "@sluice/buffer/sinks/aws";
 * import { assertEquals } from "@std/assert";
 *
 * // In a program: import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
 * class PutEventsCommand {
 *   input: { Entries: { Detail: string }[] };
 *   constructor(input: PutEventsCommand["input"]) {
 *     this.input = input;
 *   }
 * }
 * const details: string[] = [];
 * const client = {
 *   async send({ input }: PutEventsCommand) {
 *     details.push(...input.Entries.map(({ Detail }) => Detail));
 *     return { FailedEntryCount: 0, Entries: input.Entries.map(() => ({ EventId: "a" })) };
 *   },
 * };
 * const buffer = await MemoryBuffer.open<{ order: number }>();
 * const send = eventBridgeSink<{ order: number }>(client, {
 *   command: PutEventsCommand,
 *   source: "shop.orders",
 *   detailType: "placed",
 *   detail: (record, { sequence }) => JSON.stringify({ sequence, ...record }),
 * });
 * const producer = new Producer({ buffer, send });
 * await producer.put({ order: 5 });
 * await producer.flush();
 * assertEquals(details, ['{"sequence":1,"order":5}']);
 * await producer.close();
 * await buffer.close();
 * ```
 */
export function eventBridgeSink<T>(client: AwsClient, options: EventBridgeSinkOptions<T>): Send<T> {
  const operation = {
    sink: "an EventBridge sink",
    service: "EventBridge",
    client: "EventBridgeClient",
    command: "PutEventsCommand",
  };
  const names = typeof options?.detailType === "function" ? ["source"] : ["source", "detailType"];
  checkAwsSink(client, options, operation, names, ["detail"]);
  const { command, source, detailType, eventBusName, detail } = options;
  return sendByRequests<T, object>(client, command, {
    limits: EVENTBRIDGE,
    readsRecords: detail !== undefined || typeof detailType === "function",
    encode(payload, record, identity) {
      const DetailType = typeof detailType === "function" ? checkText(detailType(record), "detailType") : detailType;
      const Detail = toMessageText(detail === undefined ? payload : detail(record, identity), "detail");
      if (!/^\s*\{/.test(Detail)) throw new TypeError("its detail must be the text of a JSON object");
      const entry = { Source: source, DetailType, Detail, EventBusName: eventBusName };
      return { entry, bytes: utf8Length(source) + utf8Length(DetailType) + utf8Length(Detail) };
    },
    toInput: (Entries) => ({ Entries }),
    refusedOf: ({ Entries }, entries) => refusedByPosition(Entries, entries.length),
  });
}

interface LogEvent {
  readonly timestamp: number;
  readonly message: string;
}

/** By time, as the service demands, and in groups that span no more than a day. */
function arrangeByTime(entries: readonly Entry<LogEvent>[]): readonly (readonly Entry<LogEvent>[])[] {
  const groups: Entry<LogEvent>[][] = [];
  for (const entry of entries.toSorted((a, b) => a.entry.timestamp - b.entry.timestamp)) {
    const last = groups.at(-1);
    if (last !== undefined && entry.entry.timestamp - last[0]!.entry.timestamp < MAX_SPAN_MS) last.push(entry);
    else groups.push([entry]);
  }
  return groups;
}

/** The events of a request that were rejected for their time; all others were taken. */
function rejectedEvents(info: unknown, length: number): RefusedEntry[] {
  const { tooOldLogEventEndIndex: tooOld = 0, expiredLogEventEndIndex: expired = 0, tooNewLogEventStartIndex } =
    (info ?? {}) as Readonly<Record<string, number | undefined>>;
  const tooNew = tooNewLogEventStartIndex ?? length;
  return Array.from({ length }, (_, at): RefusedEntry[] => {
    const message = at < tooOld ? "too old" : at < expired ? "expired" : at >= tooNew ? "too new" : undefined;
    return message === undefined ? [] : [{ at, code: "RejectedLogEvent", message, isSenderFault: true }];
  }).flat();
}
