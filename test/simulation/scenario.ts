import fc from 'fast-check'
import type { Fault } from '../../src/testing/index.js'

/** What becomes of a record in the pipeline under test. */
export type Kind =
  | 'plain'
  /** Takes a while. */
  | 'slow'
  /** Filtered out. */
  | 'dropped'
  /** Its slice throws, each time. */
  | 'poison'
  /** Its slice fails each time, some while after it was read. */
  | 'rejects'
  /** What is made of it does not fit into its topic. */
  | 'large'
  /** Cannot be decoded. */
  | 'garbled'
  /** Its step fails so often, then succeeds. */
  | 'fails1'
  | 'fails2'
  | 'fails9'

export interface FedRecord {
  readonly key: number
  readonly kind: Kind
  /** Event time goes on by so much, or back. */
  readonly step: number
  /** Has the id of the record so many before it, in its partition. 0: one of its own. */
  readonly again: number
  /** Of a join: which input. */
  readonly right: boolean
}

export type Step =
  | { readonly do: 'feed'; readonly records: readonly FedRecord[] }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'start' | 'crash' | 'stop'; readonly slot: number }
  | { readonly do: 'rebalance' | 'expire' }
  | { readonly do: 'fault'; readonly fault: Fault }
  /** Somebody sets the date of the machine. */
  | { readonly do: 'date'; readonly ms: number }
  /** One partition more, where the pipeline keeps nothing that goes by their number. */
  | { readonly do: 'grow' }

export const CORES = [
  ...(['copy', 'route', 'count', 'store', 'delay', 'schedule', 'repartition'] as const),
  ...(['window', 'hopping', 'sliding', 'session', 'idle'] as const),
  ...(['joinStream', 'joinLeft', 'joinOuter', 'joinTable', 'joinTableLeft'] as const),
]
export type Core = (typeof CORES)[number]

/** A pipeline, what is fed to it, and what goes wrong meanwhile. */
export interface Scenario {
  readonly core: Core
  readonly dedupe: 'none' | 'task' | 'shared' | 'bloom'
  readonly failures: 'none' | 'retry' | 'ordered' | 'dead'
  readonly partitions: number
  readonly keys: number
  readonly maxRecords: number
  readonly every: number
  readonly streamBytes: number
  readonly standbys: number
  /** Which members are static ones. */
  readonly named: 'none' | 'all' | 'some'
  readonly onError: 'skip' | 'dead' | 'stop'
  readonly guarantee: 'exactly-once' | 'at-least-once'
  /** Faults that hit the redrive of the dead letters; undefined where they stay. */
  readonly redrive: readonly Fault[] | undefined
  readonly steps: readonly Step[]
  /** What random numbers and names are made from. */
  readonly chance: number
  /** How likely it is that a stretch of work took long enough for others to have their turn in the middle of it. */
  readonly turnsOver: number
  /** How often limits are looked at that adapt, 0 for never; what is told of the memory then is made from `chance`. */
  readonly autoTune: number
}

/** Members at most. */
export const SLOTS = 3

const delayMs = fc.constantFrom(10, 400, 3_000, 15_000, 30_000)
const after = fc.nat(6)
const times = fc.integer({ min: 1, max: 3 })

/** At each call of the port, what a broker or the way to it may do. */
const fault = fc.oneof(
  fc.record({ at: fc.constantFrom('produce', 'offsets'), reaction: fc.constantFrom('abort', 'reinit'), after, times }),
  fc.record({ at: fc.constant('offsets'), reaction: fc.constantFrom('lost', 'rejoin'), after }),
  fc.record({ at: fc.constant('end'), reaction: fc.constant('indeterminate'), tookEffect: fc.boolean(), after }),
  fc.record({ at: fc.constant('end'), reaction: fc.constantFrom('abort', 'reinit'), after }),
  fc.record({ at: fc.constant('init'), reaction: fc.constant('retry'), tookEffect: fc.boolean(), after, times }),
  fc.record({ at: fc.constant('abort'), reaction: fc.constant('reinit'), after }),
  fc.record({ at: fc.constant('join'), reaction: fc.constant('retry'), after, times }),
  fc.record({ at: fc.constant('sync'), reaction: fc.constantFrom('rejoin', 'lost', 'retry'), after }),
  fc.record({ at: fc.constant('heartbeat'), reaction: fc.constantFrom('rejoin', 'lost', 'retry'), after, times }),
  fc.record({ at: fc.constantFrom('fetch', 'committedOffsets'), reaction: fc.constant('retry'), after, times }),
  fc.record({
    at: fc.constantFrom('init', 'produce', 'offsets', 'end', 'abort', 'join', 'sync', 'heartbeat', 'fetch', 'committedOffsets'),
    delayMs,
    after,
  }),
) as fc.Arbitrary<Fault>

