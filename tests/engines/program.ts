/**
 * A child process that says what it does, line by line, to whoever reads; kills of it are expected, its errors are not.
 */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { type Runtime, startChild } from "../support/children.ts";

/** A program that lives longer has got stuck; it is killed, and counts as failed. */
const MAX_LIFE_MS = 60_000;

/** How a program ended. */
export interface ProgramEnd {
  readonly code: number | null;
  readonly signal: string | null;
  /** What it wrote to standard error. */
  readonly errors: string;
}

/** A program that runs. */
export class Program {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #ended: Promise<unknown>;
  #rest = "";
  #errors = "";
  #isOver = false;
  #isOverdue = false;
  #wake: () => void = () => {};

  constructor(file: string, args: readonly string[], runtime: Runtime) {
    this.#child = startChild(file, args, { runtime });
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => this.#errors += text);
    this.#child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      const parts = (this.#rest + text).split("\n");
      this.#rest = parts.pop()!;
      this.#lines.push(...parts);
      this.#wake();
    });
    const timer = setTimeout(() => {
      this.#isOverdue = true;
      this.kill();
    }, MAX_LIFE_MS);
    this.#ended = once(this.#child, "close").then(() => {
      clearTimeout(timer);
      this.#isOver = true;
      this.#wake();
    });
  }

  /** Whole lines, until it has ended. */
  async *lines(): AsyncGenerator<string> {
    for (;;) {
      yield* this.#lines.splice(0);
      if (this.#lines.length > 0) continue;
      if (this.#isOver) return;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** kill -9, if it isn't dead. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** Waits for its end. */
  async end(): Promise<ProgramEnd> {
    await this.#ended;
    if (this.#isOverdue) throw new Error(`the program was still running after ${MAX_LIFE_MS} ms\n${this.#errors}`);
    return { code: this.#child.exitCode, signal: this.#child.signalCode, errors: this.#errors };
  }
}
