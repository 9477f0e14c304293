import { filter, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  decode,
  delayUntil,
  dropFailed,
  embedded,
  joinStream,
  json,
  schedule,
  silentLogger,
  toTopic,
  withTransaction,
  type AnySerde,
  type Cluster,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'
import { sliceOf, type TestKit } from '../../src/testing/index.js'
import { laterSerde, promisesOf, type LaterSerde } from '../support/async-serde.js'
import { START, inOutDeadKit } from '../support/in-out-dead-kit.js'
import { contents, runUntil } from '../support/pipelines.js'

type Item = { readonly side: string; readonly n: number }
const Item = z.object({ side: z.string(), n: z.number() })
const COUNT = 600

/** Both sides of a join, some out of order, some too late, some without a partner. */
const input = (from = 0): { key: string; value: string; timestamp: number }[] =>
  Array.from({ length: COUNT }, (_, i) => {
    const n = from + i
    return {
      key: `k${n % 40}`,
      value: JSON.stringify({ side: n % 3 === 0 ? 'left' : 'right', n }),
      timestamp: 1_000_000 + n * 10 - (n % 11) * 90,
    }
  })

const joined =
  (serde: AnySerde<Item>, topic = 'out') =>
  (records: RecordStream): Observable<unknown> => {
    const items = records.pipe(decode(Item), dropFailed())
    const from = (side: string) => items.pipe(filter(({ value }) => value.side === side))
    return from('left').pipe(
      joinStream(from('right'), {
        within: '1s',
        grace: '200ms',
        kind: 'outer',
        leftValue: serde,
        rightValue: serde,
        join: (one, other) => ({ left: one?.value.n, right: other?.value.n }),
      }),
      toTopic({ topic, value: json() }),
    )
  }

describe('joinStream with values whose serde answers later', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded({ logger: silentLogger })
  })
  afterEach(() => cluster.close())

  const run = async (group: string, serde: AnySerde<Item>): Promise<readonly (string | null)[]> => {
    await cluster.createTopics(['in', 'out', 'dead'].map((topic) => ({ topic: `${group}-${topic}`, partitions: 1 })))
    for (const from of [0, COUNT]) {
      await cluster.produce({ topic: `${group}-in`, records: input(from) })
      // The second run has what the first left on its changelogs.
      await runUntil(
        cluster,
        {
          group,
          topics: [`${group}-in`],
          records: COUNT,
          options: { provision: true, retryDelay: 5, every: 20, maxRecords: 250, onError: { deadLetter: `${group}-dead` } },
        },
        joined(serde, `${group}-out`),
      )
    }
    return (await contents(cluster, `${group}-out`)).map(({ value }) => value)
  }
  it('gives what one that answers at once gives, in the same order, over restarts', async () => {
    const serde = laterSerde(json<Item>())
    const expected = await run('now', json<Item>())
    expect(await run('later', serde)).toEqual(expected)
    const kinds = expected.map((value) => Object.keys(JSON.parse(value as string) as object).join())
    expect(new Set(kinds)).toEqual(new Set(['left,right', 'left', 'right']))
    expect(serde.mostOpen).toBeGreaterThan(50)
    expect(serde.mostOpen).toBeLessThanOrEqual(2 * 256)
  })

  it('a value that is refused later is the failure of its record, and its pairs are not made', async () => {
    const refuses = (value: unknown): boolean => (value as Item).n === 303
    const values = await run('later', laterSerde(json<Item>(), refuses))
    expect((await contents(cluster, 'later-dead')).map(({ value }) => value)).toEqual([JSON.stringify({ side: 'left', n: 303 })])
    const expected = await run('now', json<Item>())
    expect(values).toContainEqual(expected.find((value) => value?.includes('"left":306')))
    expect(values.filter((value) => value?.includes('"left":303'))).toEqual([])
  })

  it('one that does not say so is told so', async () => {
    const silent = { ...laterSerde(json<Item>()), async: undefined } as unknown as AnySerde<Item>
    await expect(run('later', silent)).rejects.toThrow(/says so \(async: true\)/)
  })
})

interface Reminder {
  readonly name: string
  readonly at: number
}
const Reminder = z.object({ name: z.string(), at: z.number() })

