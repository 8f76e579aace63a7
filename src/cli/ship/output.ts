/**
 * What `ship` prints on standard error while it runs and at its end: text for people, or NDJSON for programs.
 *
 * Guarantees: a repeated message is printed at once the first time, then at most every ten seconds. So an outage of a
 * whole night doesn't fill a disk with log. Suppressed messages are counted. Delivery continues when standard error is
 * gone.
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

/** The least time between two messages of one kind. */
const REPEAT_MS = 10_000;
const PROGRESS_MS = 1_000;
/** Starts each line, to identify the program in a shared log. */
const PREFIX = "ship: ";

export interface ShipFigures {
  readonly ingester: LineCounts;
  readonly producer: ProducerStats;
  readonly buffer: BufferStats;
}

export type ShipSummary = ReturnType<typeof summaryOf>;

type Fields = Readonly<Record<string, unknown>>;

export class ShipOutput {
  readonly #plan: ShipOptions;
  readonly #context: Pick<CommandContext, "clock" | "errors">;
  readonly #startedAt: number;
  /** When each kind of message was printed last, and how many were suppressed since. */
  readonly #said = new Map<string, { at: number; unsaid: number }>();
  #figures: (() => ShipFigures) | undefined;
  #cancelTimer: (() => void) | undefined;
  /** Whether the terminal's last line is a progress line, which the next output overwrites. */
  #hasStatus = false;
  #lastStatus = "";
  /** Since when the target fails. */
  #failingSince: number | undefined;
  #failures = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(plan: ShipOptions, context: Pick<CommandContext, "clock" | "errors">) {
    this.#plan = plan;
    this.#context = context;
    this.#startedAt = context.clock.monotonic();
  }

  /** Prints the start. Everything is open, and `figures` is available from now on. */
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
    for (const region of damaged) this.onBufferEvent({ type: "damage-found", region });
    this.#setTimer();
  }

  /** Reports a bad line that is skipped. */
  onSkipped(line: number, reason: string): void {
    this.#repeat("bad-line", { event: "bad-line", line, reason }, `line ${line} is skipped: ${reason}`);
  }

  /** Reports something that doesn't end the shipment. Messages of one `kind` are limited together. */
  warn(kind: string, message: string): void {
    this.#repeat(kind, { event: "warning", kind, message }, message);
  }

  onBufferEvent(event: BufferEvent): void {
    if (event.type === "damage-found") {
      // Damage that open() met is reported by start().
      if (this.#figures === undefined) return;
      const { segment, offset, length } = event.region;
      this.warn("damage", `${length} bytes at offset ${offset} of ${segment} are damaged and set aside`);
    } else if (event.type === "records-dropped") {
      const { first, last } = event.sequences;
      this.warn("drop", `the backlog is full: sequences ${first} to ${last} are dropped`);
    } else if (event.type === "backlog-filled" && this.#plan.whenFull === "block") {
      this.warn("full", `the backlog is full: reading waits for the target`);
    } else if (event.type === "reserve-used") {
      this.warn("reserve", `the disk is full: ${event.bytesLeft} bytes of the reserve are left to deliver with`);
    } else if (event.type === "warned") this.warn("buffer", errorText(event.error));
  }

  onProducerEvent(event: ProducerEvent): void {
    if (event.type === "attempt-failed") return this.#onFailure(event.error, event.attempt);
    if (event.type === "delivered") return this.#onDelivered();
    // Its end needs no line: it is the next delivery.
    if (event.type === "blocked") return this.#onBlocked(event);
    if (event.type === "buffer-call-failed") return this.warn("buffer", errorText(event.error));
    if (event.type === "warned") return this.warn("target", event.reason);
    if (event.type !== "dead-lettered") return;
    const { sequence, error } = event;
    const text = `sequence ${sequence} is a dead letter: ${error}`;
    this.#repeat("dead-letter", { event: "dead-letter", sequence, error }, text);
  }

  /** Prints the summary. Resolves when everything is written. */
  async end(ended: ShipSummary["ended"], error: unknown): Promise<void> {
    this.#cancelTimer?.();
    this.#clearStatus();
    if (error instanceof OutputClosedError) this.warn("output", "nobody reads standard output any more");
    const durationMs = Math.round(this.#context.clock.monotonic() - this.#startedAt);
    const summary = summaryOf(ended, error, durationMs, this.#figures?.());
    const { json, quiet } = this.#plan;
    if (json) this.#write(JSON.stringify(summary) + "\n");
    else if (!quiet) this.#write(`${PREFIX}${textOfSummary(summary)}\n`);
    await this.#writing;
  }

  #onFailure(error: unknown, attempt: number): void {
    // These end the shipment, and are reported then.
    if (error instanceof OutputClosedError || error instanceof ShipError) return;
    this.#failingSince ??= this.#context.clock.monotonic();
    this.#failures++;
    const message = errorText(error);
    const { maxAttempts = Infinity } = this.#plan.retry;
    const next = attempt < maxAttempts ? "it is tried again" : "it is not tried again";
    this.#repeat("failing", { event: "failing", attempt, error: message }, `${message}; ${next}`);
  }

  #onBlocked({ reason, error }: Extract<ProducerEvent, { type: "blocked" }>): void {
    const text = reason === "target-fault"
      ? "the target takes nothing, whatever is sent: everything waits until it does"
      : "the target refuses everything: a refusal counts from now on when it is repeated after a pause";
    this.#repeat("blocked", { event: "blocked", reason, error: errorText(error) }, text);
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
    const [delivered, waiting] = [formatNumber(figures.delivered), formatNumber(figures.waiting)];
    const text = `${PREFIX}${formatCount(figures.lines, "line")}, ${delivered} delivered, ${waiting} waiting`;
    this.#write(`\r\x1b[K${text.slice(0, (this.#context.errors.columns ?? 80) - 1)}`);
    this.#hasStatus = true;
  }

  #clearStatus(): void {
    if (this.#hasStatus) this.#write("\r\x1b[K");
    this.#hasStatus = false;
  }

  #write(text: string): void {
    // If standard error is gone, delivery still continues.
    this.#writing = this.#writing.then(() => this.#context.errors.write(text)).catch(() => {});
  }
}

