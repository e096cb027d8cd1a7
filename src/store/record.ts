// The frame that every stored record shares: a magic number in front, CRC32C of everything before
// it at the end. LMDB has no checksum for values: of 150 flipped bits, 64 came back as silently
// wrong states. What lies between is decided by the codec of each kind of record.

export const CHECKSUM_BYTES = 4;

/** The magic number of each kind of record: its name read as a little-endian u32. */
export const MAGIC = {
  /** "TDS1" */
  state: 0x3153_4454,
  /** "TDH1" */
  history: 0x3148_4454,
  /** "TDI1" */
  itemChange: 0x3149_4454,
} as const;

/**
 * Writes CRC32C of a record's content into its last four bytes.
 *
 * @returns the same buffer.
 */
export function sealRecord(record: Buffer): Buffer {
  const end = record.length - CHECKSUM_BYTES;
  record.writeUInt32LE(crc32c(record, end), end);
  return record;
}

/** Whether a record has at least `contentBytes` bytes of content and a checksum that fits it. */
export function isIntact(record: Buffer, contentBytes: number): boolean {
  const end = record.length - CHECKSUM_BYTES;
  return end >= contentBytes && record.readUInt32LE(end) === crc32c(record, end);
}

const CRC_TABLES = crcTables();

/**
 * CRC32C (Castagnoli, reflected polynomial 0x82F63B78) of the first `length` bytes, four bytes a
 * step.
 *
 * Node's `zlib.crc32` is another checksum: CRC-32 of polynomial 0xEDB88320.
 *
 * @see RFC 3720, appendix B.4
 */
export function crc32c(bytes: Uint8Array, length: number = bytes.length): number {
  const [byte3, byte2, byte1, byte0] = CRC_TABLES;
  let crc = 0xffff_ffff;
  let i = 0;
  for (; i + 4 <= length; i += 4)
    crc =
      byte0[(crc ^ bytes[i]!) & 0xff]! ^
      byte1[((crc >>> 8) ^ bytes[i + 1]!) & 0xff]! ^
      byte2[((crc >>> 16) ^ bytes[i + 2]!) & 0xff]! ^
      byte3[((crc >>> 24) ^ bytes[i + 3]!) & 0xff]!;
  for (; i < length; i++) crc = (crc >>> 8) ^ byte3[(crc ^ bytes[i]!) & 0xff]!;
  return (crc ^ 0xffff_ffff) >>> 0;
}

type CrcTables = readonly [Int32Array, Int32Array, Int32Array, Int32Array];

/** Table t holds the remainder of a byte followed by t zero bytes. */
function crcTables(): CrcTables {
  const tables: CrcTables = [
    new Int32Array(256),
    new Int32Array(256),
    new Int32Array(256),
    new Int32Array(256),
  ];
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
    tables[0][byte] = crc;
  }
  for (let table = 1; table < 4; table++)
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[table - 1]![byte]!;
      tables[table]![byte] = (before >>> 8) ^ tables[0][before & 0xff]!;
    }
  return tables;
}
