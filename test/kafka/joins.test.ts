import { filter, type Observable } from 'rxjs'
import { afterEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  count,
  joinStream,
  joinTable,
  queryStore,
  string,
  table,
  toTopic,
  withTransaction,
  type Commit,
  type RecordStream,
  type StoreQuery,
} from '../../src/index.js'
import { uniqueName } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { contents, runUntil, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

/** The times are of 1970: they would be deleted for their age. */
const anyAge = { 'retention.ms': '-1' }

describe('joins and queries on Kafka', () => {
  const { cluster } = kafkaSuite()
  let stop = new AbortController()

  afterEach(() => {
    stop.abort()
    stop = new AbortController()
  })

  const topics = async (...configs: readonly Readonly<Record<string, string>>[]): Promise<string[]> => {
    const named = configs.map((config) => ({ topic: uniqueName('topic'), partitions: 2, config }))
    await cluster.createTopics(named)
    return named.map(({ topic }) => topic)
  }

  it('a table is whole before the first record, followed while it runs, and whole again after a restart', async () => {
    const [orders, customers, out] = (await topics(anyAge, { 'cleanup.policy': 'compact' }, {})) as [string, string, string]
    const keys = Array.from({ length: 500 }, (_, i) => `c${i}`)
    for (const city of ['Troy', 'Rome']) await cluster.produce({ topic: customers, records: keys.map((key) => ({ key, value: city })) })
    const rows = table({ topic: customers, value: string() })
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        joinTable(rows, { kind: 'left', join: (order, city) => `${String(order.value)}@${city ?? '-'}` }),
        toTopic({ topic: out }),
      )
    const group = uniqueName('g')
    await cluster.produce({ topic: orders, records: keys.map((key) => ({ key, value: '1' })) })
    await runUntil(cluster, { group, topics: [orders], records: keys.length }, project)
    expect(await values(cluster, out)).toEqual(keys.map(() => '1@Rome'))

    await cluster.produce({ topic: customers, records: [{ key: 'c1', value: null }] })
    const running = cluster.source({ group, topics: [orders], signal: stop.signal }).pipe(withTransaction(project, { every: 20 }))
    const failed: unknown[] = []
    running.subscribe({ error: (error: unknown) => failed.push(error) })
    const ask = (answer: string): Promise<true> =>
      until(
        async () => {
          await cluster.produce({ topic: orders, records: [{ key: 'c1', value: '2' }] })
          return (await values(cluster, out)).includes(`2@${answer}`)
        },
        { within: 20_000, what: `an order joined with ${answer}` },
      )
    await ask('-')
    await cluster.produce({ topic: customers, records: [{ key: 'c1', value: 'Bonn' }] })
    await ask('Bonn')
    expect(failed).toEqual([])
  })

  it('pairs, and records alone, once each over restarts', async () => {
    const [left, right, out] = (await topics(anyAge, anyAge, anyAge)) as [string, string, string]
    const group = uniqueName('g')
    const project = (records: RecordStream): Observable<unknown> => {
      const of = (topic: string) => records.pipe(filter((record) => record.origin.topic === topic))
      return of(left).pipe(
        joinStream(of(right), {
          within: 10,
          grace: 1_000,
          kind: 'outer',
          join: (one, other) => `${String(one?.value ?? '-')}+${String(other?.value ?? '-')}`,
        }),
        toTopic({ topic: out, value: string() }),
      )
    }
    const feed = async (topic: string, records: readonly { readonly value: string; readonly timestamp: number }[]): Promise<void> => {
      await cluster.produce({ topic, records: records.map((record) => ({ key: 'k', ...record })) })
      await runUntil(cluster, { group, topics: [left, right], records: records.length, options: { provision: true } }, project)
    }
    await feed(left, [
      { value: 'l1', timestamp: 100 },
      { value: 'l2', timestamp: 200 },
    ])
    await feed(right, [
      { value: 'r1', timestamp: 90 },
      { value: 'r2', timestamp: 300 },
      { value: 'r3', timestamp: 110 },
    ])
    await feed(left, [{ value: 'l3', timestamp: 5_000 }])
    expect((await contents(cluster, out)).map(({ value }) => value)).toEqual(['l1+r1', 'l1+r3', 'l2+-', '-+r2'])
  })

  it('of two members each answers for its own keys and names the other for the rest', async () => {
    const [input] = (await topics({})) as [string]
    const group = uniqueName('g')
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    await cluster.produce({ topic: input, records: keys.map((key) => ({ key, value: 'x' })) })
    const failed: unknown[] = []
    const member = (address: string): StoreQuery<number> => {
      const commits: Observable<Commit> = cluster
        .source({ group, topics: [input], address, sessionTimeout: '6s', signal: stop.signal })
        .pipe(withTransaction((records) => records.pipe(aggregate(count())), { every: 20, provision: true }))
      const query = queryStore<number>(commits, 'aggregate')
      commits.subscribe({ error: (error: unknown) => failed.push(error) })
      return query
    }
    const one = member('one:80')
    await until(
      () =>
        keys.every((key) => {
          const answer = one.get(key)
          return answer.at === 'here' && answer.value === 1
        }),
      { within: 20_000, what: 'all keys at the first' },
    )
    const two = member('two:80')
    await until(
      () =>
        keys.every((key) => {
          const answers = [one.get(key), two.get(key)]
          return answers.some((answer) => answer.at === 'here' && answer.value === 1) && answers.some(({ at }) => at === 'elsewhere')
        }) && new Set(keys.map((key) => one.get(key).at)).size === 2,
      { within: 30_000, what: 'the keys to be divided' },
    )
    for (const key of keys) {
      const [mine, theirs] = [one.get(key), two.get(key)]
      if (mine.at === 'elsewhere') expect(mine.owner).toBe('two:80')
      else expect(theirs).toMatchObject({ at: 'elsewhere', owner: 'one:80' })
    }
    expect(failed).toEqual([])
  })
})
