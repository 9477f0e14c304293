import { map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  deadLetter,
  decode,
  dropFailed,
  embedded,
  FailedRecord,
  joinTable,
  json,
  mapValue,
  queryStore,
  repartition,
  route,
  silentLogger,
  string,
  table,
  toTopic,
  withTransaction,
  type Cluster,
  type RecordStream,
} from '../../src/index.js'
import { createTestKit, sliceOf } from '../../src/testing/index.js'
import { laterSerde, promisesOf } from '../support/async-serde.js'
import { contents, runUntil, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

const COUNT = 600
const Item = z.object({ n: z.number() })
const input = Array.from({ length: COUNT }, (_, n) => ({ key: `k${n % 7}`, value: JSON.stringify({ n }) }))
const inOrder = Array.from({ length: COUNT }, (_, n) => n)
const read = async (cluster: Cluster, topic = 'out'): Promise<(number | null)[]> =>
  (await contents(cluster, topic)).map(({ value }) => (value === null ? null : (JSON.parse(value) as { n: number }).n))

describe('serdes that answer later', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 1 },
      { topic: 'rows', partitions: 1 },
      { topic: 'out', partitions: 1 },
      { topic: 'other', partitions: 1 },
      { topic: 'dead', partitions: 1 },
    ])
    await cluster.produce({ topic: 'in', records: input })
  })

  afterEach(() => cluster.close())

  const run = (project: (records: RecordStream) => Observable<unknown>, records = COUNT): Promise<unknown> =>
    runUntil(cluster, { group: 'g', topics: ['in'], records, options: { provision: true, retryDelay: 5, every: 50 } }, project)

  it('decode: order is kept, 256 at most are asked at once', async () => {
    const serde = laterSerde(json())
    await run((records) => records.pipe(decode(Item, { from: serde }), dropFailed(), toTopic({ topic: 'out', value: json() })))
    expect(await read(cluster)).toEqual(inOrder)
    expect(serde.mostOpen).toBeGreaterThan(100)
    expect(serde.mostOpen).toBeLessThanOrEqual(256)
  })

  it('decode: what is refused later is a failed record with its bytes, in its place', async () => {
    const serde = laterSerde(json(), (value) => (value as { n: number }).n % 100 === 0)
    await run((records) =>
      records.pipe(decode(Item, { from: serde }), deadLetter({ topic: 'dead' }), toTopic({ topic: 'out', value: json() })),
    )
    expect(await read(cluster)).toEqual(inOrder.filter((n) => n % 100 !== 0))
    expect(await read(cluster, 'dead')).toEqual([0, 100, 200, 300, 400, 500])
  })

  it('toTopic and route: order is kept over records whose serde answers at once and later, and those that are copied', async () => {
    const later = laterSerde(json())
    const mixed = {
      ...later,
      encode: (value: unknown) => ((value as { n: number }).n % 3 === 0 ? JSON.stringify(value) : later.encode(value)),
    }
    await run((records) =>
      records.pipe(
        decode(Item),
        dropFailed(),
        toTopic({ topic: 'other', key: laterSerde(string()) as never, value: mixed }),
        route({ to: () => 'out', topics: ['out'], fallback: 'other', value: mixed }),
      ),
    )
    expect(await read(cluster)).toEqual(inOrder)
    expect(await read(cluster, 'other')).toEqual(inOrder)
    expect((await contents(cluster, 'other')).map(({ key }) => key)).toEqual(input.map(({ key }) => key))
    expect(later.mostOpen).toBeLessThanOrEqual(512)
  })

  it('toTopic: what is refused later is the failure of its record alone', async () => {
    const serde = laterSerde(json(), (value) => (value as { n: number }).n === 321)
    await runUntil(
      cluster,
      { group: 'g', topics: ['in'], records: COUNT, options: { retryDelay: 5, onError: { deadLetter: 'dead' } } },
      (records) => records.pipe(decode(Item), dropFailed(), toTopic({ topic: 'out', value: serde })),
    )
    expect(await read(cluster)).toEqual(inOrder.filter((n) => n !== 321))
    expect(await read(cluster, 'dead')).toEqual([321])
  })

  it('toTopic: bytes are asked for later too', async () => {
    const nothing = { name: 'nothing', async: true as const, encode: () => Promise.resolve(undefined as never), decode: () => undefined }
    await expect(run((records) => records.pipe(toTopic({ topic: 'out', value: nothing as never })))).rejects.toMatchObject({
      code: 'RECORD_FAILED',
      message: expect.stringContaining('is undefined, not bytes, text or null: give toTopic a serde') as string,
    })
  })

  it('repartition: both ways', async () => {
    const serde = laterSerde(json<{ n: number }>())
    await run(
      (records) =>
        records.pipe(
          decode(Item),
          dropFailed(),
          repartition({ key: (record) => `${record.value.n % 5}`, value: serde }),
          mapValue(({ n }) => ({ n })),
          toTopic({ topic: 'out', value: json() }),
        ),
      2 * COUNT,
    )
    expect(await read(cluster)).toEqual(inOrder)
    expect(serde.calls).toBeGreaterThanOrEqual(2 * COUNT)
  })

  it('tables: rows are read when asked for, once, and a row that cannot be read fails who asks for it', async () => {
    await cluster.produce({
      topic: 'rows',
      records: Array.from({ length: 7 }, (_, i) => ({ key: `k${i}`, value: JSON.stringify({ row: i }) })),
    })
    await cluster.produce({ topic: 'other', records: input.slice(0, 28) })
    const serde = laterSerde(json<{ row: number }>(), (value) => (value as { row: number }).row === 3)
    const rows = table({ topic: 'rows', value: serde })
    await runUntil(
      cluster,
      { group: 'g', topics: ['other'], records: 28, options: { retryDelay: 5, onError: { deadLetter: 'dead' } } },
      (records) =>
        records.pipe(
          decode(Item),
          dropFailed(),
          joinTable(rows, { join: ({ value }, { row }) => ({ ...value, row }) }),
          toTopic({ topic: 'out', value: json() }),
        ),
    )
    expect((await contents(cluster, 'out')).map(({ value }) => JSON.parse(String(value)) as unknown)).toEqual(
      inOrder.slice(0, 28).flatMap((n) => (n % 7 === 3 ? [] : [{ n, row: n % 7 }])),
    )
    expect(await read(cluster, 'dead')).toEqual([3, 10, 17, 24])
    expect(serde.calls).toBeLessThan(30)
  })

  it('tables: schemas that check with a promise', async () => {
    await cluster.produce({ topic: 'rows', records: [{ key: 'k1', value: '{"n":7}' }] })
    const rows = table({ topic: 'rows', value: Item.refine((row) => Promise.resolve(row.n > 0)) })
    await run((records) => records.pipe(joinTable(rows, { join: (_, { n }) => String(n) }), toTopic({ topic: 'out' })))
    expect(new Set(await values(cluster, 'out'))).toEqual(new Set(['7']))
  })

  it('the environment is to blame for what it is: the pipeline waits, nothing fails, a stop is not held up', async () => {
    const kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} } })
    const [reads, writes] = [laterSerde(json()), laterSerde(json())]
    const running = kit.run(
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(
          withTransaction(
            (records) =>
              records.pipe(decode(Item, { from: reads }), deadLetter({ topic: 'dead' }), toTopic({ topic: 'out', value: writes })),
            { onError: { deadLetter: 'dead' } },
          ),
        ),
    )
    reads.down = true
    await kit.feed('in', [{ value: '{"n":1}' }, { value: '{"n":2}' }])
    await kit.advance('10m')
    expect(await kit.read('out')).toEqual([])
    // At 200 ms, 400 ms ... 5 s, by one record.
    expect(reads.calls).toBeLessThan(140)
    reads.down = false
    writes.down = true
    await kit.advance('10m')
    expect(await kit.read('out')).toEqual([])
    expect(writes.calls).toBeLessThan(140)
    writes.down = false
    await kit.advance('6s')
    expect((await kit.read('out')).map(({ value }) => value)).toEqual(['{"n":1}', '{"n":2}'])
    expect(await kit.read('dead')).toEqual([])
    reads.down = true
    await kit.feed('in', { value: '{"n":3}' })
    await kit.advance('1s')
    await running.stop()
    await kit.stop()
  })

  it('a table can be asked from outside: the answer is there when it is asked again', async () => {
    const kit = await createTestKit({ topics: { in: {}, rows: {}, out: {} } })
    await kit.feed('rows', { key: 'a', value: '{"n":5}' })
    const rows = table({ topic: 'rows', value: laterSerde(json<{ n: number }>()) })
    const pipeline = kit.cluster
      .source({ group: 'g', topics: ['in'] })
      .pipe(withTransaction((records) => records.pipe(joinTable(rows, { kind: 'left', join: () => '' }), toTopic({ topic: 'out' }))))
    kit.run(pipeline)
    await kit.feed('in', { key: 'x', value: '' })
    const query = queryStore<{ n: number }>(pipeline, 'rows')
    expect(query.get('a')).toEqual({ at: 'unavailable', partition: 0 })
    expect(await until(() => [query.get('a')].find(({ at }) => at === 'here'))).toEqual({ at: 'here', partition: 0, value: { n: 5 } })
    expect(query.get('b')).toMatchObject({ at: 'here', value: undefined })
    expect(() => [...query.entries()]).toThrow(/ask for its keys one by one/)
    await kit.stop()
  })

  it('a serde that answers at once costs no promise a record', async () => {
    const through = (n: number): Promise<number> =>
      promisesOf(() =>
        sliceOf(input.slice(0, n), (records) =>
          records.pipe(
            decode(Item),
            map((item) => (item instanceof FailedRecord ? item : item.with({ value: { n: item.value.n + 1 } }))),
            dropFailed(),
            repartition({ key: () => 'a', value: json() }),
            toTopic({ topic: 'out', value: json() }),
          ),
        ).done(),
      )
    const written = (n: number): Promise<number> =>
      promisesOf(() =>
        sliceOf(input.slice(0, n), (records) => records.pipe(decode(Item), dropFailed(), toTopic({ topic: 'out', value: json() }))).done(),
      )
    for (const made of [through, written]) {
      await made(10)
      expect(await made(600)).toBe(await made(300))
    }
    // It does count.
    const later = await promisesOf(() =>
      sliceOf(input.slice(0, 300), (records) => records.pipe(decode(Item, { from: laterSerde(json()) }))).done(),
    )
    expect(later).toBeGreaterThan(300)
  })
})
