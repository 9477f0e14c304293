import { beforeEach, describe, expect, it } from 'vitest'
import type { TraceStep } from '../../src/index.js'
import { type Child } from '../support/child.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { until } from '../support/until.js'

const PROGRAM = new URL('./programs/copy.ts', import.meta.url)
const PARTITIONS = 3
const COUNT = 6_000

/** What each output partition must hold: the input of the same partition, in order, once. */
const expected = (partition: number): string[] => Array.from({ length: COUNT / PARTITIONS }, (_, i) => `${partition}-${i}`)

describe('a process killed in the middle', () => {
  const { cluster, start: startProgram } = kafkaSuite()
  let input: string
  let output: string
  let group: string
  let runs = 0

  beforeEach(async () => {
    const name = `crash-${process.pid}-${Date.now()}-${runs++}`
    ;[input, output, group] = [`${name}-in`, `${name}-out`, `${name}-group`]
    await cluster.createTopics([input, output].map((topic) => ({ topic, partitions: PARTITIONS })))
    await cluster.produce({
      topic: input,
      records: Array.from({ length: PARTITIONS }, (_, partition) =>
        expected(partition).map((value) => ({ value, partition, headers: { n: value } })),
      ).flat(),
    })
  })

  const start = (env: Record<string, string> = {}): Child => startProgram(PROGRAM, { INPUT: input, OUTPUT: output, GROUP: group, ...env })

  const written = async (): Promise<string[][]> => {
    const partitions: string[][] = Array.from({ length: PARTITIONS }, () => [])
    for await (const record of cluster.read({ topic: output })) partitions[record.origin.partition]?.push(String(record.value))
    return partitions
  }

  const complete = async (): Promise<boolean> => (await written()).flat().length >= COUNT

  const steps: TraceStep[] = ['produce-acknowledged', 'offsets-acknowledged', 'end-sent', 'end-acknowledged']
  for (const step of steps) {
    it(`at ${step}, again and again: no record is lost, none stands twice, order holds`, async () => {
      for (let i = 0; i < 3; i++) {
        const child = start({ KILL_AT: step, KILL_AFTER: String(i), INSTANCE: 'one' })
        expect((await child.ended).signal, child.errors).toBe('SIGKILL')
      }
      const last = start({ INSTANCE: 'one' })
      await until(complete, { within: 40_000, what: 'all records in the output' })
      last.kill('SIGTERM')
      expect(await last.ended, last.errors).toEqual({ code: 0, signal: null })
      expect(await written()).toEqual([0, 1, 2].map(expected))
    })
  }

  it('is noticed by this test where outputs and offsets do not commit together', async () => {
    const first = start({ KILL_AT: 'produce-acknowledged', KILL_AFTER: '2', GUARANTEE: 'at-least-once' })
    expect((await first.ended).signal, first.errors).toBe('SIGKILL')
    const second = start({ GUARANTEE: 'at-least-once' })
    await until(complete, { within: 40_000, what: 'all records in the output' })
    await until(() => second.lines.some((line) => (JSON.parse(line) as { lag: number }).lag === 0), {
      within: 20_000,
      what: 'the last commit',
    })
    second.kill('SIGTERM')
    expect((await second.ended).code, second.errors).toBe(0)
    const all = await written()
    expect(all).not.toEqual([0, 1, 2].map(expected))
    // Nothing is lost, but some stand twice.
    expect(all.map((partition) => [...new Set(partition)])).toEqual([0, 1, 2].map(expected))
  })

  it('one of two members killed at random moments, and a third joining', async () => {
    const first = start({ MAX_RECORDS: '50' })
    const second = start({ MAX_RECORDS: '50' })
    await until(() => first.lines.length + second.lines.length > 3, { within: 20_000, what: 'first commits' })
    first.kill('SIGKILL')
    const third = start({ MAX_RECORDS: '50' })
    await until(complete, { within: 45_000, what: 'all records in the output' })
    second.kill('SIGTERM')
    third.kill('SIGTERM')
    expect((await second.ended).code, second.errors).toBe(0)
    expect((await third.ended).code, third.errors).toBe(0)
    expect(await written()).toEqual([0, 1, 2].map(expected))
  })

  it('a member stopped until its session is over, and let go again as a zombie', async () => {
    const zombie = start({ MAX_RECORDS: '20' })
    await until(() => zombie.lines.length > 2, { within: 20_000, what: 'first commits' })
    zombie.kill('SIGSTOP')
    const heir = start()
    await until(complete, { within: 45_000, what: 'the heir to take over' })
    zombie.kill('SIGCONT')
    await cluster.produce({ topic: input, records: [{ value: '0-last', partition: 0 }] })
    await until(async () => (await written()).flat().length > COUNT, { within: 20_000, what: 'the last record' })
    for (const child of [zombie, heir]) child.kill('SIGTERM')
    expect((await zombie.ended).code, zombie.errors).toBe(0)
    expect((await heir.ended).code, heir.errors).toBe(0)
    expect(await written()).toEqual([[...expected(0), '0-last'], expected(1), expected(2)])
  })

  it('two live processes with one instance id end in one clear error, not in a loop', async () => {
    // One that was replaced waits for both, should the other be dead.
    const limits = { SESSION: '3000', REBALANCE: '1000' }
    const first = start({ INSTANCE: 'same', ...limits })
    await until(() => first.lines.length > 0, { within: 20_000, what: 'the first to commit' })
    const second = start({ INSTANCE: 'same', ...limits })
    expect((await first.ended).code).toBe(1)
    expect(first.errors).toMatch(/INSTANCE_FENCED/)
    await until(complete, { within: 30_000, what: 'the second to go on' })
    expect(second.running).toBe(true)
    second.kill('SIGTERM')
    expect((await second.ended).code, second.errors).toBe(0)
    expect(await written()).toEqual([0, 1, 2].map(expected))
  })
})