describe('delays with values whose serde answers later', () => {
  const start = (kit: TestKit, value: AnySerde<Reminder>, cancels = false) =>
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction(
          (records) => {
            const reminders = records.pipe(decode(Reminder), dropFailed())
            const at = ({ value }: StreamRecord<unknown, Reminder>): number => START + value.at
            const held = cancels
              ? reminders.pipe(schedule({ at, cancel: ({ value }) => value.at < 0, value }))
              : reminders.pipe(delayUntil(at, { value }))
            return held.pipe(toTopic({ topic: 'out', value: json() }))
          },
          { provision: true, retryDelay: 1, onError: { deadLetter: 'dead' } },
        ),
      ),
    )
  const feed = (kit: TestKit, ...reminders: (readonly [name: string, at: number])[]): Promise<number> =>
    kit.feed(
      'in',
      reminders.map(([name, at]) => ({ key: name, value: JSON.stringify({ name, at }), partition: 0 })),
    )
  const outputs = async (kit: TestKit): Promise<string[]> =>
    (await kit.read('out', { from: 'earliest' })).map(({ value }) => {
      const { name, at } = JSON.parse(value as string) as Reminder
      return `${name}@${at}`
    })

  it.each([
    ['at once', (): AnySerde<Reminder> => json<Reminder>()],
    ['later', (): AnySerde<Reminder> => laterSerde(json<Reminder>())],
  ])('delayUntil: %s', async (_, serde) => {
    const kit = await inOutDeadKit()
    const first = start(kit, serde())
    await feed(kit, ['b', 5_000], ['now', 0], ['a', 1_000], ['c', 5_000], ['past', -100])
    await kit.advance('900ms')
    expect(await outputs(kit)).toEqual(['now@0', 'past@-100'])
    await kit.advance('300ms')
    expect(await outputs(kit)).toEqual(['now@0', 'past@-100', 'a@1000'])
    await first.stop()
    // What waits is on the changelog.
    start(kit, serde())
    await kit.advance('5s')
    expect(await outputs(kit)).toEqual(['now@0', 'past@-100', 'a@1000', 'b@5000', 'c@5000'])
    await kit.stop()
  })

  it.each([
    ['at once', (): AnySerde<Reminder> => json<Reminder>()],
    ['later', (): AnySerde<Reminder> => laterSerde(json<Reminder>())],
  ])('schedule: %s', async (_, serde) => {
    const kit = await inOutDeadKit()
    start(kit, serde(), true)
    await feed(kit, ['a', 1_000], ['b', 1_000], ['a', 2_000], ['c', 1_500], ['b', -1], ['a', 3_000])
    await kit.advance('10s')
    expect(await outputs(kit)).toEqual(['c@1500', 'a@3000'])
    await kit.stop()
  })

  it('one that is refused is the failure of its record; nobody to ask is waited for, before it is kept and when it is due', async () => {
    const kit = await inOutDeadKit()
    const serde: LaterSerde<Reminder> = laterSerde(json<Reminder>(), (value) => (value as Reminder).name === 'bad')
    serde.down = true
    start(kit, serde)
    const at = 15 * 60_000
    await feed(kit, ['a', at], ['bad', at], ['b', at])
    await kit.advance('10m')
    serde.down = false
    await kit.advance('10s')
    expect((await kit.read('dead', { from: 'earliest' })).map(({ value }) => value)).toEqual([`{"name":"bad","at":${at}}`])
    serde.down = true
    await kit.advance('10m')
    expect(await outputs(kit)).toEqual([])
    serde.down = false
    await kit.advance('10s')
    expect(await outputs(kit)).toEqual([`a@${at}`, `b@${at}`])
    await kit.stop()
  })
})

describe('a serde that answers at once', () => {
  const made = (n: number, project: (records: RecordStream) => Observable<unknown>): Promise<number> =>
    promisesOf(() => sliceOf(input().slice(0, n), project).done())
  const all: [string, (serde: AnySerde<Item>) => (records: RecordStream) => Observable<unknown>][] = [
    ['joinStream', joined],
    [
      'delayUntil',
      (value) => (records) =>
        records.pipe(
          decode(Item),
          dropFailed(),
          delayUntil(() => Date.now() + 3_600_000, { value }),
        ),
    ],
  ]

  it.each(all)('costs %s no promise a record', async (_, project) => {
    const now = project(json<Item>())
    await made(10, now)
    expect(await made(600, now)).toBe(await made(300, now))
    // It does count.
    expect(await made(300, project(laterSerde(json<Item>())))).toBeGreaterThan(300)
  })
})
