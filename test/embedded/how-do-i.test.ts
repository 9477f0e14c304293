import { readFileSync } from 'node:fs'
import { concatMap, filter, map, type MonoTypeOperatorFunction, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  attempt,
  bytes,
  compose,
  deadLetter,
  decode,
  dropFailed,
  json,
  mapValue,
  repartition,
  route,
  toTopic,
  withTransaction,
  type Commit,
  type StreamRecord,
} from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

const Order = z.object({ id: z.string(), customer: z.string(), at: z.number(), rush: z.boolean(), items: z.array(z.string()) })
type OrderRecord = StreamRecord<Buffer | null, z.output<typeof Order>>
type Orders = Observable<OrderRecord>
const priceOf = (order: z.output<typeof Order>) => Promise.resolve(order.items.length * 3)

const out = <V>() => toTopic<StreamRecord<Buffer | string | null, V>>({ topic: 'out', value: json() })

// Each line as it stands in docs/how-do-i.md.
// prettier-ignore
const WAYS: Readonly<Record<string, { readonly of: (orders: Orders) => Observable<unknown>; readonly out: readonly object[] }>> = {
  'make several records of one': {
    of: (orders) => orders.pipe(concatMap((order) => order.value.items.map((item) => order.with({ value: item }))), out()),
    out: [{ key: 'k', value: 'pen' }, { key: 'k', value: 'ink' }],
  },
  'give a record another value': {
    of: (orders) => orders.pipe(mapValue((order) => ({ ...order, count: order.items.length })), out()),
    out: [{ key: 'k', value: { id: 'o1', count: 2 } }],
  },
  'give it another key': {
    of: (orders) => orders.pipe(map((order) => order.with({ key: order.value.customer })), out()),
    out: [{ key: 'ann', value: { id: 'o1' } }],
  },
  'group by another key': {
    of: (orders) => orders.pipe(repartition({ key: (order) => order.value.customer, value: json() }), out()),
    out: [{ key: 'ann', value: { id: 'o1' } }],
  },
  'write a tombstone': {
    of: (orders) => orders.pipe(map((order) => order.with({ value: null })), out()),
    out: [{ key: 'k', value: null }],
  },
  'add a header': {
    of: (orders) => orders.pipe(map((order) => order.with({ headers: { ...order.headers, customer: order.value.customer } })), out()),
    out: [{ headers: { trace: Buffer.from('t'), customer: Buffer.from('ann') } }],
  },
  'write other headers than the record has': {
    of: (orders) => orders.pipe(toTopic({ topic: 'out', value: json(), headers: (order) => ({ id: order.value.id }) })),
    out: [{ headers: { id: Buffer.from('o1') } }],
  },
  'give it another timestamp': {
    of: (orders) => orders.pipe(map((order) => order.with({ timestamp: order.value.at })), out()),
    out: [{ timestamp: 5_000 }],
  },
  'choose the topic of each record': {
    of: (orders) => orders.pipe(toTopic({ topic: (order) => (order.value.rush ? 'rush' : 'out'), topics: ['rush', 'out'], value: json() })),
    out: [],
  },
  'choose it by data, where not all topics are known': {
    of: (orders) => orders.pipe(route({ to: (order) => order.value.customer, topics: ['rush'], fallback: 'out', value: json() })),
    out: [{ key: 'k' }],
  },
  'choose the partition': {
    of: (orders) => orders.pipe(toTopic({ topic: 'out', value: json(), partition: (order, partitions) => order.value.items.length % partitions })),
    out: [{ partition: 2 }],
  },
  'write to two topics': {
    of: (orders) => orders.pipe(toTopic({ topic: 'rush', value: json() }), toTopic({ topic: 'out', value: json() })),
    out: [{ key: 'k', value: { id: 'o1' } }],
  },
  'leave records out': {
    of: (orders) => orders.pipe(filter((order) => order.value.rush), out()),
    out: [{ key: 'k', value: { id: 'o1' } }],
  },
  'call a service': {
    of: (orders) => orders.pipe(attempt(async (order) => ({ ...order.value, price: await priceOf(order.value) })), deadLetter({ topic: 'dead' }), out()),
    out: [{ value: { id: 'o1', price: 6 } }],
  },
  'name a piece that I use again': {
    of: (orders) => orders.pipe(compose('rush', filter((order: OrderRecord) => order.value.rush), mapValue((order) => order.id)), out()),
    out: [{ key: 'k', value: 'o1' }],
  },
}

