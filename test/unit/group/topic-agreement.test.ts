import { describe, expect, it } from 'vitest'
import { agree, refusedForTopics, unevenTopics, type TopicClaim } from '../../../src/runtime/group/topic-agreement.js'

const member = (memberId: string, topics: string[], generation = -1, changing: string[] = []): TopicClaim => ({
  memberId,
  topics,
  generation,
  changing,
})
const refused = (...claims: TopicClaim[]): string[] => [...refusedForTopics('g', claims).keys()]

describe('whether the members of a group read the same topics', () => {
  it('the order in which they name them does not matter', () => {
    expect(refused(member('x', ['a', 'b']), member('y', ['b', 'a']))).toEqual([])
    expect(agree(['a', 'b'], ['b', 'a'], [])).toBe(true)
  })

  it('who comes with other topics is refused, and told both lists', () => {
    const why = refusedForTopics('g', [member('new', ['b']), member('old', ['a', 'c'], 4)])
    expect([...why.keys()]).toEqual(['new'])
    expect(why.get('new')).toMatch(/this member reads 'b', and the other members of group 'g' read 'a', 'c'/)
  })

  it('those at work are right, also one against many; among newcomers the many, whatever the order', () => {
    expect(refused(member('x', ['b']), member('y', ['b']), member('old', ['a'], 0))).toEqual(['x', 'y'])
    expect(refused(member('x', ['b']), member('y', ['a']), member('z', ['b']))).toEqual(['y'])
    expect(refused(member('x', ['b']), member('y', ['a']))).toEqual(['x'])
    expect(refused(member('y', ['a']), member('x', ['b']))).toEqual(['x'])
  })

  it('a superset is refused as well, unless what it has more is declared as changing, by whichever member', () => {
    expect(refused(member('old', ['a'], 3), member('new', ['a', 'b']))).toEqual(['new'])
    expect(refused(member('old', ['a'], 3), member('new', ['a', 'b'], -1, ['b']))).toEqual([])
    // Removing: the old version still reads it.
    expect(refused(member('old', ['a', 'b'], 3), member('new', ['a'], -1, ['b']))).toEqual([])
    // What is declared does not cover another difference.
    expect(refused(member('old', ['a'], 3), member('new', ['b', 'c'], -1, ['b']))).toEqual(['new'])
    expect(agree(['a', 'b'], ['a'], ['b'])).toBe(true)
    expect(agree(['a', 'b'], ['a'], [])).toBe(false)
  })

  it('names the topics that not all read, and the members that do not', () => {
    expect([...unevenTopics([member('x', ['a']), member('y', ['a', 'b'])])]).toEqual([['b', ['x']]])
  })
})
