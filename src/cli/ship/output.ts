/**
 * What `ship` says on standard error while it runs and at its end: words for people, or NDJSON for programs.
 *
 * Guarantees: what repeats is said at once the first time, and then at most every ten seconds, so that an outage of a
 * night is not a gigabyte of log; what is not said is counted; that nobody reads it stops nothing.
 *
 * @module
 */

import type { BufferEvent, BufferStats } from "../../buffer/events.ts";
import type { RecordBuffer } from "../../buffer/record_buffer.ts";
import { errorText } from "../../errors/text.ts";
import type { ProducerEvent, ProducerStats } from "../../producer/events.ts";
import { type CommandContext, OutputClosedError, ShipError } from "../shared/command.ts";
import { formatCount, formatDuration, formatNumber } from "../shared/text.ts";
import type { LineCounts } from "./line_ingester.ts";
import type { ShipOptions } from "./options.ts";
import { nameOf } from "./target.ts";

/** The same thing is said again after so long. */
const REPEAT_MS = 10_000;
/** How often a terminal, or a program, is told how far it is. */
const PROGRESS_MS = 1_000;
/** What stands in front of each line, so that it is known whose it is in a log of several. */
const PREFIX = "ship: ";

/** Where the figures are from, once there are any. */
export interface ShipFigures {
  readonly ingester: LineCounts;
  readonly producer: ProducerStats;
  readonly buffer: BufferStats;
}

/** The sum of it all. */
export interface ShipSummary {
  readonly event: "summary";
  /** Why it ended: the input did, a signal, or a failure. */
  readonly ended: "done" | "interrupted" | "failed";
  /** What the failure was. */
  readonly error?: string;
  /** Lines of the input that are taken care of; an input from its beginning goes on behind them. */
  readonly lines: number;
  /** Lines put, each a record. */
  readonly records: number;
  /** Lines passed over because they were in the log from earlier. */
  readonly resumed: number;
  readonly blank: number;
  /** Bad lines that were skipped. */
  readonly skipped: number;
  /** Records that the target has taken, those from earlier included. */
  readonly delivered: number;
  readonly deadLetters: number;
  /** Attempts at records that were sent before. */
  readonly retries: number;
  /** Records that were dropped because the backlog was full. */
  readonly dropped: number;
  /** Records that are left in the buffer, for the next run. */
  readonly left: number;
  /** Sequence of the last record. */
  readonly lastSequence: number;
  readonly durationMs: number;
}

type Fields = Readonly<Record<string, unknown>>;

/** Says what happens. */
export class ShipOutput {
  readonly #plan: ShipOptions;
  readonly #context: Pick<CommandContext, "clock" | "errors">;
  readonly #startedAt: number;
  /** What was said when, and how often it was kept back since. */
  readonly #said = new Map<string, { at: number; unsaid: number }>();
  #figures: (() => ShipFigures) | undefined;
  #cancelTimer: (() => void) | undefined;
  /** The last line on the terminal is the one that is written over. */
  #hasStatus = false;
  #lastStatus = "";
  /** Since when the target fails. */
  #failingSince: number | undefined;
  #failures = 0;
  #writing: Promise<void> = Promise.resolve();

  /** For one shipment. */
  constructor(plan: ShipOptions, context: Pick<CommandContext, "clock" | "errors">) {
    this.#plan = plan;
    this.#context = context;
    this.#startedAt = context.clock.monotonic();
  }

  /** Everything is open; `figures` can be asked from now on. */
  start(buffer: RecordBuffer<unknown>, figures: () => ShipFigures): void {
    const { path, destination, readsInput } = this.#plan;
    const { pendingRecords, lastSequence } = buffer.stats();
    const to = nameOf(destination);
    const { damaged, cursorLost } = buffer.recovery;
    const from = readsInput ? "standard input" : "no input";
    const waiting = pendingRecords === 0 ? "" : `, ${formatCount(pendingRecords, "record")} waiting`;
    this.#say({ event: "start", path, to, waiting: pendingRecords, lastSequence }, `${from} to ${to}${waiting}`);
    this.#figures = figures;
    if (cursorLost) this.warn("cursor", "the commit position was lost: what is there is delivered again");
    for (const region of damaged) this.onBufferEvent({ type: "damage", region });
    this.#setTimer();
  }

