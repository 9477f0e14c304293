/** What a member says of its seat. */
export interface SeatClaim {
  readonly memberId: string
  readonly generation: number
  /** -1: it has none yet; undefined: it needs none. */
  readonly seat: number | undefined
  /** How many it was last told there are. */
  readonly seats: number
}

export interface Seats {
  /** By member id. */
  readonly taken: ReadonlyMap<string, number>
  /** All of them are below it. */
  readonly count: number
  /** Those that somebody had before, and nobody has now. */
  readonly vacant: readonly number[]
}

/**
 * Gives members their seats: numbers that stand for the transactional ids of the group. Each keeps its own; where two claim one, the later
 * generation is right: the other was away. Who comes anew takes the lowest that is free, which is that of a member that is gone, if there is
 * one: whoever begins under its id ends the transaction that it left open.
 */
export function assignSeats(claims: readonly SeatClaim[]): Seats {
  const holders = new Map<number, SeatClaim>()
  const seated = claims.filter(({ seat }) => seat !== undefined)
  for (const claim of seated) {
    const seat = claim.seat as number
    const rival = holders.get(seat)
    if (seat >= 0 && (rival === undefined || rival.generation < claim.generation)) holders.set(seat, claim)
  }
  const taken = new Map([...holders].map(([seat, { memberId }]) => [memberId, seat]))
  let next = 0
  for (const { memberId } of seated) {
    if (taken.has(memberId)) continue
    while (holders.has(next)) next++
    taken.set(memberId, next++)
  }
  const used = new Set(taken.values())
  const count = Math.max(-1, ...used) + 1
  const vacant = Array.from({ length: Math.max(count, ...seated.map(({ seats }) => seats)) }, (_, seat) => seat).filter(
    (seat) => !used.has(seat),
  )
  return { taken, count, vacant }
}
