import { PGlite } from '@electric-sql/pglite'
import { lastValueFrom } from 'rxjs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  embedded,
  outbox,
  outboxTable,
  silentLogger,
  toTopic,
  withTransaction,
  writeToOutbox,
  type Cluster,
  type OutboxOptions,
} from '../../src/index.js'
import { pglite } from '../../src/sinks/database/pglite.js'
import { Relay } from '../../src/sources/outbox/relay.js'
import { createEmbeddedBroker, type EmbeddedBroker, type Fault } from '../../src/testing/index.js'
import { until } from '../support/until.js'

describe('outbox', () => {
  let db: PGlite
  let broker: EmbeddedBroker
  let cluster: Cluster
  let running: { readonly stop: AbortController; readonly done: Promise<unknown> }[]

  beforeAll(async () => {
    // It compiles PostgreSQL, which takes its time on a busy machine.
    db = await PGlite.create()
  }, 60_000)
  afterAll(() => db.close())
  beforeEach(async () => {
    await db.exec(`DROP TABLE IF EXISTS outbox, millrace_positions; ${outboxTable()}`)
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    running = []
    await cluster.createTopics([
      { topic: 'relay', partitions: 1 },
      { topic: 'events.order', partitions: 2 },
      { topic: 'events.customer', partitions: 1 },
    ])
  })
  afterEach(async () => {
    for (const { stop, done } of running) {
      stop.abort()
      await done.catch(() => {})
    }
    await cluster.close()
  })

  const start = (options: Partial<OutboxOptions> = {}) => {
    const store = pglite(db)
    const stop = new AbortController()
    const done = lastValueFrom(
      cluster
        .source({ group: 'outbox', topics: ['relay'], signal: stop.signal, sessionTimeout: '1s' })
        .pipe(
          withTransaction(
            (records) =>
              records.pipe(
                outbox({ db: store, poll: 20, ...options }),
                toTopic({ topic: (e) => `events.${String(e.headers['aggregatetype'])}`, topics: ['events.order', 'events.customer'] }),
              ),
            { every: 10, provision: true },
          ),
        ),
      { defaultValue: undefined },
    )
    done.catch((error: unknown) => console.error(error))
    running.push({ stop, done })
    return { stop, done }
  }
  const published = async (topic = 'events.order'): Promise<string[]> => {
    const values: string[] = []
    for await (const record of cluster.read({ topic })) values.push(`${String(record.key)} ${String(record.value)}`)
    return values
  }
  const place = (from: number, to: number, aggregateId = 'o1'): Promise<void> =>
    db.transaction(async (tx) => {
      const events = Array.from({ length: to - from }, (_, i) => ({
        aggregateType: 'order',
        aggregateId,
        type: 'Placed',
        payload: from + i,
      }))
      await writeToOutbox(tx, events)
    })
  const expected = (count: number): string[] => Array.from({ length: count }, (_, i) => `o1 ${i}`)
  const all = (count: number) => until(async () => (await published()).length >= count, { what: `${count} events`, within: 5_000 })
  const left = async (): Promise<number> => (await db.query<{ n: number }>('SELECT count(*)::int AS n FROM outbox')).rows[0]?.n ?? -1

  it('publishes what was committed, in order, with its headers, and deletes it', async () => {
    start({ batch: 7 })
    await place(0, 20)
    await db.transaction(async (tx) => {
      await writeToOutbox(tx, [{ aggregateType: 'order', aggregateId: 'o1', payload: 'never' }])
      await tx.rollback()
    })
    await place(20, 25)
    await db.transaction((tx) =>
      writeToOutbox(tx, [
        { id: '00000000-0000-4000-8000-000000000001', aggregateType: 'customer', aggregateId: 'c', type: 'Left', payload: null },
      ]),
    )
    await all(25)
    await until(async () => (await left()) === 0, { what: 'published rows to be deleted' })
    expect(await published()).toEqual(expected(25))
    const customers = []
    for await (const { key, value, headers } of cluster.read({ topic: 'events.customer' }))
      customers.push([String(key), value, String(headers['id']), String(headers['type'])])
    expect(customers).toEqual([['c', null, '00000000-0000-4000-8000-000000000001', 'Left']])
  })

  it('is woken by the commit that wrote, however seldom it looks', async () => {
    start({ poll: '1h' })
    await until(async () => (await db.query('SELECT 1 FROM pg_listening_channels()')).rows.length > 0)
    await place(0, 3)
    await all(3)
    expect(await published()).toEqual(expected(3))
  })

  const faults: readonly Fault[] = [
    { at: 'end', reaction: 'indeterminate', tookEffect: false },
    { at: 'end', reaction: 'indeterminate', tookEffect: true },
    { at: 'produce', reaction: 'abort', of: 'events.order' },
    { at: 'offsets', reaction: 'lost' },
    { at: 'produce', reaction: 'reinit', of: 'events.order' },
  ]
  const through = async (): Promise<string[]> => {
    start({ batch: 4 })
    for (const [i, fault] of faults.entries()) {
      broker.faults.inject(fault)
      await place(i * 10, i * 10 + 10)
      await until(async () => (await left()) === 0, { within: 3_000 }).catch(() => {})
    }
    await all(faults.length * 10).catch(() => {})
    return published()
  }

  it('publishes each once through transactions of the log that fail, or of which it is not known', async () => {
    expect(await through()).toEqual(expected(faults.length * 10))
  })

  it('would notice a relay that goes by what it has read, not by what the log has', async () => {
    const own = Reflect.get(Relay.prototype, 'next') as Relay['next']
    Relay.prototype.next = async function (this: Relay, published, generation) {
      const { row } = this as unknown as { row: { position: number } | undefined }
      return own.call(this, row?.position ?? published, generation)
    }
    try {
      expect(await through()).not.toEqual(expected(faults.length * 10))
    } finally {
      Relay.prototype.next = own
    }
  }, 120_000)

  it('of several relays one is at work, and another goes on when it stops', async () => {
    const relays = [start({ batch: 3 }), start({ batch: 3 })]
    for (let i = 0; i < 6; i++) {
      await place(i * 5, i * 5 + 5)
      if (i === 2) relays[0]?.stop.abort()
      if (i === 3) relays.push(start({ batch: 3 }))
      if (i === 4) relays[1]?.stop.abort()
    }
    await all(30)
    await until(async () => (await left()) === 0)
    expect(await published()).toEqual(expected(30))
  })
})
