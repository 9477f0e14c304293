import type { GroupMember } from '../../log/port.js'
import type { Api, ErrorOnly } from './api.js'

/** The error of the group or, where that is none, of the one member. */
export const LeaveGroup: Api<GroupMember, ErrorOnly> = {
  key: 13,
  name: 'LeaveGroup',
  version: 3,
  flexible: false,
  encode(writer, member) {
    writer.string(member.group)
    writer.array([member], ({ memberId, instanceId }) => {
      writer.string(memberId)
      writer.string(instanceId ?? null)
    })
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const error = reader.int16()
    const members = reader.array(() => {
      reader.string()
      reader.nullableString()
      return reader.int16()
    })
    return { throttleMs, error: error === 0 ? (members[0] ?? 0) : error }
  },
}
