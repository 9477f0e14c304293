import { map } from 'rxjs'
import { afterEach, beforeEach, expect, it } from 'vitest'
import {
  attempt,
  deadLetter,
  delayUntil,
  retryTopic,
  route,
  schedule,
  toTopic,
  withTransaction,
  type ErrorPolicy,
  type RawRecord,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const topics = { in: { partitions: 1 }, out: { partitions: 1 }, dead: { partitions: 1 } }
let kit: TestKit<typeof topics>

beforeEach(async () => {
  kit = await createTestKit({ topics })
})
afterEach(() => kit.stop())

const written = async (topic: string) => (await kit.read(topic)).map(({ value }) => value)

it('order by key: what comes later for a key waits behind what is retried, other keys do not', async () => {
  let broken = true
  const inOrder = kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
    withTransaction(
      (records) =>
        records.pipe(
          attempt(({ value }) => {
            if (broken && String(value) === 'ada opens an account') throw new Error('not now')
          }),
          retryTopic({ delays: ['1s', '1m'], ordered: 'key' }),
          deadLetter({ topic: 'dead' }),
          toTopic({ topic: 'out' }),
        ),
      { provision: true },
    ),
  )
  kit.run(inOrder)
  await kit.feed('in', [
    { key: 'ada', value: 'ada opens an account' },
    { key: 'ada', value: 'ada pays in' },
    { key: 'bob', value: 'bob pays in' },
  ])
  await kit.advance('500ms')
  expect(await written('out')).toEqual(['bob pays in'])
  broken = false
  await kit.advance('5s')
  expect(await written('out')).toEqual(['ada opens an account', 'ada pays in'])
})

it('an error in a plain RxJS operator: the record is found, and onError says what becomes of it', async () => {
  const careless = (onError: ErrorPolicy) =>
    kit.cluster.source({ group: JSON.stringify(onError), topics: ['in'] }).pipe(
      withTransaction(
        (records) =>
          records.pipe(
            map((record) => {
              if (String(record.value) === 'poison') throw new Error('a bug')
              return record
            }),
            toTopic({ topic: 'out' }),
          ),
        { onError },
      ),
    )
  await kit.feed(
    'in',
    ['a', 'poison', 'b'].map((value) => ({ value })),
  )
  kit.run(careless({ deadLetter: 'dead' }))
  await kit.advance('5s')
  expect([await written('out'), await written('dead')]).toEqual([['a', 'b'], ['poison']])

  const skipping = kit.run(careless('skip'))
  await kit.advance('5s')
  expect(await written('out')).toEqual(['a', 'b'])
  expect(skipping.commits.reduce((sum, { failed }) => sum + failed, 0)).toBe(1)

  kit.run(careless('stop')) // the default
  await expect(kit.advance('5s')).rejects.toMatchObject({ code: 'RECORD_FAILED', origin: { topic: 'in', partition: 0, offset: 1 } })
})

it('a kind of record that nobody foresaw goes to the fallback, never away', async () => {
  await kit.cluster.createTopics([
    { topic: 'paid', partitions: 1 },
    { topic: 'unknown', partitions: 1 },
  ])
  const known: Record<string, string> = { payment: 'paid' }
  kit.run(
    kit.cluster
      .source({ group: 'g', topics: ['in'] })
      .pipe(
        withTransaction((records) =>
          records.pipe(route({ to: (record) => known[String(record.key)], topics: ['paid'], fallback: 'unknown' })),
        ),
      ),
  )
  await kit.feed('in', [
    { key: 'payment', value: '5' },
    { key: 'dividend', value: '7' },
  ])
  await kit.advance('1s')
  expect([await written('paid'), await written('unknown')]).toEqual([['5'], ['7']])
})

it('not a failure, only too early: a record waits for a time of its own, and can be called back', async () => {
  const at = ({ value }: RawRecord) => Number(String(value).split(' at ')[1])
  kit.run(
    kit.cluster
      .source({ group: 'g', topics: ['in'] })
      .pipe(
        withTransaction(
          (records) =>
            records.pipe(
              schedule({ at, cancel: ({ value }) => String(value) === 'never mind' }),
              delayUntil(at),
              toTopic({ topic: 'out' }),
            ),
          { provision: true },
        ),
      ),
  )
  await kit.feed('in', [
    { key: 'ada', value: 'call ada at 60000' },
    { key: 'bob', value: 'call bob at 60000' },
  ])
  await kit.advance('30s')
  await kit.feed('in', [
    { key: 'ada', value: 'call ada at 90000' },
    { key: 'bob', value: 'never mind' },
  ])
  await kit.advance('50s')
  expect(await written('out')).toEqual([])
  await kit.advance('50s')
  expect(await written('out')).toEqual(['call ada at 90000'])
})
