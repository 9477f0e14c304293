import type { GroupMember, Position } from '../../log/port.js'
import { UNKNOWN_EPOCH } from '../../log/leader-epochs.js'
import type { Api, PartitionErrors } from './api.js'
import { byTopic, decodeCompactPartitionErrors } from './api.js'
import type { TransactionIdentity } from './transaction.js'

export interface TxnOffsetCommitRequest extends TransactionIdentity {
  readonly member: GroupMember
  readonly offsets: readonly Position[]
}

/** 3 after AddOffsetsToTxn; 5 where the group coordinator adds itself to the transaction. */
function txnOffsetCommit(version: 3 | 5): Api<TxnOffsetCommitRequest, PartitionErrors> {
  return {
    key: 28,
    name: 'TxnOffsetCommit',
    version,
    flexible: true,
    encode(writer, { transactionalId, producerId, producerEpoch, member, offsets }) {
      writer.compactString(transactionalId)
      writer.compactString(member.group)
      writer.bigint64(producerId)
      writer.int16(producerEpoch)
      writer.int32(member.generation)
      writer.compactString(member.memberId)
      writer.compactString(member.instanceId ?? null)
      writer.compactArray(byTopic(offsets), ({ topic, items }) => {
        writer.compactString(topic)
        writer.compactArray(items, ({ partition, offset, leaderEpoch = UNKNOWN_EPOCH, metadata = '' }) => {
          writer.int32(partition)
          writer.int64(offset)
          writer.int32(leaderEpoch)
          writer.compactString(metadata)
          writer.noTags()
        })
        writer.noTags()
      })
      writer.noTags()
    },
    decode: decodeCompactPartitionErrors,
  }
}

export const TxnOffsetCommit = txnOffsetCommit(3)
export const TxnOffsetCommitImplicit = txnOffsetCommit(5)
