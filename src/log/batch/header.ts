import { MillraceError } from '../../record/error.js'
import { crc32c } from './crc32c.js'

/**
 * Layout of a record batch, magic 2 (KIP-98). All of it is big-endian; the CRC covers what follows it.
 *
 *   baseOffset int64 · batchLength int32 · leaderEpoch int32 · magic int8 · crc uint32 · attributes int16 ·
 *   lastOffsetDelta int32 · baseTimestamp int64 · maxTimestamp int64 · producerId int64 · producerEpoch int16 ·
 *   baseSequence int32 · recordCount int32 · records
 */
export const AT = {
  baseOffset: 0,
  batchLength: 8,
  leaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  recordCount: 57,
  records: 61,
} as const

/** Bytes before the part that `batchLength` counts. */
export const LENGTH_OVERHEAD = 12

export const COMPRESSION_MASK = 0x07
export const LOG_APPEND_TIME = 0x08
export const TRANSACTIONAL = 0x10
export const CONTROL = 0x20

/** The largest and smallest numbers that an int64 can hold. */
const MAX_INT64 = 2 ** 63 - 1024
const MIN_INT64 = -(2 ** 63)

/**
 * An int64 as the nearest number that can be written as one again: beyond 2^53 it is rounded. Timestamps get there where somebody writes
 * nanoseconds; those are exact to 256 of them.
 */
export function readInt64(bytes: Buffer, at: number): number {
  return toInt64(bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4))
}

export function toInt64(value: number): number {
  return value > MAX_INT64 ? MAX_INT64 : value < MIN_INT64 ? MIN_INT64 : value
}

/** An offset: beyond 2^53 it is refused, not rounded. @throws MillraceError UNSAFE_INTEGER */
export function readOffset(bytes: Buffer, at: number): number {
  const value = readInt64(bytes, at)
  if (!Number.isSafeInteger(value)) {
    throw new MillraceError(
      'UNSAFE_INTEGER',
      `an offset of the log (${bytes.readBigInt64BE(at)}) is beyond 2^53 - 1, which a number cannot hold exactly`,
    )
  }
  return value
}

export function writeInt64(bytes: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000)
  bytes.writeInt32BE(high, at)
  bytes.writeUInt32BE(value - high * 0x1_0000_0000, at + 4)
}

export function batchCrc(batch: Uint8Array): number {
  return crc32c(batch.subarray(AT.attributes))
}
