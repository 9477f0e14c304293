import type { Api, PartitionResult, Throttled } from './api.js'
import { byTopic } from './api.js'

/** Timestamps with a meaning of their own. */
export const LATEST = -1
export const EARLIEST = -2

export interface ListOffsetsRequest {
  /** Makes LATEST the last stable offset instead of the high watermark. */
  readonly readCommitted: boolean
  /** `leaderEpoch` is that of the leader that is asked, as far as is known: another refuses. -1: any. (KIP-320) */
  readonly partitions: readonly {
    readonly topic: string
    readonly partition: number
    readonly leaderEpoch: number
    readonly timestamp: number
  }[]
}

export interface ListedOffset extends PartitionResult {
  /** -1 where there is none at or after the time. */
  readonly offset: number
}

export const ListOffsets: Api<ListOffsetsRequest, Throttled & { readonly results: readonly ListedOffset[] }> = {
  key: 2,
  name: 'ListOffsets',
  version: 5,
  flexible: false,
  encode(writer, { readCommitted, partitions }) {
    writer.int32(-1)
    writer.int8(readCommitted ? 1 : 0)
    writer.array(byTopic(partitions), ({ topic, items }) => {
      writer.string(topic)
      writer.array(items, ({ partition, leaderEpoch, timestamp }) => {
        writer.int32(partition)
        writer.int32(leaderEpoch)
        writer.int64(timestamp)
      })
    })
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const results = reader.array(() => {
      const topic = reader.string()
      return reader.array(() => {
        const partition = reader.int32()
        const error = reader.int16()
        // The time of the record found, of which nothing is asked but the order.
        reader.bigint64()
        const offset = reader.int64()
        reader.int32()
        return { topic, partition, error, offset }
      })
    })
    return { throttleMs, results: results.flat() }
  },
}
