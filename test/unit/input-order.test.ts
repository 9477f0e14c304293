import { describe, expect, it } from 'vitest'
import { InputOrder, type Stretch } from '../../src/runtime/input-order.js'
import { VirtualClock } from '../../src/testing/index.js'

/** Topics with batches that begin at these times; `more` are those known to have more than is fetched. */
function inputs(fetched: Record<string, (number | undefined)[]>, more: Set<string> = new Set()) {
  const clock = new VirtualClock(0)
  const order = new InputOrder<Stretch>(
    Object.keys(fetched),
    {
      take: (topic) => {
        const times = fetched[topic] as (number | undefined)[]
        if (times.length === 0) return undefined
        const time = times.shift()
        return { topic, ...(time === undefined ? {} : { time }) }
      },
      hasMore: (topic) => more.has(topic),
    },
    clock,
  )
  const next = (): string | undefined => {
    const stretch = order.next()
    return stretch === undefined ? undefined : `${stretch.topic}${stretch.time ?? ''}`
  }
  return {
    clock,
    order,
    next,
    all: (): (string | undefined)[] => {
      const taken: (string | undefined)[] = []
      for (let one = next(); one !== undefined; one = next()) taken.push(one)
      return taken
    },
  }
}

describe('the order in which inputs are read', () => {
  it('goes by the time that batches begin with, whatever the rates', () => {
    expect(inputs({ a: [10, 20, 30, 40, 50], b: [35], c: [5, 45] }).all()).toEqual(['c5', 'a10', 'a20', 'a30', 'b35', 'a40', 'c45', 'a50'])
  })

  it('keeps the order of each topic, and steps over what has no records at once', () => {
    expect(inputs({ a: [30, 10], b: [20, undefined, 5] }).all()).toEqual(['b20', 'b', 'b5', 'a30', 'a10'])
  })

  it('waits for a topic that has more to come, and not for one that has not', () => {
    const fetched: Record<string, number[]> = { a: [10, 20], b: [], c: [] }
    const { next, order } = inputs(fetched, new Set(['b']))
    expect(next()).toBeUndefined()
    expect(order.nextLook).toBe(60_000)
    fetched['b']?.push(15)
    expect(next()).toBe('a10')
    expect(order.nextLook).toBe(Number.POSITIVE_INFINITY)
    expect(next()).toBe('b15')
  })

  it('does not wait for ever, nor again for the same topic until something of it has come', async () => {
    const fetched: Record<string, number[]> = { a: [10, 20, 30, 40], b: [] }
    const { next, clock } = inputs(fetched, new Set(['b']))
    expect(next()).toBeUndefined()
    await clock.advance(60_000)
    expect([next(), next()]).toEqual(['a10', 'a20'])
    fetched['b']?.push(5)
    expect([next(), next()]).toEqual(['b5', undefined])
  })

  it('reads a single topic as it comes', () => {
    expect(inputs({ a: [30, 10] }, new Set(['a'])).all()).toEqual(['a30', 'a10'])
  })

  it('goes on with what was put back when it is its turn', () => {
    const { next, order } = inputs({ a: [10, 40], b: [20, 30] })
    expect(next()).toBe('a10')
    expect(order.earliest).toBe(20)
    expect(next()).toBe('b20')
    order.putBack({ topic: 'b', time: 50 })
    expect(order.earliest).toBe(40)
    expect([next(), next(), next()]).toEqual(['a40', 'b50', 'b30'])
  })

  it('forgets what it holds of a topic', () => {
    const { next, order } = inputs({ a: [10, 20], b: [15] })
    expect(next()).toBe('a10')
    order.forget('b')
    expect([next(), next()]).toEqual(['a20', undefined])
  })
})
