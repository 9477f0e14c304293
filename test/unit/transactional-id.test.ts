import { describe, expect, it } from 'vitest'
import { transactionalIdOf, transactionalIdOfSeat } from '../../src/runtime/transactional-id.js'

/** All names of up to three of the characters that such ids are put together with. */
const CHARACTERS = ['a', '-', '/', '%', '2', '5', 'F']
const names = [1, 2, 3].flatMap((length) =>
  Array.from({ length: length - 1 }).reduce<string[]>(
    (found) => found.flatMap((name) => CHARACTERS.map((next) => name + next)),
    CHARACTERS,
  ),
)

/** How many of all pairs of group and instance share their id with an earlier one. */
const clashes = (idOf: (group: string, instance: string) => string): number =>
  names.length ** 2 - new Set(names.flatMap((group) => names.map((instance) => idOf(group, instance)))).size

describe('the transactional id', () => {
  it('is shared by no two members, whatever their groups and instances are called', () => {
    expect(names).toHaveLength(7 + 49 + 343)
    expect(clashes(transactionalIdOf)).toBe(0)
    expect(transactionalIdOf('orders', 'node-1')).toBe('orders/node-1')
  })

  it('of a seat is that of no instance, and of no other group', () => {
    expect(transactionalIdOfSeat('orders', 0)).toBe('orders/%seat-0')
    expect(transactionalIdOf('orders', '%seat-0')).not.toBe(transactionalIdOfSeat('orders', 0))
    const all = new Set(names.flatMap((group) => names.map((instance) => transactionalIdOf(group, instance))))
    for (const group of names) expect(all.has(transactionalIdOfSeat(group, 2))).toBe(false)
  })

  it('would be noticed to be shared', () => {
    expect(clashes((group, instance) => `${group}-${instance}`)).toBeGreaterThan(0)
    expect(clashes((group, instance) => `${group}/${instance}`)).toBeGreaterThan(0)
    expect(clashes((group, instance) => `${group}/${instance.replaceAll('/', '%2F')}`)).toBeGreaterThan(0)
  })
})
