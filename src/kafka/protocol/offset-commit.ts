import type { GroupMember, Position } from '../../log/port.js'
import { UNKNOWN_EPOCH } from '../../log/leader-epochs.js'
import type { Api, PartitionErrors } from './api.js'
import { byTopic, decodePartitionErrors } from './api.js'

export const OffsetCommit: Api<{ readonly member: GroupMember; readonly offsets: readonly Position[] }, PartitionErrors> = {
  key: 8,
  name: 'OffsetCommit',
  version: 7,
  flexible: false,
  encode(writer, { member, offsets }) {
    writer.string(member.group)
    writer.int32(member.generation)
    writer.string(member.memberId)
    writer.string(member.instanceId ?? null)
    writer.array(byTopic(offsets), ({ topic, items }) => {
      writer.string(topic)
      writer.array(items, ({ partition, offset, leaderEpoch = UNKNOWN_EPOCH, metadata = '' }) => {
        writer.int32(partition)
        writer.int64(offset)
        writer.int32(leaderEpoch)
        writer.string(metadata)
      })
    })
  },
  decode: decodePartitionErrors,
}
