/**
 * The journal beside a file of deliveries: which deliveries are in the file, and its size with each of them.
 *
 * One line each: `<CRC-32 of the rest, 8 hexadecimal digits> <size> <id as a JSON string> <CRC-32 of the delivery's bytes>`. The
 * first line has the id `sluice-deliveries/2` and the size of the file before the deliveries that follow; its last word is
 * `<CRC-32 of the file's last 4096 bytes, or fewer if it has fewer>:<device>:<inode>`. A line is valid if its own CRC (as in
 * zlib) is right. An empty line says that the delivery before it is on stable storage, with its line; it is not synced itself.
 *
 * Version 1 has no empty lines: there a line was written when its delivery was stored. Early ones don't have the last word.
 *
 * So a journal tells its file from another one of the same name, and recognizes it under another name, or a copy of it.
 *
 * Guarantees: a line is added only when all before it are stored, with their deliveries. So only the last one can be torn, or be
 * there without its delivery; it is told apart as `pending`. A bad line with a valid one behind it is damage, which is refused and
 * never guessed at. A journal is replaced in one step: after a crash there is the old one or the new one, whole.
 *
 * @module
 */

import { crc32 } from "../base/crc32.ts";
import { DamagedLogError } from "../errors/mod.ts";
import { closeQuietly, ifExists, readFile } from "../fs/file_helpers.ts";
import type { FileHandle, FileIdentity, FileSystem } from "../fs/file_system.ts";
import { replaceFile } from "../fs/replace_file.ts";

/** A file, of which it doesn't matter how many names it has. */
export type FileId = Pick<FileIdentity, "device" | "inode">;

/** The content of a journal. */
export interface JournalContent {
  /** The file's size with all deliveries that are known to be stored. */
  readonly size: number;
  /** Their ids, oldest first. */
  readonly ids: readonly string[];
  /** The content with the delivery behind them, if there is one of which it is unknown whether it is stored. */
  readonly pending?: JournalContent;
  /** The file, if the journal knows it. */
  readonly file?: FileId;
  /** What is right before `size` in the file, if the journal knows it. */
  readonly ending?: Ending;
}

/** The last bytes of the file. */
export interface Ending {
  readonly length: number;
  readonly checksum: string;
}

interface Line {
  readonly size: number;
  readonly id: string;
  /** The last word, in its parts. */
  readonly more: readonly string[];
}

/** The id of the first line: the format and its version. */
const HEADER_ID = "sluice-deliveries/2";
const OLD_HEADER_ID = "sluice-deliveries/1";
const CRC_DIGITS = 8;
const MAX_ENDING_BYTES = 4096;

const encoder = new TextEncoder();

function encodeLine(size: number, id: string, more: readonly (string | number)[]): string {
  const rest = [size, JSON.stringify(id), ...more.length === 0 ? [] : [more.join(":")]].join(" ");
  return `${computeChecksum(rest)} ${rest}\n`;
}

function decodeLine(line: string): Line | undefined {
  const rest = line.slice(CRC_DIGITS + 1);
  if (line[CRC_DIGITS] !== " " || line.slice(0, CRC_DIGITS) !== computeChecksum(rest)) return undefined;
  const [, size, id, more] = /^(\d+) ("(?:[^"\\]|\\.)*")(?: (\S+))?$/.exec(rest) ?? [];
  return id === undefined ? undefined : { size: Number(size), id: JSON.parse(id), more: more?.split(":") ?? [] };
}

function computeChecksum(data: string | Uint8Array): string {
  return crc32(typeof data === "string" ? encoder.encode(data) : data).toString(16).padStart(CRC_DIGITS, "0");
}

/** Describes the last bytes before `size`. */
function readEnding(file: FileHandle, size: number, length: number = Math.min(size, MAX_ENDING_BYTES)): Ending {
  const bytes = new Uint8Array(length);
  return { length, checksum: computeChecksum(bytes.subarray(0, file.read(bytes, size - length))) };
}

/** Whether a file has the bytes that a journal's deliveries end with. Nothing is proved where there are none. */
export function hasContent(file: FileHandle, { size, ending }: JournalContent): boolean {
  if (ending === undefined || ending.length === 0 || file.size() < size) return false;
  return readEnding(file, size, ending.length).checksum === ending.checksum;
}

/**
 * Reads the journal at `path`.
 *
 * @returns Its content; `undefined` if there is none.
 * @throws {DamagedLogError} if a line other than the last is bad, or if it is no journal of this version.
 */
export function readJournal(fileSystem: FileSystem, path: string): JournalContent | undefined {
  const bytes = ifExists(() => readFile(fileSystem, path));
  return bytes && parse(bytes, path);
}

