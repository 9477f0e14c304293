/** What a member tells the leader when it joins. */
export interface MemberClaim {
  readonly memberId: string
  /** Keeps a restarted member's place among the others. */
  readonly instanceId: string | undefined
  /** Tasks it had in `generation`. */
  readonly owned: readonly number[]
  readonly generation: number
  /** Tasks it keeps a warm copy of. */
  readonly warm?: readonly number[]
}

/**
 * Divides the tasks: as even as can be, every task whole with one member, and each member keeps what it had as far as evenness
 * allows. Where two claim a task, the later generation is right: the other was away. A task that has to move goes to where a warm
 * copy of its state is, if there is room.
 */
export function assignTasks(members: readonly MemberClaim[], tasks: number): Map<string, number[]> {
  const ordered = [...members].sort((a, b) => compare(a.instanceId ?? a.memberId, b.instanceId ?? b.memberId))
  const assigned = new Map<string, number[]>(ordered.map((member) => [member.memberId, []]))
  if (ordered.length === 0) return assigned

  const ownerOf = new Map<number, MemberClaim>()
  for (const member of ordered) {
    for (const task of member.owned) {
      const rival = ownerOf.get(task)
      if (task < tasks && (rival === undefined || rival.generation < member.generation)) ownerOf.set(task, member)
    }
  }

  const least = Math.floor(tasks / ordered.length)
  let larger = tasks % ordered.length
  const take = (member: MemberClaim, task: number): void => {
    const own = assigned.get(member.memberId) as number[]
    own.push(task)
    if (own.length === least + 1) larger--
  }
  const hasRoom = (member: MemberClaim): boolean => {
    const count = (assigned.get(member.memberId) as number[]).length
    return count < least || (count === least && larger > 0)
  }

  const free: number[] = []
  for (let task = 0; task < tasks; task++) {
    const owner = ownerOf.get(task)
    if (owner !== undefined && hasRoom(owner)) take(owner, task)
    else free.push(task)
  }
  const warmAt = new Map<number, MemberClaim[]>()
  for (const member of ordered) {
    for (const task of member.warm ?? []) {
      const at = warmAt.get(task)
      if (at === undefined) warmAt.set(task, [member])
      else at.push(member)
    }
  }
  const cold = free.filter((task) => {
    const warm = warmAt.get(task)?.find(hasRoom)
    if (warm !== undefined) take(warm, task)
    return warm === undefined
  })
  let next = 0
  // First up to the even share for everybody, so that the few larger shares are not used up early.
  for (const member of ordered) {
    while ((assigned.get(member.memberId) as number[]).length < least) take(member, cold[next++] as number)
  }
  for (const member of ordered) {
    while (next < cold.length && hasRoom(member)) take(member, cold[next++] as number)
  }
  for (const own of assigned.values()) own.sort((a, b) => a - b)
  return assigned
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
