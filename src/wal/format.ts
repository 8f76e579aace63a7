/**
 * The on-disk format of a segment, versions 1 and 2. Pure: no I/O, no state. All offsets in a segment and in a frame
 * are known to this file only; those in the cursor are in `cursor_format.ts`.
 *
 * A log is a directory of segments, each named after the first sequence it may hold. All numbers are little-endian and
 * of fixed width. Sequences and byte counts are 64 bits wide, of which 53 are used (JavaScript's safe integers).
 *
 * ## Segment
 *
 * ```text
 * +--------------------+--------------------+---------+---------+---
 * | header (80 bytes)  | the same header    | frame   | frame   | ...
 * +--------------------+--------------------+---------+---------+---
 *
 * header:   0  magic            8   89 53 4C 55 49 43 45 0A ("\x89SLUICE\n"): not text, not another format
 *           8  version          4   2; checked before the fields after it are trusted
 *          12  codec version    4   of all payloads in the segment: which migration they need
 *          16  buffer uuid     16   tells this buffer's segments from those of another
 *          32  first sequence   8   as in the file name, which could be changed by accident
 *          40  payload bytes    8   of all records ever put before this segment
 *          48  log bytes        8   of all frames ever written before this segment
 *          56  created          6   milliseconds since 1970, for people
 *          62  unacknowledged   2   how many records right before this segment were not acknowledged yet: see below
 *          64  salt             4   random; seeds the CRC of every frame of this segment
 *          68  record limit     4   the longest payload allowed: bounds every length in the segment
 *          72  encoding         4   1: each payload is the text of one JSON value, in UTF-8; 0: unknown
 *          76  header CRC       4   CRC-32 of the 76 bytes before
 * ```
 *
 * After the last frame of the last segment there may be zeros: space preallocated for later frames.
 *
 * The header is stored twice, because nothing in the segment can be checked without the salt: one bad bit must not cost
 * 16 MiB. The two running totals make it possible to open a log without reading it: what is pending is the total at the
 * end minus the total at the cursor.
 *
 * ## Frame
 *
 * The records that were written together: those of one turn of the event loop, or a part of a `putMany`.
 *
 * ```text
 *           0  length           4   of the whole frame, this field included
 *           4  CRC              4   CRC-32 over length and everything after this field, seeded with the salt
 *           8  first sequence   8   of its first record; the sequences of the others follow
 *          16  put time         6   milliseconds since 1970, of its first record: the age of a batch starts here
 *          22  kind             1   1: records. 0 is invalid, so zeros are never a valid frame
 *          23  flags            1   1: the next frame belongs to the same putMany; 2: the frame before does
 *          24  count            2   number of records, at least 1
 *          26  unacknowledged   2   how many records right before this frame were not acknowledged yet: see below
 *          28  records              each: payload length (4), payload
 * ```
 *
 * A frame is *valid* if and only if all of these conditions hold:
 *
 * 1. kind is 1, flags has no unknown bit, count is at least 1;
 * 2. length is at least that of a frame with count empty records; at most 64 KiB or, for a single record, at most what
 *    the record limit allows; and the frame ends within the data;
 * 3. the records' lengths fill the frame exactly, and none exceeds the record limit;
 * 4. the CRC is right;
 * 5. its first sequence follows the last sequence of the frame before; for the first frame, it is the segment's first
 *    sequence. After bad bytes it may be higher, by at most the number of records that the bad bytes could have held.
 *
 * The salt is why condition 4 proves that a frame belongs to *this* segment. Bytes left over in a recycled file were
 * made with another salt, and so were frames inside a payload (a log can be stored in a record). From two different
 * seeds, the CRC of the same bytes never comes out equal. A copy of this very segment's frames inside a payload meets
 * condition 4, but not condition 5, because it was written after them. The idea is SQLite's (`wal.c`, salt-1 and
 * salt-2). Seeding the CRC, instead of storing the salt in each frame, saves the field.
 *
 * ## What was acknowledged
 *
 * Where a put is acknowledged only after a sync, a power cut may keep a frame and take an earlier one that was written,
 * but never acknowledged. The field `unacknowledged` of the later frame tells that case from the loss of an
 * acknowledged record: it is the number of records right before the frame that were written, but not acknowledged, when
 * the frame was written. 65,535 means "that many or more". So:
 *
 * 1. Every record with a sequence below *first sequence - unacknowledged* had been acknowledged when the frame, or the
 *    header of the segment, was written. The value 65,535 proves nothing.
 * 2. Of the records from that sequence on, the field says nothing: they may have been acknowledged later, together
 *    with the frame.
 * 3. Where a put is acknowledged as soon as it is written, synced or not, the field is 0, also between the frames of a
 *    single write.
 * 4. It is also 0 in the header of the first segment that a process writes, because recovery has made durable all that
 *    it found.
 *
 * ## Version 1
 *
 * Two fields were wider in version 1: *created* had 8 bytes, *count* 4. Their values never needed the upper 2 bytes,
 * which are always zero; version 2 has *unacknowledged* there. So a frame is read in the same way, whatever its
 * version, and a frame of version 1 says that nothing was unacknowledged.
 *
 * @module
 */

