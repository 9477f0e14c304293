/**
 * What each stateful operator costs at n, 2n and 4n, in CPU, and the exponent by which that grows: 1 where each thing costs the same, 2
 * where each costs what there is already. Where the second half of the name says 'held', n are kept first, and what is measured is 300
 * commits of one record each beside them, which should not grow at all.
 *
 *   npm run bench:growth                                 table
 *   npm run bench:growth -- --json --n=100000 --runs=5
 *   npm run bench:growth -- --only=window,dedupe
 */
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import {
  aggregate,
  count,
  dedupe,
  delayUntil,
  embedded,
  hopping,
  joinStream,
  joinTable,
  json,
  keepResult,
  recordKey,
  schedule,
  session,
  silentLogger,
  sliding,
  store,
  table,
  timedStore,
  toTopic,
  tumbling,
  window,
  withStore,
  withTransaction,
  type ProduceRecord,
  type RawRecord,
  type RecordStream,
} from 'millrace'
import { filter, from, mergeMap, type Observable } from 'rxjs'
import { measureGrowth } from './compare/growth.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    n: { type: 'string', default: '50000' },
    runs: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
})
const N = Number(values.n)
const COMMITS = 300
const LATER = Date.now() + 86_400_000

type Rows = readonly ProduceRecord[]
interface Case {
  readonly project: (records: RecordStream) => Observable<unknown>
  /** What is kept first. */
  readonly held?: (n: number) => Rows
  readonly fed: (n: number) => Rows
  /** What is in a second topic, which is a table or, where `twoInputs` says so, an input. */
  readonly other?: (n: number) => Rows
  readonly twoInputs?: boolean
}

const rows = (n: number, one: (i: number) => { readonly key?: string; readonly at?: number }): Rows =>
  Array.from({ length: n }, (_, i) => {
    const { key = 'k', at = i } = one(i)
    return { key, value: '1', timestamp: at }
  })
const keys = (n: number): Rows => rows(n, (i) => ({ key: `k${i}`, at: 1_000 }))
const oneKey = (n: number): Rows => rows(n, () => ({}))
const few = (): Rows => rows(COMMITS, () => ({ key: 'few', at: 1_000 }))

const counted = (windows: Parameters<typeof window>[0], options: object = {}) => ({
  project: (records: RecordStream) =>
    records.pipe(window(windows, { aggregate: count(), ...options }), toTopic({ topic: 'out', value: json() })),
})
const delayed = (records: RecordStream): Observable<unknown> => records.pipe(delayUntil(() => LATER))
const once = (records: RecordStream): Observable<unknown> => records.pipe(dedupe({ by: recordKey(), within: '10m' }))
const carts = store<number>({ name: 'carts' })
const bounded = store<number>({ name: 'bounded', maxEntries: 1_000 })
const aged = store<number>({ name: 'aged', ttl: 1_000 })
const seen = timedStore<number>({ name: 'seen', ttl: 1_000 })
const rates = table({ topic: 'other', value: json<number>() })
const of = (records: RecordStream, topic: string): Observable<RawRecord> => records.pipe(filter(({ origin }) => origin.topic === topic))

