import { NEVER, delay, filter, map, mergeMap, take, tap, timer, type Observable } from 'rxjs'
import { afterEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  aggregate,
  bytes,
  count,
  decode,
  dropFailed,
  json,
  mapValue,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type RecordStream,
  type SourceOptions,
  type TransactionOptions,
} from '../../src/index.js'
import { createTestKit, type TestKit, type TestKitOptions, type TestTopics, type WrittenRecord } from '../../src/testing/index.js'

const Order = z.object({ id: z.string(), amount: z.number() })
type Order = z.infer<typeof Order>
interface Invoice {
  readonly order: string
  readonly total: number
}

const topics = {
  orders: { partitions: 4, value: json<Order>() },
  invoices: { partitions: 2, value: json<Invoice>() },
  out: {},
}

let kits: TestKit[] = []
const kitOf = async <const T extends TestTopics>(options: TestKitOptions<T>): Promise<TestKit<T>> => {
  const kit = await createTestKit(options)
  kits.push(kit as unknown as TestKit)
  return kit
}

afterEach(async () => {
  const all = kits
  kits = []
  for (const kit of all) await kit.stop()
})

const invoice = (orders: RecordStream): Observable<unknown> =>
  orders.pipe(
    decode(Order),
    dropFailed(),
    filter(({ value }) => value.amount > 0),
    mapValue(({ id, amount }): Invoice => ({ order: id, total: amount * 2 })),
    toTopic({ topic: 'invoices', value: json() }),
  )

const billing = (cluster: Cluster, options: TransactionOptions = {}, source: Partial<SourceOptions> = {}): Observable<Commit> =>
  cluster.source({ group: 'billing', topics: ['orders'], ...source }).pipe(withTransaction(invoice, options))

const orders = (count: number): { key: string; value: Order; partition: number }[] =>
  Array.from({ length: count }, (_, i) => ({ key: `c${i % 5}`, value: { id: `o${i}`, amount: i + 1 }, partition: i % 4 }))

const ids = (records: readonly WrittenRecord<unknown, Invoice>[]): (string | undefined)[] => records.map(({ value }) => value?.order).sort()
const allIds = (count: number): string[] =>
  orders(count)
    .map(({ value }) => value.id)
    .sort()

