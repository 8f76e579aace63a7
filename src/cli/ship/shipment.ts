/**
 * One shipment: opens buffer, target, producer and ingester, runs them to the end, and closes them.
 *
 * It ends when the input has ended and everything is delivered, however long that takes. A signal, a line that can't be put, or a
 * permanent failure of the target ends it early: reading stops, and deliveries get a grace time. In either case all
 * undelivered records that were read are on disk, and everything that was opened is closed.
 *
 * @module
 */

import { AbortCalls, type JoinedSignal } from "../../base/abort_calls.ts";
import { abortable } from "../../base/abortable.ts";
import { deadLetterCodec } from "../../base/dead_letter.ts";
import { FileBuffer } from "../../buffer/file_buffer.ts";
import { NoSpaceError } from "../../errors/mod.ts";
import { ifExists } from "../../fs/file_helpers.ts";
import type { ProducerOptions } from "../../producer/options.ts";
import { Producer } from "../../producer/producer.ts";
import { type CommandContext, ShipError } from "../shared/command.ts";
import { lineCodec } from "./line_formats.ts";
import { LineIngester } from "./line_ingester.ts";
import type { ShipOptions } from "./options.ts";
import type { ShipOutput } from "./output.ts";
import { openTarget } from "./target.ts";

/** The longest timer, 31 bits: as good as no limit. */
const NO_TIMEOUT_MS: number = 2 ** 31 - 1;
/** The time between two attempts to write to a full disk. */
const SPACE_CHECK_MS = 1_000;
/** A buffer's default for the longest payload. */
const MIN_RECORD_LIMIT_BYTES: number = 16 * 2 ** 20;

export type End =
  | { readonly kind: "done" }
  /** `reason` is the reason of the context's signal. */
  | { readonly kind: "interrupted"; readonly reason: unknown }
  | { readonly kind: "failed"; readonly error: unknown };

type Closable = { close(): Promise<void> };
/** What a shipment uses of a command's context. */
type ShipmentContext = Pick<CommandContext, "fileSystem" | "clock" | "input" | "output" | "signal" | "onHangup">;

/** Runs a shipment and reports to `report`. Never rejects. */
export async function runShipment(plan: ShipOptions, context: ShipmentContext, report: ShipOutput): Promise<End> {
  /** What is open. It is closed in reverse order. */
  const opened: Closable[] = [];
  let end: End;
  try {
    const shipment = await Shipment.open({ plan, context, report }, opened);
    end = await shipment.run();
  } catch (error) {
    end = { kind: "failed", error };
  }
  for (const one of opened.reverse()) {
    try {
      await one.close();
    } catch (error) {
      if (end.kind === "done") end = { kind: "failed", error };
    }
  }
  return end;
}

interface ShipmentDeps {
  readonly plan: ShipOptions;
  readonly context: ShipmentContext;
  readonly report: ShipOutput;
}

class Shipment {
  readonly #deps: ShipmentDeps;
  /** Aborts, with the reason, when nothing can be delivered any more. */
  readonly #broken: AbortSignal;
  readonly #aborts = new AbortCalls();
  /** Aborts when reading must stop. */
  readonly #stopping: JoinedSignal;
  readonly #producer: Producer<unknown>;
  readonly #ingester: LineIngester;
  /** Settles when reading has stopped and every line that was read is persisted or refused. */
  #reading: Promise<void> = Promise.resolve();