const cases: Readonly<Record<string, Case>> = {
  'aggregate: records of one key': {
    project: (records) => records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() })),
    fed: oneKey,
  },
  'aggregate: keys': { project: (records) => records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() })), fed: keys },
  'aggregate: keys held': {
    project: (records) => records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() })),
    held: keys,
    fed: few,
  },
  'window, tumbling: one closes at each record': { ...counted(tumbling(1)), fed: oneKey },
  'window, tumbling: open ones': { ...counted(tumbling(1), { grace: '1d' }), fed: oneKey },
  'window, tumbling: open ones held': {
    ...counted(tumbling(1), { grace: '1d' }),
    held: oneKey,
    fed: (n) => rows(COMMITS, (i) => ({ at: n + i })),
  },
  'window, hopping, updates': { ...counted(hopping({ size: 10, advance: 2 }), { emit: 'updates' }), fed: oneKey },
  'window, session: records of one key': { ...counted(session(10)), fed: oneKey },
  'window, session: one closes at each record': { ...counted(session(1)), fed: (n) => rows(n, (i) => ({ at: i * 10 })) },
  'window, session: open ones of one key': { ...counted(session(1), { grace: '1d' }), fed: (n) => rows(n, (i) => ({ at: i * 10 })) },
  'window, session: open ones of one key held': {
    ...counted(session(1), { grace: '1d' }),
    held: (n) => rows(n, (i) => ({ at: i * 10 })),
    fed: (n) => rows(COMMITS, (i) => ({ at: n * 10 + i * 10 })),
  },
  'window, sliding: times in one window': { ...counted(sliding('1d')), fed: (n) => rows(n, (i) => ({ at: i === n - 1 ? 864e5 * 3 : i })) },
  'window, sliding: times in windows of 100': { ...counted(sliding(100)), fed: oneKey },
  'window, sliding: times in one window held': {
    ...counted(sliding('1d')),
    held: (n) => rows(n, (i) => ({ at: i * 10_000 })),
    fed: (n) => rows(COMMITS, (i) => ({ at: n * 10_000 + i })),
  },
  'joinStream: records of one key and time, without partners': {
    project: (records) =>
      of(records, 'in').pipe(
        joinStream(of(records, 'other'), { within: '1h', join: () => 'pair' }),
        toTopic({ topic: 'out', value: json() }),
      ),
    fed: (n) => rows(n, () => ({ at: 1_000 })),
    other: () => [],
    twoInputs: true,
  },
  'joinStream: records of one key that leave the window': {
    project: (records) =>
      of(records, 'in').pipe(
        joinStream(of(records, 'other'), { kind: 'left', within: 10, join: () => 'alone' }),
        toTopic({ topic: 'out', value: json() }),
      ),
    fed: oneKey,
    other: () => [],
    twoInputs: true,
  },
  'joinTable: rows': {
    project: (records) => records.pipe(joinTable(rates, { join: (record) => record.value }), toTopic({ topic: 'out' })),
    fed: keys,
    other: keys,
  },
  'dedupe: ids': { project: once, fed: keys },
  'dedupe: ids held': { project: once, held: keys, fed: () => rows(COMMITS, (i) => ({ key: `new${i}`, at: 1_000 })) },
  'dedupe: one id that repeats after its time': { project: once, fed: (n) => rows(n, (i) => ({ at: i * 600_000 })) },
  'dedupe: one id, over and over': { project: once, fed: (n) => rows(n, () => ({ at: 1_000 })) },
  'dedupe: ids held, all of maxIds': {
    project: (records) => records.pipe(dedupe({ by: recordKey(), within: '10m', maxIds: N })),
    held: keys,
    fed: () => rows(COMMITS, (i) => ({ key: `new${i}`, at: 1_000 })),
  },
  'dedupe, results kept': {
    project: (records) =>
      records.pipe(dedupe({ by: recordKey(), within: '10m' }), keepResult({ by: recordKey(), result: (record) => String(record.value) })),
    fed: keys,
  },
  'delayUntil: held': { project: delayed, fed: keys },
  'delayUntil: commits beside those held': { project: delayed, held: keys, fed: few },
  'delayUntil: one record made into many': {
    project: (records) =>
      records.pipe(
        mergeMap((record) => from(Array.from({ length: Number(record.value) }, () => record))),
        delayUntil(() => LATER),
      ),
    fed: (n) => [{ key: 'k', value: String(n), timestamp: 1 }],
  },
  'schedule: one id put off and off': {
    project: (records) => records.pipe(schedule({ at: (record) => LATER + record.timestamp, id: () => 'one', partitioned: true })),
    fed: oneKey,
  },
  'store: keys': { project: (records) => records.pipe(withStore(carts, (mine, { key }) => mine.put(key as Buffer, 1))), fed: keys },
  'store: maxEntries': { project: (records) => records.pipe(withStore(bounded, (mine, { key }) => mine.put(key as Buffer, 1))), fed: keys },
  'store: ttl': {
    project: (records) => records.pipe(withStore(aged, (mine, { key }) => mine.put(key as Buffer, 1))),
    fed: (n) => rows(n, (i) => ({ key: `k${i}` })),
  },
  'timedStore: the last of one key, with ttl': {
    project: (records) =>
      records.pipe(
        withStore(seen, (mine, { key, timestamp }) => {
          mine.put(key as Buffer, timestamp, 1)
          mine.last(key as Buffer, timestamp - 1)
          mine.delete(key as Buffer, timestamp - 1)
        }),
      ),
    fed: oneKey,
  },
}

/** CPU of the pipeline for what is fed, in milliseconds. */
async function cpuMs({ project, held, fed, other, twoInputs = false }: Case, n: number): Promise<number> {
  const cluster = embedded({ logger: silentLogger })
  const topics = other === undefined ? ['in'] : ['in', 'other']
  await cluster.createTopics([...topics, 'out'].map((topic) => ({ topic, partitions: 1 })))
  if (other !== undefined) await cluster.produce({ topic: 'other', records: other(n) })
  const first = held?.(n) ?? []
  const then = fed(n)
  // What is measured beside what is held comes one by one, each in a transaction of its own.
  const groups = held === undefined ? [then] : [first, ...then.map((record) => [record])]
  await cluster.produce({ topic: 'in', records: groups.shift() as Rows })
  const stop = new AbortController()
  let began = process.cpuUsage()
  let wanted = held === undefined ? then.length : first.length
  let read = 0
  let spent = 0
  await new Promise<void>((resolve, reject) => {
    cluster
      .source({ group: 'g', topics: twoInputs ? topics : ['in'], signal: stop.signal })
      .pipe(withTransaction(project, { provision: true, every: 1 }))
      .subscribe({
        next(commit) {
          read += commit.records
          if (read < wanted) return
          const next = groups.shift()
          if (next === undefined) {
            const { user, system } = process.cpuUsage(began)
            spent = (user + system) / 1_000
            stop.abort()
            return
          }
          if (wanted === first.length) began = process.cpuUsage()
          wanted += next.length
          void cluster.produce({ topic: 'in', records: next })
        },
        error: reject,
        complete: resolve,
      })
  })
  await cluster.close()
  return spent
}

const { rows: results, summary, exitCode } = await measureGrowth(cases, cpuMs, { n: N, runs: Number(values.runs), only: values.only })
if (values.json)
  console.log(
    JSON.stringify({ versions: { node: process.version, cores: cpus().length, runs: Number(values.runs) }, n: N, results }, null, 2),
  )
else {
  console.log(`n = ${N}, medians of ${values.runs} runs, CPU; node ${process.version}, ${cpus().length} cores`)
  console.table(results)
  console.log(summary)
}
process.exitCode = exitCode