import { crc32, crc32OfWord, isForTables, nativeCrc32, tableCrc32 } from "../base/crc32.ts";
import type { SeedSolver } from "../base/crc32_seed.ts";
import { bytesToUuid, getUint48, getUint64, isNewer, setUint48, setUint64, uuidToBytes } from "./encoding.ts";

/** The segment version that is written, and the newest that is read. All earlier versions are read, too. */
export const SEGMENT_VERSION = 2;

/** Bytes of one copy of a segment's header: magic, 2 x u32, uuid, 3 x u64, u48, u16, 4 x u32. */
const HEADER_COPY_BYTES = 8 + 4 + 4 + 16 + 8 + 8 + 8 + 6 + 2 + 4 + 4 + 4 + 4;
/** Where a segment's first frame begins: after both copies of the header. */
export const SEGMENT_HEADER_BYTES: number = 2 * HEADER_COPY_BYTES;

/** Bytes of a frame's header: length, CRC, sequence, put time, kind, flags, count, unacknowledged. */
export const FRAME_HEADER_BYTES: number = 4 + 4 + 8 + 6 + 1 + 1 + 2 + 2;
/** Bytes before each payload: the length of the payload. */
export const RECORD_HEADER_BYTES = 4;
/** The shortest frame: one empty record. */
export const MIN_FRAME_BYTES: number = FRAME_HEADER_BYTES + RECORD_HEADER_BYTES;
/** The record limit to use where none is known: then only the data bounds the length of a payload. */
export const NO_RECORD_LIMIT: number = 2 ** 32 - 1;
/** The longest frame of several records: short, so that one bad bit costs little. */
export const MAX_SHARED_FRAME_BYTES: number = 64 * 1024;
/** The value of `unacknowledged` that means "that many or more". */
export const MAX_UNACKNOWLEDGED = 0xffff;
/** Flag: the next frame belongs to the same `putMany`. */
export const FLAG_CONTINUES = 1;
/** Flag: the frame before belongs to the same `putMany`. */
export const FLAG_CONTINUED = 2;

const MAGIC = Uint8Array.of(0x89, 0x53, 0x4c, 0x55, 0x49, 0x43, 0x45, 0x0a);
const ENCODING_JSON = 1;
const KIND_RECORDS = 1;
const KNOWN_FLAGS = FLAG_CONTINUES | FLAG_CONTINUED;

/** The content of a segment's header; the fields are described at the top. */
export interface SegmentHeader {
  readonly codecVersion: number;
  readonly uuid: string;
  readonly firstSequence: number;
  /** Payload bytes of all records before it. */
  readonly payloadBytesBefore: number;
  /** Bytes of all frames before it. */
  readonly logBytesBefore: number;
  /** Creation time, milliseconds since 1970. */
  readonly createdAt: number;
  /** How many records right before it were unacknowledged when it was created: see {@linkcode MAX_UNACKNOWLEDGED}. */
  readonly unacknowledged: number;
  readonly salt: number;
  /** The longest payload allowed, in bytes. */
  readonly recordLimit: number;
  /** Whether each payload is known to be the text of one JSON value. */
  readonly isJson: boolean;
}

