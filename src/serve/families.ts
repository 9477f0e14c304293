import {
  BREAKER_STATES,
  BUCKETS_MS,
  PIPELINE_STATES,
  TASK_STATES,
  hasEnded,
  type Histogram,
  type PipelineStatus,
} from '../runtime/status/status.js'

export interface Sample {
  readonly value: number
  readonly labels: Readonly<Record<string, string | number>>
  /** Of histograms, whose samples have names of their own. */
  readonly metricName?: string
}

/** One metric: its name, and how its samples are read off a status. */
export interface Family {
  readonly name: string
  readonly type: 'gauge' | 'counter' | 'histogram'
  readonly help: string
  samples(status: PipelineStatus): readonly Sample[]
}

const OUTCOMES = ['processed', 'filtered', 'duplicate', 'late', 'failed'] as const

const one = (value: number | undefined, labels: Sample['labels'] = {}): Sample[] => (value === undefined ? [] : [{ value, labels }])
const seconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : ms / 1_000)
const longest = (spans: readonly number[]): number => spans.reduce((most, ms) => Math.max(most, ms), 0) / 1_000

function gauge(name: string, help: string, samples: Family['samples']): Family {
  return { name: `millrace_${name}`, type: 'gauge', help, samples }
}

function counter(name: string, help: string, samples: Family['samples']): Family {
  return { name: `millrace_${name}`, type: 'counter', help, samples }
}

function histogram(short: string, help: string, of: (status: PipelineStatus) => Histogram): Family {
  const name = `millrace_${short}`
  return {
    name,
    type: 'histogram',
    help,
    samples: (status) => {
      const { count, sumMs, buckets } = of(status)
      return [
        ...buckets.map((value, i) => ({ value, labels: { le: (BUCKETS_MS[i] as number) / 1_000 }, metricName: `${name}_bucket` })),
        { value: count, labels: { le: '+Inf' }, metricName: `${name}_bucket` },
        { value: sumMs / 1_000, labels: {}, metricName: `${name}_sum` },
        { value: count, labels: {}, metricName: `${name}_count` },
      ]
    },
  }
}