describe('the test kit', () => {
  it('outputs are exact: keys, values, timestamps, partitions and offsets', async () => {
    const kit = await kitOf({ topics, start: 1_000 })
    const running = kit.run(billing(kit.cluster))
    await kit.feed('orders', [
      { key: 'a', value: { id: 'o1', amount: 3 }, headers: { trace: 't1' } },
      { key: 'a', value: { id: 'o2', amount: 0 } },
      { key: 'a', value: { id: 'o3', amount: 5 }, timestamp: 7 },
    ])
    expect(await kit.read('invoices')).toEqual([])
    await kit.advance('99ms')
    expect(await kit.read('invoices')).toEqual([])
    await kit.advance('1ms')
    const partition = 0
    expect(await kit.read('invoices')).toEqual([
      { partition, offset: 0, timestamp: 1_000, key: 'a', value: { order: 'o1', total: 6 }, headers: { trace: Buffer.from('t1') } },
      { partition, offset: 1, timestamp: 7, key: 'a', value: { order: 'o3', total: 10 }, headers: {} },
    ])
    expect(running.commits).toMatchObject([{ records: 3, processed: 2, filtered: 1, outputs: 2, lag: 0, durationMs: 100 }])
  })

  it('read gives what is new, or everything', async () => {
    const kit = await kitOf({ topics })
    kit.run(billing(kit.cluster))
    await kit.feed('orders', { key: 'a', value: { id: 'o1', amount: 3 } })
    await kit.advance('1s')
    expect(ids(await kit.read('invoices'))).toEqual(['o1'])
    expect(await kit.read('invoices')).toEqual([])
    await kit.feed('orders', { key: 'b', value: { id: 'o2', amount: 3 } })
    await kit.advance('1s')
    expect(ids(await kit.read('invoices'))).toEqual(['o2'])
    expect(ids(await kit.read('invoices', { from: 'earliest' }))).toEqual(['o1', 'o2'])
  })

  it('topics without serdes are text; a serde can be given for one call; tombstones are null', async () => {
    const kit = await kitOf({ topics })
    expect(await kit.feed('out', [{ value: 'plain' }, { key: 'k', value: null }])).toBe(2)
    await kit.feed('out', { value: { n: 1 } }, { value: json<{ n: number }>() })
    expect((await kit.read('out')).map(({ key, value }) => [key, value])).toEqual([
      [null, 'plain'],
      ['k', null],
      [null, '{"n":1}'],
    ])
    expect((await kit.read('out', { value: bytes(), from: 'earliest' }))[0]?.value).toEqual(Buffer.from('plain'))
    await expect(kit.read('out', { value: json(), from: 'earliest' })).rejects.toThrow(
      /the value of out\/0\/0 is not json: .*Read it with another serde/,
    )
  })

  it('hours pass in a moment', async () => {
    const kit = await kitOf({ topics, start: new Date('2026-01-01T00:00:00Z') })
    const running = kit.run(billing(kit.cluster))
    for (let hour = 0; hour < 24; hour++) {
      await kit.feed('orders', { key: 'a', value: { id: `o${hour}`, amount: 1 } })
      await kit.advance('1h')
    }
    expect(new Date(kit.clock.now()).toISOString()).toBe('2026-01-02T00:00:00.000Z')
    expect(running.commits).toHaveLength(24)
    const written = await kit.read('invoices')
    expect(written.map(({ value }) => value?.order)).toEqual(Array.from({ length: 24 }, (_, hour) => `o${hour}`))
    expect(written.map(({ timestamp }) => new Date(timestamp).getUTCHours())).toEqual(Array.from({ length: 24 }, (_, hour) => hour))
  })

  it('a long commit interval is as long as it says', async () => {
    const kit = await kitOf({ topics })
    kit.run(billing(kit.cluster, { every: '1h' }))
    await kit.feed('orders', orders(10))
    await kit.advance('59m')
    expect(await kit.read('invoices')).toEqual([])
    await kit.advance('1m')
    expect(ids(await kit.read('invoices'))).toEqual(allIds(10))
  })

  it('RxJS time in the pipeline goes by the clock, and outside by the system', async () => {
    const kit = await kitOf({ topics })
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['orders'] }).pipe(
        withTransaction((records) =>
          records.pipe(
            delay(5_000),
            mergeMap((r) =>
              timer(0, 1_000).pipe(
                filter((n) => n === 3),
                map(() => r),
                take(1),
              ),
            ),
            toTopic({ topic: 'out' }),
          ),
        ),
      ),
    )
    await kit.feed('orders', { value: { id: 'o1', amount: 1 } })
    await kit.advance('7999ms')
    expect(await kit.read('out')).toEqual([])
    await kit.advance('50ms')
    expect(await kit.read('out')).toHaveLength(1)
    await new Promise<void>((resolve) => timer(1).subscribe(() => resolve()))
  })

  it('runs the same way each time', async () => {
    const history = async (): Promise<unknown> => {
      const kit = await kitOf({ topics })
      const runs = [kit.run(billing(kit.cluster, { every: '70ms' })), kit.run(billing(kit.cluster, { every: '110ms' }))]
      kit.run(
        kit.cluster
          .source({ group: 'copy', topics: ['invoices'] })
          .pipe(withTransaction((records) => records.pipe(delay(30), toTopic({ topic: 'out' })), { maxRecords: 7 })),
      )
      kit.broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect: true, after: 2 })
      for (let i = 0; i < 5; i++) {
        await kit.feed('orders', orders(20))
        await kit.advance('250ms')
        if (i === 2) kit.broker.expire('billing')
      }
      await kit.advance('5m')
      return { commits: runs.map(({ commits }) => commits), out: await kit.read('out'), offsets: kit.broker.offsets('copy') }
    }
    const first = await history()
    expect((first as { out: unknown[] }).out).toHaveLength(100)
    expect(await history()).toEqual(first)
  })

  it('kits do not disturb each other', async () => {
    const outcome = async (): Promise<unknown> => {
      const kit = await kitOf({ topics })
      const running = kit.run(
        kit.cluster
          .source({ group: 'g', topics: ['orders'] })
          .pipe(withTransaction((records) => records.pipe(delay(500), toTopic({ topic: 'out' })))),
      )
      await kit.feed('orders', orders(20))
      await kit.advance('10s')
      return { commits: running.commits, out: await kit.read('out') }
    }
    const [first, ...others] = await Promise.all([outcome(), outcome(), outcome()])
    expect((first as { out: unknown[] }).out).toHaveLength(20)
    for (const other of others) expect(other).toEqual(first)
  })

  it('compressed outputs are there when the time has passed', async () => {
    const kit = await kitOf({ topics })
    kit.run(billing(kit.cluster, { compression: 'gzip' }))
    await kit.feed('orders', orders(2_000))
    await kit.advance('100ms')
    expect(ids(await kit.read('invoices'))).toEqual(allIds(2_000))
  })
})

