import type { GroupMember, PartitionOffset } from '../../log/port.js'
import type { Api, PartitionErrors } from './api.js'
import { byTopic, decodePartitionErrors } from './api.js'

export const OffsetCommit: Api<{ readonly member: GroupMember; readonly offsets: readonly PartitionOffset[] }, PartitionErrors> = {
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
      writer.array(items, ({ partition, offset }) => {
        writer.int32(partition)
        writer.int64(offset)
        writer.int32(-1)
        writer.string('')
      })
    })
  },
  decode: decodePartitionErrors,
}