/**
 * Why it ended: the input did, a signal, or a failure; and the totals. `skipped` are bad lines, `delivered` the records that the
 * target acknowledged, including those of earlier runs; `retries` are attempts at records that were sent before; `left` is in the
 * buffer for the next run.
 */
function summaryOf(
  ended: "done" | "interrupted" | "failed",
  error: unknown,
  durationMs: number,
  figures: ShipFigures | undefined,
) {
  const { ingester, producer, buffer } = figures ?? {};
  return {
    event: "summary",
    ended,
    ...(error === undefined ? {} : { error: errorText(error) }),
    lines: ingester?.lines ?? 0,
    records: ingester?.records ?? 0,
    resumed: ingester?.resumed ?? 0,
    blank: ingester?.blank ?? 0,
    skipped: ingester?.bad ?? 0,
    delivered: producer?.deliveredRecords ?? 0,
    deadLetters: producer?.deadLetters ?? 0,
    retries: producer?.retries ?? 0,
    dropped: buffer?.dropped ?? 0,
    left: buffer?.pendingRecords ?? 0,
    lastSequence: buffer?.lastSequence ?? 0,
    durationMs,
  };
}

function textOfSummary(summary: ShipSummary): string {
  const counted = (...counts: readonly (readonly [count: number, one: string, many?: string])[]): string[] =>
    counts.filter(([count]) => count > 0).map(([count, one, many = one]) => formatCount(count, one, many));
  const { resumed, blank, skipped, deadLetters, dropped, retries } = summary;
  const details = counted([resumed, "persisted before"], [blank, "blank"], [skipped, "skipped"]).join(", ");
  return [
    formatCount(summary.lines, "line") + (details === "" ? "" : ` (${details})`),
    `${formatNumber(summary.delivered)} delivered`,
    ...counted([deadLetters, "as dead letters"], [dropped, "dropped"], [retries, "retry", "retries"]),
    `${formatNumber(summary.left)} left in ${formatDuration(summary.durationMs)}`,
  ].join(", ");
}