async function wayOf(project: (orders: Orders) => Observable<unknown>, order: object = {}) {
  const kit = await createTestKit({ topics: { in: {}, out: { partitions: 4, value: json() }, rush: {}, dead: {}, audit: {}, log: {} } })
  const commits: Commit[] = []
  const pipeline = kit.cluster
    .source({ group: 'g', topics: ['in'] })
    .pipe(withTransaction((records) => project(records.pipe(decode(Order), dropFailed())), { provision: true }))
  pipeline.subscribe((commit) => commits.push(commit))
  const value = JSON.stringify({ id: 'o1', customer: 'ann', at: 5_000, rush: true, items: ['pen', 'ink'], ...order })
  await kit.feed('in', { key: 'k', value, headers: { trace: 't' } })
  await kit.advance('1s')
  return { kit, commits, written: await kit.read('out') }
}

describe('docs/how-do-i.md', () => {
  for (const [question, way] of Object.entries(WAYS)) {
    it(question, async () => {
      const { kit, written } = await wayOf(way.of)
      expect(written).toMatchObject(way.out)
      expect(written).toHaveLength(way.out.length)
      await kit.stop()
    })
  }

  it('the table has these lines and no others', () => {
    const squeezed = (text: string) => text.replaceAll(/\s+/g, '')
    const docs = readFileSync(new URL('../../docs/how-do-i.md', import.meta.url), 'utf8')
    const here = squeezed(readFileSync(new URL(import.meta.url), 'utf8'))
    const rows = [...docs.matchAll(/^\| (.+?) \| `(.+)` \|$/gm)].map((row) => [row[1], row[2]] as [string, string])
    expect(rows.map(([question]) => question)).toEqual(Object.keys(WAYS))
    for (const [question, code] of rows) expect(here, question).toContain(squeezed(code))
  })

  it('what is made of a record keeps its origin, and how many were made is not what is counted', async () => {
    const seen: string[] = []
    const split = (orders: Orders) =>
      orders.pipe(
        concatMap((order) => order.value.items.map((item) => order.with({ value: item }))),
        map((item) => (seen.push(item.id), item)),
        out(),
      )
    const two = await wayOf(split)
    expect(seen).toEqual(['in/0/0', 'in/0/0'])
    expect(two.commits).toMatchObject([{ records: 1, processed: 1, filtered: 0, outputs: 2 }])
    await two.kit.stop()
    const none = await wayOf(split, { items: [] })
    expect(none.commits).toMatchObject([{ records: 1, processed: 0, filtered: 1, outputs: 0 }])
    await none.kit.stop()
  })

  it('operators and sinks for records of any type', async () => {
    const audited = <R extends StreamRecord<unknown, unknown>>(topic: string): MonoTypeOperatorFunction<R> =>
      toTopic({ topic, key: json(), value: json() })
    const logged = <R extends StreamRecord<Buffer | null, { readonly id: string }>>(): MonoTypeOperatorFunction<R> =>
      toTopic({ topic: 'log', key: bytes(), value: json(), headers: (event) => ({ id: event.value.id }) })
    const { kit } = await wayOf((orders) => orders.pipe(audited('audit'), logged()))
    expect(await kit.read('audit')).toHaveLength(1)
    expect(await kit.read('log')).toMatchObject([{ key: 'k', headers: { id: Buffer.from('o1') } }])
    await kit.stop()
  })
})
