/**
 * The content of a simulated disk, and what a power cut leaves of it. The inner half of `memory_file_system.ts`, whose head
 * describes the fault model.
 *
 * Every file and directory exists twice: as the system shows it, and as it is on stable storage. Between the two are the changes
 * that no sync has covered yet, in order. A sync applies changes to the stable half. A power cut keeps the stable half and
 * applies a part of the changes that the seed chooses.
 *
 * Guarantees: the same calls and the same seed leave the same bytes. No call depends on time or on global state.
 *
 * @module
 */

import { FileSystemError } from "../errors/mod.ts";
import type { FileIdentity } from "../fs/file_system.ts";

/** What a copy-on-write disk copies at a time: the block size of btrfs, and the smallest that ZFS and XFS use. */
export const BLOCK_BYTES = 4096;

/** Bytes that grow: amortized, and always zero behind the end. */
export class Content {
  /** The bytes, with room to grow behind `size`. */
  bytes: Uint8Array = new Uint8Array(0);
  /** How many of the bytes are the file's. */
  size: number = 0;
  /** How many of them take space: behind the last byte that was written is a hole. */
  filled: number = 0;

  /** Writes `bytes` at `position`; a gap is filled with zeros. */
  put(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    if (end > this.size) this.resize(end);
    this.bytes.set(bytes, position);
    this.filled = Math.max(this.filled, end);
  }

  /** Cuts, or extends with zeros. */
  resize(size: number): void {
    this.filled = Math.min(this.filled, size);
    if (size < this.size) this.bytes.fill(0, size, this.size);
    if (size > this.bytes.length) {
      const grown = new Uint8Array(Math.max(size, 2 * this.bytes.length, 64));
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.size = size;
  }

  /** Removes the first `count` bytes; the others move down. */
  drop(count: number): void {
    this.bytes.copyWithin(0, count, this.size);
    this.resize(this.size - count);
  }

  /** The file's bytes, not copied. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.size);
  }
}

/** A write of `length` bytes at `position`, or a truncate to the size `position` (no `length`). */
interface FileChange {
  readonly position: number;
  readonly length: number | undefined;
}

/** A file: an inode, independent of its name. */
export class FileNode {
  /** What reads see: the page cache. */
  readonly cache: Content = new Content();
  /** What is on stable storage. */
  readonly stable: Content = new Content();
  links: number = 1;
  handles: number = 0;
  /** Errors of write-back so far. Each open handle reports each of them once, as on Linux since 4.13. */
  readonly writeBackErrors: string[] = [];
  /** The holder of the lock on it. */
  lock: object | undefined;
  #changes: FileChange[] = [];
  /** The bytes of the writes among the changes, concatenated: an array for each would cost ten times as much. */
  readonly #written: Content = new Content();
  #settled = 0;
  /** Blocks that were copied to be overwritten, by number, and the extra space that each takes until a sync. */
  readonly #copied: Map<number, { readonly mark: number; readonly bytes: number }> = new Map();

  /** How many changes there have been: a mark for {@linkcode settle}. */
  get mark(): number {
    return this.#settled + this.#changes.length;
  }

  write(bytes: Uint8Array, position: number): void {
    this.cache.put(bytes, position);
    this.#written.put(bytes, this.#written.size);
    this.#changes.push({ position, length: bytes.length });
  }

  truncate(size: number): void {
    this.cache.resize(size);
    this.#changes.push({ position: size, length: undefined });
  }

  /**
   * On a copy-on-write disk: copies the blocks that a write from `from` to `to` touches, as far as `room` goes. A block that was
   * copied or started since the last sync is overwritten in place.
   *
   * @returns The end of what may be written, and how many bytes the copies take.
   */
  copyBlocks(from: number, to: number, room: number): { readonly end: number; readonly bytes: number } {
    const { filled } = this.cache;
    let copiedBytes = 0;
    for (let start = from - from % BLOCK_BYTES; start < to; start += BLOCK_BYTES) {
      const block = start / BLOCK_BYTES;
      if (this.#copied.has(block)) continue;
      // Only what the file has of the block is there twice.
      const bytes = Math.max(0, Math.min(BLOCK_BYTES, filled - start));
      if (copiedBytes + bytes > room) return { end: Math.max(from, start), bytes: copiedBytes };
      this.#copied.set(block, { mark: this.mark, bytes });
      copiedBytes += bytes;
    }
    return { end: to, bytes: copiedBytes };
  }

  /** Forgets the copies made before `mark`, and those behind `size`; returns how many bytes that gives back. */
  dropCopies({ mark = 0, size = Infinity }: { readonly mark?: number; readonly size?: number }): number {
    let bytes = 0;
    for (const [block, copy] of this.#copied) {
      if (copy.mark >= mark && block * BLOCK_BYTES < size) continue;
      this.#copied.delete(block);
      bytes += copy.bytes;
    }
    return bytes;
  }

  /** Settles all changes before `mark`: a sync made them stable, or a failed sync marked them clean and lost them. */
  settle(mark: number, outcome: "stable" | "lost"): void {
    const count = mark - this.#settled;
    if (count <= 0) return;
    let settledBytes = 0;
    this.#replay(count, (bytes, position) => {
      settledBytes += bytes?.length ?? 0;
      if (outcome === "stable") apply(this.stable, bytes, position);
    });
    this.#changes.splice(0, count);
    this.#written.drop(settledBytes);
    this.#settled = mark;
  }

  /** The file as a power cut may leave it. */
  afterPowerCut(random: Random): FileNode {
    const after = new FileNode();
    after.stable.put(this.stable.view(), 0);
    const fates = drawFates(this.#changes.length, random);
    // The size is written separately: the file may have its new size without its new bytes.
    const sizeKept = random() < 0.5;
    this.#replay(this.#changes.length, (bytes, position, i) => {
      const fate = fates[i];
      if (fate === "kept") return apply(after.stable, bytes, position);
      if (fate === "gone" || bytes === undefined) return;
      if (fate === "torn") tear(after.stable, bytes, position, random);
      if (sizeKept) after.stable.resize(Math.max(after.stable.size, position + bytes.length));
    });
    after.cache.put(after.stable.view(), 0);
    return after;
  }

