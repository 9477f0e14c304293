import type { NewTopic } from '../../log/port.js'
import type { Api, Throttled } from './api.js'

export interface TopicResult {
  readonly topic: string
  readonly error: number
  readonly message: string | null
}

export const CreateTopics: Api<
  { readonly topics: readonly NewTopic[]; readonly timeoutMs: number },
  Throttled & { readonly results: readonly TopicResult[] }
> = {
  key: 19,
  name: 'CreateTopics',
  version: 4,
  flexible: false,
  encode(writer, { topics, timeoutMs }) {
    writer.array(topics, ({ topic, partitions, replicationFactor, config }) => {
      writer.string(topic)
      writer.int32(partitions ?? -1)
      writer.int16(replicationFactor ?? -1)
      writer.int32(0)
      writer.array(Object.entries(config ?? {}), ([name, value]) => {
        writer.string(name)
        writer.string(value)
      })
    })
    writer.int32(timeoutMs)
    writer.bool(false)
  },
  decode(reader) {
    const throttleMs = reader.int32()
    return {
      throttleMs,
      results: reader.array(() => ({ topic: reader.string(), error: reader.int16(), message: reader.nullableString() })),
    }
  },
}
