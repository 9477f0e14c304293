import type { Entry, Goal, ProgramName, Workload } from '../compare/workload.js'
import { bursts, fewAWindow, orders, ordersOfCustomers, pairs, tenAWindow, withDuplicates } from './inputs.js'
import { countsBySession, countsByWindow, finals, latest, once } from './verify.js'

const of = (program: ProgramName): Entry => ({ label: program, program })
/** The same program again, as if it were another: what it differs by from itself is noise. */
const CONTROL: Entry = { label: 'millrace again', program: 'millrace' }
const over = (program: string, atLeast: number): Goal => ({ of: 'millrace', over: program, atLeast })
const LOOPS = (['java-loop', 'kafkajs', 'platformatic', 'confluent', 'quixstreams'] as const).map(of)
const NODES = (['node 22', 'node 24'] as const).map((program): Entry => ({ label: `millrace, ${program}`, program }))
/** Of 20 bytes a record besides its value: its key, its lengths and its share of the batch's header. */
const floor = (bytes: number): Entry => ({
  label: 'memcpy, crc, socket',
  program: 'floor',
  env: { RECORD_BYTES: String(bytes + 20), VERIFY: 'none' },
})
const STREAMS = [of('millrace'), of('streams')]

const changed = (value: string): string => {
  const { id, sku, amount, note } = JSON.parse(value) as { id: number; sku: string; amount: number; note: string }
  return `${id} ${sku} ${amount} ${note}`
}
const raised = (value: string): string => {
  const parsed = JSON.parse(value) as { amount: number }
  return changed(JSON.stringify({ ...parsed, amount: parsed.amount + 1 }))
}
const parsed = ({ key, value }: { key: string; value: string }): string => `${key} ${changed(value)}`

const WINDOW_MS = 10_000
const GAP_MS = 5_000
/** Kafka Streams looks for closed windows once a second, so at its end some are left. */
const CLOSED = 0.3

function copyOf(id: string, bytes: number): Workload {
  const share = bytes > 1_000 ? 20 : bytes > 100 ? 4 : 1
  return {
    id,
    title: `copy${bytes === 100 ? '' : `, records of ${bytes / 1000} kB`}`,
    mode: 'pass',
    entries: bytes === 100 ? [...STREAMS, CONTROL, ...NODES, ...LOOPS] : [...STREAMS, of('java-loop'), floor(bytes)],
    goals: bytes === 100 ? [over('streams', 5), over('java-loop', 2)] : [{ ...over('memcpy, crc, socket', 0.5), by: 'cpu' }],
    records: (asked) => Math.round(asked / share),
    inputs: (records) => [orders(records, bytes)],
    verify: (output, records) => once(output, orders(records, bytes), ({ key, value }) => `${key} ${value}`),
  }
}

function changeOf(id: string, bytes: number): Workload {
  const share = bytes > 1_000 ? 20 : bytes > 100 ? 4 : 1
  return {
    id,
    title: `parse JSON, change a field, write it${bytes === 100 ? '' : `, records of ${bytes / 1000} kB`}`,
    mode: 'json',
    entries: bytes === 100 ? [...STREAMS, ...NODES, ...LOOPS] : STREAMS,
    goals: bytes === 100 ? [over('streams', 2.5)] : [],
    records: (asked) => Math.round(asked / share),
    inputs: (records) => [orders(records, bytes)],
    verify: (output, records) => once(output, orders(records, bytes), ({ key, value }) => `${key} ${raised(value)}`, parsed),
  }
}

const guarantees = [10, 100, 1_000].flatMap((ms): Entry[] =>
  ['exactly-once', 'at-least-once'].map((guarantee) => ({
    label: `${guarantee}, ${ms} ms`,
    program: 'millrace',
    env: { COMMIT_MS: String(ms), GUARANTEE: guarantee },
  })),
)

/** What it costs to look: steps timed in one slice of a hundred, and the status served, its metrics scraped each second. */
const looked: readonly Entry[] = [
  of('millrace'),
  CONTROL,
  { label: 'millrace, sampled 1 in 100', program: 'millrace', env: { SAMPLE_STEPS: '100' } },
  { label: 'millrace, scraped each second', program: 'millrace', env: { SCRAPE_MS: '1000' } },
]