  private constructor(
    deps: ShipmentDeps,
    broken: AbortController,
    buffer: FileBuffer<unknown>,
    delivery: Pick<ProducerOptions<unknown>, "send" | "deadLetters">,
  ) {
    const { plan, context, report } = deps;
    this.#deps = deps;
    this.#broken = broken.signal;
    this.#stopping = this.#aborts.join([context.signal, broken.signal]);
    this.#ingester = new LineIngester({
      ...plan,
      maxLineBytes: plan.maxBytes,
      skipRecords: plan.resumes ? buffer.stats().lastSequence : 0,
      put: (lines) => this.#put(lines),
      onSkipped: (line, reason) => report.onSkipped(line, reason),
      onLeft: (line) => report.warn("last-line", `line ${line} has no end and is left: --last-line put takes it`),
    });
    this.#producer = new Producer<unknown>({
      ...delivery,
      buffer,
      maxInFlight: plan.maxInFlight,
      retry: plan.retry,
      whenUndeliverable: plan.whenUndeliverable,
      // A reader of standard output may take any time, and a second copy would not help.
      timeoutMs: plan.destination.kind === "output" ? NO_TIMEOUT_MS : plan.timeoutMs,
      closeTimeoutMs: plan.graceMs,
      clock: context.clock,
      onEvent(event) {
        report.onProducerEvent(event);
        if (event.type === "stopped") broken.abort(event.error);
      },
    });
    report.start(buffer, () => ({
      ingester: this.#ingester.counts,
      producer: this.#producer.stats(),
      buffer: buffer.stats(),
    }));
  }

  /** Opens everything. What must be closed again is in `opened`, also if this fails halfway. */
  static async open(deps: ShipmentDeps, opened: Closable[]): Promise<Shipment> {
    const { plan, context, report } = deps;
    const { path, format, maxRecords, maxBytes, maxAgeMs, maxBacklogBytes, whenFull } = plan;
    const codec = lineCodec(format);
    const common = { fileSystem: context.fileSystem, clock: context.clock, fsync: plan.fsync };
    if (!plan.readsInput) checkBuffer(path, context);
    const limits = { maxRecords, maxBytes, maxAgeMs, maxBacklogBytes, whenFull };
    const buffer = await FileBuffer.open<unknown>({
      ...common,
      ...limits,
      path,
      codec,
      maxRecordBytes: Math.max(maxBytes, MIN_RECORD_LIMIT_BYTES),
      onEvent: (event) => report.onBufferEvent(event),
    });
    opened.push(buffer);
    const broken = new AbortController();
    const target = await openTarget({ ...plan, onBroken: (error) => broken.abort(error) }, context);
    opened.push(target);
    const deadLetters = plan.deadLetters === undefined || plan.whenUndeliverable === "stop"
      ? undefined
      : await FileBuffer.open({ ...common, path: plan.deadLetters, codec: deadLetterCodec(codec) });
    if (deadLetters !== undefined) opened.push(deadLetters);
    const shipment = new Shipment(deps, broken, buffer, { send: target.send, deadLetters });
    opened.push(shipment);
    return shipment;
  }

  async run(): Promise<End> {
    const { readsInput, graceMs } = this.#deps.plan;
    const { signal } = this.#stopping;
    if (readsInput) this.#reading = this.#ingester.run(this.#deps.context.input, signal);
    const delivering = this.#reading.then(() => this.#producer.flush({ signal }));
    const end = await this.#endOf(abortable(delivering, signal));
    if (end.kind !== "done" && graceMs > 0 && !this.#broken.aborted) await this.#wrapUp(graceMs);
    return end;
  }

  /** Ends attempts that are still running after the grace time, and puts that wait for space. */
  async close(): Promise<void> {
    await this.#producer.close(this.#broken.aborted ? {} : { signal: AbortSignal.abort() });
    // Its counts are reported afterwards.
    await this.#reading.catch(() => {});
    this.#stopping.release();
  }

  /**
   * Persists lines. It waits for space on a full disk as for a full backlog, because the pipe's content would be lost otherwise. A
   * signal doesn't end the wait, because the lines were read; the end of the producer does.
   */
  async #put(lines: readonly Uint8Array[]): Promise<void> {
    for (;;) {
      try {
        await this.#producer.putMany(lines);
        return;
      } catch (error) {
        if (!(error instanceof NoSpaceError) || this.#deps.plan.whenFull === "reject") throw error;
        this.#deps.report.warn("space", `${error.message}; reading waits for space`);
        await this.#pause(SPACE_CHECK_MS, this.#stopping.signal);
      }
    }
  }

  async #endOf(work: Promise<void>): Promise<End> {
    try {
      await work;
      return { kind: "done" };
    } catch (error) {
      if (this.#broken.aborted) return { kind: "failed", error: this.#broken.reason };
      const { signal } = this.#deps.context;
      return signal.aborted ? { kind: "interrupted", reason: signal.reason } : { kind: "failed", error };
    }
  }

  /**
   * Persists the lines that were read and delivers what it can, within `ms` milliseconds. What isn't delivered stays in the buffer, so
   * a failure changes nothing.
   */
  async #wrapUp(ms: number): Promise<void> {
    const over = new AbortController();
    const cancelTimer = this.#deps.context.clock.setTimer(() => over.abort(), ms, { keepAlive: true });
    const { signal, release } = this.#aborts.join([over.signal, this.#broken]);
    const flush = (): Promise<void> => this.#producer.flush({ signal }).catch(() => {});
    // The first flush makes room for waiting lines, the second delivers them.
    await flush();
    await abortable(this.#reading, signal).catch(() => {});
    await flush();
    cancelTimer();
    release();
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        cancelTimer();
        reject(signal.reason);
      };
      const onTime = (): void => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      const cancelTimer = this.#deps.context.clock.setTimer(onTime, ms, { keepAlive: true });
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}

/** Without an input, a path without a buffer is a mistake: a buffer would be created and nothing delivered. */
function checkBuffer(path: string, { fileSystem }: Pick<CommandContext, "fileSystem">): void {
  const names = ifExists(() => fileSystem.list(path)) ?? [];
  if (names.length > 0) return;
  throw new ShipError(`Cannot ship what is in "${path}": there is no buffer`);
}
