import type { GroupProtocol, JoinedMember } from '../../log/port.js'
import type { Api, Throttled } from './api.js'

export interface JoinGroupRequest {
  readonly group: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly memberId: string
  readonly instanceId: string | undefined
  readonly protocols: readonly GroupProtocol[]
}

export interface JoinGroupResponse extends Throttled {
  readonly error: number
  readonly generation: number
  readonly protocol: string
  readonly leader: string
  readonly memberId: string
  readonly members: readonly JoinedMember[]
}

/** Kafka's tools only show members and lag of groups of this type. */
const PROTOCOL_TYPE = 'consumer'

export const JoinGroup: Api<JoinGroupRequest, JoinGroupResponse> = {
  key: 11,
  name: 'JoinGroup',
  version: 5,
  flexible: false,
  encode(writer, request) {
    writer.string(request.group)
    writer.int32(request.sessionTimeoutMs)
    writer.int32(request.rebalanceTimeoutMs)
    writer.string(request.memberId)
    writer.string(request.instanceId ?? null)
    writer.string(PROTOCOL_TYPE)
    writer.array(request.protocols, ({ name, metadata }) => {
      writer.string(name)
      writer.bytes(metadata)
    })
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const error = reader.int16()
    const generation = reader.int32()
    // None where the answer is an error.
    const protocol = reader.nullableString() ?? ''
    const leader = reader.string()
    const memberId = reader.string()
    const members = reader.array(() => ({
      memberId: reader.string(),
      instanceId: reader.nullableString() ?? undefined,
      metadata: reader.bytes(),
    }))
    return { throttleMs, error, generation, protocol, leader, memberId, members }
  },
}
