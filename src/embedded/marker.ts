import { AT, CONTROL, LENGTH_OVERHEAD, TRANSACTIONAL, batchCrc, writeInt64 } from '../log/batch/header.js'
import { writeVarint } from '../record/varint.js'

const KEY_BYTES = 4
const VALUE_BYTES = 6

/**
 * The control batch that ends a producer's transaction in one partition. Its key is version int16, type int16; its value version int16,
 * coordinator epoch int32.
 */
export function transactionMarker(producerId: bigint, producerEpoch: number, commit: boolean, timestamp: number): Buffer {
  const record = Buffer.alloc(32)
  let pos = 2
  pos = writeVarint(record, pos, 0)
  pos = writeVarint(record, pos, 0)
  pos = writeVarint(record, pos, KEY_BYTES)
  pos = record.writeInt16BE(0, pos)
  pos = record.writeInt16BE(commit ? 1 : 0, pos)
  pos = writeVarint(record, pos, VALUE_BYTES)
  pos = record.writeInt16BE(0, pos)
  pos = record.writeInt32BE(0, pos)
  pos = writeVarint(record, pos, 0)
  writeVarint(record, 0, pos - 1)
  const bytes = Buffer.alloc(AT.records + pos)
  record.copy(bytes, AT.records, 0, pos)
  bytes.writeInt32BE(bytes.length - LENGTH_OVERHEAD, AT.batchLength)
  bytes.writeInt8(2, AT.magic)
  bytes.writeInt16BE(TRANSACTIONAL | CONTROL, AT.attributes)
  writeInt64(bytes, AT.baseTimestamp, timestamp)
  writeInt64(bytes, AT.maxTimestamp, timestamp)
  bytes.writeBigInt64BE(producerId, AT.producerId)
  bytes.writeInt16BE(producerEpoch, AT.producerEpoch)
  bytes.writeInt32BE(-1, AT.baseSequence)
  bytes.writeInt32BE(1, AT.recordCount)
  bytes.writeUInt32BE(batchCrc(bytes), AT.crc)
  return bytes
}
