/** What a member brings for the placing of warm copies. */
export interface StandbyClaim {
  readonly memberId: string
  /** Tasks it keeps a copy of already. */
  readonly warm: readonly number[]
}

/** A member while copies are placed. */
interface Place {
  readonly memberId: string
  readonly active: ReadonlySet<number>
  readonly placed: Set<number>
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
  const places = members.map(({ memberId }): Place => ({ memberId, active: new Set(active.get(memberId)), placed: new Set() }))
  const tasks = [...active.values()].flat().sort((a, b) => a - b)
  const rounds = Math.min(copies, members.length - 1)
  const fair = Math.ceil((tasks.length * Math.max(0, rounds)) / Math.max(1, members.length))
  const warmAt = new Map<number, Place[]>()
  members.forEach(({ warm }, i) => {
    for (const task of warm) {
      const at = warmAt.get(task)
      if (at === undefined) warmAt.set(task, [places[i] as Place])
      else at.push(places[i] as Place)
    }
  })
  const isFree = (place: Place, task: number): boolean => !place.active.has(task) && !place.placed.has(task)
  for (let copy = 0; copy < rounds; copy++) {
    for (const task of tasks) {
      const warm = warmAt.get(task)?.find((place) => isFree(place, task) && place.placed.size < fair)
      const chosen = warm ?? leastLoaded(places, (place) => isFree(place, task))
      chosen?.placed.add(task)
    }
  }
  return new Map(places.map(({ memberId, placed }) => [memberId, [...placed].sort((a, b) => a - b)]))
}

function leastLoaded(places: readonly Place[], isFree: (place: Place) => boolean): Place | undefined {
  let least: Place | undefined
  for (const place of places) if ((least === undefined || place.placed.size < least.placed.size) && isFree(place)) least = place
  return least
}