/** The result of {@linkcode decodeSegmentHeader}. */
export type SegmentHeaderResult =
  | { readonly kind: "header"; readonly version: number; readonly header: SegmentHeader }
  /** A header of an unknown version: nothing else in it is trusted. */
  | { readonly kind: "version"; readonly version: number }
  | { readonly kind: "bad" };

/** The content of a frame's header that meets conditions 1 and 2. */
export interface FrameHeader {
  readonly length: number;
  readonly firstSequence: number;
  /** When its first record was put: milliseconds since 1970. */
  readonly putTime: number;
  /** `FLAG_CONTINUES`, `FLAG_CONTINUED`, both or 0. */
  readonly flags: number;
  /** Number of records. */
  readonly count: number;
  /** How many records right before it were unacknowledged when it was written: see {@linkcode MAX_UNACKNOWLEDGED}. */
  readonly unacknowledged: number;
}

/** The part of a header that says which records before it were acknowledged. */
export type Acknowledgement = Pick<FrameHeader, "firstSequence" | "unacknowledged">;

/** All records below this sequence had been acknowledged when the header was written; 0 if it proves nothing. */
export function acknowledgedBefore({ firstSequence, unacknowledged }: Acknowledgement): number {
  return unacknowledged < MAX_UNACKNOWLEDGED ? firstSequence - unacknowledged : 0;
}

/** The field `unacknowledged` of a header at `firstSequence`, if the records below `acknowledged` are acknowledged. */
export function unacknowledgedBefore(firstSequence: number, acknowledged: number): number {
  return Math.min(MAX_UNACKNOWLEDGED, Math.max(0, firstSequence - acknowledged));
}

/** Encodes the start of a segment: the header, twice. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC, 0);
  view.setUint32(8, SEGMENT_VERSION, true);
  view.setUint32(12, header.codecVersion, true);
  bytes.set(uuidToBytes(header.uuid), 16);
  setUint64(view, 32, header.firstSequence);
  setUint64(view, 40, header.payloadBytesBefore);
  setUint64(view, 48, header.logBytesBefore);
  setUint48(view, 56, header.createdAt);
  view.setUint16(62, header.unacknowledged, true);
  view.setUint32(64, header.salt, true);
  view.setUint32(68, header.recordLimit, true);
  view.setUint32(72, header.isJson ? ENCODING_JSON : 0, true);
  view.setUint32(HEADER_COPY_BYTES - 4, crc32(bytes, 0, 0, HEADER_COPY_BYTES - 4), true);
  bytes.copyWithin(HEADER_COPY_BYTES, 0, HEADER_COPY_BYTES);
  return bytes;
}

/** Decodes a segment's header from the first bytes of the file, which may be too few. One valid copy is enough. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeaderResult {
  const first = decodeHeaderCopy(bytes, 0);
  if (first.kind === "header") return first;
  const second = decodeHeaderCopy(bytes, HEADER_COPY_BYTES);
  return second.kind === "header" || first.kind === "bad" ? second : first;
}

function decodeHeaderCopy(bytes: Uint8Array, at: number): SegmentHeaderResult {
  if (bytes.length < at + HEADER_COPY_BYTES) return { kind: "bad" };
  for (let i = 0; i < MAGIC.length; i++) if (bytes[at + i] !== MAGIC[i]) return { kind: "bad" };
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, HEADER_COPY_BYTES);
  const version = view.getUint32(8, true);
  if (isNewer(version, SEGMENT_VERSION)) return { kind: "version", version };
  if (version < 1 || version > SEGMENT_VERSION) return { kind: "bad" };
  const crc = view.getUint32(HEADER_COPY_BYTES - 4, true);
  if (crc !== crc32(bytes, 0, at, at + HEADER_COPY_BYTES - 4)) return { kind: "bad" };
  return { kind: "header", version, header: headerFields(view) };
}

function headerFields(view: DataView): SegmentHeader {
  const isOfVersion1 = view.getUint32(8, true) === 1;
  return {
    codecVersion: view.getUint32(12, true),
    uuid: bytesToUuid(new Uint8Array(view.buffer, view.byteOffset + 16, 16)),
    firstSequence: getUint64(view, 32),
    payloadBytesBefore: getUint64(view, 40),
    logBytesBefore: getUint64(view, 48),
    createdAt: isOfVersion1 ? getUint64(view, 56) : getUint48(view, 56),
    unacknowledged: isOfVersion1 ? 0 : view.getUint16(62, true),
    salt: view.getUint32(64, true),
    recordLimit: view.getUint32(68, true),
    isJson: view.getUint32(72, true) === ENCODING_JSON,
  };
}

/**
 * Reads each copy of a header that begins with the magic, without checking its version or its checksum. The caller must
 * prove the content in another way.
 */
