import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { redisClaims, type TraceStep } from '../../src/index.js'
import { type Child } from '../support/child.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { startRedis, type RedisServer } from '../support/redis.js'
import { until } from '../support/until.js'

const PROGRAM = new URL('./programs/dedupe.ts', import.meta.url)
const PARTITIONS = 3
const IDS = 1_500

describe('dedupe in processes that are killed', () => {
  const { cluster, start: startProgram } = kafkaSuite()
  let redis: RedisServer
  let output: string
  let env: Record<string, string>
  let runs = 0

  beforeAll(async () => {
    redis = await startRedis()
  })

  afterAll(() => redis.stop())

  /** Each id twice: for a shared store in different partitions, else as the key decides. */
  const prepare = async (store: string, topics: readonly string[] = ['in']): Promise<string[]> => {
    const name = `dedupe-${process.pid}-${Date.now()}-${runs++}`
    output = `${name}-out`
    const inputs = topics.map((topic) => `${name}-${topic}`)
    await cluster.createTopics([...inputs, output].map((topic) => ({ topic, partitions: PARTITIONS })))
    for (const topic of inputs) {
      const records = [0, 1].flatMap((turn) =>
        Array.from({ length: IDS }, (_, i) => ({
          key: `id-${i}`,
          value: String(i),
          headers: { id: `id-${i}` },
          ...(store === 'redis' ? { partition: (i + turn) % PARTITIONS } : {}),
        })),
      )
      await cluster.produce({ topic, records })
    }
    env = { OUTPUT: output, STORE: store, REDIS_URL: redis.url, PREFIX: `${name}:` }
    return inputs
  }

  const start = (input: string, more: Record<string, string> = {}): Child =>
    startProgram(PROGRAM, { ...env, INPUT: input, GROUP: `${input}-group`, ...more })

  const written = async (): Promise<number[]> => {
    const values: number[] = []
    for await (const record of cluster.read({ topic: output })) values.push(Number(record.value))
    return values.sort((a, b) => a - b)
  }

  const all = Array.from({ length: IDS }, (_, i) => i)
  const stop = async (child: Child): Promise<void> => {
    child.kill('SIGTERM')
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
  }

  const steps: TraceStep[] = ['produce-acknowledged', 'offsets-acknowledged', 'end-sent', 'end-acknowledged']
  for (const store of ['task', 'redis', 'bloom']) {
    it(`with ${store === 'task' ? 'the ids of tasks' : store === 'redis' ? 'ids in Redis' : 'ids in Redis behind a filter'}, at each step of the transaction: one of each passes`, async () => {
      const [input] = (await prepare(store)) as [string]
      for (const [i, step] of steps.entries()) {
        const child = start(input, { KILL_AT: step, KILL_AFTER: String(i % 2), MAX_RECORDS: '100', INSTANCE: 'one' })
        expect((await child.ended).signal, child.errors).toBe('SIGKILL')
      }
      const last = start(input, { INSTANCE: 'one' })
      await until(async () => new Set(await written()).size === IDS, { within: 40_000, what: 'all ids in the output' })
      // Whatever is left are duplicates: the end of the input decides.
      await cluster.produce({
        topic: input,
        records: Array.from({ length: PARTITIONS }, (_, partition) => ({
          key: `end-${partition}`,
          value: '-1',
          partition,
          headers: { id: `end-${partition}` },
        })),
      })
      await until(async () => (await written()).filter((value) => value === -1).length === PARTITIONS, {
        within: 20_000,
        what: 'the end of the input',
      })
      await stop(last)
      expect((await written()).filter((value) => value >= 0)).toEqual(all)
    }, 120_000)
  }

  it('with ids in Redis shared by two groups of two members, some of which are killed: one of each passes', async () => {
    const inputs = await prepare('redis', ['in', 'more'])
    const first = inputs.flatMap((input) => [start(input, { MAX_RECORDS: '60' }), start(input, { MAX_RECORDS: '60' })])
    await until(() => inputs.every((_, i) => (first[2 * i]?.lines.length ?? 0) + (first[2 * i + 1]?.lines.length ?? 0) > 2), {
      within: 30_000,
      what: 'both groups to commit',
    })
    // Of each group the one that has done more, in the middle of it.
    const victims = [first.slice(0, 2), first.slice(2)].map(([a, b]) => ((a?.lines.length ?? 0) >= (b?.lines.length ?? 0) ? a : b) as Child)
    for (const victim of victims) victim.kill('SIGKILL')
    await until(async () => new Set(await written()).size === IDS, { within: 60_000, what: 'all ids in the output' })
    for (const input of inputs) {
      await cluster.produce({
        topic: input,
        records: Array.from({ length: PARTITIONS }, (_, partition) => ({
          value: '-1',
          partition,
          headers: { id: `end-${input}-${partition}` },
        })),
      })
    }
    await until(async () => (await written()).filter((value) => value === -1).length === PARTITIONS * inputs.length, {
      within: 60_000,
      what: 'the end of both inputs',
    })
    for (const child of first) if (!victims.includes(child)) await stop(child)
    expect((await written()).filter((value) => value >= 0)).toEqual(all)
    const claims = redisClaims({ url: redis.url, prefix: env['PREFIX'] as string })
    expect(await claims.find('id-7')).toMatchObject({ id: 'id-7', origin: { topic: expect.stringMatching(/-(in|more)$/) as string } })
    await claims.close()
  }, 180_000)
})