function parse(bytes: Uint8Array, path: string): JournalContent {
  // Bytes behind the last line feed are a torn write. Bytes that are no UTF-8 fail the CRC.
  const texts = new TextDecoder().decode(bytes).split("\n").slice(0, -1);
  const lines = texts.map(decodeLine);
  const isBad = (line: Line | undefined, i: number) => line === undefined && texts[i] !== "";
  const firstBad = lines.findIndex(isBad);
  const end = firstBad < 0 ? lines.length : firstBad;
  const [header, ...deliveries] = lines.slice(0, end).filter((line) => line !== undefined);
  // An empty line shows that the one before it was stored.
  const isDamaged = lines.slice(end).some((line, i) => line !== undefined || texts[end + i] === "");
  if (isDamaged || (header?.id !== HEADER_ID && header?.id !== OLD_HEADER_ID)) {
    const reason = isDamaged ? `line ${firstBad + 1} is damaged` : `it does not begin as "${HEADER_ID}"`;
    throw new DamagedLogError({ segment: path, offset: 0, length: bytes.length, reason });
  }
  const content = toContent(header, deliveries);
  const isPending = header.id === HEADER_ID && content.size > header.size && texts[end - 1] !== "";
  return isPending ? { ...toContent(header, deliveries.slice(0, -1)), pending: content } : content;
}

function toContent(header: Line, deliveries: readonly Line[]): JournalContent {
  const { size } = deliveries.at(-1) ?? header;
  // Ids from before this journal have its size.
  const isNew = size > header.size;
  const [checksum] = (isNew ? deliveries.at(-1)! : header).more;
  const length = isNew ? size - (deliveries.at(-2) ?? header).size : Math.min(size, MAX_ENDING_BYTES);
  const [, device, inode] = header.more;
  return {
    size,
    ids: deliveries.map(({ id }) => id),
    ...inode === undefined ? {} : { file: { device: Number(device), inode: Number(inode) } },
    ...checksum === undefined ? {} : { ending: { length, checksum } },
  };
}

/** A journal that is open for adding lines. */
export class DeliveryJournal {
  /** The journal itself, as a file. */
  readonly id: FileId | undefined;
  readonly #handle: FileHandle;
  #position: number;
  #lines: number;

  private constructor(handle: FileHandle, position: number, lines: number) {
    this.id = handle.identify?.();
    this.#handle = handle;
    this.#position = position;
    this.#lines = lines;
  }

  /**
   * Writes a new journal at `path`, durably, in place of the one that is there, which nothing may have open: Windows refuses to
   * replace an open file.
   *
   * @param content The file's size, the ids, and the file itself if it is there already.
   */
  static async replace(
    fileSystem: FileSystem,
    path: string,
    { size, ids, file }: { readonly size: number; readonly ids: readonly string[]; readonly file?: FileHandle },
  ): Promise<DeliveryJournal> {
    const id = file?.identify?.();
    const more = file === undefined || id === undefined ? [] : [readEnding(file, size).checksum, id.device, id.inode];
    const lines = [encodeLine(size, HEADER_ID, more), ...ids.map((id) => encodeLine(size, id, []))];
    const bytes = encoder.encode(lines.join(""));
    await replaceFile(fileSystem, path, (handle) => handle.write(bytes, 0));
    return new DeliveryJournal(fileSystem.open(path, "write"), bytes.length, ids.length);
  }

  /** How many deliveries it lists. */
  get lines(): number {
    return this.#lines;
  }

  /** Whether it has all lines that were added. */
  isWhole(): boolean {
    return this.#handle.size() >= this.#position;
  }

  /**
   * Adds a delivery of these bytes, pending until {@linkcode confirm}. The line is on stable storage when this resolves. After a
   * failure the journal must be closed.
   */
  async add(size: number, id: string, delivered: Uint8Array): Promise<void> {
    this.#write(encodeLine(size, id, [computeChecksum(delivered)]));
    this.#lines++;
    await this.#handle.sync();
  }

  /** Notes that the last delivery is stored, and its line. Only a power cut may take the note. */
  confirm(): void {
    this.#write("\n");
  }

  #write(text: string): void {
    const bytes = encoder.encode(text);
    this.#handle.write(bytes, this.#position);
    this.#position += bytes.length;
  }

  /** Closes the file. */
  close(): void {
    closeQuietly(this.#handle);
  }
}

/** Whether both are the same file. One that isn't known may be any. */
export function isSameFile(one: FileId | undefined, other: FileId | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return one.device === other.device && one.inode === other.inode;
}
