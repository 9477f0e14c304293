import { describe, expect, it } from 'vitest'
import type { Cluster } from '../../src/index.js'
import { until } from './until.js'

/** A topic `t` with two partitions, on whichever log, and a group that nobody else has. */
export interface ConsumeSetup {
  readonly cluster: Cluster
  readonly topic: string
  readonly group: string
}

const seq = (n: number): string[] => Array.from({ length: n }, (_, i) => `${i}`)

async function all(records: AsyncIterable<{ readonly value: unknown }>): Promise<string[]> {
  const values = []
  for await (const { value } of records) values.push(String(value))
  return values
}

const numerically = (values: readonly string[]): string[] => [...values].sort((a, b) => Number(a) - Number(b))

/** What holds of `cluster.consume` on both logs. */
export function describeConsume(log: string, open: () => Promise<ConsumeSetup>): void {
  describe(`consume, on ${log}`, () => {
    const setup = async (values: readonly string[]): Promise<ConsumeSetup> => {
      const made = await open()
      await made.cluster.produce({ topic: made.topic, records: values.map((value, i) => ({ value, partition: i % 2 })) })
      return made
    }

    it('reads to the end there is, or from where it is told', async () => {
      const { cluster, topic } = await setup(seq(10))
      expect(numerically(await all(cluster.consume({ topics: [topic], until: 'end' })))).toEqual(seq(10))
      expect(await all(cluster.consume({ topics: [topic], until: 'end', from: 'latest' }))).toEqual([])
      expect(() => cluster.consume({ topics: [topic], until: 'End' as never })[Symbol.asyncIterator]()).not.toThrow()
      await expect(all(cluster.consume({ topics: [topic], until: 'End' as never }))).rejects.toThrow(
        /consume: wrong options\n {2}until: expected 'end'/,
      )
      await expect(all(cluster.consume({ topics: ['nowhere'] }))).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
      await cluster.close()
    })

    it('goes on for what comes, until the signal', async () => {
      const { cluster, topic } = await setup(seq(4))
      const stop = new AbortController()
      const seen: string[] = []
      const done = (async () => {
        for await (const { value } of cluster.consume({ topics: [topic], signal: stop.signal })) seen.push(String(value))
      })()
      await until(() => seen.length === 4)
      await cluster.produce({ topic, records: [{ value: '4' }] })
      await until(() => seen.length === 5)
      stop.abort()
      await done
      await cluster.close()
    })

    it('in a group, what was left at comes again, and nothing before it', async () => {
      const { cluster, topic, group } = await setup(seq(20))
      const seen: string[] = []
      for await (const { value } of cluster.consume({ topics: [topic], group, until: 'end' })) {
        seen.push(String(value))
        if (seen.length === 7) break
      }
      const rest = await all(cluster.consume({ topics: [topic], group, until: 'end' }))
      expect(rest).toContain(seen[6])
      expect(numerically([...seen.slice(0, 6), ...rest])).toEqual(seq(20))
      expect(await all(cluster.consume({ topics: [topic], group, until: 'end' }))).toEqual([])
      await cluster.close()
    })

    it('an error in the loop leaves its record for the next time', async () => {
      const { cluster, topic, group } = await setup(['0'])
      const failing = (async () => {
        for await (const { value } of cluster.consume({ topics: [topic], group })) throw new Error(`no ${String(value)}`)
      })()
      await expect(failing).rejects.toThrow('no 0')
      expect(await all(cluster.consume({ topics: [topic], group, until: 'end' }))).toEqual(['0'])
      await cluster.close()
    })

    it('members of a group share the partitions, and take over from one that ends', async () => {
      const { cluster, topic, group } = await setup(seq(10))
      const stops = [new AbortController(), new AbortController()]
      const seen: [string[], string[]] = [[], []]
      const partitions: [Set<number>, Set<number>] = [new Set(), new Set()]
      const member = async (i: 0 | 1): Promise<void> => {
        for await (const { value, origin } of cluster.consume({
          topics: [topic],
          group,
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
        await cluster.produce({ topic, records: [{ value: `${next++}`, partition: next % 2 }] })
        return seen[1].length > 0
      })
      stops[0]?.abort()
      await first
      const before = seen[1].length
      await cluster.produce({
        topic,
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
}
