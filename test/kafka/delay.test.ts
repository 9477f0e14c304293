import { describe, expect, it } from 'vitest'
import type { TraceStep } from '../../src/index.js'
import { uniqueName } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { values } from '../support/pipelines.js'
import { readAll } from '../support/poison.js'
import { until } from '../support/until.js'

const PARTITIONS = 3
const PROGRAM = new URL('./programs/delay.ts', import.meta.url)

describe('records that wait for a time of their own, on Kafka', () => {
  const { observer, cluster, start } = kafkaSuite()

  /** Killed again and again, then left to finish. Gives what is in the output. */
  async function through(
    step: TraceStep,
    env: Record<string, string>,
    records: { key: string; value: string; partition: number }[],
    expected: number,
  ): Promise<{ value: string; passed: number }[]> {
    const [input, output] = [await observer.createTopic({ partitions: PARTITIONS }), await observer.createTopic({ partitions: PARTITIONS })]
    const names = { INPUT: input, OUTPUT: output, GROUP: uniqueName('g'), ...env }
    await cluster.produce({ topic: input, records })
    // Once all is read, transactions have no offsets: those that have are few.
    for (const KILL_AFTER of step === 'offsets-acknowledged' ? ['0', '1', '1'] : ['0', '3', '5']) {
      const child = start(PROGRAM, { ...names, KILL_AT: step, KILL_AFTER })
      expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    }
    const last = start(PROGRAM, names)
    await until(async () => (await values(cluster, output)).length >= expected, {
      within: 40_000,
      every: 200,
      what: 'all records in the output',
    })
    last.kill('SIGTERM')
    expect(await last.ended, last.errors).toEqual({ code: 0, signal: null })
    return (await readAll(cluster, output)).map(({ value, headers }) => ({
      value: String(value),
      passed: Number(String(headers['passed'])),
    }))
  }

  // At offsets-acknowledged as well, below.
  for (const step of ['produce-acknowledged', 'end-sent'] satisfies TraceStep[]) {
    it(`killed at ${step}, again and again: each passes once, and none before its time`, async () => {
      const now = Date.now()
      const records = Array.from({ length: 600 }, (_, i) => ({
        key: `k${i}`,
        value: `${i}@${now + (i % 40) * 300}`,
        partition: i % PARTITIONS,
      }))
      const seen = await through(step, {}, records, records.length)
      expect(seen.map(({ value }) => value).sort()).toEqual(records.map(({ value }) => value).sort())
      for (const { value, passed } of seen) expect(passed).toBeGreaterThanOrEqual(Number(value.split('@')[1]))
    })
  }

  it('replaced and cancelled by key through kills: only what counts last passes', async () => {
    const now = Date.now()
    const keys = Array.from({ length: 200 }, (_, i) => i)
    const of = (i: number, value: string): { key: string; value: string; partition: number } => ({
      key: `k${i}`,
      value,
      partition: i % PARTITIONS,
    })
    const far = now + 3_600_000
    const records = [
      ...keys.map((i) => of(i, `first ${i}@${far}`)),
      ...keys.filter((i) => i % 2 === 0).map((i) => of(i, `second ${i}@${now + 8_000}`)),
      ...keys.filter((i) => i % 4 === 0).map((i) => of(i, `cancel ${i}@0`)),
      ...keys.filter((i) => i % 8 === 0).map((i) => of(i, `third ${i}@${now + 10_000}`)),
    ]
    const expected = [
      ...keys.filter((i) => i % 4 === 2).map((i) => `second ${i}@${now + 8_000}`),
      ...keys.filter((i) => i % 8 === 0).map((i) => `third ${i}@${now + 10_000}`),
    ]
    const seen = await through('offsets-acknowledged', { BY_ID: 'yes' }, records, expected.length)
    expect(seen.map(({ value }) => value).sort()).toEqual(expected.sort())
  })
})
