import { describe, expect, it } from 'vitest'
import { Subject, mergeMap } from 'rxjs'
import { statusOf, toTopic, watchLag, withTransaction, type GroupLag } from '../../src/index.js'
import { uniqueName } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { until } from '../support/until.js'

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
})
