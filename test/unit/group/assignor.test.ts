import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { assignTasks, type MemberClaim } from '../../../src/runtime/group/assignor.js'

const member = (memberId: string, owned: number[] = [], generation = 1, instanceId?: string): MemberClaim => ({
  memberId,
  instanceId,
  owned,
  generation,
})

describe('assignTasks', () => {
  it('gives every task to exactly one member, evenly', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ owned: fc.array(fc.nat(30), { maxLength: 31 }), generation: fc.integer({ min: -1, max: 5 }) }), {
          minLength: 1,
          maxLength: 8,
        }),
        fc.nat(30),
        (claims, tasks) => {
          const assigned = assignTasks(
            claims.map(({ owned, generation }, i) => member(`m${i}`, owned, generation)),
            tasks,
          )
          const all = [...assigned.values()].flat().sort((a, b) => a - b)
          expect(all).toEqual(Array.from({ length: tasks }, (_, i) => i))
          const sizes = [...assigned.values()].map((own) => own.length)
          expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
        },
      ),
    )
  })

  it('leaves a member what it had when another joins, as far as evenness allows', () => {
    const assigned = assignTasks([member('a', [0, 1, 2, 3]), member('b')], 4)
    expect(assigned.get('a')).toEqual([0, 1])
    expect(assigned.get('b')).toEqual([2, 3])
  })

  it('moves nothing when nobody came or went', () => {
    const assigned = assignTasks([member('a', [1, 4]), member('b', [0, 2]), member('c', [3, 5])], 6)
    expect([...assigned.values()]).toEqual([
      [1, 4],
      [0, 2],
      [3, 5],
    ])
  })

  it('believes the later generation where two claim a task', () => {
    const assigned = assignTasks([member('a', [0, 1], 3), member('b', [0, 1], 7)], 2)
    expect(assigned.get('b')).toHaveLength(1)
    expect(assigned.get('a')).toHaveLength(1)
    expect(assignTasks([member('a', [0], 3), member('b', [0], 7)], 1).get('b')).toEqual([0])
  })
})
