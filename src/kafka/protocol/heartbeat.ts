import type { GroupMember } from '../../log/port.js'
import type { Api, ErrorOnly } from './api.js'
import { decodeErrorOnly } from './api.js'

export const Heartbeat: Api<GroupMember, ErrorOnly> = {
  key: 12,
  name: 'Heartbeat',
  version: 3,
  flexible: false,
  encode(writer, { group, generation, memberId, instanceId }) {
    writer.string(group)
    writer.int32(generation)
    writer.string(memberId)
    writer.string(instanceId ?? null)
  },
  decode: decodeErrorOnly,
}
