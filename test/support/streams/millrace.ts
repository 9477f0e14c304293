import { filter, map, type Observable } from 'rxjs'
import {
  aggregate,
  aggregator,
  hopping,
  joinStream,
  joinTable,
  session,
  sliding,
  string,
  table,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type JoinStreamOptions,
  type RecordStream,
  type StreamRecord,
  type Windows,
} from '../../../src/index.js'
import { createTestKit } from '../../../src/testing/index.js'
import type { Input, JoinScenario, Scenario, TableScenario, WindowScenario } from './scenarios.js'

/** What millrace makes of a scenario, on the embedded broker: in the words of the oracle. */
export async function runMillrace(scenario: Scenario): Promise<string[]> {
  const kit = await createTestKit({ topics: { in: {}, rows: { config: { 'cleanup.policy': 'compact' } }, out: {} } })
  try {
    kit.run(
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(withTransaction(projectOf(scenario), { every: 10, maxRecords: scenario.maxRecords, provision: true })),
    )
    for (const { topic, records } of portions(scenario)) {
      // Both sides of a join in one topic: so they are read in the order of the scenario.
      await kit.feed(
        topic === 'rows' ? 'rows' : 'in',
        records.map(({ topic, key, value, time }) => ({ key, value, headers: { topic }, timestamp: time })),
      )
      await kit.advance('1s')
    }
    return (await kit.read('out')).map(({ key, value }) => `${String(key)} ${String(value)}`)
  } finally {
    await kit.stop()
  }
}

/** What is fed before the other topic has its turn. */
function portions({ records }: Scenario): { readonly topic: 'rows' | 'in'; readonly records: readonly Input[] }[] {
  const all: { readonly topic: 'rows' | 'in'; readonly records: Input[] }[] = []
  for (const record of records) {
    const topic = record.topic === 'rows' ? 'rows' : 'in'
    const last = all.at(-1)
    if (last?.topic === topic) last.records.push(record)
    else all.push({ topic, records: [record] })
  }
  return all
}

type Project = (records: RecordStream) => Observable<unknown>
type Raw = StreamRecord<Buffer | null, Buffer | null>

function projectOf(scenario: Scenario): Project {
  switch (scenario.kind) {
    case 'inner':
    case 'left':
    case 'outer':
      return joined(scenario)
    case 'table-inner':
    case 'table-left':
      return withTable(scenario)
    case 'aggregate':
      return (records) => records.pipe(aggregate(ids, { emit: 'each' }), out)
    default:
      return windowed(scenario)
  }
}

const out = toTopic<StreamRecord<Buffer | null, string>>({ topic: 'out', value: string() })

const ids = aggregator({
  name: 'ids',
  init: (): string[] => [],
  add(state, { value }: Raw) {
    state.push(String(value))
    return state
  },
  merge(earlier, later) {
    earlier.push(...later)
    return earlier
  },
  result: (state) => state.join(),
})

export function windowsOf({ kind, size, advance }: WindowScenario): Windows {
  switch (kind) {
    case 'tumbling':
      return tumbling(size)
    case 'hopping':
      return hopping({ size, advance })
    case 'sliding':
      return sliding(size)
    case 'session':
      return session(size)
  }
}

const windowed =
  (scenario: WindowScenario): Project =>
  (records) =>
    records.pipe(
      window(windowsOf(scenario), { aggregate: ids, grace: scenario.grace }),
      map((result) => result.with({ value: `${result.value.start}-${result.value.end} ${result.value.result}` })),
      out,
    )

const joined =
  ({ kind, before, after, grace }: JoinScenario): Project =>
  (records) => {
    const of = (topic: string): Observable<Raw> => records.pipe(filter(({ headers }) => String(headers['topic']) === topic))
    const shown = (one: { readonly value: Buffer | null } | undefined): string => (one === undefined ? '-' : String(one.value))
    const options = { kind, within: { before, after }, grace, join: (left: never, right: never) => `${shown(left)}+${shown(right)}` }
    return of('left').pipe(joinStream(of('right'), options as unknown as JoinStreamOptions<Raw, Raw, string>), out)
  }

const withTable =
  ({ kind }: TableScenario): Project =>
  (records) => {
    const rows = table({ topic: 'rows', value: string() })
    const shown = (record: Raw, row: string | undefined): string => `${String(record.value)}+${row ?? '-'}`
    const operator =
      kind === 'table-left'
        ? joinTable<Raw, string, string>(rows, { kind: 'left', join: shown })
        : joinTable<Raw, string, string>(rows, { join: shown })
    return records.pipe(operator, out)
  }
