import { beforeAll, describe, expect, it } from 'vitest'
import type { TraceStep } from '../../src/index.js'
import { arrivals, expected, lineOf, type Expected } from '../../examples/flights.js'
import { type Child } from '../support/child.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { until } from '../support/until.js'

const PROGRAM = new URL('./programs/delays.ts', import.meta.url)

describe('windows over the flight records, in a process that is killed half way', () => {
  const { cluster, start: startProgram } = kafkaSuite()
  const departures = arrivals()
  let input: string
  let file: Expected
  let runs = 0

  beforeAll(async () => {
    input = `flights-${process.pid}-${Date.now()}`
    await cluster.createTopics([{ topic: input, partitions: 4, config: { 'retention.ms': '-1' } }])
    await cluster.produce({
      topic: input,
      records: departures.map(({ flight, time }) => ({ key: flight.origin, value: JSON.stringify(flight), timestamp: time })),
    })
    const partitions = new Map<string, number>()
    for await (const { key, origin } of cluster.read({ topic: input })) partitions.set(String(key), origin.partition)
    file = expected(departures, (origin) => partitions.get(origin) as number)
  })

  const steps: TraceStep[] = ['produce-acknowledged', 'end-sent', 'end-acknowledged']
  for (const step of steps) {
    it(`at ${step}: every result is right, and written once`, async () => {
      const name = `${input}-${runs++}`
      const topics = [`${name}-out`, `${name}-late`] as const
      await cluster.createTopics(topics.map((topic) => ({ topic, partitions: 4, config: { 'retention.ms': '-1' } })))
      const start = (env: Record<string, string> = {}): Child =>
        startProgram(PROGRAM, { INPUT: input, OUTPUT: topics[0], LATE: topics[1], GROUP: name, ...env })
      const results = async (): Promise<string[]> => {
        const lines: string[] = []
        for await (const { key, value } of cluster.read({ topic: topics[0] })) {
          const { start, result } = JSON.parse(String(value)) as {
            start: number
            result: { flights: number; average: number; p95: number }
          }
          lines.push(lineOf(String(key), start, result))
        }
        return lines.sort()
      }
      // Ten transactions of at most 1,000 flights: about half way.
      const first = start({ KILL_AT: step, KILL_AFTER: '10' })
      expect((await first.ended).signal, first.errors).toBe('SIGKILL')
      expect((await results()).length).toBeLessThan(file.lines.length)
      const second = start({ KILL_AT: step, KILL_AFTER: '3' })
      expect((await second.ended).signal, second.errors).toBe('SIGKILL')
      const last = start()
      await until(async () => !last.running || (await results()).length >= file.lines.length, {
        within: 60_000,
        every: 300,
        what: 'all results',
      })
      last.kill('SIGTERM')
      expect(await last.ended, last.errors).toEqual({ code: 0, signal: null })
      expect(await results()).toEqual(file.lines)
      let late = 0
      for await (const _ of cluster.read({ topic: topics[1] })) late++
      expect(late).toBe(file.late)
    })
  }
})
