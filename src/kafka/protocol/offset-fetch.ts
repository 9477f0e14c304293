import type { TopicPartition } from '../../log/port.js'
import type { Api, PartitionResult, Throttled } from './api.js'
import { byTopic } from './api.js'

export interface OffsetFetchResponse extends Throttled {
  readonly error: number
  /** Offset -1: none committed; leader epoch -1: none with it. */
  readonly results: readonly (PartitionResult & { readonly offset: number; readonly leaderEpoch: number; readonly metadata: string })[]
}

/** Version 7, the first with require_stable: an offset that a pending transaction is about to move is refused, not handed out. (KIP-447) */
export const OffsetFetch: Api<{ readonly group: string; readonly partitions: readonly TopicPartition[] }, OffsetFetchResponse> = {
  key: 9,
  name: 'OffsetFetch',
  version: 7,
  flexible: true,
  encode(writer, { group, partitions }) {
    writer.compactString(group)
    writer.compactArray(byTopic(partitions), ({ topic, items }) => {
      writer.compactString(topic)
      writer.compactArray(items, ({ partition }) => writer.int32(partition))
      writer.noTags()
    })
    writer.bool(true)
    writer.noTags()
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const results = reader.compactArray(() => {
      const topic = reader.compactString()
      const items = reader.compactArray(() => {
        const partition = reader.int32()
        const offset = reader.int64()
        const leaderEpoch = reader.int32()
        const metadata = reader.compactNullableString() ?? ''
        const error = reader.int16()
        reader.tags()
        return { topic, partition, error, offset, leaderEpoch, metadata }
      })
      reader.tags()
      return items
    })
    const error = reader.int16()
    reader.tags()
    return { throttleMs, error, results: results.flat() }
  },
}
