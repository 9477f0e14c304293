import { AsyncLocalStorage } from 'node:async_hooks'
import { inspect } from 'node:util'
import { redrive, silentLogger, withTransaction, type Commit, type Logger } from '../../src/index.js'
import { createTestKit, type Fault, type RunningPipeline, type TestKit } from '../../src/testing/index.js'
import { withChance } from './chance.js'
import { MOST_PARTITIONS, differences, type Input, type Output, type Written } from './oracle.js'
import { OUT_BYTES, contentOf, projectOf, surroundings, textOf } from './pipeline.js'
import { SLOTS, canGrow, joinsStreams, type FedRecord, type Scenario } from './scenario.js'
import { Trace } from './trace.js'

const START = 1_000_000
const GROUP = 'g'
/** Event time of the records that close all windows, at the end of each partition. */
const FAR_MS = 1_000_000
/** So much virtual time is enough for any session, transaction, retry or delay to end. */
const SETTLE_MS = 300_000
const MOST_MS = 3_600_000
/** The date is set so far off at most. */
const MOST_OFF_MS = 60_000
/** A redrive that faults end is begun again so often. */
const REDRIVES = 6

interface Watching {
  /** Default: silent. */
  readonly logger?: Logger
  readonly trace?: Trace
}

/** Runs a scenario to its end, each time the same way; what it found wrong, or nothing. */
export function simulate(scenario: Scenario, { logger = silentLogger, trace = new Trace() }: Watching = {}): Promise<string[]> {
  return withChance(scenario.chance, scenario.turnsOver, () => simulated(scenario, trace.logger(logger), trace))
}