  #replay(count: number, change: (bytes: Uint8Array | undefined, position: number, index: number) => void): void {
    let start = 0;
    for (let i = 0; i < count; i++) {
      const { position, length } = this.#changes[i]!;
      const bytes = length === undefined ? undefined : this.#written.bytes.subarray(start, start + length);
      change(bytes, position, i);
      start += length ?? 0;
    }
  }
}

export class DirectoryNode {
  /** The names as the system shows them. */
  readonly entries: Map<string, TreeNode> = new Map();
  /** The names on stable storage. */
  readonly stable: Map<string, TreeNode> = new Map();
}

/** What a name leads to. */
export type TreeNode = FileNode | DirectoryNode;

/** One name of a directory: set to a node, or removed. */
interface NameChange {
  readonly directory: DirectoryNode;
  readonly name: string;
  readonly node: TreeNode | undefined;
}

/** A tree of directories and files, with its unsynced changes. */
export class Disk {
  readonly root: DirectoryNode = new DirectoryNode();
  /** How many bytes the files may have together. */
  capacityBytes: number = Infinity;
  /** How many they have, including copied blocks, which count twice. */
  usedBytes: number = 0;
  /** Whether overwriting needs space until the next sync. */
  copiesOnWrite: boolean = false;
  /** Creates, removes and renames that aren't stable yet. Each is kept or undone as a whole. */
  #changes: { readonly mark: number; readonly parts: readonly NameChange[] }[] = [];
  #mark = 0;
  /** Inode numbers of the nodes that were identified. */
  #inodes = new Map<TreeNode, number>();

  /** How many changes of names there have been: a mark for {@linkcode settle}. */
  get mark(): number {
    return this.#mark;
  }

  /** Identifies a node, whatever its names. Inode numbers are never reused. */
  identify(node: TreeNode): FileIdentity {
    const inode = this.#inodes.get(node) ?? this.#inodes.size + 1;
    this.#inodes.set(node, inode);
    return { device: 1, inode, links: node instanceof FileNode ? node.links : 1 };
  }