/** All metrics, each read off the status: what a name means stands here and nowhere else. The label `group` comes to all of them. */
export const FAMILIES: readonly Family[] = [
  gauge('pipeline_state', '1 for the state the pipeline is in', ({ state }) =>
    PIPELINE_STATES.map((of) => ({ value: of === state ? 1 : 0, labels: { state: of } })),
  ),
  gauge('member_stable', '1 while the member is stable in its group', ({ member }) => one(member.state === 'stable' ? 1 : 0)),
  gauge('tasks', 'Tasks of this member by state', ({ tasks }) =>
    TASK_STATES.map((state) => ({ value: tasks.filter((task) => task.state === state).length, labels: { state } })),
  ),
  gauge('lag_records', 'Offsets behind the end, over all partitions of this member', ({ lag }) => one(lag.records)),
  gauge('lag_seconds', 'Age of the oldest record that is not committed', ({ lag }) => one(seconds(lag.ms))),
  gauge('partition_lag_records', 'Offsets between what is committed and the end', ({ partitions }) =>
    partitions.flatMap(({ topic, partition, lag }) => one(lag, { topic, partition })),
  ),
  gauge('partition_lag_seconds', 'Age of the next record of the partition', ({ partitions }) =>
    partitions.flatMap(({ topic, partition, lagMs, held }) => (held ? [] : one(seconds(lagMs), { topic, partition }))),
  ),
  gauge('partition_committed_offset', 'The next offset to read as far as committed', ({ partitions }) =>
    partitions.flatMap(({ topic, partition, committed }) => one(committed, { topic, partition })),
  ),
  gauge('transaction_open_seconds', 'Age of the transaction under way, 0 where there is none', ({ transaction }) =>
    one((transaction?.openMs ?? 0) / 1_000),
  ),
  gauge('waiting_seconds', 'How long it has waited for the log or the group, 0 where it does not', ({ waits }) =>
    one(longest(waits.map(({ forMs }) => forMs))),
  ),
  counter('records_total', 'Committed records by what became of them', ({ totals }) =>
    OUTCOMES.map((outcome) => ({ value: totals[outcome], labels: { outcome } })),
  ),
  counter('outputs_total', 'Committed records written, by topic', ({ written }) =>
    Object.entries(written).map(([topic, value]) => ({ value, labels: { topic } })),
  ),
  counter('transactions_total', 'Transactions by how they ended', ({ commits }) => [
    { value: commits.committed, labels: { result: 'committed' } },
    { value: commits.aborted, labels: { result: 'aborted' } },
    { value: commits.unknown, labels: { result: 'unknown' } },
  ]),
  histogram('transaction_duration_seconds', 'From the first record to the commit', ({ commits }) => commits.duration),
  histogram('commit_duration_seconds', 'The commit itself', ({ commits }) => commits.commit),
  gauge('last_commit_timestamp_seconds', 'When it last committed', ({ commits }) => one(seconds(commits.last?.at))),
  counter('dead_letters_total', 'Records committed to dead-letter topics', ({ deadLetters }) =>
    Object.entries(deadLetters.byTopic).map(([topic, value]) => ({ value, labels: { topic } })),
  ),
  gauge('retry_held_records', 'Offsets in retry topics that wait for their time', ({ retries }) =>
    retries.map(({ topic, records }) => ({ value: records, labels: { topic } })),
  ),
  gauge('timers_waiting', 'Records of delayUntil and schedule that wait', ({ timers }) =>
    timers.map(({ name, waiting }) => ({ value: waiting, labels: { store: name } })),
  ),
  gauge('breaker_state', '1 for the state a circuit breaker is in', ({ breakers }) =>
    breakers.flatMap(({ step, state }) => BREAKER_STATES.map((of) => ({ value: of === state ? 1 : 0, labels: { step, state: of } }))),
  ),
  gauge('store_keys', 'Keys in a store', ({ stores }) => stores.map(({ name, keys }) => ({ value: keys, labels: { store: name } }))),
  gauge('store_bytes', 'Bytes of keys and values in a store, as stored', ({ stores }) =>
    stores.map(({ name, bytes }) => ({ value: bytes, labels: { store: name } })),
  ),
  counter('rebalances_total', 'Assignments got', ({ rebalances }) => one(rebalances.count)),
  histogram('rebalance_duration_seconds', 'From the news of a rebalance to the assignment', ({ rebalances }) => rebalances.duration),
  gauge('restoring_seconds', 'How long the longest restore under way has taken', ({ tasks }) =>
    one(longest(tasks.map(({ restoring }) => restoring?.forMs ?? 0))),
  ),
  gauge('restore_left_offsets', 'Offsets of changelogs still to read', ({ tasks }) =>
    one(tasks.reduce((sum, { restoring }) => sum + (restoring === undefined ? 0 : (restoring.total ?? 0) - restoring.done), 0)),
  ),
  gauge('unread_partitions', 'Partitions that cannot be read', ({ unread }) => one(unread.length)),
  counter('log_lines_total', 'Warnings and errors in the log', ({ logged }) => [
    { value: logged.warnings, labels: { level: 'warn' } },
    { value: logged.errors, labels: { level: 'error' } },
  ]),
  counter('meter_total', 'What meter and the operators counted', ({ meters }) =>
    Object.entries(meters).map(([meter, value]) => ({ value, labels: { meter } })),
  ),
]

/** A status, and its samples of a family under the labels of its pipeline. */
export interface Told {
  readonly status: PipelineStatus
  samples(family: Family): readonly Sample[]
}

/** Those that are told of: of a group that runs again, not what ended before; each with what tells it from others of its group here. */
export function told(pipelines: readonly PipelineStatus[]): readonly Told[] {
  const count = new Map<string, number>()
  return pipelines
    .filter((status, i) => {
      const others = pipelines.filter((other, j) => other.group === status.group && j !== i)
      return !hasEnded(status) || !others.some((other) => !hasEnded(other) || pipelines.indexOf(other) > i)
    })
    .map((status) => {
      const before = count.get(status.group) ?? 0
      count.set(status.group, before + 1)
      const labels: Sample['labels'] = before === 0 ? { group: status.group } : { group: status.group, member: before + 1 }
      const samples: Told['samples'] = (family) =>
        family.samples(status).map((sample) => ({ ...sample, labels: { ...labels, ...sample.labels } }))
      return { status, samples }
    })
}
