/**
 * Links between pages lead somewhere, in a checkout and on JSR, where only the files of the package are; and the README
 * stays short enough to be read. The first tests show that each kind of broken link is found, the last ones that the
 * pages have none.
 */

import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { docCommentsOf, documentedFiles } from "./doc_examples.ts";
import { anchorsOf, checkoutFiles, faultOf, type Files, globPattern, linksOf, pageFiles, REPOSITORY } from "./pages.ts";

/** The page on JSR should take no more than ten minutes. */
const MAX_README_LINES = 350;

const root = fileURLToPath(new URL("../../", import.meta.url));

const PAGES: Readonly<Record<string, string>> = {
  "README.md": "# Top\n\n## What `fsync` costs, in short\n\n## Again\n\n## Again\n",
  "src/room/README.md": "# A room\n",
  "src/room/picture.png": "",
  "src/room/mod.ts": "",
  "tests/README.md": "# Tests\n\n## Seeds\n",
};
const FILES: Files = {
  kindOf: (path) =>
    path in PAGES
      ? "file"
      : Object.keys(PAGES).some((page) => path === "" || page.startsWith(`${path}/`))
      ? "directory"
      : undefined,
  read: (path) => PAGES[path]!,
  isPublished: (path) => !path.startsWith("tests") && path !== "src",
};

/** What is wrong with the links of a text in a page. */
function faultsOf(file: string, text: string): (string | undefined)[] {
  return linksOf(file, text).map((link) => faultOf(link, FILES));
}

test("linksOf() finds links, pictures and references, with their lines, and nothing in code", () => {
  const text = [
    'A [link](a.md#b "title"), a ![picture](b.png),',
    "a [reference][Label], [label][] and [none][missing], `[code](x)`, ``a ` [b](x)``.",
    "",
    "```md",
    "[code](x)",
    "```",
    '<img src="c.png">',
    "",
    "[label]: https://example.com/",
  ].join("\n");
  assertEquals(
    linksOf("a.md", text).map(({ line, target, isPicture }) => [line, target, isPicture]),
    [
      [1, "a.md#b", false],
      [1, "b.png", true],
      [2, "https://example.com/", false],
      [2, "https://example.com/", false],
      [2, undefined, false],
      [7, "c.png", true],
    ],
  );
});

test("anchorsOf() gives the anchors of headings outside of code", () => {
  const text =
    "# What `fsync` costs, in short\n\n```sh\n# no heading\n```\n\n## Again\n\n## Again\n## A [link](x.md)\n";
  assertEquals([...anchorsOf(text)], ["what-fsync-costs-in-short", "again", "again-1", "a-link"]);
});

test("globPattern() is what a glob of deno.json means", () => {
  const pattern = globPattern("src/**/README.md");
  assertEquals(
    ["src/README.md", "src/a/README.md", "src/a/b/README.md", "src/a/READMEXmd", "tests/README.md"].map((path) =>
      pattern.test(path)
    ),
    [true, true, true, false, false],
  );
  assertEquals(["mod.ts", "a/mod.ts"].map((path) => globPattern("*.ts").test(path)), [true, false]);
});

test("a link that leads somewhere is all right", () => {
  const good = [
    "[a](src/room/README.md#a-room) [b](#what-fsync-costs-in-short) [c](./src/room/mod.ts) [d](#again-1)",
    `[e](https://example.com/x) [f](${REPOSITORY}/blob/main/tests/README.md#seeds) [g](${REPOSITORY}/tree/main/tests)`,
    `![h](${REPOSITORY}/raw/main/src/room/picture.png) [i](${REPOSITORY})`,
  ].join("\n");
  assertEquals(faultsOf("README.md", good), Array(9).fill(undefined));
  assertEquals(faultsOf("src/room/README.md", "[up](../../README.md#top)"), [undefined]);
  assertEquals(faultsOf("tests/README.md", "[out](../src/room/README.md) ![in](../src/room/picture.png)"), [
    undefined,
    undefined,
  ]);
});

