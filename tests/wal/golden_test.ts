/**
 * Logs that were written once and are never written again, `testdata/v1` and `testdata/v2`: whatever becomes of the code, it
 * reads them, with the same batches, ids, records and reports. How they were made is in `testdata/generate_v1.ts` and
 * `testdata/generate_v2.ts`.
 */

import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import { join } from "@std/path/join";
import { dump, refusal } from "./golden_dump.ts";

/**
 * SHA-256 of the list of all files and their sums, by format version: who changes one of them has to change its line, too.
 */
const SUMS_OF_SUMS: Readonly<Record<string, string>> = {
  v1: "e8dca2014163d3c1ee0f5c9e0515d2f8b67c6e132d20c4e4fc896dc8d55984e2",
  v2: "987b8bf9062cab92b8e1d23f19b61efc7e0ff90e8c8ec87aec7c5d33782273a6",
};

function sha256(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** Each file of the logs by its path, with its sum. */
function sumsOf(directory: string, names: readonly string[]): string {
  const files = names.flatMap((
    name,
  ) => [...readdirSync(join(directory, name)).sort().map((file) => `${name}/${file}`), `${name}.json`]);
  return files.map((file) => `${sha256(join(directory, file))}  ${file}\n`).join("");
}

for (const [version, sumOfSums] of Object.entries(SUMS_OF_SUMS)) {
  const directory = fileURLToPath(new URL(`../testdata/${version}/`, import.meta.url));
  const names = readdirSync(directory).filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5)).sort();

  test(`testdata/${version} is what was written once`, () => {
    const list = readFileSync(join(directory, "SHA256SUMS"), "utf8");
    const byPath = (text: string) => text.trimEnd().split("\n").sort((a, b) => a.slice(66) < b.slice(66) ? -1 : 1);
    assertEquals(byPath(sumsOf(directory, names)), byPath(list));
    assertEquals(sha256(join(directory, "SHA256SUMS")), sumOfSums);
    assertEquals(readdirSync(directory).length, 2 * names.length + 1);
    assertGreaterOrEqual(names.length, version === "v1" ? 20 : 12);
  });

  for (const name of names) testLog(version, directory, name);
}

function testLog(version: string, directory: string, name: string): void {
  const { about, open, refusal: refused, ...expected } = JSON.parse(
    readFileSync(join(directory, `${name}.json`), "utf8"),
  );

  test(`FileBuffer reads the log ${name} of version ${version.slice(1)}: ${about}`, async () => {
    const scratch = mkdtempSync(join(tmpdir(), "sluice-golden-"));
    try {
      for (const copy of ["dumped", "again", "refused"]) {
        cpSync(join(directory, name), join(scratch, copy), { recursive: true });
      }
      const found = await refusal(join(scratch, "refused"), open);
      if (version === "v1" && name === "newer_version") {
        // The version that was to come has come, and what says so is no header of it.
        assertEquals([refused.version, found?.code, found?.length], [2, "DAMAGED_LOG", 380]);
        return;
      }
      assertEquals(found, refused, "with onDamage: fail");
      if (refused?.code === "UNSUPPORTED_VERSION") return;
      const first = await dump(join(scratch, "dumped"), open);
      assertEquals(JSON.parse(JSON.stringify(first)), expected);
      // What is left then: the record that was put, and nothing of what was committed.
      const second = await dump(join(scratch, "dumped"), open);
      assertEquals(second.batches.map(({ records }) => records.length), [1], "the second time");
      assertEquals(second.next, first.next + 1, "the second time");
      // With batches as large as can be, the records are the same.
      const large = await dump(join(scratch, "again"), { ...open, maxRecords: 1_000_000 });
      const records = (batches: typeof first.batches) => batches.flatMap((batch) => batch.records);
      assertEquals(records(large.batches), records(first.batches), "in large batches");
      assert(large.batches.length <= first.batches.length);
    } finally {
      rmSync(scratch, { recursive: true });
    }
    assertEquals(
      sha256(join(directory, `${name}.json`)),
      readSum(directory, `${name}.json`),
      "the log itself was changed",
    );
  });
}

function readSum(directory: string, file: string): string | undefined {
  const list = readFileSync(join(directory, "SHA256SUMS"), "utf8").split("\n");
  return list.find((line) => line.slice(66) === file)?.slice(0, 64);
}