export function unprovenHeaders(bytes: Uint8Array): SegmentHeader[] {
  if (bytes.length < SEGMENT_HEADER_BYTES) return [];
  return [0, HEADER_COPY_BYTES].filter((at) => MAGIC.every((byte, i) => bytes[at + i] === byte))
    .map((at) => headerFields(new DataView(bytes.buffer, bytes.byteOffset + at, HEADER_COPY_BYTES)));
}

/** The longest frame allowed in a segment with that record limit. */
export function maxFrameBytes(recordLimit: number): number {
  return Math.max(MAX_SHARED_FRAME_BYTES, MIN_FRAME_BYTES + recordLimit);
}

/**
 * Writes a frame's header around records that are already in place. The checksum comes last, because it covers the
 * rest.
 *
 * @param view A view of all of `bytes`.
 * @param offset Where the frame begins.
 * @param checked The result of {@linkcode checkedPart} for the frame, if the caller has it already.
 */
export function encodeFrameHeader(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  header: FrameHeader,
  salt: number,
  checked: Uint8Array = checkedPart(bytes, offset, header.length),
): void {
  view.setUint32(offset, header.length, true);
  setUint64(view, offset + 8, header.firstSequence);
  setUint48(view, offset + 16, header.putTime);
  view.setUint8(offset + 22, KIND_RECORDS);
  view.setUint8(offset + 23, header.flags);
  view.setUint16(offset + 24, header.count, true);
  view.setUint16(offset + 26, header.unacknowledged, true);
  view.setUint32(offset + 4, frameCrc(view, offset, checked, salt), true);
}

/** The part of a frame that its checksum covers, apart from the length field. */
export function checkedPart(bytes: Uint8Array, offset: number, length: number): Uint8Array {
  return bytes.subarray(offset + 8, offset + length);
}

/**
 * Decodes the header of a frame at `offset`, and checks conditions 1 and 2. From `offset` on, `view` must hold at least
 * `FRAME_HEADER_BYTES`.
 *
 * @param availableBytes The bytes from `offset` to the end of the data, which may lie after the end of `view`.
 * @returns `undefined` if a condition doesn't hold.
 */
export function decodeFrameHeader(
  view: DataView,
  offset: number,
  availableBytes: number,
  recordLimit: number,
): FrameHeader | undefined {
  if (availableBytes < MIN_FRAME_BYTES) return undefined;
  if (view.getUint8(offset + 22) !== KIND_RECORDS) return undefined;
  const flags = view.getUint8(offset + 23);
  if ((flags & ~KNOWN_FLAGS) !== 0) return undefined;
  const length = view.getUint32(offset, true);
  const count = view.getUint16(offset + 24, true);
  if (count === 0 || length > availableBytes) return undefined;
  if (length < FRAME_HEADER_BYTES + count * RECORD_HEADER_BYTES) return undefined;
  const limit = count === 1 ? maxFrameBytes(recordLimit) : MAX_SHARED_FRAME_BYTES;
  if (length > limit) return undefined;
  const firstSequence = getUint64(view, offset + 8);
  if (firstSequence < 1 || !Number.isSafeInteger(firstSequence + count)) return undefined;
  const putTime = getUint48(view, offset + 16);
  return { length, firstSequence, putTime, flags, count, unacknowledged: view.getUint16(offset + 26, true) };
}