for (
  const [what, file, text, fault] of [
    ["a missing file", "README.md", "[a](src/nowhere.md)", "leads to nothing"],
    ["a missing heading", "README.md", "[a](#nowhere)", "leads to no heading of README.md"],
    [
      "another page's missing heading",
      "src/room/README.md",
      "[a](../../README.md#x)",
      "leads to no heading of README.md",
    ],
    ["an anchor of code", "README.md", "[a](src/room/mod.ts#x)", "has an anchor, and its target has no headings"],
    [
      "a way out of the package",
      "README.md",
      "[a](tests/README.md#seeds)",
      `leaves the package: write ${REPOSITORY}/blob/main/tests/README.md#seeds`,
    ],
    ["a directory", "README.md", "[a](tests)", `leaves the package: write ${REPOSITORY}/tree/main/tests`],
    ["a way out of the repository", "tests/README.md", "[a](../../x.md)", "leaves the repository"],
    [
      "a picture of the package",
      "README.md",
      "![a](src/room/picture.png)",
      `has to be absolute: JSR shows no picture of the package, ${REPOSITORY} does`,
    ],
    ["an undefined reference", "README.md", "[a][b]", "names a reference that is not defined"],
    ["a slash at the beginning", "README.md", "[a](/tests)", "begins with a slash, which leads elsewhere on each site"],
    ["another protocol", "README.md", "[a](http://example.com/)", "isn't an https address"],
    ["an address of a missing file", "README.md", `[a](${REPOSITORY}/blob/main/x.md)`, "leads to nothing"],
    [
      "an address of a missing heading",
      "README.md",
      `[a](${REPOSITORY}/blob/main/tests/README.md#x)`,
      "leads to no heading of tests/README.md",
    ],
    ["a file as a directory", "README.md", `[a](${REPOSITORY}/tree/main/README.md)`, "is a file: blob"],
    [
      "another branch",
      "README.md",
      `[a](${REPOSITORY}/blob/next/README.md)`,
      "isn't the address of a file on the branch main",
    ],
    [
      "a doc comment's relative link",
      "src/room/mod.ts",
      "[a](README.md)",
      "has to be absolute: documentation is shown in many places",
    ],
  ] as const
) {
  test(`${what} is found`, () => assertEquals(faultsOf(file, text), [fault]));
}

test("links of all pages lead somewhere, and on JSR as well", () => {
  const files = checkoutFiles(root);
  const links = documentedFiles(root).flatMap((file) => {
    const text = readFileSync(root + file, "utf8");
    if (file.endsWith(".md")) return linksOf(file, text);
    return docCommentsOf(text).flatMap((comment) => linksOf(file, comment.text));
  });
  assert(links.length > 50, `only ${links.length} links`);
  const faults = links.flatMap((link) => {
    const fault = faultOf(link, files);
    return fault === undefined ? [] : [`${link.file}:${link.line}: ${link.target} ${fault}`];
  });
  assertEquals(faults, []);
});

test("files that pages and documentation name in code are there", () => {
  const named = documentedFiles(root).flatMap((file) =>
    Array.from(
      readFileSync(root + file, "utf8").matchAll(/`((?:src|tests|examples)\/[\w/.-]+\.\w+)`/g),
      ([, path]) => ({ file, path: path! }),
    )
  );
  assert(named.length >= 5, `only ${named.length} files`);
  const { kindOf } = checkoutFiles(root);
  assertEquals(named.filter(({ path }) => kindOf(path) === undefined), []);
});

test("pages of src/ are published, with the README, and others are not", () => {
  const { isPublished } = checkoutFiles(root);
  const pages = pageFiles(root);
  assert(pages.includes("src/cli/README.md") && pages.includes("tests/README.md"));
  assertEquals(pages.filter((page) => isPublished(page) !== (page === "README.md" || page.startsWith("src/"))), []);
});

test(`the README has at most ${MAX_README_LINES} lines`, () => {
  const lines = readFileSync(`${root}README.md`, "utf8").trimEnd().split("\n").length;
  assert(lines <= MAX_README_LINES, `${lines} lines`);
});
