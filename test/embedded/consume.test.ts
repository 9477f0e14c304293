import { describe, expect, it } from 'vitest'
import { embedded, type Cluster } from '../../src/index.js'
import { createEmbeddedBroker } from '../../src/testing/index.js'
import { until } from '../support/until.js'

async function setup(values: readonly string[]): Promise<Cluster> {
  const cluster = embedded({ broker: createEmbeddedBroker() })
  await cluster.createTopics([{ topic: 't', partitions: 2 }])
  await cluster.produce({ topic: 't', records: values.map((value, i) => ({ value, partition: i % 2 })) })
  return cluster
}

const seq = (n: number): string[] => Array.from({ length: n }, (_, i) => `${i}`)

async function all(records: AsyncIterable<{ readonly value: unknown }>): Promise<string[]> {
  const values = []
  for await (const { value } of records) values.push(String(value))
  return values
}

const numerically = (values: readonly string[]): string[] => [...values].sort((a, b) => Number(a) - Number(b))

describe('consume', () => {
  it('reads to the end there is, or from where it is told', async () => {
    const cluster = await setup(seq(10))
    expect(numerically(await all(cluster.consume({ topics: ['t'], until: 'end' })))).toEqual(seq(10))
    expect(await all(cluster.consume({ topics: ['t'], until: 'end', from: 'latest' }))).toEqual([])
    expect(() => cluster.consume({ topics: ['t'], until: 'End' as never })[Symbol.asyncIterator]()).not.toThrow()
    await expect(all(cluster.consume({ topics: ['t'], until: 'End' as never }))).rejects.toThrow(
      /consume: wrong options\n {2}until: expected 'end'/,
    )
    await expect(all(cluster.consume({ topics: ['nowhere'] }))).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
    await cluster.close()
  })

  it('goes on for what comes, until the signal', async () => {
    const cluster = await setup(seq(4))
    const stop = new AbortController()
    const seen: string[] = []
    const done = (async () => {
      for await (const { value } of cluster.consume({ topics: ['t'], signal: stop.signal })) seen.push(String(value))
    })()
    await until(() => seen.length === 4)
    await cluster.produce({ topic: 't', records: [{ value: '4' }] })
    await until(() => seen.length === 5)
    stop.abort()
    await done
    await cluster.close()
  })

  it('in a group, what was left at comes again, and nothing before it', async () => {
    const cluster = await setup(seq(20))
    const seen: string[] = []
    for await (const { value } of cluster.consume({ topics: ['t'], group: 'g', until: 'end' })) {
      seen.push(String(value))
      if (seen.length === 7) break
    }
    const rest = await all(cluster.consume({ topics: ['t'], group: 'g', until: 'end' }))
    expect(rest).toContain(seen[6])
    expect(numerically([...seen.slice(0, 6), ...rest])).toEqual(seq(20))
    expect(await all(cluster.consume({ topics: ['t'], group: 'g', until: 'end' }))).toEqual([])
    await cluster.close()
  })

  it('an error in the loop leaves its record for the next time', async () => {
    const cluster = await setup(['0'])
    const failing = (async () => {
      for await (const { value } of cluster.consume({ topics: ['t'], group: 'g' })) throw new Error(`no ${String(value)}`)
    })()
    await expect(failing).rejects.toThrow('no 0')
    expect(await all(cluster.consume({ topics: ['t'], group: 'g', until: 'end' }))).toEqual(['0'])
    await cluster.close()
  })

  it('members of a group share the partitions, and take over from one that ends', async () => {
    const cluster = await setup(seq(10))
    const stops = [new AbortController(), new AbortController()]
    const seen: [string[], string[]] = [[], []]
    const partitions: [Set<number>, Set<number>] = [new Set(), new Set()]
    const member = async (i: 0 | 1): Promise<void> => {
      for await (const { value, origin } of cluster.consume({
        topics: ['t'],
        group: 'g',
        sessionTimeout: 1_500,
        signal: (stops[i] as AbortController).signal,
      })) {
        seen[i].push(String(value))
        partitions[i].add(origin.partition)
      }
    }
    const first = member(0)
    await until(() => seen[0].length === 10)
    const second = member(1)
    let next = 10
    await until(async () => {
      await cluster.produce({ topic: 't', records: [{ value: `${next++}`, partition: next % 2 }] })
      return seen[1].length > 0
    })
    stops[0]?.abort()
    await first
    const before = seen[1].length
    await cluster.produce({
      topic: 't',
      records: [
        { value: `${next++}`, partition: 0 },
        { value: `${next++}`, partition: 1 },
      ],
    })
    await until(() => seen[1].length >= before + 2 && partitions[1].size === 2)
    stops[1]?.abort()
    await second
    expect(new Set([...seen[0], ...seen[1]]).size).toBe(next)
    await cluster.close()
  })
})
