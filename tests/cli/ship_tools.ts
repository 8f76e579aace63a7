/**
 * What tests of `ship` stand on: the command in this process, with a file system in memory, a clock that is moved by hand,
 * an input that is fed by hand, and outputs that are recorded.
 */

import { assertEquals } from "@std/assert";
import { main } from "../../src/cli/main.ts";
import { type CommandContext, type Output, OutputClosedError } from "../../src/cli/shared/command.ts";
import { InterruptedError } from "../../src/cli/shared/terminal.ts";
import type { ShipSummary } from "../../src/cli/ship/output.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { MemoryFileSystem } from "../../src/testing/memory_file_system.ts";
import { settle } from "../support/event_loop.ts";

const encoder = new TextEncoder();

/** Bytes of a text; bytes as they are. */
export function bytesOf(data: string | Uint8Array): Uint8Array {
  return typeof data === "string" ? encoder.encode(data) : data;
}

/** An input that is fed by hand, and never ends by itself. */
export class Feed implements AsyncIterable<Uint8Array> {
  /** How many chunks were asked for. */
  asked = 0;
  /** Whether the reader has given it up. */
  isLeft = false;
  readonly #chunks: (Uint8Array | Error | undefined)[] = [];
  #wake: () => void = () => {};

  /** The next chunk. */
  push(data: string | Uint8Array): this {
    return this.#add(bytesOf(data));
  }

  /** It ends here. */
  end(): this {
    return this.#add(undefined);
  }

  /** It can't be read from here on. */
  fail(error: Error): this {
    return this.#add(error);
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        this.asked++;
        while (this.#chunks.length === 0) await new Promise<void>((resolve) => this.#wake = resolve);
        const chunk = this.#chunks.shift();
        if (chunk instanceof Error) throw chunk;
        return chunk === undefined ? { done: true, value: undefined } : { done: false, value: chunk };
      },
      return: () => {
        this.isLeft = true;
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #add(chunk: Uint8Array | Error | undefined): this {
    this.#chunks.push(chunk);
    this.#wake();
    return this;
  }
}

/** An input of these chunks. */
export function inputOf(...chunks: (string | Uint8Array)[]): Feed {
  const feed = new Feed();
  for (const chunk of chunks) feed.push(chunk);
  return feed.end();
}

/** An output that is recorded, and does as it is told. */
export class Recorder implements Output {
  columns: number | undefined = undefined;
  /** Nobody reads it. */
  isClosed = false;
  /** What the next writes are answered with; those behind them succeed. */
  readonly answers: (() => Promise<void>)[] = [];
  #text = "";

  get text(): string {
    return this.#text;
  }

  async write(data: string | Uint8Array): Promise<void> {
    if (this.isClosed) throw new OutputClosedError("Cannot write: nobody reads any more");
    await this.answers.shift()?.();
    this.#text += typeof data === "string" ? data : new TextDecoder().decode(data);
  }
}

/** What a run gets; what isn't given is new. */
export interface RunOptions {
  readonly input?: AsyncIterable<Uint8Array>;
  readonly fileSystem?: MemoryFileSystem;
  readonly output?: Recorder;
  readonly errors?: Recorder;
  readonly clock?: ManualClock;
}

/** A run of `ship` that may still be under way. */
export class Run {
  readonly fileSystem: MemoryFileSystem;
  readonly clock: ManualClock;
  readonly output: Recorder;
  readonly errors: Recorder;
  /** The exit code, once there is one. */
  code: number | undefined;
  /** Who is told of SIGHUP. */
  readonly hangups = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  constructor(args: readonly string[], options: RunOptions = {}) {
    const { input = inputOf(), fileSystem = new MemoryFileSystem(), clock = new ManualClock() } = options;
    this.fileSystem = fileSystem;
    this.clock = clock;
    this.output = options.output ?? new Recorder();
    this.errors = options.errors ?? new Recorder();
    const { output, errors } = this;
    const onHangup = (listener: () => void): () => void => {
      this.hangups.add(listener);
      return () => this.hangups.delete(listener);
    };
    const context: CommandContext = { fileSystem, clock, input, output, errors, signal: this.#stop.signal, onHangup };
    this.#ended = main(["ship", ...args], context).then((code) => {
      this.code = code;
    });
  }

  /** Sends it a signal. */
  interrupt(signal: "SIGINT" | "SIGTERM"): void {
    this.#stop.abort(new InterruptedError(signal));
  }

  /** Sends it SIGHUP. */
  hangUp(): void {
    for (const listener of this.hangups) listener();
  }

  /** Lets everything happen that needs no time to pass, then lets `ms` pass. */
  async pass(ms = 0): Promise<void> {
    await settle();
    this.clock.advance(ms);
    await settle();
  }

  /** Lets time pass until it has ended. */
  async end(): Promise<number> {
    for (let step = 0; this.code === undefined; step++) {
      if (step > 100_000) throw new Error(`it doesn't end: ${this.errors.text}`);
      await settle();
      if (this.code === undefined) this.clock.advance(100);
    }
    await this.#ended;
    assertEquals(this.clock.timers, [], "a timer is left");
    return this.code;
  }

  /** What was said as NDJSON, with `--json`. */
  get events(): Record<string, unknown>[] {
    return this.errors.text.trimEnd().split("\n").map((line) => JSON.parse(line));
  }

  /** The summary, with `--json`. */
  get summary(): ShipSummary {
    return this.events.find(({ event }) => event === "summary") as unknown as ShipSummary;
  }
}

/** Runs `ship` to its end. */
export async function ship(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const run = new Run(args, options);
  await run.end();
  return run;
}

/** The arguments of most tests: from `/wal` into `/out/lines`. */
export const TO_FILE: readonly string[] = ["/wal", "--to", "/out/lines"];

/** A file system with the directory `/out`. */
export function newDisk(): MemoryFileSystem {
  const fileSystem = new MemoryFileSystem();
  fileSystem.makeDirectory("/out");
  return fileSystem;
}

/** What was delivered into `/out/lines`. */
export function delivered(fileSystem: MemoryFileSystem): string {
  return new TextDecoder().decode(fileSystem.readFile("/out/lines"));
}
