import { randomBytes } from 'node:crypto'
import { map, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  deadLetter,
  dedupe,
  header,
  readFailure,
  record,
  recordKey,
  silentLogger,
  taskClaims,
  toTopic,
  withTransaction,
  type HeadersInput,
  type ProduceRecord,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

const newKit = () =>
  createTestKit({
    topics: { in: { partitions: 1 }, out: { partitions: 1 }, dead: { partitions: 1 } },
    start: 1_000_000,
    logger: silentLogger,
  })

/** Runs a project over records, and gives what it wrote and what became of the others. */
async function run(
  project: (records: RecordStream) => Observable<unknown>,
  records: readonly ProduceRecord[],
): Promise<{ out: readonly { timestamp: number; value: string }[]; dead: readonly string[] }> {
  const kit = await newKit()
  kit.run(
    kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true, onError: { deadLetter: 'dead' } })),
  )
  await kit.feed('in', records)
  await kit.advance('1m')
  const out = (await kit.read('out')).map(({ timestamp, value }) => ({ timestamp, value: String(value) }))
  const dead = (await kit.read('dead')).map(({ value, headers }) => `${String(value)} ${readFailure(headers)?.code}`)
  await kit.stop()
  return { out, dead }
}

const NO_TIMES: readonly (readonly [string, unknown])[] = [
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['a fraction', 1_000.5],
  ['nanoseconds', 1_755_933_141_855_875_000],
  ['a Date', new Date(5_000)],
  ['a text', '5000'],
  ['null', null],
]

describe('a time that is no time', () => {
  for (const [name, time] of NO_TIMES) {
    it(`${name} is refused by with, record and produce; its record alone fails, and none is stored with another time`, async () => {
      const times: unknown[] = [5_000, time, 6_000]
      const project = (records: RecordStream) =>
        records.pipe(
          map((one) => one.with({ timestamp: times[Number(String(one.value))] as number })),
          toTopic({ topic: 'out' }),
        )
      expect(
        await run(
          project,
          ['0', '1', '2'].map((value) => ({ value })),
        ),
      ).toEqual({
        out: [
          { timestamp: 5_000, value: '0' },
          { timestamp: 6_000, value: '2' },
        ],
        dead: ['1 INVALID_TIMESTAMP'],
      })
      expect(() => record({ key: 'k', value: 'v', timestamp: time as number })).toThrow(/record: timestamp must be a whole number/)
      const kit = await newKit()
      const produced = kit.cluster.produce({ topic: 'out', records: [{ value: 'a' }, { value: 'b', timestamp: time as number }] })
      await expect(produced).rejects.toThrow(/timestamp must be a whole number/)
      expect((await kit.read('out')).map(({ value }) => value)).toEqual(['a'])
      await kit.stop()
    })
  }
})

const NO_HEADERS: readonly (readonly [string, unknown, RegExp])[] = [
  ['a number', { n: 3 }, /header 'n': a value is text, bytes, null, or a list of these, got a number/],
  ['a boolean', { n: true }, /got a boolean/],
  ['a Date', { at: new Date(0) }, /got a value of class Date/],
  ['an object', { n: { a: 1 } }, /got a value of class Object/],
  ['an ArrayBuffer', { n: new ArrayBuffer(3) }, /got a value of class ArrayBuffer/],
  ['a list with undefined', { n: ['1', undefined] }, /got undefined/],
  ['a list of lists', { n: [['1']] }, /got a value of class Array/],
  ['a Map', new Map([['a', '1']]), /headers are an object of names and values, got a value of class Map/],
  ['entries', [['a', '1']], /got a value of class Array/],
  ['the Headers of fetch', new Headers({ a: '1' }), /got a value of class Headers/],
  ['a text', 'a: 1', /got a string/],
]

describe('headers that are none', () => {
  for (const [name, headers, message] of NO_HEADERS) {
    it(`${name}: refused where headers are given, and not stored as something else`, async () => {
      const given = headers as HeadersInput
      const replaced = (records: RecordStream) =>
        records.pipe(
          map((one) => (String(one.value) === '1' ? one.with({ headers: given }) : one)),
          toTopic({ topic: 'out' }),
        )
      const written = (records: RecordStream) =>
        records.pipe(toTopic({ topic: 'out', headers: (one: RawRecord) => (String(one.value) === '1' ? given : {}) }))
      for (const project of [replaced, written]) {
        const { out, dead } = await run(
          project,
          ['0', '1', '2'].map((value) => ({ value })),
        )
        expect([out.map(({ value }) => value), dead]).toEqual([['0', '2'], ['1 ENCODE_FAILED']])
      }
      expect(() => record({ key: 'k', value: 'v', headers: given })).toThrow(message)
      const kit = await newKit()
      await expect(kit.cluster.produce({ topic: 'out', records: [{ value: 'a', headers: given }] })).rejects.toThrow(message)
      await kit.stop()
    })
  }

  it('what is undefined is left out; null, empty text, bytes and lists are kept', () => {
    const bytes = Buffer.from([1, 2])
    const { headers } = record({
      key: 'k',
      value: 'v',
      headers: { a: undefined, b: null, c: '', d: bytes, e: ['1', null] } as unknown as HeadersInput,
    })
    expect({ ...headers }).toEqual({ b: null, c: Buffer.alloc(0), d: bytes, e: [Buffer.from('1'), null] })
  })
})

describe('ids that are not text', () => {
  const ids = Array.from({ length: 300 }, () => randomBytes(16))
  const twice = (make: (id: Buffer) => Partial<ProduceRecord>) => [...ids, ...ids].map((id) => ({ value: id.toString('hex'), ...make(id) }))

  it('300 raw UUIDs in a header are 300 ids, each of them one', async () => {
    const project = (records: RecordStream) =>
      records.pipe(dedupe({ by: header('id'), within: '1h', partitioned: true }), toTopic({ topic: 'out' }))
    const { out } = await run(
      project,
      twice((id) => ({ headers: { id } })),
    )
    expect(out.map(({ value }) => value)).toEqual(ids.map((id) => id.toString('hex')))
  })

  it('so are headers that were put there, and keys; an id is looked up as the text it is', async () => {
    const kit = await newKit()
    const seen = taskClaims()
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              dedupe({ by: recordKey(), within: '1h', store: seen, name: 'keys' }),
              map((one) => one.with({ headers: { id: one.key as Buffer } })),
              dedupe({ by: header('id'), within: '1h', partitioned: true }),
              toTopic({ topic: 'out' }),
            ),
          { provision: true },
        ),
      ),
    )
    await kit.feed(
      'in',
      twice((id) => ({ key: id })),
    )
    await kit.feed('in', [{ key: 'größer', value: 'text' }])
    await kit.advance('1s')
    expect(await kit.read('out')).toHaveLength(301)
    expect(seen.find('größer')?.origin.offset).toBe(600)
    const raw = ids.find((id) => !Buffer.from(id.toString('utf8'), 'utf8').equals(id)) as Buffer
    expect(seen.find(`base64:${raw.toString('base64')}`)?.duplicates).toBe(1)
    await kit.stop()
  })

  it('half a surrogate pair is no id: stored and read again it would be another', async () => {
    const project = (records: RecordStream) =>
      records.pipe(
        dedupe({ by: () => 'a\ud800', within: '1h', partitioned: true }),
        toTopic({ topic: 'out' }),
        deadLetter({ topic: 'dead' }),
      )
    expect(await run(project, [{ value: 'v' }])).toEqual({ out: [], dead: ['v MISSING_ID'] })
  })
})
