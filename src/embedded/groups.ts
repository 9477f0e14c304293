import { logError } from '../log/error.js'
import type { GroupMember } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import { GroupOffsets } from './group-offsets.js'
import { Group } from './group.js'

/** The group coordinator: members and committed offsets of all groups. */
export class Groups {
  private readonly groups = new Map<string, Group>()
  private readonly stored = new Map<string, GroupOffsets>()

  constructor(private readonly clock: Clock) {}

  get names(): string[] {
    return [...new Set([...this.groups.keys(), ...this.stored.keys()])].sort()
  }

  group(name: string): Group {
    let group = this.groups.get(name)
    if (group === undefined) this.groups.set(name, (group = new Group(name, this.clock)))
    return group
  }

  offsets(name: string): GroupOffsets {
    let offsets = this.stored.get(name)
    if (offsets === undefined) this.stored.set(name, (offsets = new GroupOffsets()))
    return offsets
  }

  /** @throws LogError 'lost', 'rejoin', INSTANCE_FENCED: the member may not commit */
  checkCommit(member: GroupMember, transactional: boolean): void {
    const { group: name, memberId, generation, instanceId } = member
    const group = this.group(name)
    const anonymous = memberId === '' && generation < 0 && instanceId === undefined
    if (!anonymous) group.checkCommit(member)
    else if (!transactional && group.state !== 'empty') {
      throw logError('MEMBER_LOST', 'lost', `group '${name}' has members: only they may commit its offsets. Stop them first`)
    }
  }

  forgetTopic(topic: string): void {
    for (const offsets of this.stored.values()) offsets.forget(topic)
  }
}
