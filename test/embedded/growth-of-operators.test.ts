import { LINEAR, growthOfRun } from '../support/operations.js'
import { filter, from, mergeMap, type Observable } from 'rxjs'
import { afterEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  attempt,
  count,
  deadLetter,
  dedupe,
  delayUntil,
  joinStream,
  json,
  recordKey,
  retryTopic,
  schedule,
  session,
  sliding,
  store,
  timedStore,
  toTopic,
  tumbling,
  window,
  withStore,
  withTransaction,
  type Duration,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const START = 1_000_000
const LATER = START + 86_400_000
const N = 100

interface Case {
  readonly project: (records: RecordStream) => Observable<unknown>
  readonly fed?: (n: number) => readonly { readonly key?: string; readonly value?: string; readonly timestamp?: number }[]
  readonly options?: TransactionOptions
  readonly advance?: Duration
}

const each = { maxRecords: 1 }
const oneKey = (n: number) => Array.from({ length: n }, (_, i) => ({ key: 'k', timestamp: START + i }))
const keys = (n: number) => Array.from({ length: n }, (_, i) => ({ key: `k${i}`, timestamp: START + i }))
const oneTime = (n: number) => Array.from({ length: n }, () => ({ key: 'k', timestamp: START }))
const bounded = store<number>({ name: 'bounded', maxEntries: 10 })
const aged = store<number>({ name: 'aged', ttl: 10 })
const seen = timedStore<number>({ name: 'seen', ttl: 10 })
const of = (records: RecordStream, topic: string): Observable<RawRecord> => records.pipe(filter(({ origin }) => origin.topic === topic))
const windowed =
  (...[windows, options]: [Parameters<typeof window>[0], object?]) =>
  (records: RecordStream) =>
    records.pipe(window(windows, { aggregate: count(), ...options }), toTopic({ topic: 'out', value: json() }))

const cases: Readonly<Record<string, Case>> = {
  'aggregate, a commit each': {
    project: (records) => records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() })),
    fed: keys,
    options: each,
  },
  'tumbling windows that close': { project: windowed(tumbling(1)) },
  'tumbling windows that stay open, a commit each': { project: windowed(tumbling(1), { grace: '1d' }), options: each },
  'sessions of one key': { project: windowed(session(1), { grace: '1d' }), options: each },
  'times in one sliding window': { project: windowed(sliding('1d')), options: each },
  'joinStream: one key and time, a commit each': {
    project: (records) =>
      of(records, 'in').pipe(joinStream(of(records, 'dead'), { within: '1h', join: () => 1 }), toTopic({ topic: 'out', value: json() })),
    fed: oneTime,
    options: each,
  },
  'joinStream: records that leave the window': {
    project: (records) =>
      of(records, 'in').pipe(
        joinStream(of(records, 'dead'), { within: 5, kind: 'left', join: () => 1 }),
        toTopic({ topic: 'out', value: json() }),
      ),
  },
  'dedupe, a commit each': { project: (records) => records.pipe(dedupe({ by: recordKey(), within: '1h' })), fed: keys, options: each },
  'dedupe: one id over and over': { project: (records) => records.pipe(dedupe({ by: recordKey(), within: 3 })) },
  'delayUntil: one record made into many': {
    project: (records) =>
      records.pipe(
        mergeMap((record) => from(Array.from({ length: Number(record.value) }, () => record))),
        delayUntil(() => LATER),
      ),
    fed: (n) => [{ key: 'k', value: String(n) }],
  },
  'delayUntil: those that pass': {
    project: (records) =>
      records.pipe(
        delayUntil(({ timestamp }) => timestamp + 1_000),
        toTopic({ topic: 'out' }),
      ),
    advance: '20s',
  },
  'schedule: one id put off and off, a commit each': {
    project: (records) => records.pipe(schedule({ at: ({ timestamp }) => LATER + timestamp })),
    options: each,
  },
  'store: maxEntries': { project: (records) => records.pipe(withStore(bounded, (mine, { key }) => mine.put(key as Buffer, 1))), fed: keys },
  'store: ttl': { project: (records) => records.pipe(withStore(aged, (mine, { key }) => mine.put(key as Buffer, 1))), fed: keys },
  'timedStore: the last before': {
    project: (records) =>
      records.pipe(
        withStore(seen, (mine, { key, timestamp }) => {
          mine.put(key as Buffer, timestamp, 1)
          return mine.last(key as Buffer, timestamp)
        }),
      ),
  },
  'retryTopic: many wait behind one of their key': {
    project: (records) =>
      records.pipe(
        attempt(() => {
          throw new Error('not now')
        }),
        retryTopic({ delays: ['1h'], ordered: 'key' }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      ),
  },
}

describe('what a pipeline does grows with its records, not with what it keeps', () => {
  const kits: TestKit[] = []
  afterEach(async () => {
    for (const kit of kits.splice(0)) await kit.stop()
  })

  for (const [name, { project, fed = oneKey, options, advance = '5s' }] of Object.entries(cases)) {
    it(
      name,
      async () => {
        const run = async (n: number): Promise<void> => {
          const kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} }, start: START })
          kits.push(kit as unknown as TestKit)
          const topics = name.startsWith('joinStream') ? ['in', 'dead'] : ['in']
          kit.run(kit.cluster.source({ group: 'g', topics }).pipe(withTransaction(project, { provision: true, ...options })))
          await kit.feed('in', fed(n).map((row) => ({ value: '1', ...row })) as never)
          await kit.advance(advance)
        }
        // Whatever is made once.
        await run(10)
        expect(await growthOfRun(N, run)).toBeLessThan(LINEAR)
      },
      60_000,
    )
  }
})
