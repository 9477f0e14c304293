import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import type { Observable } from 'rxjs'
import {
  aggregate,
  count,
  json,
  kafka,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type MillraceError,
} from '../../src/index.js'
import { observe, uniqueName, type Observer } from '../support/kafka/client.js'
import { contents } from '../support/pipelines.js'
import { until } from '../support/until.js'

interface Member {
  readonly commits: Commit[]
  readonly stop: AbortController
  readonly ended: Promise<MillraceError | undefined>
  error: MillraceError | undefined
}

describe('members of a group on Kafka', () => {
  let clusters: Cluster[]
  let members: Member[]
  let observer: Observer
  let group: string
  let input: string
  let output: string

  const connect = (): Cluster => {
    const cluster = kafka({ brokers: inject('kafkaBrokers'), logger: silentLogger })
    clusters.push(cluster)
    return cluster
  }
  beforeEach(async () => {
    clusters = []
    members = []
    observer = observe(inject('kafkaBrokers'))
    ;[group, input, output] = [uniqueName('group'), uniqueName('in'), uniqueName('out')]
    await connect().createTopics([
      { topic: input, partitions: 2 },
      { topic: output, partitions: 2 },
    ])
  })
  afterEach(async () => {
    for (const { stop } of members) stop.abort()
    await Promise.all(members.map(({ ended }) => ended))
    await Promise.all(clusters.map((cluster) => cluster.close()))
    await observer.close()
  })

  const start = (pipeline: (cluster: Cluster, signal: AbortSignal) => Observable<Commit>): Member => {
    const stop = new AbortController()
    const commits: Commit[] = []
    const member: Member = {
      commits,
      stop,
      error: undefined,
      ended: new Promise((resolve) => {
        pipeline(connect(), stop.signal).subscribe({
          next: (commit) => commits.push(commit),
          error: (error: MillraceError) => {
            member.error = error
            resolve(error)
          },
          complete: () => resolve(undefined),
        })
      }),
    }
    members.push(member)
    return member
  }
  const copy = (topics = [input]): Member =>
    start((cluster, signal) =>
      cluster.source({ group, topics, signal }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: output })), { every: 20 })),
    )
  const counted = (): Member =>
    start((cluster, signal) =>
      cluster.source({ group, topics: [input], signal }).pipe(
        withTransaction((records) => records.pipe(aggregate(count()), toTopic({ topic: output, value: json() })), {
          every: 20,
          provision: true,
        }),
      ),
    )
  const main = (): Cluster => clusters[0] as Cluster
  const written = async (): Promise<number> => (await contents(main(), output)).length
  const addPartition = async (): Promise<void> => {
    const admin = await observer.admin()
    await admin.createPartitions({ topicPartitions: [{ topic: input, count: 3 }] })
    await until(async () => (await main().topics([input])).get(input)?.partitions === 3)
  }
  const each = (partitions: number, text: string): { value: string; partition: number }[] =>
    Array.from({ length: partitions }, (_, partition) => ({ value: `${text} ${partition}`, partition }))

  it('one that comes with other topics is refused with both lists, and the others go on with all partitions', async () => {
    const other = uniqueName('other')
    await main().createTopics([{ topic: other, partitions: 2 }])
    const first = copy()
    await main().produce({ topic: input, records: each(2, 'before') })
    await until(async () => (await written()) === 2)
    const error = await copy([other]).ended
    expect(error).toMatchObject({ code: 'GROUP_MISMATCH' })
    expect(error?.message).toContain(`this member reads '${other}', and the other members of group '${group}' read '${input}'`)
    await main().produce({ topic: input, records: each(2, 'after') })
    await until(async () => (await written()) === 4)
    expect(first.error).toBeUndefined()
  })

  it('all make use of partitions that one of them finds when it joins', async () => {
    const first = copy()
    await main().produce({ topic: input, records: each(2, 'before') })
    await until(async () => (await written()) === 2)
    await addPartition()
    copy()
    await main().produce({ topic: input, records: each(3, 'after') })
    await until(async () => (await written()) === 5, { within: 20_000 })
    expect(first.error).toBeUndefined()
  })

  it('end with PARTITION_MISMATCH where they have state for fewer, and no count begins again', async () => {
    const first = counted()
    await main().produce({ topic: input, records: Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value: '' })) })
    await until(async () => (await written()) === 20)
    await addPartition()
    await main().produce({ topic: input, records: [{ key: 'k1', value: 'copied', partition: 2 }] })
    // It is refused before it joins; one without state, which joins, has the others look.
    expect(await counted().ended).toMatchObject({ code: 'PARTITION_MISMATCH' })
    copy()
    expect(await first.ended).toMatchObject({ code: 'PARTITION_MISMATCH' })
    const counts = (await contents(main(), output)).filter(({ value }) => value !== 'copied')
    expect(counts.map(({ value }) => value)).toEqual(Array.from({ length: 20 }, () => '1'))
  })

  it('that start together and are to make their topics take what one of them has made', async () => {
    const together = Array.from({ length: 4 }, counted)
    await main().produce({ topic: input, records: Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value: '' })) })
    await until(async () => (await written()) === 20, { within: 30_000 })
    expect(together.map(({ error }) => error)).toEqual([undefined, undefined, undefined, undefined])
  })
})
