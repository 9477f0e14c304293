import type { PartitionStatus, Phase } from '../../runtime/status/status.js'
import { perSecond, sumOf, type MemberMeasures } from '../../runtime/status/measures.js'
import type { Bound, Finding } from './finding.js'
import type { Measures } from './measures.js'

/** What takes less of the time is not told of beside what bounds the pipeline. */
const NOTABLE = 0.2
/** Garbage collection takes a few hundredths where there is memory. */
const GC_SHARE = 0.25
/** So full after a full collection, V8 soon does nothing else. */
const HEAP_SHARE = 0.85
/** So much of the lag in one partition, the others have next to nothing. */
const SKEWED = 0.8
/** Commits that take longer on the average are slow for any cluster. */
const SLOW_COMMIT_MS = 250
/** Something else keeps the event loop from what has arrived. */
const BUSY = 0.8

const BOUND_OF: Record<Phase, Bound> = {
  starting: 'broker',
  rebalancing: 'rebalances',
  restoring: 'rebalances',
  waiting: 'fetch',
  working: 'code',
  finishing: 'code',
  calling: 'downstream',
  sinking: 'downstream',
  sending: 'broker',
  committing: 'commit',
  recovering: 'failures',
}

/** What takes the time, the first what bounds it. */
export function findingsOf(measures: Measures): readonly [Finding, ...Finding[]] {
  const { slow, keepsUp } = measures
  const failed = slow.find(({ last }) => last.state === 'failed')
  if (failed !== undefined) return [ended(failed)]
  const total = sumOf(slow.map(({ elapsedMs }) => elapsedMs))
  const shares = new Map<Bound, number>()
  for (const { phases } of slow)
    for (const phase of Object.keys(phases) as Phase[])
      shares.set(BOUND_OF[phase], (shares.get(BOUND_OF[phase]) ?? 0) + (total > 0 ? phases[phase] / total : 0))
  const taken = [...shares]
    .filter(([bound, share]) => share >= NOTABLE && !(keepsUp && bound === 'fetch'))
    .sort((a, b) => b[1] - a[1])
    .map(([bound, share]) => told(bound, share, measures, total))
  const main = taken[0]
  const first = [memory(slow), skew(measures, main)].filter((finding) => finding !== undefined)
  const all = keepsUp ? [nothing(measures, total), ...first, ...taken] : [...first, ...taken]
  const [bound = nothing(measures, total), ...others] = all
  return [bound, ...others]
}

function told(bound: Bound, share: number, measures: Measures, total: number): Finding {
  const { slow } = measures
  const part = (...phases: Phase[]): number => sumOf(slow.flatMap((member) => phases.map((phase) => member.phases[phase]))) / total
  const of = (what: string, evidence: readonly string[], advice: readonly string[], step?: string): Finding => ({
    bound,
    share,
    what,
    step,
    evidence: [`${percent(share)} of the time`, ...evidence],
    advice,
  })
  switch (bound) {
    case 'fetch':
      return of(
        'records do not come fast enough: there is more in the log, and the pipeline waits for it',
        [
          ...slow
            .filter(({ busyShare }) => busyShare >= BUSY)
            .map(({ busyShare }) => `the event loop was busy ${percent(busyShare)} of it`),
          ...slow.flatMap(({ last }) => last.unread.map(({ topic, partition }) => `${topic}/${partition} cannot be read`)),
        ],
        [
          'raise prefetchBytes of the source: what is fetched at once is shared by its partitions',
          'see how long the brokers take to answer fetches: disk, quotas, network between the process and the cluster',
          'where the event loop is busy: move other work of this process elsewhere',
        ],
      )
    case 'code':
      return code(of, measures, part('working'), part('finishing'))
    case 'commit': {
      const commits = sumOf(slow.map((member) => member.commits))
      const each = commits === 0 ? 0 : sumOf(slow.map(({ commitMs }) => commitMs)) / commits
      const records = sumOf(slow.map((member) => member.records))
      return of(
        'offsets and the ends of transactions are waited for',
        [`${commits} commits of ${figure(each)} ms on the average`, `${figure(commits === 0 ? 0 : records / commits)} records each`],
        [
          'raise every (and maxRecords, if it is set low): fewer, larger transactions',
          ...(each >= SLOW_COMMIT_MS
            ? ['see the coordinator: replication and disks of the brokers that lead __transaction_state and __consumer_offsets']
            : []),
          "guarantee: 'at-least-once' where records may be written twice",
        ],
      )
    }
    case 'broker':
      return of(
        part('starting') > part('sending') ? 'the cluster is not to be reached' : 'the brokers acknowledge outputs slowly',
        [
          `${figure(perSecond(sumOf(slow.map(({ outputs }) => outputs)), total))} records written a second`,
          ...slow.flatMap(({ last }) => last.waits.map(({ what, forMs }) => `waits ${what}, for ${figure(forMs)} ms`)),
        ],
        [
          'see the brokers that lead the output topics: disk, replication (slow followers), quotas',
          "set compression ('lz4', 'zstd'), so that less is sent",
          'give the output topics more partitions, over more brokers',
        ],
      )
    case 'downstream':
      return downstream(of, measures, part('calling'), part('sinking'))
    case 'rebalances':
      return of(
        part('restoring') > part('rebalancing') ? 'state is restored' : 'the group divides its tasks anew',
        [
          `${sumOf(slow.map(({ rebalances }) => rebalances))} assignments got`,
          `${percent(part('rebalancing'))} joining, ${percent(part('restoring'))} reading state`,
        ],
        [
          'set instanceId, so that restarts cause no rebalance',
          'raise sessionTimeout where the event loop is blocked by synchronous work',
          'standbys: 1 keeps warm copies of state',
          'shorten what a slice takes: others wait for it to finish',
        ],
      )
    default:
      return of(
        'transactions were given up, and their records came again',
        [
          `${sumOf(slow.map(({ aborted }) => aborted))} given up, ${sumOf(slow.map(({ commits }) => commits))} committed`,
          ...slow.flatMap(({ last: { lastError } }) => (lastError === undefined ? [] : [`last: ${lastError.code ?? lastError.name}`])),
        ],
        ['see the log for what failed', 'handle failures per record: attempt, deadLetter, retryTopic; onError for what is left'],
      )
  }
}