  /** Changes names, in one step. */
  change(...parts: NameChange[]): void {
    for (const { directory, name, node } of parts) setName(directory.entries, name, node);
    this.#changes.push({ mark: this.#mark++, parts });
  }

  /**
   * Makes the names in `directory` stable, as they were at `mark`. A rename between directories is one transaction, so it takes
   * earlier changes in the other directory with it.
   */
  settle(directory: DirectoryNode, mark: number): void {
    const reached = new Set([directory]);
    const stable = this.#changes.toReversed().filter((change) => {
      if (change.mark >= mark || !change.parts.some((part) => reached.has(part.directory))) return false;
      for (const part of change.parts) reached.add(part.directory);
      return true;
    });
    for (const { parts } of stable.toReversed()) {
      for (const { directory, name, node } of parts) setName(directory.stable, name, node);
    }
    const gone = new Set(stable);
    this.#changes = this.#changes.filter((change) => !gone.has(change));
  }

  /** A new disk, as a power cut may leave this one. This one doesn't change. */
  afterPowerCut(random: Random): Disk {
    const after = new Disk();
    after.capacityBytes = this.capacityBytes;
    after.copiesOnWrite = this.copiesOnWrite;
    const names = this.#namesAfterPowerCut(random);
    const copies = new Map<TreeNode, TreeNode>([[this.root, after.root]]);
    const copyFile = (node: FileNode): FileNode => {
      const copied = node.afterPowerCut(random);
      copied.links = 0;
      after.usedBytes += copied.cache.filled;
      return copied;
    };
    const copy = (from: DirectoryNode, to: DirectoryNode): void => {
      for (const [name, node] of names(from)) {
        const copied = copies.get(node) ?? (node instanceof FileNode ? copyFile(node) : new DirectoryNode());
        copies.set(node, copied);
        to.entries.set(name, copied);
        to.stable.set(name, copied);
        if (copied instanceof FileNode) copied.links++;
        if (node instanceof DirectoryNode) copy(node, copied as DirectoryNode);
      }
    };
    copy(this.root, after.root);
    // All numbers, also those of lost nodes: none of them is reused.
    after.#inodes = new Map([...this.#inodes].map(([node, inode]) => [copies.get(node) ?? node, inode]));
    return after;
  }

  /** Draws which changes of names survive. None survives without those before it on the same name. */
  #namesAfterPowerCut(random: Random): (directory: DirectoryNode) => Map<string, TreeNode> {
    const left = new Map<DirectoryNode, Map<string, TreeNode>>();
    const names = (directory: DirectoryNode): Map<string, TreeNode> => {
      if (!left.has(directory)) left.set(directory, new Map(directory.stable));
      return left.get(directory)!;
    };
    const undone = new Map<DirectoryNode, Set<string>>();
    const fates = drawFates(this.#changes.length, random);
    this.#changes.forEach(({ parts }, i) => {
      const kept = fates[i] === "kept" && !parts.some((part) => undone.get(part.directory)?.has(part.name));
      for (const { directory, name, node } of parts) {
        if (kept) setName(names(directory), name, node);
        else undone.set(directory, (undone.get(directory) ?? new Set()).add(name));
      }
    });
    return names;
  }
}

/** Where a path leads. */
interface Found {
  /** The directory that has the name, or would have it. */
  readonly directory: DirectoryNode;
  /** The directories from the root down to that one. */
  readonly ancestors: readonly DirectoryNode[];
  /** The last name of the path; empty for the root. */
  readonly name: string;
  readonly node: TreeNode | undefined;
}

/** Follows a path. ENOENT if a directory on the way is missing, ENOTDIR if it is a file. */
export function find(disk: Disk, operation: string, path: string): Found {
  const names = split(path);
  const name = names.pop() ?? "";
  const ancestors = [disk.root];
  let directory = disk.root;
  for (const parent of names) {
    const node = directory.entries.get(parent);
    if (node === undefined) throw refusal("ENOENT", operation, path);
    if (node instanceof FileNode) throw refusal("ENOTDIR", operation, path);
    ancestors.push(directory = node);
  }
  if (path === "") throw refusal("ENOENT", operation, path);
  return { directory, ancestors, name, node: name === "" ? directory : directory.entries.get(name) };
}

