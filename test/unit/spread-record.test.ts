import { inspect } from 'node:util'
import { serialize } from 'node:v8'
import { EMPTY, catchError, map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  aggregator,
  attempt,
  dedupe,
  delayUntil,
  header,
  joinTable,
  json,
  mapValue,
  record,
  schedule,
  store,
  table,
  toTopic,
  window,
  tumbling,
  withStore,
  withTransaction,
  type RawRecord,
  type RecordStream,
  type Serde,
} from '../../src/index.js'
import { createTestKit, sliceOf, type TestKit } from '../../src/testing/index.js'

const SECRET = 'of-somebody-else'
type Any = Record<string, unknown>
/** As the types would not let it. */
const spread = (of: unknown): never => ({ ...(of as Any), vat: 1 }) as never
/** A serde that looks at nothing. */
const opaque: Serde<unknown> = {
  name: 'opaque',
  encode: (value) => Buffer.from(Object.keys(value as Any).join()),
  decode: (bytes) => bytes,
}

const makes: Record<string, (records: RecordStream) => Observable<unknown>> = {
  'attempt, async': (records) => records.pipe(attempt(async (r) => spread(r))),
  'attempt, sync': (records) => records.pipe(attempt((r) => spread(r))),
  'attempt with a breaker-less retry': (records) => records.pipe(attempt(async (r) => spread(r), { retry: { times: 2 } })),
  mapValue: (records) => records.pipe(mapValue((_, r) => spread(r))),
  with: (records) => records.pipe(map((r) => r.with({ value: spread(r) }))),
  'with, the key': (records) => records.pipe(map((r) => r.with({ key: spread(r) }))),
  'record()': (records) => records.pipe(map((r) => record(spread(r)))),
  'record(), the value': (records) => records.pipe(map((r) => record({ key: 'k', value: spread(r) }))),
  joinTable: (records) => records.pipe(joinTable(table({ topic: 'rows', value: json() }), { kind: 'left', join: (r) => spread(r) })),
  'toTopic of no record': (records) =>
    records.pipe(
      map((r) => spread(r)),
      toTopic({ topic: 'out', value: json() } as never),
    ),
  'toTopic, somewhere in a value': (records) =>
    records.pipe(
      mapValue((_, r) => ({ order: [spread(r)] })),
      toTopic({ topic: 'out', value: json() }),
    ),
  'aggregate, the state': (records) => records.pipe(aggregate(aggregator({ name: 'a', init: () => ({}), add: (_, r) => spread(r) }))),
  'aggregate, its serde looks at nothing': (records) =>
    records.pipe(aggregate(aggregator({ name: 'a', init: () => ({}), add: (_, r) => spread(r), serde: opaque as Serde<object> }))),
  'aggregate, the result': (records) =>
    records.pipe(
      aggregate(
        aggregator({
          name: 'a',
          init: () => ({ last: null as unknown }),
          add: (_, r) => ({ last: { at: r.timestamp } }),
          result: () => spread(record({ key: 1, value: 1 })),
        }),
      ),
    ),
  'window, the state': (records) =>
    records.pipe(
      window(tumbling('1m'), { emit: 'updates', aggregate: aggregator({ name: 'a', init: () => ({}), add: (_, r) => spread(r) }) }),
    ),
  withStore: (records) => records.pipe(withStore(store({ name: 's', ttl: '1h', value: json() }), (mine, r) => mine.put('k', spread(r)))),
  'withStore, somewhere in a value': (records) =>
    records.pipe(withStore(store({ name: 's', ttl: '1h', value: json() }), (mine, r) => mine.put('k', { order: spread(r) }))),
  delayUntil: (records) =>
    records.pipe(
      mapValue((_, r) => ({ order: spread(r) })),
      delayUntil(() => Date.now() + 1e9, { value: json(), key: json() } as never),
    ),
  schedule: (records) =>
    records.pipe(
      mapValue((_, r) => ({ order: spread(r) })),
      schedule({ at: () => Date.now() + 1e9, value: json(), key: json() } as never),
    ),
  'onDuplicate of dedupe': (records) =>
    records.pipe(
      dedupe({
        by: header('id'),
        within: '1h',
        partitioned: true,
        onDuplicate: (again) => again.pipe(map(({ record: r }) => r.with({ value: spread(r) }))),
      }),
    ),
}

describe('a record that is spread: its batch, with the records of others, goes nowhere', () => {
  let kit: TestKit

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: {}, out: {}, rows: { config: { 'cleanup.policy': 'compact' } } } })
    await kit.feed('in', [
      { key: 'a', value: 'x', headers: { id: 'one' }, timestamp: 1_000 },
      { key: 'b', value: SECRET, headers: { id: 'one' }, timestamp: 1_000 },
    ])
  })

  afterEach(() => kit.stop())

  it.each(Object.entries(makes))('%s: the pipeline ends and says what to write instead', async (_, project) => {
    let error: unknown
    const pipeline = kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true, onError: 'skip' }))
    kit.run(
      pipeline.pipe(
        catchError((reason: unknown) => {
          error = reason
          return EMPTY
        }),
      ),
    )
    await kit.advance('5s')
    expect(error).toMatchObject({ code: 'SPREAD_RECORD', message: expect.stringMatching(/record\.with\({ value.*mapValue/) as string })
    expect(await kit.read('out')).toEqual([])
  })

  it('whoever writes, clones or prints one meets a refusal or its own part', () => {
    let one: RawRecord | undefined
    let other: RawRecord | undefined
    sliceOf([{ key: 'a', value: 'mine' }], (records) => records.pipe(map((r) => (one = r))))
    sliceOf([{ key: 'a', value: 'mine' }], (records) =>
      records.pipe(
        map(
          (r) => (other = r),
          mapValue((v) => v),
        ),
      ),
    )
    for (const value of [spread(one), { deep: [spread(other)] }]) {
      expect(() => JSON.stringify(value)).toThrow(/spread of a record/)
      expect(() => structuredClone(value)).toThrow()
      expect(() => serialize(value)).toThrow()
    }
    expect(() => structuredClone(one)).toThrow()
    expect(JSON.parse(JSON.stringify(one))).toMatchObject({ topic: 'in', partition: 0, offset: 0 })
    for (const seen of buffers(one)) expect(seen.toString()).not.toContain('key-of-the-batch')
    expect(inspect(spread(one), { depth: 9 })).not.toContain('bytes')
  })
})

/** Every Buffer that enumeration reaches. */
function buffers(value: unknown, seen = new Set<unknown>()): Buffer[] {
  if (Buffer.isBuffer(value)) return [value]
  if (typeof value !== 'object' || value === null || seen.has(value)) return []
  seen.add(value)
  return Object.values(value).flatMap((part) => buffers(part, seen))
}