async function simulated(scenario: Scenario, logger: Logger, trace: Trace): Promise<string[]> {
  const { core, partitions } = scenario
  const inputs = joinsStreams(core) ? ['in', 'right'] : ['in']
  const kit = await createTestKit({ start: START, logger })
  trace.watch(kit.broker, () => kit.clock.now())
  const most = canGrow(scenario) ? MOST_PARTITIONS : partitions
  await kit.cluster.createTopics([
    { topic: 'out', partitions: most, config: { 'max.message.bytes': String(OUT_BYTES) } },
    { topic: 'late', partitions: most, config: { 'max.message.bytes': String(OUT_BYTES) } },
    ...['dead', 'redriven'].map((topic) => ({ topic, partitions: most })),
    ...inputs.map((topic) => ({ topic, partitions })),
  ])
  const problems = new Set<string>()
  const run = new Run(kit, scenario, inputs, problems, trace)
  try {
    if (core === 'joinTable' || core === 'joinTableLeft') await run.rows()
    await run.course()
    await run.settle()
    if (scenario.redrive !== undefined) await run.redrive(scenario.redrive)
    const written = await run.written()
    trace.note(inspect(written, { depth: 5 }))
    for (const problem of differences(scenario, await run.read(), written)) problems.add(problem)
  } catch (error) {
    problems.add(`failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  }
  try {
    await kit.stop()
  } catch (error) {
    problems.add(`did not stop: ${String(error)}`)
  }
  return [...problems]
}

/** Set while the input is written, in all that this does. */
const feeding = new AsyncLocalStorage<true>()

class Run {
  private readonly slots: (RunningPipeline | undefined)[] = Array.from({ length: SLOTS }, () => undefined)
  private readonly all: RunningPipeline[] = []
  private readonly fed: Input[][]
  private readonly around
  private time = START
  private number = 0
  private partitions: number
  private off = 0

  constructor(
    private readonly kit: TestKit,
    private readonly scenario: Scenario,
    private readonly inputs: readonly string[],
    private readonly problems: Set<string>,
    private readonly trace: Trace,
  ) {
    this.partitions = scenario.partitions
    this.fed = Array.from({ length: MOST_PARTITIONS }, () => [])
    this.around = surroundings(kit.clock, (what) => problems.add(what))
    const { faults } = kit.broker
    const due = faults.due.bind(faults)
    faults.due = (at, names) => ((at === 'init' || at === 'produce') && feeding.getStore() === true ? undefined : due(at, names))
  }

  /** A table, whole before the pipeline begins. */
  async rows(): Promise<void> {
    const { partitions, keys } = this.scenario
    await this.kit.cluster.createTopics([{ topic: 'rows', partitions, config: { 'cleanup.policy': 'compact' } }])
    for (let partition = 0; partition < partitions; partition++) {
      const whole = [...Array.from({ length: keys }, (_, key) => nameOf(partition, key)), flushName(partition)]
      // The rows of every other key are missing, where that matters.
      const names = this.scenario.core === 'joinTable' ? whole : whole.filter((_, key) => key % 2 === 1 && key < keys)
      await this.kit.feed(
        'rows',
        names.map((key) => ({ key, value: `row of ${key}`, partition })),
      )
    }
  }

  async course(): Promise<void> {
    const { kit } = this
    this.start(0)
    for (const step of this.scenario.steps) {
      switch (step.do) {
        case 'feed':
          await this.feed(step.records)
          break
        case 'advance':
          await kit.advance(step.ms)
          break
        case 'start':
          this.start(step.slot)
          break
        case 'crash':
        case 'stop':
          await this.slots[step.slot]?.[step.do]()
          this.slots[step.slot] = undefined
          break
        case 'rebalance':
          kit.broker.rebalance(GROUP)
          break
        case 'expire':
          kit.broker.expire(GROUP)
          break
        case 'fault':
          kit.broker.faults.inject(step.fault)
          break
        case 'date':
          this.setDate(Math.max(-MOST_OFF_MS, Math.min(MOST_OFF_MS, this.off + step.ms)))
          break
        case 'grow':
          if (canGrow(this.scenario) && this.partitions < MOST_PARTITIONS) kit.broker.addPartitions('in', ++this.partitions)
      }
    }
  }

  /** Lets everything come to its end: the input read, nothing open, nothing held. */
  async settle(): Promise<void> {
    const { kit } = this
    kit.broker.faults.clear()
    this.setDate(0)
    if (this.slots.every((one) => one === undefined || one.ended)) this.start(0)
    await this.flush()
    let quiet = 0
    for (let passed = 0; quiet < SETTLE_MS; passed += 5_000) {
      if (passed > MOST_MS)
        throw new Error(
          `not read to its end: ${await this.unread()} of the input, ${kit.broker.openTransactions().length} transactions open`,
        )
      await kit.advance(5_000)
      quiet = (await this.unread()) === 0 && kit.broker.openTransactions().length === 0 ? quiet + 5_000 : 0
    }
    for (const { commits } of this.all) {
      for (const commit of commits) {
        this.trace.note(inspect(commit, { depth: 4 }))
        this.account(commit)
      }
    }
  }

  /** All dead letters to a topic of their own, however often that takes. */
  async redrive(faults: readonly Fault[]): Promise<void> {
    const { kit } = this
    for (const fault of faults) kit.broker.faults.inject(fault)
    for (let tries = 1; ; tries++) {
      if (tries === REDRIVES) kit.broker.faults.clear()
      const state = { done: false, error: undefined as unknown }
      void redrive(kit.cluster, { from: 'dead', to: 'redriven' }).then(
        () => (state.done = true),
        (error: unknown) => Object.assign(state, { done: true, error }),
      )
      for (let passed = 0; !state.done; passed += 500) {
        if (passed > MOST_MS) throw new Error('redrive does not end')
        await kit.advance(500)
      }
      if (state.error === undefined) break
      if (tries > REDRIVES) throw new Error(`redrive fails: ${String(state.error)}`, { cause: state.error })
    }
    kit.broker.faults.clear()
  }

  private setDate(off: number): void {
    this.kit.clock.shiftDate(off - this.off)
    this.off = off
  }

  /** The input as it stands in the log, which is the order the pipeline is measured by. */
  async read(): Promise<Input[]> {
    return this.fed.flat()
  }

  async written(): Promise<Written> {
    const of = async (topic: string): Promise<Output[]> => {
      const found = (await this.kit.read(topic, { from: 'earliest' })) as Output[]
      return found.filter(({ value }) => topic !== 'out' || value !== null)
    }
    const redriven = this.scenario.redrive === undefined ? undefined : await of('redriven')
    return { out: await of('out'), late: await of('late'), dead: await of('dead'), redriven }
  }

  private start(slot: number): void {
    if (this.slots[slot]?.ended === false) return
    const { kit, scenario } = this
    const { every, maxRecords, streamBytes, standbys, named, guarantee, autoTune } = scenario
    const source = kit.cluster.source({
      group: GROUP,
      topics: this.inputs,
      sessionTimeout: '10s',
      rebalanceTimeout: '20s',
      standbys,
      ...((named === 'all' || (named === 'some' && slot % 2 === 0)) && { instanceId: `member-${slot}` }),
    })
    const project = projectOf(scenario, this.around)
    const onError = scenario.onError === 'dead' ? { deadLetter: 'dead' } : scenario.onError
    const running = kit.run(
      source.pipe(
        withTransaction(project, {
          onError,
          guarantee,
          retries: 1,
          retryDelay: 10,
          maxRecords,
          every,
          streamBytes,
          provision: true,
          ...(autoTune > 0 && { autoTune: { every: autoTune } }),
        }),
      ),
    )
    this.slots[slot] = running
    this.all.push(running)
  }

  private async feed(records: readonly FedRecord[]): Promise<void> {
    const { partitions } = this
    const { keys, core } = this.scenario
    const made = records.map(({ key: drawn, kind, step, again, right }) => {
      const id = this.number++
      const partition = drawn % partitions
      const before = again === 0 ? undefined : this.fed[partition]?.at(-again)
      const key = before === undefined ? drawn % keys : contentOf(before).key
      this.time = Math.max(START, this.time + step)
      const value = textOf({ kind, id, key, due: this.kit.clock.now() + (id % 4) * 1_500 })
      const topic = joinsStreams(core) && right ? 'right' : 'in'
      return { topic, partition, key: nameOf(partition, key), value, timestamp: this.time, id: before?.id ?? String(id) }
    })
    await this.put(made)
  }

  /** The input comes whole: faults are those of the pipeline's own calls. */
  private put(made: readonly Input[]): Promise<void> {
    return feeding.run(true, () => this.feedAll(made))
  }

  private async feedAll(made: readonly Input[]): Promise<void> {
    for (const one of made) this.fed[one.partition]?.push(one)
    for (const topic of this.inputs) {
      const records = made.filter((one) => one.topic === topic)
      if (records.length === 0) continue
      await this.kit.feed(
        topic,
        records.map(({ partition, key, value, timestamp, id }) => ({ partition, key, value, timestamp, headers: { id } })),
      )
    }
  }

  /** A record far ahead in each partition, so that every window before it closes. */
  private async flush(): Promise<void> {
    const { partitions } = this
    await this.put(
      Array.from({ length: partitions }, (_, partition) => {
        const id = this.number++
        const value = textOf({ kind: 'plain', id, key: 0, due: 0 })
        return { topic: 'in', partition, key: flushName(partition), value, timestamp: this.time + FAR_MS, id: String(id) }
      }),
    )
  }

  private async unread(): Promise<number> {
    let left = 0
    const committed = new Map(this.kit.broker.offsets(GROUP).map(({ topic, partition, offset }) => [`${topic}/${partition}`, offset]))
    for (const topic of this.inputs) {
      for (const { partition, offset } of await this.kit.broker.records(topic))
        if (offset >= (committed.get(`${topic}/${partition}`) ?? 0)) left++
    }
    return left
  }

  private account({ records, processed, filtered, duplicate, late, failed, tasks }: Commit): void {
    const parts = (one: { processed: number; filtered: number; duplicate: number; late: number; failed: number }): number =>
      one.processed + one.filtered + one.duplicate + one.late + one.failed
    if (records !== parts({ processed, filtered, duplicate, late, failed }))
      this.problems.add(`a commit of ${records} records accounts for others`)
    for (const task of tasks)
      if (task.records !== parts(task)) this.problems.add(`a task's ${task.records} records are accounted for otherwise`)
  }
}

function nameOf(partition: number, key: number): string {
  return `${partition}-${key}`
}

function flushName(partition: number): string {
  return `${partition}-last`
}