/** Checks conditions 3 and 4 for a frame that `bytes` holds completely. */
export function isFrameIntact(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  header: FrameHeader,
  segment: { readonly salt: number; readonly recordLimit: number },
): boolean {
  if (!isFrameFilled(view, offset, header, segment.recordLimit)) return false;
  const checked = checkedPart(bytes, offset, header.length);
  return view.getUint32(offset + 4, true) === frameCrc(view, offset, checked, segment.salt);
}

/** Checks condition 3 for a frame that `view` holds completely. */
export function isFrameFilled(
  view: DataView,
  offset: number,
  { length, count }: FrameHeader,
  recordLimit: number,
): boolean {
  const end = offset + length;
  let at = offset + FRAME_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    if (end - at < RECORD_HEADER_BYTES) return false;
    const payloadBytes = view.getUint32(at, true);
    at += RECORD_HEADER_BYTES;
    if (payloadBytes > recordLimit || payloadBytes > end - at) return false;
    at += payloadBytes;
  }
  return at === end;
}

/** Where the payload of the record at `at` begins. */
export function payloadStart(at: number): number {
  return at + RECORD_HEADER_BYTES;
}

/** Where the record at `at` ends: the next record begins there, or the frame ends. */
export function recordEnd(view: DataView, at: number): number {
  return at + RECORD_HEADER_BYTES + view.getUint32(at, true);
}

/** Like {@linkcode recordEnd}, without a view: making one costs more than reading the records of a short frame. */
export function recordEndIn(bytes: Uint8Array, at: number): number {
  const length = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
  return at + RECORD_HEADER_BYTES + (length >>> 0);
}

/** Where the record begins that is `count` records after the one at `at`. */
export function skipRecords(view: DataView, at: number, count: number): number {
  for (let i = 0; i < count; i++) at = recordEnd(view, at);
  return at;
}

export function recordBytes(payloadBytes: number): number {
  return RECORD_HEADER_BYTES + payloadBytes;
}

/** The payload bytes of `count` records that take `bytes` bytes in all. */
export function payloadBytesIn(bytes: number, count: number): number {
  return bytes - count * RECORD_HEADER_BYTES;
}

export function payloadBytesOf({ length, count }: Pick<FrameHeader, "length" | "count">): number {
  return payloadBytesIn(length - FRAME_HEADER_BYTES, count);
}

/** The most records that fit into that many bytes: empty ones. */
export function maxRecordsIn(bytes: number): number {
  return Math.max(0, Math.floor(bytes / RECORD_HEADER_BYTES));
}

/** CRC-32 over the length field and everything after the CRC field, seeded with the salt. */
function frameCrc(view: DataView, offset: number, checked: Uint8Array, salt: number): number {
  const lengthCrc = crc32OfWord(view.getUint32(offset, true), salt);
  return isForTables(checked.length)
    ? tableCrc32(view, lengthCrc, offset + 8, offset + 8 + checked.length)
    : nativeCrc32(checked, lengthCrc);
}

/** The salt with which the CRC of a frame at `offset` is right. There always is one, so it proves nothing by itself. */
export function saltOf(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  { length }: FrameHeader,
  solve: SeedSolver,
): number {
  const lengthCrc = solve(bytes, view.getUint32(offset + 4, true), offset + 8, offset + length);
  return solve(bytes, lengthCrc, offset, offset + 4);
}

/** Adds the CRC of the frame at `offset` to `sum`, which starts at 0: `sum` is a CRC-32 over the frames' CRC-32s. */
export function addFrameChecksum(sum: number, view: DataView, offset: number): number {
  return crc32OfWord(view.getUint32(offset + 4, true), sum);
}