type Of = (what: string, evidence: readonly string[], advice: readonly string[], step?: string) => Finding

function code(of: Of, { slow }: Measures, working: number, finishing: number): Finding {
  const steps = slow
    .flatMap((member) => member.steps)
    .map((step) => ({ ...step, ms: working >= finishing ? step.busyMs : Math.max(step.heldMs, step.busyMs) }))
    .sort((a, b) => b.ms - a.ms)
  const all = sumOf(steps.map(({ ms }) => ms))
  const [slowest] = steps
  const computes = working >= finishing
  const held = slow.flatMap(({ heldBy }) => heldBy)[0]
  const name = slowest !== undefined && slowest.ms > 0 ? slowest.step : computes ? undefined : held
  const sampled =
    slowest !== undefined && slowest.ms > 0
      ? [`it takes ${percent(slowest.ms / all)} of what the steps take, ${figure(slowest.ms / Math.max(1, slowest.items))} ms an item`]
      : name === undefined
        ? ['in which step is not known: none were sampled']
        : []
  return of(
    `${name ?? 'user code'} ${computes ? 'computes' : 'waits for something of its own (promises, timers)'}`,
    [`${percent(working)} computing, ${percent(finishing)} waiting`, ...sampled],
    [
      ...(name === undefined ? ['set sampleSteps: 100, or call analyze in the process, to see in which step'] : []),
      ...(computes
        ? ['do less in that step, or move it to worker threads', 'add members, up to the number of tasks: each computes in one thread']
        : ['raise the concurrency of that step (mergeMap)', 'use attempt for calls: it has concurrency, time limits and order by key']),
    ],
    name,
  )
}

function downstream(of: Of, { slow }: Measures, calling: number, sinking: number): Finding {
  const calls = slow
    .flatMap((member) => member.calls)
    .filter(({ made, underWay }) => made + underWay > 0)
    .sort((a, b) => b.timedMs - a.timedMs)
  const [slowest] = calls
  const breaker = slow.flatMap(({ last }) => last.breakers).find(({ state }) => state !== 'closed')
  const sinks = sinking > calling || slowest === undefined
  const step = sinks ? undefined : slowest.step
  return of(
    sinks ? 'a sink or a store outside the log is waited for' : `calls of '${slowest.step}' are waited for`,
    [
      `${percent(calling)} waiting for calls, ${percent(sinking)} for commits of sinks`,
      ...calls.map(
        ({ step: of, made, timed, timedMs, concurrency }) =>
          `'${of}': ${made} calls${timed === 0 ? '' : ` of ${figure(timedMs / timed)} ms on the average`}, ${concurrency} at once in each partition`,
      ),
      ...(breaker === undefined ? [] : [`the breaker of '${breaker.step}' is ${breaker.state}`]),
    ],
    sinks
      ? ['see the system outside: locks, indexes, disk, network', 'raise every: more rows in each of its transactions', 'write fewer rows']
      : [
          `raise concurrency of '${slowest.step}', if the service takes it`,
          'see why the service is slow; set a timeout',
          'add members, up to the number of tasks: each has calls of its own under way',
        ],
    step,
  )
}

