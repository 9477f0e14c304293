import type { Subscription } from './messages.js'

export interface TopicClaim extends Pick<Subscription, 'topics' | 'changing' | 'generation'> {
  readonly memberId: string
}

/**
 * Members of one group must read the same topics: partition p of all of them is one task, so a member given a task whose topics it does not
 * read leaves them unread. Left out of the comparison are topics that some member declares to be changing. Of those that disagree the
 * ones already at work are right, then the more numerous.
 *
 * @returns why each member that is in the wrong is refused
 */
export function refusedForTopics(group: string, claims: readonly TopicClaim[]): Map<string, string> {
  const changing = new Set(claims.flatMap((claim) => claim.changing))
  const camps = new Map<string, TopicClaim[]>()
  for (const claim of claims) {
    const read = sorted(claim.topics.filter((topic) => !changing.has(topic)))
    const camp = camps.get(read)
    if (camp === undefined) camps.set(read, [claim])
    else camp.push(claim)
  }
  const [right, ...wrong] = [...camps].sort(
    ([a, ours], [b, theirs]) => latest(theirs) - latest(ours) || theirs.length - ours.length || (a < b ? -1 : 1),
  )
  const refused = new Map<string, string>()
  if (right === undefined) return refused
  for (const [, camp] of wrong) {
    for (const { memberId, topics } of camp) refused.set(memberId, mismatch(group, topics, (right[1][0] as TopicClaim).topics))
  }
  return refused
}

/** Whether two members may be in one group as far as their topics go. */
export function agree(topics: readonly string[], others: readonly string[], changing: readonly string[]): boolean {
  const fixed = (read: readonly string[]): string => sorted(read.filter((topic) => !changing.includes(topic)))
  return fixed(topics) === fixed(others)
}

export function mismatch(group: string, topics: readonly string[], others: readonly string[]): string {
  return (
    `this member reads ${list(topics)}, and the other members of group '${group}' read ${list(others)}. Members of one group share the partitions of the same topics, ` +
    "so each would leave some of the other's unread. Give the other service a group of its own; for a deployment that adds or removes topics, name these in changingTopics of the new version"
  )
}

/** Topics that members of the group do not all read, each with the members that do not. */
export function unevenTopics(claims: readonly Pick<TopicClaim, 'memberId' | 'topics'>[]): Map<string, string[]> {
  const uneven = new Map<string, string[]>()
  for (const topic of new Set(claims.flatMap(({ topics }) => topics))) {
    const without = claims.filter(({ topics }) => !topics.includes(topic)).map(({ memberId }) => memberId)
    if (without.length > 0) uneven.set(topic, without)
  }
  return uneven
}

function latest(camp: readonly TopicClaim[]): number {
  return Math.max(...camp.map(({ generation }) => generation))
}

function sorted(topics: readonly string[]): string {
  return [...topics].sort().join(' ')
}

function list(topics: readonly string[]): string {
  return [...topics]
    .sort()
    .map((topic) => `'${topic}'`)
    .join(', ')
}