  /** A bad line is skipped. */
  onSkipped(line: number, reason: string): void {
    this.#repeat("bad-line", { event: "bad-line", line, reason }, `line ${line} is skipped: ${reason}`);
  }

  /** Something to know that doesn't end it. `kind` is what it is about. */
  warn(kind: string, message: string): void {
    this.#repeat(kind, { event: "warning", kind, message }, message);
  }

  /** What a buffer tells. */
  onBufferEvent(event: BufferEvent): void {
    if (event.type === "damage") {
      // What open() met is told when it is open.
      if (this.#figures === undefined) return;
      const { segment, offset, length } = event.region;
      this.warn("damage", `${length} bytes at offset ${offset} of ${segment} are damaged and set aside`);
    } else if (event.type === "drop") {
      const { first, last } = event.sequences;
      this.warn("drop", `the backlog is full: sequences ${first} to ${last} are dropped`);
    } else if (event.type === "full" && this.#plan.whenFull === "block") {
      this.warn("full", `the backlog is full: reading waits for the target`);
    } else if (event.type === "reserve-used") {
      this.warn("reserve", `the disk is full: ${event.bytesLeft} bytes of the reserve are left to deliver with`);
    } else if (event.type === "warning") this.warn("buffer", errorText(event.error));
  }

  /** What the producer tells. */
  onProducerEvent(event: ProducerEvent): void {
    switch (event.type) {
      case "attempt-failed":
        return this.#onFailure(event.error, event.attempt);
      case "delivered":
        return this.#onDelivered();
      case "dead-letter": {
        const { sequence, error } = event;
        const text = `sequence ${sequence} is a dead letter: ${error}`;
        return this.#repeat("dead-letter", { event: "dead-letter", sequence, error }, text);
      }
      case "buffer-error":
        return this.warn("buffer", errorText(event.error));
    }
  }

  /** It is over. Resolves when all is written. */
  async end(ended: ShipSummary["ended"], error: unknown): Promise<void> {
    this.#cancelTimer?.();
    this.#clearStatus();
    if (error instanceof OutputClosedError) this.warn("output", "nobody reads standard output any more");
    const summary = this.#summary(ended, error);
    const { json, quiet } = this.#plan;
    if (json) this.#write(JSON.stringify(summary) + "\n");
    else if (!quiet) this.#write(`${PREFIX}${textOfSummary(summary)}\n`);
    await this.#writing;
  }

  #onFailure(error: unknown, attempt: number): void {
    // They end it, and are told then.
    if (error instanceof OutputClosedError || error instanceof ShipError) return;
    this.#failingSince ??= this.#context.clock.monotonic();
    this.#failures++;
    const message = errorText(error);
    const { maxAttempts = Infinity } = this.#plan.retry;
    const next = attempt < maxAttempts ? "it is tried again" : "it is not tried again";
    this.#repeat("failing", { event: "failing", attempt, error: message }, `${message}; ${next}`);
  }

