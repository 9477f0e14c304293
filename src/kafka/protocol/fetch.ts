import type { AbortedTransaction } from '../../log/batch/committed.js'
import type { Api, Throttled } from './api.js'
import { byTopic } from './api.js'

export interface FetchPartition {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Of the leader that is asked, as far as is known: another refuses. -1: any. (KIP-320) */
  readonly leaderEpoch: number
  readonly maxBytes: number
}

export interface FetchRequest {
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly readCommitted: boolean
  readonly partitions: readonly FetchPartition[]
}

export interface FetchedPartition {
  readonly topic: string
  readonly partition: number
  readonly error: number
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly aborted: readonly AbortedTransaction[]
  readonly records: Buffer
}

export interface FetchResponse extends Throttled {
  readonly error: number
  readonly partitions: readonly FetchedPartition[]
}

const NO_SESSION = 0
const NO_SESSION_EPOCH = -1

/** Without a fetch session: each request names all of its partitions, so none can be forgotten by either side. */
export const Fetch: Api<FetchRequest, FetchResponse> = {
  key: 1,
  name: 'Fetch',
  version: 11,
  flexible: false,
  encode(writer, { maxWaitMs, maxBytes, readCommitted, partitions }) {
    writer.int32(-1)
    writer.int32(maxWaitMs)
    writer.int32(1)
    writer.int32(maxBytes)
    writer.int8(readCommitted ? 1 : 0)
    writer.int32(NO_SESSION)
    writer.int32(NO_SESSION_EPOCH)
    writer.array(byTopic(partitions), ({ topic, items }) => {
      writer.string(topic)
      writer.array(items, (item) => {
        writer.int32(item.partition)
        writer.int32(item.leaderEpoch)
        writer.int64(item.offset)
        writer.int64(-1)
        writer.int32(item.maxBytes)
      })
    })
    writer.int32(0)
    writer.string('')
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const error = reader.int16()
    reader.int32()
    const partitions = reader.array(() => {
      const topic = reader.string()
      return reader.array(() => {
        const partition = reader.int32()
        const partitionError = reader.int16()
        const highWatermark = reader.int64()
        const lastStableOffset = reader.int64()
        reader.int64()
        const aborted = reader.array(() => ({ producerId: reader.bigint64(), firstOffset: reader.int64() }))
        reader.int32()
        return { topic, partition, error: partitionError, highWatermark, lastStableOffset, aborted, records: reader.bytes() }
      })
    })
    return { throttleMs, error, partitions: partitions.flat() }
  },
}
