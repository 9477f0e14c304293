import type { GroupMember, GroupOptions, GroupProtocol, JoinResult, LogGroup } from '../log/port.js'
import { systemClock } from '../record/clock.js'
import type { Address } from './address.js'
import type { Cluster } from './cluster.js'
import { ERROR, check, closedError } from './errors.js'
import type { Lane } from './lane.js'
import { Heartbeat } from './protocol/heartbeat.js'
import { JoinGroup } from './protocol/join-group.js'
import { LeaveGroup } from './protocol/leave-group.js'
import { SyncGroup } from './protocol/sync-group.js'

/** The coordinator answers joins when its own time is up; the answer takes some more to get here. */
const HELD_MARGIN_MS = 5_000
const LEAVE_MS = 5_000
/** Of the session: as long as one heartbeat may take, tries included, so that others can follow before it ends. */
const HEARTBEAT_PART = 1 / 3

export class KafkaGroup implements LogGroup {
  private readonly lane: Lane
  private calls = new AbortController()
  private signal: AbortSignal
  /** The id of the last join, which the caller does not know before it is answered. */
  private joining = ''

  constructor(
    private readonly cluster: Cluster,
    private readonly options: GroupOptions,
  ) {
    this.lane = cluster.lane()
    this.signal = AbortSignal.any([cluster.signal, this.calls.signal])
  }

  async join(memberId: string, protocols: readonly GroupProtocol[]): Promise<JoinResult> {
    const { group, instanceId, sessionTimeoutMs, rebalanceTimeoutMs } = this.options
    const heldMs = Math.max(rebalanceTimeoutMs, sessionTimeoutMs) + HELD_MARGIN_MS
    // The first answer to a new member is its id: a join whose answer is lost leaves no unknown member behind. (KIP-394)
    this.joining = memberId
    const answer = await this.attempt('joining', heldMs + this.cluster.requestTimeoutMs, async (address) => {
      const request = { group, sessionTimeoutMs, rebalanceTimeoutMs, instanceId, protocols }
      let response = await this.lane.send(address, JoinGroup, { ...request, memberId: this.joining }, heldMs)
      if (response.error === ERROR.memberIdRequired) {
        this.joining = response.memberId
        response = await this.lane.send(address, JoinGroup, { ...request, memberId: this.joining }, heldMs)
      }
      check(JoinGroup, response.error, `joining group '${group}'`)
      return response
    })
    return {
      memberId: answer.memberId,
      generation: answer.generation,
      protocol: answer.protocol,
      members: answer.leader === answer.memberId ? answer.members : undefined,
    }
  }

  async sync(member: GroupMember, assignments: ReadonlyMap<string, Buffer> | undefined): Promise<Buffer> {
    const heldMs = this.options.rebalanceTimeoutMs + HELD_MARGIN_MS
    const { assignment } = await this.attempt('taking part in the rebalance of', heldMs, async (address) => {
      const response = await this.lane.send(address, SyncGroup, { member, assignments: assignments ?? new Map<string, Buffer>() }, heldMs)
      check(SyncGroup, response.error, `taking part in the rebalance of group '${member.group}'`)
      return response
    })
    return assignment
  }

  async heartbeat(member: GroupMember): Promise<void> {
    const limit = Math.ceil(this.options.sessionTimeoutMs * HEARTBEAT_PART)
    await this.attempt('sending a heartbeat to', limit, async (address) => {
      const { error } = await this.lane.send(address, Heartbeat, member, limit)
      check(Heartbeat, error, `heartbeat of group '${member.group}'`)
    })
  }

  async leave(member: GroupMember): Promise<void> {
    // A join under way holds its connection until the coordinator answers, and must not be tried again.
    this.calls.abort()
    this.lane.reset(closedError())
    this.calls = new AbortController()
    this.signal = AbortSignal.any([this.cluster.signal, this.calls.signal])
    await this.attempt('leaving', LEAVE_MS, async (address) => {
      const { error } = await this.lane.send(address, LeaveGroup, { ...member, memberId: member.memberId || this.joining }, LEAVE_MS)
      if (error !== ERROR.unknownMemberId) check(LeaveGroup, error, `leaving group '${member.group}'`)
    })
  }

  close(): void {
    this.calls.abort()
    this.cluster.closeLane(this.lane)
  }

  private attempt<T>(doing: string, limitMs: number, attempt: (address: Address) => Promise<T>): Promise<T> {
    const { group } = this.options
    const coordinator = { kind: 'group', key: group } as const
    return this.cluster.retry(
      { what: `${doing} group '${group}'`, until: systemClock.monotonic() + limitMs, signal: this.signal, coordinator },
      async () => attempt(await this.cluster.coordinator('group', group)),
    )
  }
}
