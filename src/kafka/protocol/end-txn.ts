import type { Api, Throttled } from './api.js'
import { decodeErrorOnly } from './api.js'
import type { TransactionIdentity } from './transaction.js'

export interface EndTxnRequest extends TransactionIdentity {
  readonly commit: boolean
}

export interface EndTxnResponse extends Throttled {
  readonly error: number
  /** The identity of the next transaction, where every transaction has one of its own. */
  readonly next?: { readonly producerId: bigint; readonly producerEpoch: number }
}

export const EndTxn: Api<EndTxnRequest, EndTxnResponse> = {
  key: 26,
  name: 'EndTxn',
  version: 1,
  flexible: false,
  encode(writer, { transactionalId, producerId, producerEpoch, commit }) {
    writer.string(transactionalId)
    writer.bigint64(producerId)
    writer.int16(producerEpoch)
    writer.bool(commit)
  },
  decode: decodeErrorOnly,
}

export const EndTxnBumpingEpoch: Api<EndTxnRequest, EndTxnResponse> = {
  key: 26,
  name: 'EndTxn',
  version: 5,
  flexible: true,
  encode(writer, { transactionalId, producerId, producerEpoch, commit }) {
    writer.compactString(transactionalId)
    writer.bigint64(producerId)
    writer.int16(producerEpoch)
    writer.bool(commit)
    writer.noTags()
  },
  decode(reader) {
    const response = {
      throttleMs: reader.int32(),
      error: reader.int16(),
      next: { producerId: reader.bigint64(), producerEpoch: reader.int16() },
    }
    reader.tags()
    return response
  },
}