function memory(slow: readonly MemberMeasures[]): Finding | undefined {
  const share = Math.max(...slow.map(({ gcShare }) => gcShare))
  const heap = Math.max(...slow.map(({ heapShare }) => heapShare))
  if (share < GC_SHARE && heap < HEAP_SHARE) return undefined
  return {
    bound: 'memory',
    share,
    what: share < GC_SHARE ? 'the heap is nearly full' : 'garbage is collected most of the time',
    step: undefined,
    evidence: [`${percent(share)} of the time collecting garbage`, `${percent(heap)} of the heap in use after the last full collection`],
    advice: [
      'give the process more: node --max-old-space-size=<MB>',
      'keep less: a ttl or maxEntries for stores, shorter windows; add members, so that each has fewer tasks',
      'lower maxBytes and prefetchBytes, and make less garbage for each record',
    ],
  }
}

/** One partition has the lag: more members, or more work at once over all, would not help. */
function skew({ members, keepsUp, taskCount }: Measures, main: Finding | undefined): Finding | undefined {
  const partitions = members.flatMap(({ last }) => last.partitions).filter(({ held }) => !held)
  if (keepsUp || taskCount < 2) return undefined
  const tasks = new Map<number, PartitionStatus[]>()
  for (const at of partitions) tasks.set(at.partition, [...(tasks.get(at.partition) ?? []), at])
  const lags = [...tasks].map(([partition, of]) => ({ partition, lag: sumOf(of.map(({ lag = 0 }) => lag)) }))
  const [worst] = lags.sort((a, b) => b.lag - a.lag)
  const all = sumOf(lags.map(({ lag }) => lag))
  if (worst === undefined || lags.length < 2 || worst.lag < SKEWED * all) return undefined
  // Where one thread computes for all tasks, it would be no faster were they even.
  const lone = members.length === 1 && members[0]?.last.tasks.length === taskCount
  const computes =
    main?.bound === 'code' && sumOf(members.map(({ phases }) => phases.working)) >= sumOf(members.map(({ phases }) => phases.finishing))
  if (lone && (computes || !(main?.bound === 'code' || main?.bound === 'downstream'))) return undefined
  return {
    bound: 'skew',
    share: worst.lag / all,
    what: `partition ${worst.partition} has ${percent(worst.lag / all)} of the lag, while the others have little to do`,
    step: undefined,
    evidence: [
      `${worst.lag} of ${all} records behind, over ${lags.length} partitions`,
      ...members
        .filter(({ alone }) => alone.ms > 0)
        .map(({ alone }) => `${figure(alone.ms)} ms waiting for one slice alone, most often that of partition ${alone.partition}`),
    ],
    advice: [
      'choose another key, or add something to the busiest ones, so that records spread: at the producer, or with repartition',
      'more members or partitions do not help as long as one key goes to one of them',
      ...(main === undefined ? [] : [`make what takes its time faster: ${main.what}`]),
    ],
  }
}

function nothing({ members, lag, recordsPerSecond, slow }: Measures, total: number): Finding {
  const share = total > 0 ? sumOf(slow.map(({ phases }) => phases.waiting)) / total : 0
  const states = new Set(members.map(({ last }) => last.state))
  const runs = states.has('running') || states.has('stopping')
  return {
    bound: 'nothing',
    share,
    what: runs ? 'it keeps up' : `it does not run: ${[...states].join(', ') || 'no status was taken'}`,
    step: undefined,
    evidence: [`${lag.after} records behind, ${figure(recordsPerSecond)} a second`, `${percent(share)} of the time waiting for records`],
    advice: [],
  }
}

function ended({ last: { lastError } }: MemberMeasures): Finding {
  return {
    bound: 'failures',
    share: 1,
    what: `the pipeline has failed${lastError === undefined ? '' : `: ${lastError.code ?? lastError.name}`}`,
    step: undefined,
    evidence: [],
    advice: [
      'see the log for what it failed with, and docs/failures.md',
      'restart it once the cause is mended: it goes on where it committed',
    ],
  }
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

function figure(value: number): string {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(2)))
}
