import { describe, expect, it } from 'vitest'
import { Agenda } from '../../src/runtime/agenda.js'
import { Outputs } from '../../src/runtime/outputs.js'
import { Round, type RoundEnd } from '../../src/runtime/round.js'
import type { RoundEnvironment } from '../../src/runtime/round-environment.js'
import { StepProfile } from '../../src/runtime/status/step-profile.js'
import { TimeLedger } from '../../src/runtime/status/time-ledger.js'
import { TaskState } from '../../src/runtime/task-state.js'
import type { Task } from '../../src/runtime/task.js'
import { Wakeup } from '../../src/runtime/wakeup.js'
import { silentLogger } from '../../src/record/logger.js'
import { VirtualClock } from '../../src/testing/index.js'
import type { Slice } from '../../src/runtime/slice.js'

/** Tasks that do nothing but count how often they are asked. */
class ManyTasks {
  looks = 0
  /** Records that wait, by partition. */
  readonly waiting: number[]
  readonly dates: number[]
  readonly tasks: Task[]
  readonly clock = new VirtualClock()
  readonly agenda = new Agenda(this.clock)

  constructor(readonly count: number) {
    this.waiting = Array.from({ length: count }, () => 0)
    this.dates = Array.from({ length: count }, () => Number.POSITIVE_INFINITY)
    this.tasks = this.waiting.map((_, partition) => this.task(partition))
    this.agenda.reset(this.tasks)
  }

  /** Looks while `work` is done. */
  async counted(work: () => Promise<unknown>): Promise<number> {
    const before = this.looks
    await work()
    return this.looks - before
  }

  async run(
    maxRecords = Math.max(100, this.count),
  ): Promise<{ readonly end: RoundEnd; readonly records: number; readonly touched: readonly number[] }> {
    const environment = {
      group: 'g',
      taskCount: this.count,
      inputs: ['in'],
      project: (records) => records,
      outputs: new Outputs([], true),
      producer: { pendingBytes: 0 } as unknown as RoundEnvironment['producer'],
      clock: this.clock,
      logger: silentLogger,
      shared: new Map(),
      standing: undefined as never,
      wakeup: new Wakeup(this.clock),
      streamBytes: 1_000_000,
      stallAfterMs: 60_000,
      drainMs: 0,
      demand: () => 'none',
      before: undefined,
      time: new TimeLedger(this.clock),
      profile: new StepProfile(this.clock, undefined),
    } satisfies Partial<RoundEnvironment>
    const limits = { everyMs: 100, maxRecords, maxBytes: 1e9, live: true }
    const tasks = this.agenda.without(() => false)
    const round = new Round(tasks, limits, environment as unknown as RoundEnvironment)
    const ended = round.run()
    await this.clock.advance('1s')
    const end = await ended
    const touched = round.touched()
    for (const { partition } of touched) this.fed[partition] = 0
    return { end, records: round.records, touched: touched.map(({ partition }) => partition) }
  }

  private readonly fed: number[] = []

  private task(partition: number): Task {
    const { waiting, dates, fed } = this
    const look = <T>(value: T): T => {
      this.looks++
      return value
    }
    const task = {
      partition,
      alarms: { untilNext: () => look(Number.POSITIVE_INFINITY) },
      state: new TaskState(partition, []),
      ready: true,
      behind: false,
      records: 0,
      nextDue: (by: string) => look(by === 'date' ? (dates[partition] as number) : Number.POSITIVE_INFINITY),
      get bytes() {
        return look((fed[partition] ?? 0) * 100)
      },
      get dirty() {
        return look((fed[partition] ?? 0) > 0)
      },
      inputs: { updateViews: () => look(undefined) },
      advance: () => look((waiting[partition] as number) > 0),
      feed: (_slice: Slice, max: number) => {
        const records = Math.min(max, waiting[partition] as number)
        waiting[partition] = (waiting[partition] as number) - records
        dates[partition] = Number.POSITIVE_INFINITY
        fed[partition] = (fed[partition] ?? 0) + records
        return records
      },
    }
    return task as unknown as Task
  }
}

describe('a round over many tasks', () => {
  it('looks at each that has something as often, however many there are', async () => {
    const looksAtAll = async (count: number): Promise<number> => {
      const many = new ManyTasks(count)
      many.waiting.fill(1)
      return many.counted(async () => expect(await many.run()).toMatchObject({ end: { kind: 'done' }, records: count }))
    }
    const [few, all] = [await looksAtAll(10), await looksAtAll(1_000)]
    expect(all / few).toBeLessThanOrEqual(100)
  })

  it('gives tasks that all have more than there is room for equal parts, up to the last record', async () => {
    const many = new ManyTasks(4)
    many.waiting.fill(5_000)
    expect(await many.run(4_000)).toMatchObject({ end: { kind: 'done' }, records: 4_000 })
    expect(many.waiting).toEqual([4_000, 4_000, 4_000, 4_000])
  })

  /** Looks at all tasks while one of them has a record, comes due, or nothing happens. */
  const looksForOne = async (count: number): Promise<Record<string, number>> => {
    const many = new ManyTasks(count)
    expect((await many.run()).end).toEqual({ kind: 'idle' })
    const record = await many.counted(async () => {
      many.waiting[7] = 1
      many.agenda.wakePartition(7)
      expect(await many.run()).toMatchObject({ end: { kind: 'done' }, records: 1, touched: [7] })
    })
    const nothing = await many.counted(async () => expect((await many.run()).end).toEqual({ kind: 'idle' }))
    // What waits in each task is due at another time.
    many.dates.forEach((_, i) => {
      many.dates[i] = many.clock.now() + 60_000 + i
      many.tasks[i]?.onDue()
    })
    many.dates[5] = many.clock.now() + 50
    many.tasks[5]?.onDue()
    expect(many.agenda.untilDue()).toBe(50)
    many.waiting[5] = 1
    const due = await many.counted(async () => {
      expect((await many.run()).end).toEqual({ kind: 'idle' })
      expect(await many.run()).toMatchObject({ end: { kind: 'done' }, touched: [5] })
    })
    return { record, nothing, due }
  }

  it('looks at the one of 4,000 that has something, and at no other', async () => {
    const few = await looksForOne(40)
    const many = await looksForOne(4_000)
    expect([many['record'], many['nothing']]).toEqual([few['record'], 0])
    // The index of what is due looks at the ends of a tree.
    expect(many['due']).toBeLessThan((few['due'] as number) + 20)
  })

  it('those that are left out keep their turn, and those that had one go behind the others', () => {
    const { agenda, tasks } = new ManyTasks(4)
    const turns = (leftOut = -1): number[] =>
      agenda
        .without(({ partition }) => partition === leftOut)
        .take()
        .map(({ partition }) => partition)
    const all = agenda.without(() => false)
    const look = (partition: number, found: boolean): void => {
      const task = tasks[partition] as Task
      all.begin(task)
      all.end(task, found)
    }
    look(0, true)
    look(2, false)
    expect([turns(3), turns()]).toEqual([
      [1, 0],
      [1, 3, 0],
    ])
    agenda.wakePartition(2)
    expect(turns()).toEqual([1, 3, 0, 2])
  })

  it('looks at all of them now and then, whatever is told of them', async () => {
    const many = new ManyTasks(40)
    await many.run()
    many.waiting[7] = 1
    expect((await many.run()).end).toEqual({ kind: 'idle' })
    await many.clock.advance('10s')
    expect(await many.run()).toMatchObject({ end: { kind: 'done' }, touched: [7] })
  })
})
