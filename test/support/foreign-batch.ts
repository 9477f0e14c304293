import { AT, LENGTH_OVERHEAD, LOG_APPEND_TIME, batchCrc } from '../../src/log/batch/header.js'

export interface ForeignBatch {
  /** Of each record; the first is the base. */
  readonly timestamps: readonly bigint[]
  readonly maxTimestamp?: bigint
  readonly logAppendTime?: boolean
}

/** A batch as another client may write it, built without millrace's own writer. Its records have neither key nor value. */
export function foreignBatch({ timestamps, maxTimestamp, logAppendTime = false }: ForeignBatch): Buffer {
  const base = timestamps[0] as bigint
  const records = timestamps.map((timestamp, i) => {
    const body = Buffer.from([0, ...zigzag(timestamp - base), ...zigzag(BigInt(i)), ...zigzag(-1n), ...zigzag(-1n), 0])
    return Buffer.concat([Buffer.from(zigzag(BigInt(body.length))), body])
  })
  const bytes = Buffer.concat([Buffer.alloc(AT.records), ...records])
  bytes.writeInt32BE(bytes.length - LENGTH_OVERHEAD, AT.batchLength)
  bytes.writeInt8(2, AT.magic)
  bytes.writeInt16BE(logAppendTime ? LOG_APPEND_TIME : 0, AT.attributes)
  bytes.writeInt32BE(timestamps.length - 1, AT.lastOffsetDelta)
  bytes.writeBigInt64BE(base, AT.baseTimestamp)
  bytes.writeBigInt64BE(maxTimestamp ?? timestamps.reduce((a, b) => (a > b ? a : b)), AT.maxTimestamp)
  bytes.writeBigInt64BE(-1n, AT.producerId)
  bytes.writeInt32BE(timestamps.length, AT.recordCount)
  bytes.writeUInt32BE(batchCrc(bytes), AT.crc)
  return bytes
}

function zigzag(value: bigint): number[] {
  let raw = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const bytes: number[] = []
  for (; raw >= 0x80n; raw >>= 7n) bytes.push(Number(raw & 0x7fn) | 0x80)
  return [...bytes, Number(raw)]
}