export const WORKLOADS: readonly Workload[] = [
  copyOf('W1', 100),
  {
    ...copyOf('W1s', 100),
    title: 'copy, looked at from outside',
    entries: looked,
    goals: [
      { of: 'millrace, sampled 1 in 100', over: 'millrace', atLeast: 0.98 },
      { of: 'millrace, scraped each second', over: 'millrace', atLeast: 0.99 },
      { of: 'millrace, sampled 1 in 100', over: 'millrace', atLeast: 0.98, by: 'cpu' },
      { of: 'millrace, scraped each second', over: 'millrace', atLeast: 0.99, by: 'cpu' },
    ],
  },
  changeOf('W2', 100),
  {
    id: 'W2z',
    title: 'parse JSON, check it (zod), leave half out, write it',
    mode: 'zod',
    entries: [...STREAMS, of('kafkajs')],
    goals: [over('streams', 1.5)],
    records: (asked) => asked,
    inputs: (records) => [orders(records)],
    verify: (output, records) =>
      once(output, orders(records), ({ key, value }, i) => ((i % 97) % 2 === 0 ? `${key} ${raised(value)}` : undefined), parsed),
  },
  {
    id: 'W3',
    title: 'dedupe, 10 % duplicates',
    mode: 'dedupe',
    entries: [of('millrace'), { label: 'millrace, copy', program: 'millrace', env: { MODE: 'pass', VERIFY: 'none' } }],
    goals: [over('millrace, copy', 0.5)],
    records: (asked) => asked,
    inputs: (records) => [withDuplicates(records)],
    verify: (output, records) =>
      once(
        output,
        withDuplicates(records),
        ({ key }, i) => (i % 10 === 9 ? undefined : key),
        ({ key }) => key,
      ),
  },
  {
    id: 'W4',
    title: 'count in 10 s windows, 10 records a window and key, final results',
    mode: 'count',
    entries: [...STREAMS, { label: 'streams, in memory', program: 'streams', env: { STORE: 'memory' } }],
    goals: [over('streams', 6)],
    records: (asked) => asked,
    inputs: (records) => [tenAWindow(records)],
    verify: (output, records) => finals(output, countsByWindow(tenAWindow(records), WINDOW_MS), CLOSED),
  },
  {
    id: 'W4h',
    title: 'count in 10 s windows, 1.3 records a window and key, updates',
    mode: 'updates',
    entries: STREAMS,
    goals: [over('streams', 4)],
    records: (asked) => Math.round(asked / 2),
    inputs: (records) => [fewAWindow(records)],
    verify: (output, records) => latest(output, countsByWindow(fewAWindow(records), WINDOW_MS)),
  },
  {
    id: 'W4s',
    title: 'count in sessions of 5 records, gap 5 s, final results',
    mode: 'sessions',
    entries: STREAMS,
    goals: [over('streams', 3)],
    records: (asked) => Math.round(asked / 2),
    inputs: (records) => [bursts(records)],
    verify: (output, records) => finals(output, countsBySession(bursts(records), GAP_MS), CLOSED),
  },
  {
    id: 'W4j',
    title: 'join of two streams within 5 s',
    mode: 'join',
    entries: STREAMS,
    goals: [over('streams', 3)],
    records: (asked) => Math.round(asked / 4),
    inputs: (records) => pairs(records),
    verify: (output, records) =>
      once(
        output,
        pairs(records)[0] as ReturnType<typeof pairs>[0],
        ({ key }, i) => `${key} ${i} ${i}`,
        ({ key, value }) => {
          const { left, right } = JSON.parse(value) as { left: number; right: number }
          return `${key} ${left} ${right}`
        },
      ),
  },
  {
    id: 'W4t',
    title: 'join with a table of 1,000,000 rows',
    mode: 'table',
    entries: STREAMS,
    goals: [over('streams', 3)],
    records: (asked) => Math.round(asked / 2),
    inputs: (records) => ordersOfCustomers(records),
    verify: (output, records) =>
      once(
        output,
        ordersOfCustomers(records)[0] as ReturnType<typeof ordersOfCustomers>[0],
        ({ key }, i) => `${key} ${i} city-${Number(key.slice(1)) % 500}`,
        ({ key, value }) => {
          const { id, city } = JSON.parse(value) as { id: number; city: string }
          return `${key} ${id} ${city}`
        },
      ),
  },
  {
    id: 'W6',
    title: 'copy, exactly-once against at-least-once, by commit interval',
    mode: 'pass',
    entries: guarantees,
    goals: [{ of: 'exactly-once, 100 ms', over: 'at-least-once, 100 ms', atLeast: 0.9 }],
    records: (asked) => asked,
    inputs: (records) => [orders(records)],
    verify: (output, records) => once(output, orders(records), ({ key, value }) => `${key} ${value}`),
  },
  copyOf('W12', 1_000),
  copyOf('W12b', 10_000),
  changeOf('W12c', 1_000),
  changeOf('W12d', 10_000),
]
