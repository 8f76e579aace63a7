/**
 * The layers of `src/`: a file imports only from lines above its own, and only the adapters touch a runtime.
 *
 * LINES is that order. A new source file needs a place in it.
 */

import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { assertEquals } from "@std/assert";

/** Top to bottom; files of one line don't know each other. `*` stands for every file of a directory. */
const LINES: readonly string[] = [
  "errors/base  base/runtime",
  "errors/buffer_errors  errors/file_errors  errors/delivery_errors",
  "errors/mod",
  "base/abort_calls  producer/answers  base/clock  base/crc32  base/event_loop  base/serial_queue  base/waiting_line  base/listeners",
  "testing/manual_clock  base/crc32_seed",
  "base/codec",
  "fs/file_system",
  "fs/close",
  "fs/file_helpers",
  "fs/overwrites_in_place  fs/sqlite_lock  testing/memory_disk",
  "testing/memory_process",
  "fs/deno  fs/node  testing/memory_file_system",
  "fs/bun",
  "fs/detect",
  "wal/encoding  wal/position",
  "wal/format",
  "wal/unreadable_segment",
  "wal/segment_files",
  "wal/ordered_segments",
  "wal/disk_usage",
  "wal/recovery/first_look  wal/writer/frame_builder",
  "wal/segment_reader",
  "wal/recovery/cursor_places",
  "wal/segment_writer",
  "wal/cursor",
  "wal/owner_file",
  "wal/lock",
  "wal/ownership",
  "wal/recovery/damage",
  "wal/recovery/known_losses",
  "wal/recovery/segment_scan",
  "wal/recovery/lost_sequences  wal/recovery/quarantine  wal/recovery/reported_regions",
  "wal/recovery/unproven_losses  wal/recovery/cut_tail",
  "wal/recovery/recovery",
  "wal/reserve",
  "wal/reserving_file_system",
  "wal/writer/segment_list  wal/reader/log_view  wal/reader/skipped_regions",
  "wal/reader/batch_builder",
  "wal/writer/commits  wal/writer/sync_queue",
  "wal/reader/log_reader  wal/writer/rotation  wal/writer/put_group",
  "wal/writer/log",
  "buffer/batch_limits  buffer/events",
  "buffer/options",
  "buffer/record_buffer",
  "buffer/resolved_options  buffer/status_format",
  "buffer/record_store  buffer/status_file",
  "buffer/admission_control  buffer/batch_queue  buffer/file_store",
  "buffer/base_buffer",
  "buffer/file_buffer  buffer/memory_buffer",
  "testing/mod",
  "producer/delivery",
  "producer/failure  producer/retry  producer/shutdown  producer/batch_part",
  "producer/attempt  producer/events  producer/flush_waiters",
  "producer/backoff",
  "producer/dead_letters",
  "producer/batch_sender  producer/options",
  "base/abortable  sinks/file_journal  sinks/lines  sinks/http_retry_after  sinks/record_identity",
  "sinks/postgres_client  sinks/postgres_rules",
  "producer/producer  sinks/*",
  "metrics/definitions  metrics/otel_meter",
  "metrics/error_type",
  "metrics/otel  metrics/prometheus",
  "sinks/presets",
  "cli/shared/command  maintenance/snapshot  maintenance/scan_items  cli/shared/text  cli/shared/version",
  "maintenance/scan  cli/shared/arguments  cli/shared/progress  cli/shared/terminal",
  "cli/shared/help  maintenance/findings  maintenance/scan_run  cli/dump/record_encoder",
  "maintenance/totals_check",
  "fs/replace_file  cli/report/data  cli/report/layout  cli/report/script  cli/report/style  cli/report/words",
  "cli/report/charts  cli/report/histograms  cli/report/recovery_steps  cli/report/rows",
  "cli/report/page  cli/report/collector",
  "cli/top/figures  cli/top/view",
  "cli/top/screen",
  "cli/ship/line_splitter  cli/ship/line_formats  cli/shared/quantities  cli/ship/ship_error",
  "cli/ship/line_ingester  cli/ship/target",
  "cli/ship/options",
  "cli/ship/output",
  "cli/ship/shipment",
  "maintenance/salvage  maintenance/repair",
  "maintenance/quarantine_files",
  "maintenance/restore_plan",
  "maintenance/restore",
  "cli/*",
  "cli/main",
];

