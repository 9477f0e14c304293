import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { assignSeats, type SeatClaim } from '../../../src/runtime/group/seats.js'

const claim = (memberId: string, seat: number | undefined, generation = 1, seats = 0): SeatClaim => ({ memberId, seat, generation, seats })
const taken = (...claims: SeatClaim[]): Record<string, number> => Object.fromEntries(assignSeats(claims).taken)

describe('seats', () => {
  it('members keep theirs, and who comes anew takes that of a member that is gone', () => {
    expect(taken(claim('a', -1), claim('b', -1))).toEqual({ a: 0, b: 1 })
    expect(taken(claim('new', -1, -1), claim('b', 1), claim('c', 2))).toEqual({ new: 0, b: 1, c: 2 })
  })

  it('of two that claim one the later generation has it', () => {
    expect(taken(claim('zombie', 0, 3), claim('heir', 0, 4))).toEqual({ zombie: 1, heir: 0 })
    expect(taken(claim('heir', 0, 4), claim('lost', 0, -1))).toEqual({ lost: 1, heir: 0 })
  })

  it('who needs none has none', () => {
    expect(taken(claim('named', undefined), claim('b', -1))).toEqual({ b: 0 })
    expect(assignSeats([])).toEqual({ taken: new Map(), count: 0, vacant: [] })
  })

  it('those that nobody has any more are told, once they are above all that are taken', () => {
    const left = assignSeats([claim('b', 1, 7, 4)])
    expect(left).toMatchObject({ count: 2, vacant: [0, 2, 3] })
    expect(assignSeats([claim('b', 1, 8, left.count)]).vacant).toEqual([0])
    expect(assignSeats([claim('b', 1, 8, left.count), claim('c', -1, -1)]).vacant).toEqual([])
  })

  it('no two members have one, all are below the count, and each seat there was is taken or told', () => {
    const claims = fc.uniqueArray(
      fc.record({
        memberId: fc.string(),
        generation: fc.integer({ min: -1, max: 5 }),
        seat: fc.option(fc.integer({ min: -1, max: 8 }), { nil: undefined }),
        seats: fc.nat(10),
      }),
      { selector: ({ memberId }) => memberId },
    )
    fc.assert(
      fc.property(claims, (all) => {
        const { taken, count, vacant } = assignSeats(all)
        const seated = all.filter(({ seat }) => seat !== undefined)
        expect(new Set(taken.keys())).toEqual(new Set(seated.map(({ memberId }) => memberId)))
        expect(new Set(taken.values()).size).toBe(seated.length)
        for (const seat of taken.values()) expect(seat).toBeLessThan(count)
        const known = Math.max(count, ...seated.map(({ seats }) => seats))
        expect([...taken.values(), ...vacant].sort((a, b) => a - b)).toEqual(Array.from({ length: known }, (_, seat) => seat))
      }),
    )
  })
})