const record: fc.Arbitrary<FedRecord> = fc.record({
  key: fc.nat(4),
  kind: fc.oneof(
    { weight: 8, arbitrary: fc.constant<Kind>('plain') },
    {
      weight: 4,
      arbitrary: fc.constantFrom<Kind>('slow', 'dropped', 'poison', 'rejects', 'large', 'garbled', 'fails1', 'fails2', 'fails9'),
    },
  ),
  step: fc.integer({ min: -6, max: 9 }),
  again: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 6 }) }),
  right: fc.boolean(),
})

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('feed'), records: fc.array(record, { minLength: 1, maxLength: 14, size: 'max' }) }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('advance'), ms: fc.constantFrom(1, 10, 60, 400, 3_000, 12_000) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('start', 'crash', 'stop'), slot: fc.nat(SLOTS - 1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('rebalance', 'expire') }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('fault'), fault }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('date'), ms: fc.constantFrom(-60_000, -2_000, -1, 5, 3_000, 60_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('grow') }) },
) as fc.Arbitrary<Step>

export function scenarios(cores: readonly Core[] = CORES): fc.Arbitrary<Scenario> {
  const drawn: fc.Arbitrary<Scenario> = fc.record({
    core: fc.constantFrom(...cores),
    dedupe: fc.constantFrom('none', 'none', 'task', 'shared', 'bloom'),
    failures: fc.constantFrom('none', 'retry', 'ordered', 'dead'),
    partitions: fc.integer({ min: 1, max: 3 }),
    keys: fc.integer({ min: 1, max: 5 }),
    maxRecords: fc.constantFrom(1, 3, 8, 1_000),
    every: fc.constantFrom(5, 30, 100),
    streamBytes: fc.constantFrom(1, 1_000_000),
    standbys: fc.constantFrom(0, 0, 1),
    named: fc.constantFrom('none', 'all', 'some'),
    onError: fc.constantFrom('skip', 'dead', 'stop'),
    guarantee: fc.constantFrom('exactly-once', 'exactly-once', 'at-least-once'),
    redrive: fc.option(fc.array(fault, { maxLength: 3 }), { nil: undefined }),
    steps: fc.array(step, { minLength: 3, maxLength: 35, size: 'max' }),
    chance: fc.nat(),
    turnsOver: fc.constantFrom(0, 0.05, 0.5),
    // Last, so that a seed makes of all before it what it made without.
    autoTune: fc.constantFrom(0, 0, 100, 2_000),
  })
  return drawn.map(sensible)
}

/** As drawn, less what has no outcome that can be told. */
function sensible(one: Scenario): Scenario {
  let { failures, guarantee, steps } = one
  // A record that was retried keeps its time and comes late, and replaces nothing newer: what then comes out depends on when it came.
  if (timed.includes(one.core) && again.includes(failures)) failures = 'dead'
  // Done twice, all else but a copy is another result.
  if (!(['copy', 'route'] as Core[]).includes(one.core) || one.dedupe !== 'none' || again.includes(failures)) guarantee = 'exactly-once'
  if (one.onError === 'stop') steps = without(steps, poisons)
  // One side that waits would have the other overtake it, and what is handed out alone depends on who came first.
  if (one.core === 'joinLeft' || one.core === 'joinOuter') steps = without(steps, (kind) => kind === 'slow')
  // One that was parked behind another of its key has claimed its id, whatever becomes of it, and whether it was is a matter of time.
  if (one.dedupe !== 'none' && failures === 'ordered') steps = without(steps, (kind) => kind === 'large', 'poison')
  return { ...one, failures, guarantee, steps: withFewFenced(steps) }
}

function without(steps: readonly Step[], excluded: (kind: Kind) => boolean, instead: Kind = 'plain'): Step[] {
  return steps.map((step) =>
    step.do === 'feed' ? { ...step, records: step.records.map((each) => (excluded(each.kind) ? { ...each, kind: instead } : each)) } : step,
  )
}

/** A producer that is fenced more than four times in a row has a rival, and ends its pipeline; once it may be by who is put in its place. */
const MOST_FENCED = 3

function withFewFenced(steps: readonly Step[]): Step[] {
  let left = MOST_FENCED
  return steps.filter((step) => step.do !== 'fault' || step.fault.reaction !== 'reinit' || (left -= step.fault.times ?? 1) >= 0)
}

/** Whether it fails its slice. */
export function poisons(kind: Kind): boolean {
  return kind === 'poison' || kind === 'rejects' || kind === 'large'
}

/** Whether partitions may be added in mid-run. */
export function canGrow({ core, dedupe, failures }: Scenario): boolean {
  return (core === 'copy' || core === 'route') && (dedupe === 'none' || dedupe === 'shared') && !again.includes(failures)
}

export function joinsStreams(core: Core): boolean {
  return core === 'joinStream' || core === 'joinLeft' || core === 'joinOuter'
}

const timed: readonly Core[] = ['window', 'hopping', 'sliding', 'session', 'schedule']
const again: readonly Scenario['failures'][] = ['retry', 'ordered']
