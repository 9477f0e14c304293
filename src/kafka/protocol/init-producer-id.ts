import type { Api, Throttled } from './api.js'

export interface InitProducerIdRequest {
  readonly transactionalId: string | null
  readonly transactionTimeoutMs: number
  /** With the current id and epoch the broker only bumps the epoch if they are still in force; -1 and -1 fence whoever has the id. */
  readonly producerId: bigint
  readonly producerEpoch: number
}

export interface InitProducerIdResponse extends Throttled {
  readonly error: number
  readonly producerId: bigint
  readonly producerEpoch: number
}

/** Versions 3 to 5 look the same; they differ in the errors a broker may answer with. */
export function initProducerId(version: (typeof INIT_PRODUCER_ID_VERSIONS)[number]): Api<InitProducerIdRequest, InitProducerIdResponse> {
  return {
    key: INIT_PRODUCER_ID_KEY,
    name: 'InitProducerId',
    version,
    flexible: true,
    encode(writer, { transactionalId, transactionTimeoutMs, producerId, producerEpoch }) {
      writer.compactString(transactionalId)
      writer.int32(transactionTimeoutMs)
      writer.bigint64(producerId)
      writer.int16(producerEpoch)
      writer.noTags()
    },
    decode(reader) {
      const response = { throttleMs: reader.int32(), error: reader.int16(), producerId: reader.bigint64(), producerEpoch: reader.int16() }
      reader.tags()
      return response
    },
  }
}

export const INIT_PRODUCER_ID_KEY = 22
export const INIT_PRODUCER_ID_VERSIONS = [3, 4, 5] as const
