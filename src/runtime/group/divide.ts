import type { JoinedMember } from '../../log/port.js'
import type { Logger } from '../../record/logger.js'
import { assignTasks } from './assignor.js'
import { decodeSubscription, emptyDivision, encodeDivision, type GroupFormat } from './formats.js'
import type { Division, Subscription } from './messages.js'
import { assignSeats } from './seats.js'
import { assignStandbys } from './standby-assignor.js'
import { refusedForTopics, unevenTopics } from './topic-agreement.js'

/**
 * A coordinator keeps all that members are told in one record, of 1 MB at most by default; who has what is the one part that can be done
 * without.
 */
const MAX_OWNERS_BYTES = 640 * 1024

type Claim = Subscription & JoinedMember

/** The leader's work: who may be a member, who has which task, who keeps a copy of which, and where each is to be asked for. */
export function divide(group: string, format: GroupFormat, members: readonly JoinedMember[], logger: Logger): Map<string, Buffer> {
  const claims = members.map((member) => ({ ...member, ...decodeSubscription(format, member.metadata) }))
  const refused = refusedForTopics(group, claims)
  const accepted = claims.filter(({ memberId }) => !refused.has(memberId))
  tellDifferences(group, accepted, logger)

  const count = Math.max(...accepted.map((claim) => claim.tasks))
  const tasks = assignTasks(accepted, count)
  const standby = assignStandbys(accepted, tasks, Math.max(...accepted.map((claim) => claim.standbys)))
  const owners = accepted.some(({ stateful, address }) => stateful || address !== undefined) ? ownersOf(accepted, tasks) : []
  const seats = assignSeats(accepted)
  // One that is here, and of a version that knows what to do.
  const vacates = accepted.find(({ memberId }) => seats.taken.has(memberId))
  const divisionOf = ({ memberId, topics }: Claim, known: readonly string[]): Division => ({
    ...emptyDivision(topics),
    tasks: tasks.get(memberId) ?? [],
    standby: standby.get(memberId) ?? [],
    owners: known,
    refused: refused.get(memberId),
    count,
    seat: seats.taken.get(memberId),
    seats: seats.count,
    vacant: memberId === vacates?.memberId ? seats.vacant : [],
  })
  const encoded = (known: readonly string[]): Map<string, Buffer> =>
    new Map(claims.map((claim) => [claim.memberId, encodeDivision(format, divisionOf(claim, refused.has(claim.memberId) ? [] : known))]))

  const whole = encoded(owners)
  const bytes = [...whole.values()].reduce((sum, { length }) => sum + length, 0)
  if (owners.length === 0 || bytes <= MAX_OWNERS_BYTES) return whole
  logger.warn(
    { group, members: claims.length, tasks: owners.length, bytes },
    'the group is too large to tell every member who has which task: queryStore answers unavailable for tasks of other members',
  )
  return encoded([])
}

function ownersOf(claims: readonly Claim[], tasks: ReadonlyMap<string, readonly number[]>): string[] {
  const owners: string[] = []
  for (const { memberId, address } of claims) for (const task of tasks.get(memberId) ?? []) owners[task] = address ?? memberId
  return owners
}

/** What is right in a deployment, and a mistake where it stays. */
function tellDifferences(group: string, claims: readonly Claim[], logger: Logger): void {
  for (const [topic, members] of unevenTopics(claims)) {
    logger.warn(
      { group, topic, members },
      'not all members of the group read this topic: what tasks of the others have of it waits until they do',
    )
  }
  const inner = claims.flatMap((claim) => (claim.inner === undefined ? [] : [{ memberId: claim.memberId, topics: claim.inner }]))
  for (const [topic, members] of unevenTopics(inner)) {
    logger.warn(
      { group, topic, members },
      'not all members of the group have an operator that reads this topic of their own: what tasks of the others have of it waits until they do. In a deployment that passes; else two programs share a group name',
    )
  }
}
