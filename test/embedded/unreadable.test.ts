import type { Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { json, joinTable, table, toTopic, withTransaction, type Commit, type RecordStream, type SourceOptions } from '../../src/index.js'
import { embedded, type Cluster } from '../../src/index.js'
import type { Logger } from '../../src/record/logger.js'
import { AT } from '../../src/log/batch/header.js'
import { BatchWriter, type OutputBatch } from '../../src/log/batch/write.js'
import { producer } from '../contract/support.js'
import { VirtualClock, createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { values } from '../support/pipelines.js'

interface Told {
  readonly message: string
  readonly about: { readonly offset?: number; readonly partition?: number; readonly firstOffset?: number; readonly lastOffset?: number }
}

describe('a partition that cannot be read', () => {
  let broker: EmbeddedBroker
  let clock: VirtualClock
  let cluster: Cluster
  let told: Told[]

  beforeEach(async () => {
    clock = new VirtualClock()
    broker = createEmbeddedBroker({ clock })
    told = []
    const logger: Logger = {
      debug: () => {},
      info: () => {},
      warn: (about, message) => void told.push({ about, message }),
      error: (about, message) => void told.push({ about, message }),
    }
    cluster = embedded({ broker, clock, logger })
    await cluster.createTopics([
      { topic: 'in', partitions: 3 },
      { topic: 'rows', partitions: 3 },
      { topic: 'out', partitions: 3 },
    ])
  })
  afterEach(async () => {
    const closed = cluster.close()
    await clock.advance('1m')
    await closed
  })

  const feed = (from: number, count = 3): Promise<number> =>
    cluster.produce({
      topic: 'in',
      records: Array.from({ length: count }, (_, i) => ({ value: `${from + i}`, partition: (from + i) % 3 })),
    })
  const run = (
    options: Partial<SourceOptions> = {},
    project: (records: RecordStream) => Observable<unknown> = (records) => records.pipe(toTopic({ topic: 'out' })),
  ) => {
    const commits: Commit[] = []
    let error: unknown
    cluster
      .source({ group: 'g', topics: ['in'], ...options })
      .pipe(withTransaction(project))
      .subscribe({ next: (commit) => commits.push(commit), error: (failure: unknown) => (error = failure) })
    return { commits, error: () => error }
  }
  const unread = (): Told[] => told.filter(({ message }) => message.startsWith('a partition cannot be read'))

  it.each(['CORRUPT_BATCH', 'UNSUPPORTED_FORMAT', 'TIMEOUT'] as const)(
    'sets its task aside while the others go on, says so at growing intervals, and goes on when it can be read: %s',
    async (code) => {
      const fault = broker.faults.inject({ at: 'fetch', of: 'in/2', times: Number.POSITIVE_INFINITY, reaction: 'retry', code })
      const { commits, error } = run()
      await feed(0)
      await clock.advance('10s')
      expect(await values(cluster, 'out')).toEqual(['0', '1'])
      await feed(3)
      await clock.advance('50s')
      expect(await values(cluster, 'out')).toEqual(['0', '1', '3', '4'])
      expect(commits.at(-1)?.unread).toMatchObject([{ topic: 'in', partition: 2, offset: 0, code }])
      expect(unread()[0]?.about).toMatchObject({ topic: 'in', partition: 2, offset: 0, code })
      // At 0, 5, 15 and 35 seconds, while it is tried again all along.
      expect(unread().length).toBeGreaterThan(2)
      expect(unread().length).toBeLessThan(6)
      expect(fault.hits).toBeGreaterThan(unread().length)
      // Growing pauses, not a loop.
      expect(fault.hits).toBeLessThan(30)
      expect(told.filter(({ message }) => message.includes('transaction was aborted'))).toEqual([])
      fault.remove()
      await clock.advance('20s')
      expect(await values(cluster, 'out')).toEqual(['0', '1', '2', '3', '4', '5'])
      expect(commits.at(-1)?.unread).toEqual([])
      expect(error()).toBeUndefined()
    },
  )

  it('takes the other topics of its task along: what belongs together is not torn apart', async () => {
    const fault = broker.faults.inject({
      at: 'fetch',
      of: 'rows/2',
      times: Number.POSITIVE_INFINITY,
      reaction: 'retry',
      code: 'CORRUPT_BATCH',
    })
    run({ topics: ['in', 'rows'] })
    await feed(0)
    await cluster.produce({ topic: 'rows', records: [{ value: 'row', partition: 2 }] })
    await clock.advance('30s')
    expect(await values(cluster, 'out')).toEqual(['0', '1'])
    fault.remove()
    await clock.advance('30s')
    expect(await values(cluster, 'out')).toEqual(['0', '1', '2', 'row'])
  })

  it('also where it is a table that is followed', async () => {
    const rows = table({ topic: 'rows', value: json<string>() })
    const { error } = run({}, (records) =>
      records.pipe(
        joinTable(rows, { kind: 'left', join: ({ value }, row) => `${String(value)} ${row ?? 'none'}` }),
        toTopic({ topic: 'out' }),
      ),
    )
    await clock.advance('1s')
    const fault = broker.faults.inject({
      at: 'fetch',
      of: 'rows/2',
      times: Number.POSITIVE_INFINITY,
      reaction: 'retry',
      code: 'CORRUPT_BATCH',
    })
    await cluster.produce({ topic: 'rows', records: [{ key: 'k', value: '"row"', partition: 2 }] })
    await clock.advance('5s')
    await cluster.produce({ topic: 'in', records: [0, 1, 2].map((partition) => ({ key: 'k', value: `${partition}`, partition })) })
    await clock.advance('10s')
    expect(await values(cluster, 'out')).toEqual(['0 none', '1 none'])
    fault.remove()
    await clock.advance('30s')
    expect(await values(cluster, 'out')).toEqual(['0 none', '1 none', '2 row'])
    expect(error()).toBeUndefined()
  })

  describe('of which a batch was written wrong', () => {
    /** Offsets 0 to 4 of partition 2 in one batch: the record at 2 says to be longer than there are bytes. */
    const malformed = async (): Promise<void> => {
      const writer = new BatchWriter('in', 2, 10_000)
      for (let i = 0; i < 5; i++) writer.append(null, `m${i}`, {}, 0)
      const [batch] = writer.take(true) as [OutputBatch]
      // Each record: its length, attributes, two deltas, no key, value, no headers.
      const size = (batch.bytes.length - AT.records) / 5
      batch.bytes[AT.records + 2 * size] = 126
      await (await producer(broker.client(), undefined)).send([batch])
    }

    it('stops its task there, and no other', async () => {
      await malformed()
      const { commits, error } = run()
      await feed(0, 6)
      await clock.advance('1m')
      expect(await values(cluster, 'out')).toEqual(['0', '1', '3', '4', 'm0', 'm1'])
      expect(commits.at(-1)?.offsets.every(({ partition, offset }) => partition !== 2 || offset === 2)).toBe(true)
      expect(unread()[0]?.about).toMatchObject({ topic: 'in', partition: 2, offset: 2, code: 'CORRUPT_BATCH' })
      expect(unread().length).toBeLessThan(6)
      expect(error()).toBeUndefined()
    })

    it('is skipped from there on where told so, with its offsets', async () => {
      await malformed()
      run({ onUnreadable: 'skip' })
      await feed(0, 6)
      await clock.advance('1m')
      expect(await values(cluster, 'out')).toEqual(['0', '1', '2', '3', '4', '5', 'm0', 'm1'])
      expect(told.filter(({ message }) => message.startsWith('offsets were skipped')).map(({ about }) => about)).toMatchObject([
        { topic: 'in', partition: 2, firstOffset: 2, lastOffset: 4 },
      ])
    })
  })
})
