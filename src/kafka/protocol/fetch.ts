import type { AbortedTransaction } from '../../log/batch/committed.js'
import type { Divergence } from '../../log/leader-epochs.js'
import type { TopicPartition } from '../../log/port.js'
import type { Api, Throttled } from './api.js'
import { byTopic } from './api.js'
import type { Reader } from './reader.js'
import type { Writer } from './writer.js'

export interface FetchPartition {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Of the leader that is asked, as far as is known: another refuses. -1: any. (KIP-320) */
  readonly leaderEpoch: number
  /** Of the batch before the offset: where the log of the broker has another one there, it says so. -1: not known. (KIP-595) */
  readonly lastFetchedEpoch: number
  readonly maxBytes: number
}

export interface FetchRequest {
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly readCommitted: boolean
  /** 0: none, or a new one. */
  readonly sessionId: number
  /** Counts the requests of a session from 1; 0 begins one, -1 is a request without. (KIP-227) */
  readonly sessionEpoch: number
  readonly partitions: readonly FetchPartition[]
  /** Of the session, and no longer fetched. */
  readonly forgotten: readonly TopicPartition[]
}

export interface FetchedPartition {
  readonly topic: string
  readonly partition: number
  readonly error: number
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly aborted: readonly AbortedTransaction[]
  readonly records: Buffer
  /** Then there are no records. */
  readonly diverging?: Divergence | undefined
}

export interface FetchResponse extends Throttled {
  readonly error: number
  /** 0: none. */
  readonly sessionId: number
  readonly partitions: readonly FetchedPartition[]
}

const DIVERGING_EPOCH_TAG = 0

function encodeHead(writer: Writer, { maxWaitMs, maxBytes, readCommitted, sessionId, sessionEpoch }: FetchRequest): void {
  writer.int32(-1)
  writer.int32(maxWaitMs)
  writer.int32(1)
  writer.int32(maxBytes)
  writer.int8(readCommitted ? 1 : 0)
  writer.int32(sessionId)
  writer.int32(sessionEpoch)
}

export const Fetch: Api<FetchRequest, FetchResponse> = {
  key: 1,
  name: 'Fetch',
  version: 12,
  flexible: true,
  encode(writer, request) {
    encodeHead(writer, request)
    writer.compactArray(byTopic(request.partitions), ({ topic, items }) => {
      writer.compactString(topic)
      writer.compactArray(items, (item) => {
        writer.int32(item.partition)
        writer.int32(item.leaderEpoch)
        writer.int64(item.offset)
        writer.int32(item.lastFetchedEpoch)
        writer.int64(-1)
        writer.int32(item.maxBytes)
        writer.noTags()
      })
      writer.noTags()
    })
    writer.compactArray(byTopic(request.forgotten), ({ topic, items }) => {
      writer.compactString(topic)
      writer.compactArray(items, ({ partition }) => writer.int32(partition))
      writer.noTags()
    })
    writer.compactString('')
    writer.noTags()
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const error = reader.int16()
    const sessionId = reader.int32()
    const partitions = reader.compactArray(() => {
      const topic = reader.compactString()
      const items = reader.compactArray((): FetchedPartition => {
        const partition = reader.int32()
        const partitionError = reader.int16()
        const highWatermark = reader.int64()
        const lastStableOffset = reader.int64()
        reader.int64()
        const aborted = reader.compactArray(() => {
          const transaction = { producerId: reader.bigint64(), firstOffset: reader.int64() }
          reader.tags()
          return transaction
        })
        reader.int32()
        const records = reader.compactBytes()
        let diverging: Divergence | undefined
        reader.eachTag((tag) => {
          if (tag === DIVERGING_EPOCH_TAG) diverging = decodeDivergence(reader)
        })
        return { topic, partition, error: partitionError, highWatermark, lastStableOffset, aborted, records, diverging }
      })
      reader.tags()
      return items
    })
    reader.tags()
    return { throttleMs, error, sessionId, partitions: partitions.flat() }
  },
}

function decodeDivergence(reader: Reader): Divergence | undefined {
  const divergence = { epoch: reader.int32(), endOffset: reader.int64() }
  reader.tags()
  return divergence.epoch < 0 && divergence.endOffset < 0 ? undefined : divergence
}

/** For Kafka 2.5 and 2.6, which do not compare what was fetched before with what they have. */
export const FetchWithoutEpoch: Api<FetchRequest, FetchResponse> = {
  key: 1,
  name: 'Fetch',
  version: 11,
  flexible: false,
  encode(writer, request) {
    encodeHead(writer, request)
    writer.array(byTopic(request.partitions), ({ topic, items }) => {
      writer.string(topic)
      writer.array(items, (item) => {
        writer.int32(item.partition)
        writer.int32(item.leaderEpoch)
        writer.int64(item.offset)
        writer.int64(-1)
        writer.int32(item.maxBytes)
      })
    })
    writer.array(byTopic(request.forgotten), ({ topic, items }) => {
      writer.string(topic)
      writer.array(items, ({ partition }) => writer.int32(partition))
    })
    writer.string('')
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const error = reader.int16()
    const sessionId = reader.int32()
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
    return { throttleMs, error, sessionId, partitions: partitions.flat() }
  },
}
