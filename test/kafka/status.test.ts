import { describe, expect, inject, it } from 'vitest'
import { Subject, mergeMap } from 'rxjs'
import { statusOf, toTopic, watchLag, withTransaction, type GroupLag, type PipelineStatus } from '../../src/index.js'
import type { PageState } from '../../src/serve/page/state.js'
import { uniqueName } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { until } from '../support/until.js'
import { servedMember } from './programs/served.js'

const TOKEN = 'a-long-enough-token'

describe('status on Kafka', () => {
  const suite = kafkaSuite()

  it('a pipeline held in user code: its transaction, and lag that grows though nothing commits; also seen from outside', async () => {
    const { cluster } = suite
    const [group, input, output] = [uniqueName('group'), uniqueName('in'), uniqueName('out')]
    await cluster.createTopics([{ topic: input, partitions: 2 }, { topic: output }])
    const release = new Subject<void>()
    let held = true
    release.subscribe(() => (held = false))
    const commits = cluster.source({ group, topics: [input] }).pipe(
      withTransaction((records) =>
        records.pipe(
          mergeMap(async (record) => {
            if (held && String(record.value) === 'slow') await new Promise<void>((resolve) => release.subscribe(() => resolve()))
            return record
          }),
          toTopic({ topic: output }),
        ),
      ),
    )
    const running = commits.subscribe()
    const status = statusOf(commits)
    const lags: GroupLag[] = []
    const watching = watchLag(cluster, { groups: [{ group, topics: [input] }], every: '200ms' }).subscribe((lag) => lags.push(lag))
    const feed = (value: string): Promise<number> =>
      cluster.produce({ topic: input, records: [{ key: 'k', value, partition: 0, timestamp: Date.now() - 60_000 }] })
    try {
      await feed('a')
      await until(() => status.snapshot().totals.records === 1, { what: 'the first commit', within: 30_000 })
      await feed('slow')
      await until(() => status.snapshot().transaction?.state === 'finishing', { what: 'the slice to be held' })
      await feed('b')
      const seen = await until(
        () => {
          const now = status.snapshot()
          return now.lag.records === 2 ? now : undefined
        },
        { what: 'the lag to be seen' },
      )
      expect(seen.state).toBe('running')
      expect(seen.commits.committed).toBe(1)
      expect(seen.partitions.find(({ partition }) => partition === 0)).toMatchObject({ committed: 1, end: 3, lag: 2 })
      expect(seen.lag.ms).toBeGreaterThanOrEqual(60_000)
      await until(() => lags.at(-1)?.lag === 2, { what: 'the watch to see it too' })
      release.next()
      await until(() => status.snapshot().lag.records === 0, { what: 'the pipeline to catch up' })
      await until(() => lags.at(-1)?.lag === 0, { what: 'the watch to see that too' })
    } finally {
      release.next()
      watching.unsubscribe()
      running.unsubscribe()
    }
  }, 60_000)

  it('a task that is paused by hand is not read, and goes on where it was; the page shows the member in another process', async () => {
    const { cluster } = suite
    const [group, input, output] = [uniqueName('group'), uniqueName('in'), uniqueName('out')]
    await cluster.createTopics([{ topic: input, partitions: 2 }, { topic: output }])
    const env = { KAFKA_BROKERS: inject('kafkaBrokers').join(','), GROUP: group, INPUT: input, OUTPUT: output, TOKEN }
    const own = await servedMember(env)
    const other = suite.start(new URL('./programs/served-member.ts', import.meta.url), env)
    const pipeline = (): PipelineStatus | undefined => own.cluster.status.snapshot().pipelines[0]
    const feed = (name: string): Promise<number> =>
      cluster.produce({ topic: input, records: [0, 1].map((partition) => ({ value: `${name}${partition}`, partition })) })
    const written = async (): Promise<string[]> => {
      const values: string[] = []
      for await (const { value } of cluster.read({ topic: output })) values.push(String(value))
      return values.sort()
    }
    try {
      const address = await until(() => other.lines[0] ?? other.exit !== undefined, { what: 'the other process to serve', within: 30_000 })
      // Each has one of the two tasks.
      await until(() => pipeline()?.state === 'running' && pipeline()?.tasks.length === 1, { what: 'both to be members', within: 30_000 })
      const look = async (): Promise<PageState> => {
        const answer = await fetch(`${own.server.url}/page/state`, { headers: { authorization: `Bearer ${TOKEN}` } })
        return (await answer.json()) as PageState
      }
      const [seen] = await until(
        async () => {
          const { others } = await look()
          return others[0]?.status?.pipelines[0]?.tasks.length === 1 ? others : undefined
        },
        { what: 'the page to show the other process' },
      )
      expect(seen?.address).toBe(address)
      expect(seen?.status?.pipelines[0]).toMatchObject({ group, state: 'running', member: { address } })
      const tasks = [seen?.status?.pipelines[0], pipeline()].flatMap((status) => status?.tasks.map(({ partition }) => partition))
      expect(tasks.sort()).toEqual([0, 1])

      await feed('a')
      await until(async () => (await written()).length === 2, { what: 'both to copy' })
      const mine = pipeline()?.tasks[0]?.partition as number
      expect(own.cluster.control.pause({ group, partition: mine })).toBe(true)
      await feed('b')
      await feed('c')
      await until(async () => (await written()).length === 4, { what: 'the task that is not paused to go on' })
      expect(pipeline()?.tasks).toMatchObject([{ partition: mine, state: 'paused' }])
      expect(await written()).toEqual(['a0', 'a1', `b${1 - mine}`, `c${1 - mine}`].sort())
      expect(own.cluster.control.resume({ group, partition: mine })).toBe(true)
      await until(async () => (await written()).length === 6, { what: 'it to go on' })
      expect(await written()).toEqual(['a0', 'a1', 'b0', 'b1', 'c0', 'c1'])

      other.kill('SIGKILL')
      await other.ended
      await until(async () => (await look()).others[0]?.error !== undefined, { what: 'the page to say that it does not answer' })
    } finally {
      other.kill('SIGKILL')
      await own.server.close()
      await own.cluster.close()
    }
  }, 60_000)
})
