/**
 * The journal beside a file of deliveries: which deliveries are in the file, and its size with each of them.
 *
 * One line each: `<CRC-32 of the rest, 8 hexadecimal digits> <size> <id as a JSON string>`. The first line has the id
 * `sluice-deliveries/1` and the size of the file before the deliveries that follow. A line is valid if its CRC (as in zlib)
 * is right.
 *
 * Guarantees: a line is added only when all before it are synced, so only the last one can be torn. A bad line with a valid one
 * behind it is damage, which is refused and never guessed at. A journal is replaced in one step: after a crash there is the old
 * one or the new one, whole.
 *
 * @module
 */

import { crc32 } from "../base/crc32.ts";
import { DamagedLogError } from "../errors/mod.ts";
import { closeQuietly, ifExists, readFile } from "../fs/file_helpers.ts";
import type { FileHandle, FileSystem } from "../fs/file_system.ts";
import { replaceFile } from "../fs/replace_file.ts";

/** The content of a journal. */
export interface JournalContent {
  /** The file's size with all deliveries. */
  readonly size: number;
  /** Their ids, oldest first. */
  readonly ids: readonly string[];
}

interface Line {
  readonly size: number;
  readonly id: string;
}

/** The id of the first line: the format and its version. */
const HEADER_ID = "sluice-deliveries/1";
const CRC_DIGITS = 8;

const encoder = new TextEncoder();

function encodeLine(size: number, id: string): string {
  const rest = `${size} ${JSON.stringify(id)}`;
  return `${computeChecksum(rest)} ${rest}\n`;
}

function decodeLine(line: string): Line | undefined {
  const rest = line.slice(CRC_DIGITS + 1);
  if (line[CRC_DIGITS] !== " " || line.slice(0, CRC_DIGITS) !== computeChecksum(rest)) return undefined;
  const space = rest.indexOf(" ");
  return { size: Number(rest.slice(0, space)), id: JSON.parse(rest.slice(space + 1)) };
}

function computeChecksum(text: string): string {
  return crc32(encoder.encode(text)).toString(16).padStart(CRC_DIGITS, "0");
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
  const lines = new TextDecoder().decode(bytes).split("\n").slice(0, -1).map(decodeLine);
  const firstBad = lines.findIndex((line) => line === undefined);
  const valid = firstBad < 0 ? lines : lines.slice(0, firstBad);
  const [header, ...deliveries] = valid as Line[];
  const isDamaged = firstBad >= 0 && lines.slice(firstBad).some((line) => line !== undefined);
  if (isDamaged || header?.id !== HEADER_ID) {
    const reason = isDamaged ? `line ${firstBad + 1} is damaged` : `it does not begin as "${HEADER_ID}"`;
    throw new DamagedLogError({ segment: path, offset: 0, length: bytes.length, reason });
  }
  return { size: (deliveries.at(-1) ?? header).size, ids: deliveries.map(({ id }) => id) };
}

/** A journal that is open for adding lines. */
export class DeliveryJournal {
  readonly #handle: FileHandle;
  #position: number;
  #lines: number;

  private constructor(handle: FileHandle, position: number, lines: number) {
    this.#handle = handle;
    this.#position = position;
    this.#lines = lines;
  }

  /** Writes a new journal at `path`, durably, in place of the one that is there. */
  static async replace(fileSystem: FileSystem, path: string, { size, ids }: JournalContent): Promise<DeliveryJournal> {
    const bytes = encoder.encode([HEADER_ID, ...ids].map((id) => encodeLine(size, id)).join(""));
    await replaceFile(fileSystem, path, (handle) => handle.write(bytes, 0));
    return new DeliveryJournal(fileSystem.open(path, "write"), bytes.length, ids.length);
  }

  /** How many deliveries it lists. */
  get lines(): number {
    return this.#lines;
  }

  /** Adds a delivery, which is on stable storage when this resolves. After a failure the journal must be closed. */
  async add(size: number, id: string): Promise<void> {
    const line = encoder.encode(encodeLine(size, id));
    this.#handle.write(line, this.#position);
    await this.#handle.sync();
    this.#position += line.length;
    this.#lines++;
  }

  /** Closes the file. */
  close(): void {
    closeQuietly(this.#handle);
  }
}
