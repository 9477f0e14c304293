import type { Api, PartitionResult, Throttled } from './api.js'
import { byTopic } from './api.js'

export interface ProducedBatch {
  readonly topic: string
  readonly partition: number
  /** Exactly one batch: the broker refuses more in the partition of a request. */
  readonly bytes: Buffer
}

export interface ProduceRequest {
  readonly transactionalId: string | null
  /** How long the broker waits for replicas. */
  readonly timeoutMs: number
  readonly batches: readonly ProducedBatch[]
}

export interface ProducedResult extends PartitionResult {
  readonly message: string | null
  /** Of the first record; -1 where it is refused, or no longer known. */
  readonly offset: number
}

export interface ProduceResponse extends Throttled {
  readonly results: readonly ProducedResult[]
}

const ALL_REPLICAS = -1

/** For the first transaction protocol: every partition was added to the transaction before. */
export const Produce: Api<ProduceRequest, ProduceResponse> = {
  key: 0,
  name: 'Produce',
  version: 7,
  flexible: false,
  encode(writer, { transactionalId, timeoutMs, batches }) {
    writer.string(transactionalId)
    writer.int16(ALL_REPLICAS)
    writer.int32(timeoutMs)
    writer.array(byTopic(batches), ({ topic, items }) => {
      writer.string(topic)
      writer.array(items, ({ partition, bytes }) => {
        writer.int32(partition)
        writer.bytes(bytes)
      })
    })
  },
  decode(reader) {
    const results = reader.array(() => {
      const topic = reader.string()
      return reader.array(() => {
        const result = { topic, partition: reader.int32(), error: reader.int16(), message: null, offset: Number(reader.bigint64()) }
        reader.bigint64()
        reader.bigint64()
        return result
      })
    })
    return { results: results.flat(), throttleMs: reader.int32() }
  },
}

/** For the second: the partition leader adds the partition to the transaction. (KIP-890) */
export const ProduceImplicit: Api<ProduceRequest, ProduceResponse> = {
  key: 0,
  name: 'Produce',
  version: 12,
  flexible: true,
  encode(writer, { transactionalId, timeoutMs, batches }) {
    writer.compactString(transactionalId)
    writer.int16(ALL_REPLICAS)
    writer.int32(timeoutMs)
    writer.compactArray(byTopic(batches), ({ topic, items }) => {
      writer.compactString(topic)
      writer.compactArray(items, ({ partition, bytes }) => {
        writer.int32(partition)
        writer.compactBytes(bytes)
        writer.noTags()
      })
      writer.noTags()
    })
    writer.noTags()
  },
  decode(reader) {
    const results = reader.compactArray(() => {
      const topic = reader.compactString()
      const items = reader.compactArray(() => {
        const partition = reader.int32()
        const error = reader.int16()
        const offset = Number(reader.bigint64())
        reader.bigint64()
        reader.bigint64()
        const recordErrors = reader.compactArray(() => {
          reader.int32()
          const text = reader.compactNullableString()
          reader.tags()
          return text
        })
        const message = reader.compactNullableString() ?? recordErrors.find((text) => text !== null) ?? null
        reader.tags()
        return { topic, partition, error, message, offset }
      })
      reader.tags()
      return items
    })
    const throttleMs = reader.int32()
    reader.tags()
    return { results: results.flat(), throttleMs }
  },
}
