import { beforeEach, describe, expect, it } from 'vitest'
import { attempt, deadLetter, repartition, toTopic, type TraceStep } from '../../src/index.js'
import { type Child } from '../support/child.js'
import { uniqueName } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { contents, runUntil } from '../support/pipelines.js'
import { until } from '../support/until.js'

const PROGRAM = new URL('./programs/repartition.ts', import.meta.url)
const COUNT = 3_000
const COLOURS = ['red', 'green', 'blue', 'black', 'white', 'grey', 'brown']

/** By user, so that the records of a colour lie in all partitions. */
const input = Array.from({ length: COUNT }, (_, i) => ({
  key: `user${i % 31}`,
  value: JSON.stringify({ colour: COLOURS[i % COLOURS.length], n: i }),
  timestamp: 1_000_000 + i * 20,
}))
/** So much later that all windows close, one for each task. */
const closing = COLOURS.map((colour) => ({ key: 'clock', value: JSON.stringify({ colour, n: 0 }), timestamp: 9_000_000 }))

describe('repartition on Kafka', () => {
  const { cluster, start: startProgram } = kafkaSuite()
  let env: Record<string, string>

  beforeEach(async () => {
    const [INPUT, OUTPUT] = [uniqueName('in'), uniqueName('out')]
    env = { INPUT, OUTPUT, GROUP: uniqueName('group'), INSTANCE: 'one' }
    // The times are of 1970: they would be deleted for their age.
    await cluster.createTopics([INPUT, OUTPUT].map((topic) => ({ topic, partitions: 3, config: { 'retention.ms': '-1' } })))
    await cluster.produce({ topic: INPUT, records: input })
  })

  const start = (more: Record<string, string> = {}): Child => startProgram(PROGRAM, { ...env, ...more })

  const steps: TraceStep[] = ['produce-acknowledged', 'offsets-acknowledged', 'end-sent', 'end-acknowledged']
  it('gives each window of each new key its one result, killed at every step of the transaction', async () => {
    for (const [i, step] of steps.entries()) {
      const child = start({ KILL_AT: step, KILL_AFTER: String(i + 1) })
      expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    }
    const last = start()
    await until(() => last.lines.length > 0 && last.lines.some((line) => (JSON.parse(line) as { lag: number }).lag === 0), {
      within: 30_000,
      what: 'all records to be read',
    })
    await cluster.produce({ topic: env['INPUT'] as string, records: closing })

    const sums = new Map<string, number>()
    for (const { value, timestamp } of input) {
      const { colour, n } = JSON.parse(value) as { colour: string; n: number }
      const start = Math.floor(timestamp / 10_000) * 10_000
      sums.set(`${colour} ${start}`, (sums.get(`${colour} ${start}`) ?? 0) + n)
    }
    const expected = [...sums].map(([at, result]) => {
      const [colour, start] = at.split(' ') as [string, string]
      return `${colour} ${JSON.stringify({ start: Number(start), end: Number(start) + 10_000, result })}`
    })
    await until(async () => (await contents(cluster, env['OUTPUT'] as string)).length >= expected.length, {
      within: 30_000,
      what: 'all results',
    })
    last.kill('SIGTERM')
    expect(await last.ended, last.errors).toEqual({ code: 0, signal: null })
    expect((await contents(cluster, env['OUTPUT'] as string)).map(({ key, value }) => `${key} ${value}`).sort()).toEqual(expected.sort())
  })

  it('a record of any age that its input takes goes through every topic that the pipeline makes', async () => {
    const [IN, OUT, DEAD] = [uniqueName('in'), uniqueName('out'), uniqueName('dead')]
    const config = { 'retention.ms': '-1', 'message.timestamp.after.max.ms': '9223372036854775807' }
    await cluster.createTopics([{ topic: IN, partitions: 1, config }])
    const times = [-1, 0, Date.UTC(2100, 0), Date.now()]
    const records = times.flatMap((timestamp, i) => ['good', 'bad'].map((value) => ({ key: String(i), value, timestamp })))
    await cluster.produce({ topic: IN, records })
    await runUntil(
      cluster,
      {
        group: uniqueName('group'),
        topics: [IN],
        records: 2 * records.length,
        options: { provision: { config: { 'retention.ms': '-1' } } },
      },
      (all) =>
        all.pipe(
          repartition({ key: (record) => `new ${String(record.key)}` }),
          attempt((record) => {
            if (String(record.value) === 'bad') throw new Error('no')
          }),
          deadLetter({ topic: DEAD }),
          toTopic({ topic: OUT }),
        ),
    )
    for (const topic of [OUT, DEAD]) {
      const found: number[] = []
      for await (const { timestamp } of cluster.read({ topic })) found.push(timestamp)
      expect(found.sort((a, b) => a - b)).toEqual([...times].sort((a, b) => a - b))
    }
  })
})
