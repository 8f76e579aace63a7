/**
 * Real disks that copy on write, and are full: what the reserve of `src/wal/reserve.ts` is for.
 *
 * Images of btrfs, in its ordinary and in its mixed mode, with a quota, with no room for metadata, with a snapshot; and of
 * XFS, where blocks are shared with a copy. Mounting them takes root on Linux, mkfs and a kernel that knows them; where
 * that is missing the tests are skipped, and say so in their names.
 */

import { mkdirSync, readdirSync, statSync, truncateSync, unlinkSync } from "node:fs";
import { assertEquals, assertGreater, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path/join";
import { BufferFailedError, NoSpaceError } from "../../../mod.ts";
import { detectFileSystem } from "../../../src/fs/detect.ts";
import { Books, call, fill, isLinux, isRoot, RECORD_BYTES, testUnless, withDirectory } from "./tools.ts";

/** How an image is made. */
interface Image {
  readonly kind: "btrfs" | "xfs";
  readonly megabytes: number;
  readonly options?: readonly string[];
}

const BTRFS: Image = { kind: "btrfs", megabytes: 128 };
const MIXED: Image = { kind: "btrfs", megabytes: 128, options: ["--mixed"] };
const XFS: Image = { kind: "xfs", megabytes: 320, options: ["-m", "reflink=1"] };

/** Why images of a kind can't be mounted here. */
async function whyNoImages(image: Image): Promise<string | undefined> {
  if (!isLinux) return "takes Linux";
  if (!isRoot) return "takes root";
  try {
    await withImage(image, () => {});
    return undefined;
  } catch (error) {
    return (error as Error).message.split("\n")[0];
  }
}

/** Runs `body` on a disk of its own. */
async function withImage(
  { kind, megabytes, options = [] }: Image,
  body: (disk: string) => Promise<void> | void,
): Promise<void> {
  await withDirectory(async (directory) => {
    const file = join(directory, "image");
    const disk = join(directory, "disk");
    mkdirSync(disk);
    call("truncate", "-s", `${megabytes}M`, file);
    call(`mkfs.${kind}`, "-q", "-f", ...options, file);
    call("mount", "-o", "loop", file, disk);
    try {
      await body(disk);
    } finally {
      // Lazily, so that nothing stays mounted when the test fails with files open.
      call("umount", "-l", disk);
    }
  });
}

const noBtrfs = await whyNoImages(BTRFS);
const noXfs = await whyNoImages(XFS);

/** Two segments and more than the reserve. */
const RECORDS = 300;

async function openWithRecords(path: string, fsync: "always" | "never" | number): Promise<Books> {
  const books = await Books.open(path, [], { fsync });
  for (let i = 0; i < RECORDS; i++) await books.put(RECORD_BYTES);
  await books.buffer.flush();
  return books;
}

/** A full disk: everything but a put works, space comes back, and then puts work, too. */
async function useFullDisk(books: Books, refill: () => void, fsync: "always" | "never" | number): Promise<void> {
  const path = books.path;
  await books.putUntilRefused(RECORD_BYTES);
  refill();
  await books.putUntilRefused(1);
  await books.take();
  await books.take();
  // They don't live on what was given up.
  await books.putUntilRefused(RECORD_BYTES);
  await books.buffer.flush();
  await books.buffer.close();
  refill();
  books = await Books.open(path, books.values, { fsync });
  await books.take();
  await books.putUntilRefused(RECORD_BYTES);
  await books.takeAll();
  await books.buffer.flush();
  // Behind its back all segments go but one, and the reserve is made whole.
  const parts = () => readdirSync(path).filter((name) => name.startsWith("reserve-")).length;
  for (let turn = 0; turn < 2_000 && parts() < 4; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(parts(), 4);
  await books.put(RECORD_BYTES);
  await books.put(RECORD_BYTES);
  await books.takeAll();
  await books.buffer.close();
}

for (const [name, image] of [["btrfs", BTRFS], ["btrfs in mixed mode", MIXED]] as const) {
  for (const fsync of ["always", 1000, "never"] as const) {
    testUnless(noBtrfs, `FileBuffer with fsync ${fsync} drains a full ${name}, and takes puts again`, async () => {
      await withImage(image, async (disk) => {
        const books = await openWithRecords(join(disk, "buffer"), fsync);
        fill(disk);
        await useFullDisk(books, () => fill(disk), fsync);
      });
    });
  }

  testUnless(noBtrfs, `FileBuffer without a reserve can't hand over anything on a full ${name}`, async () => {
    await withImage(image, async (disk) => {
      const path = join(disk, "buffer");
      const books = await Books.open(path, [], { reserveBytes: 0 });
      for (let i = 0; i < 20; i++) await books.put(RECORD_BYTES);
      await books.buffer.flush();
      fill(disk);
      // This is what the reserve is for. If it works one day without, there is no need for it any more.
      const error = await assertRejects(() => books.buffer.emit(), NoSpaceError);
      assertEquals([error.errno, error.path], ["ENOSPC", join(path, "cursor")]);
      unlinkSync(join(disk, "filler"));
      await books.takeAll();
      await books.buffer.close();
    });
  });
}

/**
 * Takes everything out. A sync that fails for want of space ends the buffer (see `reserve.ts`): whether one does where there
 * is no metadata left is up to the disk's own timer. Then the next `open()` must find room, and every record.
 */
async function drainAcrossFailedSyncs(books: Books): Promise<Books> {
  for (let failures = 0; failures < 3; failures++) {
    try {
      await books.takeAll();
      await books.buffer.close();
      return books;
    } catch (error) {
      assertInstanceOf(error, BufferFailedError);
      assertInstanceOf(error.cause, NoSpaceError);
      assertEquals(error.cause.operation, "sync");
      await books.buffer.close().catch(() => {});
      books = await Books.open(books.path, books.values);
    }
  }
  throw new Error("the reserve is given up, and yet each sync fails");
}

testUnless(noBtrfs, "FileBuffer drains a btrfs that has no room for metadata either", async () => {
  await withImage(BTRFS, async (disk) => {
    const books = await openWithRecords(join(disk, "buffer"), 1000);
    fill(disk);
    assertThrows(() => {
      for (let i = 0; i < 1_000_000; i++) mkdirSync(join(disk, `${i}`.padEnd(200, "-")));
    }, Error);
    const drained = await drainAcrossFailedSyncs(books);
    const again = await Books.open(drained.path, []);
    await again.buffer.close();
  });
});

testUnless(noBtrfs, "FileBuffer drains a btrfs whose quota is used up", async () => {
  await withImage(BTRFS, async (disk) => {
    call("btrfs", "quota", "enable", disk);
    const volume = join(disk, "volume");
    call("btrfs", "subvolume", "create", volume);
    call("btrfs", "qgroup", "limit", "16M", volume);
    const books = await openWithRecords(join(volume, "buffer"), 1000);
    // Not every runtime has a name for it.
    fill(volume, ["EDQUOT", "UNKNOWN", undefined]);
    const error = await books.putUntilRefused(RECORD_BYTES);
    assertEquals(error.errno, "EDQUOT");
    await books.take();
    await books.takeAll();
    await books.buffer.close();
  });
});

testUnless(noBtrfs, "FileBuffer drains a full btrfs of which a snapshot was taken before the last puts", async () => {
  await withImage(BTRFS, async (disk) => {
    const volume = join(disk, "volume");
    call("btrfs", "subvolume", "create", volume);
    const books = await openWithRecords(join(volume, "buffer"), 1000);
    call("btrfs", "subvolume", "snapshot", volume, join(disk, "snapshot"));
    for (let i = 0; i < 2_300; i++) await books.put(RECORD_BYTES);
    await books.buffer.flush();
    fill(disk);
    await books.take();
    await books.takeAll();
    await books.buffer.close();
  });
});

testUnless(noBtrfs ?? noXfs, "FileSystem.copiesOnWrite() says yes on btrfs and XFS", async () => {
  const native = await detectFileSystem();
  for (const image of [BTRFS, XFS]) await withImage(image, (disk) => assertEquals(native.copiesOnWrite!(disk), true));
});

testUnless(noXfs, "FileBuffer drains a full XFS that shares blocks with a copy of its log", async () => {
  await withImage(XFS, async (disk) => {
    const path = join(disk, "buffer");
    const books = await openWithRecords(path, "always");
    mkdirSync(join(disk, "copy"));
    call("sh", "-c", `cp --reflink=always "$1"/cursor "$1"/*.wal "$2"`, "sh", path, join(disk, "copy"));
    fill(disk);
    await books.putUntilRefused(RECORD_BYTES);
    await books.take();
    await books.buffer.close();
    fill(disk);
    const again = await Books.open(path, books.values, { fsync: "always" });
    await again.takeAll();
    await again.buffer.close();
  });
});

testUnless(
  noBtrfs,
  "FileBuffer opens on a full btrfs after its process was killed in the middle of a write",
  async () => {
    for (const image of [BTRFS, MIXED]) {
      await withImage(image, async (disk) => {
        const path = join(disk, "buffer");
        const books = await openWithRecords(path, "always");
        const last = join(path, readdirSync(path).filter((name) => name.endsWith(".wal")).sort().at(-1)!);
        await books.buffer.close();
        // A torn tail: the beginning of another frame.
        const before = statSync(last).size;
        truncateSync(last, before + 3_000);
        fill(disk);
        const again = await Books.open(path, books.values);
        assertGreater(again.buffer.recovery.truncatedBytes, 0);
        assertEquals(statSync(last).size, before);
        await again.takeAll();
        await again.buffer.close();
      });
    }
  },
);
