/** What a member brings for the placing of warm copies. */
export interface StandbyClaim {
  readonly memberId: string
  /** Tasks it keeps a copy of already. */
  readonly warm: readonly number[]
}

/**
 * Places `copies` warm copies of each task, each with a member that is not its owner: where there is one already first, then with
 * the member that has the fewest. With fewer members than that there are fewer copies.
 */
export function assignStandbys(
  members: readonly StandbyClaim[],
  active: ReadonlyMap<string, readonly number[]>,
  copies: number,
): Map<string, number[]> {
  const placed = new Map<string, number[]>(members.map(({ memberId }) => [memberId, []]))
  const tasks = [...active.values()].flat().sort((a, b) => a - b)
  const fair = Math.ceil((tasks.length * Math.min(copies, Math.max(0, members.length - 1))) / Math.max(1, members.length))
  for (let copy = 0; copy < Math.min(copies, members.length - 1); copy++) {
    for (const task of tasks) {
      const free = members.filter(({ memberId }) => !active.get(memberId)?.includes(task) && !placed.get(memberId)?.includes(task))
      const load = ({ memberId }: StandbyClaim): number => (placed.get(memberId) as number[]).length
      const warm = free.find((member) => member.warm.includes(task) && load(member) < fair)
      const least = [...free].sort((a, b) => load(a) - load(b))[0]
      const chosen = warm ?? least
      if (chosen !== undefined) placed.get(chosen.memberId)?.push(task)
    }
  }
  for (const own of placed.values()) own.sort((a, b) => a - b)
  return placed
}