/** Follows a path to a file or directory, which must be there. */
export function findNode(disk: Disk, operation: string, path: string): TreeNode {
  const { node } = find(disk, operation, path);
  if (node === undefined) throw refusal("ENOENT", operation, path);
  return node;
}

/** Follows a path to a file. */
export function findFile(disk: Disk, operation: string, path: string): FileNode {
  const node = findNode(disk, operation, path);
  if (node instanceof DirectoryNode) throw refusal("EISDIR", operation, path);
  return node;
}

/** Follows a path to a directory. */
export function findDirectory(disk: Disk, operation: string, path: string): DirectoryNode {
  const node = findNode(disk, operation, path);
  if (node instanceof FileNode) throw refusal("ENOTDIR", operation, path);
  return node;
}

/** Creates a file where there is nothing. */
export function createFile(disk: Disk, operation: string, path: string): FileNode {
  const { directory, name, node: taken } = find(disk, operation, path);
  if (taken !== undefined) throw refusal("EEXIST", operation, path);
  const node = new FileNode();
  disk.change({ directory, name, node });
  return node;
}

/** The error of an operation that the system refuses. */
export function refusal(errno: string, operation: string, path: string): FileSystemError {
  return FileSystemError.from({ errno, operation, path });
}

/** The names of a path from the root down, with `.` and `..` resolved. */
export function split(path: string): string[] {
  const names: string[] = [];
  for (const name of path.split(/[\\/]/)) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return names;
}

/** Takes a name from a file. */
export function unlink(disk: Disk, node: FileNode): void {
  node.links--;
  free(disk, node);
}

/** Releases the space of a file that has neither a name nor a handle. */
export function free(disk: Disk, node: FileNode): void {
  if (node.links === 0 && node.handles === 0) disk.usedBytes -= node.cache.filled + node.dropCopies({ size: 0 });
}

/** A source of numbers in [0, 1). */
export type Random = () => number;

/** Mulberry32 by Tommy Ettinger (public domain): 32 bits of state, enough to choose fates. */
export function mulberry32(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `"gone"`: lost without a trace. `"lost"`: lost, but the file's size may have survived. */
type Fate = "kept" | "torn" | "lost" | "gone";

/**
 * Draws what becomes of `count` changes. First the pattern is drawn: independent draws would hardly ever keep all changes, none,
 * or a clean prefix, and these are what real power cuts leave most often.
 */
function drawFates(count: number, random: Random): Fate[] {
  const pattern = Math.floor(random() * 4);
  const cut = Math.floor(random() * (count + 1));
  return Array.from({ length: count }, (_, i) => {
    if (pattern === 0) return "gone";
    if (pattern === 1) return "kept";
    if (pattern === 2) return i < cut ? "kept" : i === cut ? "torn" : "lost";
    return (["kept", "torn", "lost"] as const)[Math.floor(random() * 3)]!;
  });
}

/** Applies the part of a write that the device had done. The rest has the old bytes, or zeros, or is cut off. */
function tear(content: Content, bytes: Uint8Array, position: number, random: Random): void {
  const unit = [1, 512, 4096][Math.floor(random() * 3)]!;
  const end = position + bytes.length;
  if (unit === 1 || random() < 0.5) {
    const cut = Math.floor((position + random() * bytes.length) / unit) * unit;
    if (cut > position) content.put(bytes.subarray(0, cut - position), position);
    return;
  }
  // Units survive in any combination. They are aligned in the file, like sectors of a device and pages of the system.
  for (let from = position; from < end;) {
    const to = Math.min(end, (Math.floor(from / unit) + 1) * unit);
    if (random() < 0.5) content.put(bytes.subarray(from - position, to - position), from);
    from = to;
  }
}

/** Applies a write, or without `bytes` a truncate. */
function apply(content: Content, bytes: Uint8Array | undefined, position: number): void {
  if (bytes === undefined) content.resize(position);
  else content.put(bytes, position);
}

function setName(names: Map<string, TreeNode>, name: string, node: TreeNode | undefined): void {
  if (node === undefined) names.delete(name);
  else names.set(name, node);
}
