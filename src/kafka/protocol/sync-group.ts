import type { GroupMember } from '../../log/port.js'
import type { Api, ErrorOnly } from './api.js'

export interface SyncGroupRequest {
  readonly member: GroupMember
  /** By member id; empty from followers. */
  readonly assignments: ReadonlyMap<string, Buffer>
}

export const SyncGroup: Api<SyncGroupRequest, ErrorOnly & { readonly assignment: Buffer }> = {
  key: 14,
  name: 'SyncGroup',
  version: 3,
  flexible: false,
  encode(writer, { member, assignments }) {
    writer.string(member.group)
    writer.int32(member.generation)
    writer.string(member.memberId)
    writer.string(member.instanceId ?? null)
    writer.array([...assignments], ([memberId, assignment]) => {
      writer.string(memberId)
      writer.bytes(assignment)
    })
  },
  decode(reader) {
    return { throttleMs: reader.int32(), error: reader.int16(), assignment: reader.bytes() }
  },
}
