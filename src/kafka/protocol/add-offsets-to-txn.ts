import type { Api, ErrorOnly } from './api.js'
import { decodeErrorOnly } from './api.js'
import type { TransactionIdentity } from './transaction.js'

export const AddOffsetsToTxn: Api<TransactionIdentity & { readonly group: string }, ErrorOnly> = {
  key: 25,
  name: 'AddOffsetsToTxn',
  version: 1,
  flexible: false,
  encode(writer, { transactionalId, producerId, producerEpoch, group }) {
    writer.string(transactionalId)
    writer.bigint64(producerId)
    writer.int16(producerEpoch)
    writer.string(group)
  },
  decode: decodeErrorOnly,
}