describe('errors of a pipeline', () => {
  const failing = (cluster: Cluster): Observable<Commit> =>
    cluster.source({ group: 'g', topics: ['orders'] }).pipe(
      withTransaction((records) =>
        records.pipe(
          tap(({ value }) => {
            if (String(value).includes('"poison"')) throw new Error('cannot bill this')
          }),
          toTopic({ topic: 'out' }),
        ),
      ),
    )

  it('come out of the next awaited call, once; an aborted transaction leaves nothing to read', async () => {
    const kit = await kitOf({ topics })
    const running = kit.run(failing(kit.cluster))
    await kit.feed('orders', [
      { key: 'a', value: { id: 'good', amount: 1 } },
      { key: 'a', value: { id: 'poison', amount: 1 } },
    ])
    await expect(kit.advance('10s')).rejects.toMatchObject({
      code: 'RECORD_FAILED',
      message: expect.stringContaining('cannot bill this') as string,
    })
    expect(running.ended).toBe(true)
    expect((await kit.read('out')).map(({ value }) => value)).toEqual(['{"id":"good","amount":1}'])
    // An expectation of what never committed does not hold.
    expect(() => expect(kit.broker.openTransactions()).toHaveLength(1)).toThrow()
    await expect(kit.read('out', { from: 'earliest' }).then((records) => expect(records).toHaveLength(2))).rejects.toThrow(
      /to have a length of 2 but got 1/,
    )
  })

  it('come out of stop, if no call was awaited in between', async () => {
    const kit = await createTestKit({ topics })
    kit.run(kit.cluster.source({ group: 'g', topics: ['missing'] }).pipe(withTransaction((records) => records)))
    // One that is stopped before it has looked at its topics knows of nothing that is wrong.
    await kit.clock.settle()
    await expect(kit.stop()).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
  })

  it('of several pipelines come out together', async () => {
    const kit = await createTestKit({ topics })
    for (const group of ['g', 'h']) kit.run(kit.cluster.source({ group, topics: ['missing'] }).pipe(withTransaction((records) => records)))
    await expect(kit.advance(0)).rejects.toMatchObject({ errors: [{ code: 'MISSING_TOPIC' }, { code: 'MISSING_TOPIC' }] })
    await kit.stop()
    await expect(async () => kit.advance(0)).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('while it is stopping are not lost', async () => {
    const kit = await kitOf({ topics })
    const running = kit.run(failing(kit.cluster))
    await kit.advance(0)
    kit.broker.faults.inject({ at: 'produce', of: 'out', reaction: 'fatal' })
    await kit.feed('orders', { value: { id: 'good', amount: 1 } })
    await expect(running.stop()).rejects.toMatchObject({ code: 'BROKER_REFUSED' })
  })

  it('a pipeline whose user code never ends is stopped all the same', async () => {
    const kit = await createTestKit({ topics })
    kit.run(kit.cluster.source({ group: 'g', topics: ['orders'] }).pipe(withTransaction((records) => records.pipe(mergeMap(() => NEVER)))))
    await kit.feed('orders', orders(3))
    await kit.advance('1s')
    await kit.stop()
    expect(kit.broker.offsets('g')).toEqual([])
    expect(kit.broker.members('g')).toEqual([])
  })
})

describe('failures of the outside', () => {
  it('a crash between produce and commit: the outputs are there once', async () => {
    const kit = await kitOf({ topics })
    const first = kit.run(billing(kit.cluster))
    await kit.feed('orders', orders(10))
    kit.broker.faults.inject({ at: 'offsets', of: 'billing', delayMs: 60_000 })
    await kit.advance('100ms')
    expect(kit.broker.openTransactions()).toMatchObject([{ partitions: [{ topic: 'invoices' }, { topic: 'invoices' }] }])
    await first.crash()
    expect(await kit.read('invoices')).toEqual([])
    expect(await kit.broker.records('invoices', 'read_uncommitted')).toHaveLength(10)

    const second = kit.run(billing(kit.cluster))
    await kit.advance('2m')
    expect(ids(await kit.read('invoices'))).toEqual(allIds(10))
    expect([first.commits.length, second.commits.length]).toEqual([0, 1])
  })

  it('without transactions the same crash shows: the outputs are there twice', async () => {
    const kit = await kitOf({ topics })
    const first = kit.run(billing(kit.cluster, { guarantee: 'at-least-once' }))
    await kit.feed('orders', orders(10))
    kit.broker.faults.inject({ at: 'offsets', of: 'billing', delayMs: 3_600_000 })
    await kit.advance('100ms')
    await first.crash()
    kit.run(billing(kit.cluster, { guarantee: 'at-least-once' }))
    await kit.advance('2m')
    expect(ids(await kit.read('invoices'))).toEqual([...allIds(10), ...allIds(10)].sort())
  })

  it('a crashed member keeps its partitions until its session ends', async () => {
    const kit = await kitOf({ topics })
    const first = kit.run(billing(kit.cluster))
    await kit.advance('1s')
    await first.crash()
    await kit.feed('orders', orders(4))
    const second = kit.run(billing(kit.cluster))
    await kit.advance('40s')
    expect(second.commits).toEqual([])
    await kit.advance('10s')
    expect(ids(await kit.read('invoices'))).toEqual(allIds(4))
    expect(first.ended).toBe(true)
  })

  it('state survives a crash: the next member restores what was committed, and no more', async () => {
    const kit = await kitOf({ topics })
    const counting = (): Observable<Commit> =>
      kit.cluster.source({ group: 'counting', topics: ['orders'] }).pipe(
        withTransaction((records) => records.pipe(aggregate(count(), { name: 'orders' }), toTopic({ topic: 'out', value: json() })), {
          provision: true,
        }),
      )
    const first = kit.run(counting())
    await kit.feed('orders', orders(20))
    await kit.advance('1s')
    kit.broker.faults.inject({ at: 'end', delayMs: 60_000 })
    await kit.feed('orders', orders(20))
    await kit.advance('1s')
    await first.crash()
    await kit.read('out')
    kit.run(counting())
    await kit.advance('2m')
    const after = await kit.read('out')
    // Each key is fed in one or more partitions: five keys over four partitions are twenty counts, from 1 to 2.
    expect(after.map(({ value }) => value)).toEqual(Array.from({ length: 20 }, () => '2'))
  })

  it('two members share the partitions; one is stopped and the other takes over', async () => {
    const kit = await kitOf({ topics })
    const a = kit.run(billing(kit.cluster))
    await kit.feed('orders', orders(40))
    await kit.advance('1s')
    const b = kit.run(billing(kit.cluster))
    await kit.advance('10s')
    expect(kit.broker.members('billing')).toHaveLength(2)
    await kit.feed('orders', orders(40))
    await kit.advance('1s')
    const partitionsOf = (commits: readonly Commit[]): number[] =>
      [...new Set(commits.flatMap(({ tasks }) => tasks.map(({ partition }) => partition)))].sort()
    expect(partitionsOf(a.commits)).toEqual([0, 1, 2, 3])
    expect(partitionsOf(b.commits)).toHaveLength(2)

    await a.stop()
    expect(a.ended).toBe(true)
    expect(kit.broker.members('billing')).toHaveLength(1)
    await kit.feed('orders', orders(40))
    await kit.advance('10s')
    expect(partitionsOf(b.commits)).toEqual([0, 1, 2, 3])
    expect(ids(await kit.read('invoices'))).toEqual([...allIds(40), ...allIds(40), ...allIds(40)].sort())
    const generations = new Set([...a.commits, ...b.commits].map(({ generation }) => generation))
    expect(generations.size).toBe(3)
  })

  it('rebalances, expired sessions and paused topics are the broker’s', async () => {
    const kit = await kitOf({ topics })
    const running = kit.run(billing(kit.cluster))
    await kit.feed('orders', orders(4))
    kit.broker.rebalance('billing')
    await kit.advance('5s')
    kit.broker.expire('billing')
    await kit.feed('orders', orders(4))
    await kit.advance('5s')
    kit.broker.pause('orders')
    await kit.feed('orders', orders(4))
    await kit.advance('5s')
    expect(ids(await kit.read('invoices'))).toEqual([...allIds(4), ...allIds(4)].sort())
    kit.broker.resume('orders')
    await kit.advance('5s')
    expect(ids(await kit.read('invoices'))).toEqual(allIds(4))
    expect(running.commits.map(({ generation }) => generation)).toEqual([1, 4, 4])
  })

  it('stop commits what is open', async () => {
    const kit = await createTestKit({ topics })
    const running = kit.run(billing(kit.cluster, { every: '1h' }))
    await kit.feed('orders', orders(4))
    await kit.stop()
    expect(running.commits).toMatchObject([{ records: 4 }])
    expect(kit.clock.now()).toBe(0)
  })
})

describe('wrong use is refused by name', () => {
  it('options', async () => {
    await expect(createTestKit({ topic: {} } as never)).rejects.toThrow(/createTestKit: wrong options\n {2}options: unknown option 'topic'/)
    await expect(createTestKit({ topics: { out: { partition: 3 } } } as never)).rejects.toThrow(/topics\.out: unknown option 'partition'/)
    await expect(createTestKit({ topics: { out: { value: {} } } } as never)).rejects.toThrow(/topics\.out\.value: expected a serde/)
    await expect(createTestKit({ start: -1 })).rejects.toThrow(/start:/)
    await expect(createTestKit({ topics: { 'not a topic': {} } })).rejects.toThrow(/topic names are made of/)
  })

  it('calls', async () => {
    const kit = await kitOf({ topics })
    await expect(kit.advance('1 minute' as never)).rejects.toThrow(/advance: .*\n.*expected whole milliseconds or a text like/)
    await expect(kit.feed('out', [{ val: 'x' }] as never)).rejects.toThrow(/feed 'out': wrong options\n.*value.*\n.*unknown option 'val'/)
    await expect(kit.feed('nowhere', { value: 'x' })).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
    await expect(kit.read('nowhere')).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
    await expect(kit.read('out', { from: 'latest' } as never)).rejects.toThrow(/read 'out': wrong options\n {2}from:/)
    await expect(kit.feed('out', { value: { n: 1 } as never })).rejects.toMatchObject({ code: 'ENCODE_FAILED' })
    // @ts-expect-error the topic's serde says what its values are
    await kit.feed('orders', { value: { id: 1, amount: 'x' } })
  })
})