  #onDelivered(): void {
    if (this.#failingSince === undefined) return;
    const forMs = Math.round(this.#context.clock.monotonic() - this.#failingSince);
    const attempts = formatCount(this.#failures, "attempt");
    const text = `the target takes records again, after ${attempts} that failed, and ${formatDuration(forMs)}`;
    this.#say({ event: "recovered", failedAttempts: this.#failures, forMs }, text);
    this.#failingSince = undefined;
    this.#failures = 0;
    this.#said.delete("failing");
  }

  /** Says something that may happen often. */
  #repeat(kind: string, fields: Fields, text: string): void {
    const now = this.#context.clock.monotonic();
    const before = this.#said.get(kind);
    if (before !== undefined && now - before.at < REPEAT_MS) {
      before.unsaid++;
      return;
    }
    const unsaid = before?.unsaid ?? 0;
    this.#said.set(kind, { at: now, unsaid: 0 });
    this.#say({ ...fields, unsaid }, unsaid === 0 ? text : `${text} (and ${unsaid} more like it)`);
  }

  #say(fields: Fields, text: string): void {
    if (this.#plan.quiet) return;
    this.#clearStatus();
    this.#write(this.#plan.json ? JSON.stringify(fields) + "\n" : `${PREFIX}${text}\n`);
  }

  #setTimer(): void {
    const { json, quiet } = this.#plan;
    if (quiet || (!json && this.#context.errors.columns === undefined)) return;
    this.#cancelTimer = this.#context.clock.setTimer(() => {
      this.#showProgress();
      this.#setTimer();
    }, PROGRESS_MS);
  }

  #showProgress(): void {
    const { ingester, producer, buffer } = this.#figures!();
    const figures = { lines: ingester.lines, delivered: producer.deliveredRecords, waiting: buffer.pendingRecords };
    const status = JSON.stringify({ event: "progress", ...figures });
    if (status === this.#lastStatus) return;
    this.#lastStatus = status;
    if (this.#plan.json) return this.#write(status + "\n");
    const { lines, delivered, waiting } = figures;
    const text = `${PREFIX}${formatCount(lines, "line")}, ${formatNumber(delivered)} delivered, ${
      formatNumber(waiting)
    } waiting`;
    this.#write(`\r\x1b[K${text.slice(0, (this.#context.errors.columns ?? 80) - 1)}`);
    this.#hasStatus = true;
  }

  #clearStatus(): void {
    if (this.#hasStatus) this.#write("\r\x1b[K");
    this.#hasStatus = false;
  }

  #write(text: string): void {
    // That nobody reads it is no reason to stop delivering.
    this.#writing = this.#writing.then(() => this.#context.errors.write(text)).catch(() => {});
  }

  #summary(ended: ShipSummary["ended"], error: unknown): ShipSummary {
    const figures = this.#figures?.();
    return {
      event: "summary",
      ended,
      ...(error === undefined ? {} : { error: errorText(error) }),
      lines: figures?.ingester.lines ?? 0,
      records: figures?.ingester.records ?? 0,
      resumed: figures?.ingester.resumed ?? 0,
      blank: figures?.ingester.blank ?? 0,
      skipped: figures?.ingester.bad ?? 0,
      delivered: figures?.producer.deliveredRecords ?? 0,
      deadLetters: figures?.producer.deadLetters ?? 0,
      retries: figures?.producer.retries ?? 0,
      dropped: figures?.buffer.dropped ?? 0,
      left: figures?.buffer.pendingRecords ?? 0,
      lastSequence: figures?.buffer.lastSequence ?? 0,
      durationMs: Math.round(this.#context.clock.monotonic() - this.#startedAt),
    };
  }
}

function textOfSummary(summary: ShipSummary): string {
  const extras = [
    [summary.resumed, "persisted before"],
    [summary.blank, "blank"],
    [summary.skipped, "skipped"],
  ] as const;
  const besides = extras.filter(([count]) => count > 0).map(([count, what]) => `${formatNumber(count)} ${what}`);
  const after = [
    [summary.deadLetters, "as dead letters"],
    [summary.dropped, "dropped"],
    [summary.retries, summary.retries === 1 ? "retry" : "retries"],
  ] as const;
  return [
    formatCount(summary.lines, "line") + (besides.length === 0 ? "" : ` (${besides.join(", ")})`),
    `${formatNumber(summary.delivered)} delivered`,
    ...after.filter(([count]) => count > 0).map(([count, what]) => `${formatNumber(count)} ${what}`),
    `${formatNumber(summary.left)} left`,
    `in ${formatDuration(summary.durationMs)}`,
  ].join(", ").replace(", in ", " in ");
}
