import type { TopicPartition } from '../../log/port.js'
import type { Api, PartitionErrors } from './api.js'
import { byTopic, decodePartitionErrors } from './api.js'
import type { TransactionIdentity } from './transaction.js'

export interface AddPartitionsRequest extends TransactionIdentity {
  readonly partitions: readonly TopicPartition[]
}

export const AddPartitionsToTxn: Api<AddPartitionsRequest, PartitionErrors> = {
  key: 24,
  name: 'AddPartitionsToTxn',
  version: 1,
  flexible: false,
  encode(writer, { transactionalId, producerId, producerEpoch, partitions }) {
    writer.string(transactionalId)
    writer.bigint64(producerId)
    writer.int16(producerEpoch)
    writer.array(byTopic(partitions), ({ topic, items }) => {
      writer.string(topic)
      writer.array(items, ({ partition }) => writer.int32(partition))
    })
  },
  decode: decodePartitionErrors,
}