/** What only these files may use. */
const ONLY_IN: readonly { readonly what: string; readonly found: RegExp; readonly files: readonly string[] }[] = [
  { what: "Deno.", found: /\bDeno\??\./, files: ["fs/deno"] },
  { what: "Bun.", found: /\bBun\??\./, files: ["fs/bun"] },
  { what: "node:fs", found: /"node:fs\b/, files: ["fs/node", "fs/bun", "fs/overwrites_in_place"] },
  { what: "@std/fs", found: /"@std\/fs\b/, files: ["fs/deno"] },
  { what: "@std/assert", found: /"@std\/assert\b/, files: [] },
  // Node 22 has neither, and stripping types doesn't turn them into something it has.
  { what: "await using", found: /\busing\s+\w+\s*=/, files: [] },
  // Whole packages: dozens of modules to fetch for one function.
  { what: "a package without a function's name", found: /(from|import)\s*\(?\s*"@std\/\w+"/, files: [] },
];

interface Source {
  /** Path below `src/` without `.ts`. */
  readonly name: string;
  readonly text: string;
  /** The text without comments. */
  readonly code: string;
}

const sourceUrl = new URL("../../src/", import.meta.url);

function readSources(): Source[] {
  return readdirSync(sourceUrl, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => path.endsWith(".ts"))
    .sort()
    .map((path) => {
      const text = readFileSync(new URL(path, sourceUrl), "utf8");
      return { name: path.slice(0, -".ts".length), text, code: withoutComments(text) };
    });
}

/** Strings are matched, too, and kept, so that a `//` or `/*` inside one starts no comment. */
function withoutComments(text: string): string {
  const pattern = /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\/\*[^]*?\*\/|\/\/.*/g;
  return text.replace(pattern, (_match, string: string | undefined) => string ?? "");
}

/** The files that `source` imports or re-exports, as paths below `src/` without `.ts`. */
function importsOf(source: Source): string[] {
  return Array.from(source.code.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]*)\.ts"/g), ([, specifier]) => {
    const url = new URL(specifier!, new URL(source.name, sourceUrl));
    return url.href.startsWith(sourceUrl.href) ? url.href.slice(sourceUrl.href.length) : specifier!;
  });
}

/** Number of the line that `name` stands on, from the top; -1 if on none. A name counts before a `*`. */
function lineOf(name: string): number {
  const find = (isIt: (entry: string) => boolean): number => LINES.findIndex((line) => line.split(/\s+/).some(isIt));
  const named = find((entry) => entry === name);
  return named >= 0 ? named : find((entry) => entry.endsWith("/*") && name.startsWith(entry.slice(0, -1)));
}

test("source files stand on a line of the layer table", () => {
  const strays = readSources().filter(({ name }) => lineOf(name) < 0).map(({ name }) => name);
  assertEquals(strays, []);
});

test("source files import only from lines above their own", () => {
  const breaches = readSources().flatMap((source) =>
    importsOf(source)
      .filter((imported) => lineOf(imported) < 0 || lineOf(imported) >= lineOf(source.name))
      .map((imported) => `${source.name} imports ${imported}`)
  );
  assertEquals(breaches, []);
});

for (const { what, found, files } of ONLY_IN) {
  test(`source files don't use ${what}${files.length === 0 ? "" : `, except ${files.join(", ")}`}`, () => {
    const users = readSources().filter(({ name, code }) => !files.includes(name) && found.test(code));
    assertEquals(users.map(({ name }) => name), []);
  });
}

test("source files open with a comment that documents the module", () => {
  const bare = readSources().filter(({ text }) => !/^\/\*\*[^]*?@module\s*\*\//.test(text));
  assertEquals(bare.map(({ name }) => name), []);
});
