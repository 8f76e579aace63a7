/**
 * Which file systems overwrite in place: the list of mounts says what statfs says.
 */

import { readFileSync, statSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { isMountedInPlace, overwritesInPlace } from "../../src/fs/overwrites_in_place.ts";

/** As in proc_pid_mountinfo(5): fields in the middle, any number of them, end with a dash. */
const MOUNTS = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw shared:12 master:3 - proc proc rw
24 22 0:25 / /dev/shm rw - tmpfs tmpfs rw
25 22 8:17 / /srv rw shared:9 - xfs /dev/sdb1 rw
26 22 0:30 /home /home rw - btrfs /dev/sdc rw,subvol=/home
27 22 0:31 / /mnt rw - ext4_like server:/ rw
`;

test("isMountedInPlace() knows ext4 and tmpfs by the device, and believes no other", () => {
  const rows = [["8:1", true], ["0:25", true], ["8:17", false], ["0:30", false], ["0:31", false], [
    "9:9",
    false,
  ]] as const;
  for (const [device, isInPlace] of rows) assertEquals(isMountedInPlace(MOUNTS, device), isInPlace, device);
  assertEquals(isMountedInPlace("", "8:1"), false);
});

test("isMountedInPlace() agrees with statfs on this machine", { skip: process.platform !== "linux" }, () => {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  for (const path of ["/", "/tmp", "/proc", "/dev/shm"]) {
    const { dev } = statSync(path, { throwIfNoEntry: false }) ?? {};
    if (dev === undefined) continue;
    const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) + Math.floor(dev / 2 ** 20) * 256}`;
    assertEquals(isMountedInPlace(mounts, device), overwritesInPlace(path), path);
  }
});
