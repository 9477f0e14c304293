import type { Position } from '../log/port.js'
import { Turn } from '../record/turn.js'
import type { LogRecord, RawRecord } from '../record/record.js'
import { placeOf, timed, type Took } from '../record/durations.js'
import type { TaskTurns } from './agenda.js'
import type { Meter, Participant, Waits } from './context.js'
import { OpenSlices } from './open-slices.js'
import { progressOf } from './progress.js'
import type { RoundEnvironment } from './round-environment.js'
import { Slice } from './slice.js'
import type { Task } from './task.js'
import { TracedSlice } from './tracing/traced-slice.js'
import type { RoundTraces } from './tracing/traces.js'
import { nextTurn } from './wakeup.js'

/** Records fed before other tasks, and the event loop, get their turn. */
const CHUNK = 256
/**
 * Longest stretch of synchronous work between two turns of the event loop, in milliseconds: a broker's socket holds no more than it can
 * take meanwhile.
 */
const TURN_MS = 2
/** Sent and not yet acknowledged beyond this, intake waits. */
const MAX_PENDING_BYTES = 32 * 1024 * 1024
/** Made while the commit before is under way beyond this, intake waits too. */
const MAX_HELD_BYTES = 16 * 1024 * 1024
/** How often a round that waits for user code looks at its limits. */
const LOOK_MS = 50

export interface RoundLimits {
  readonly everyMs: number
  readonly maxRecords: number
  readonly maxBytes: number
  /** False: only records kept from a failed transaction, and no waiting for more. */
  readonly live: boolean
}

export type RoundEnd =
  | { readonly kind: 'done' }
  /** Nothing was there to read. */
  | { readonly kind: 'idle' }
  | { readonly kind: 'failed'; readonly task: Task; readonly error: unknown; readonly records: number; readonly hint: number | undefined }
  /** The log could not be written to, or not be read. */
  | { readonly kind: 'log-failed'; readonly error: unknown }
  /** The assignment went, the time to finish ran out, or the commit before failed. */
  | { readonly kind: 'dropped' }

/**
 * Runs the slices of one transaction: feeds them, ends their input, waits until all are done. It sends outputs while it runs
 * only where they pass `streamBytes`; committing is the caller's.
 */
export class Round {
  readonly meters = new Map<string, Meter>()
  /** When the first record went in, by the monotonic clock. */
  startedAt: number | undefined
  /** When the last slice was done, had none waited for the commit before. */
  endedAt = 0
  private heldMs = 0
  records = 0
  /** True once anything was handed to the producer. */
  sent = false
  /** Of all tasks, as of their last turn. */
  bytes = 0
  private readonly slices = new Map<Task, Slice>()
  private finishing = false
  /** Nothing is done in it any more. */
  closed = false
  /** The records of it that are followed. */
  readonly traces: RoundTraces | undefined
  /** Those that may have stepped over positions. */
  private readonly seen = new Set<Task>()
  /** Tasks whose slices have ended, and were not looked at since. */
  private ended: Task[] = []
  private readonly participants = new Set<Participant>()
  /** Rows of batches that the log has yet to take. */
  unacknowledged = 0
  onAcknowledged: () => void = () => {}
  private sendError: { readonly error: unknown } | undefined

  constructor(
    private readonly tasks: TaskTurns,
    private readonly limits: RoundLimits,
    private readonly environment: RoundEnvironment,
  ) {
    this.traces = environment.traces?.round()
    // What is held of a task is because there is more of it to take.
    for (const task of tasks.take()) {
      this.seen.add(task)
      this.bytes += task.bytes
    }
  }

  /** What it is at, for those who look in from outside; `named`: by which steps it is held. */
  look(named: boolean): { readonly finishing: boolean; readonly waits: Omit<Waits, 'calls'>; readonly heldBy: readonly string[] } {
    const waits = { bounded: 0, outside: 0 }
    const heldBy = new Set<string>()
    for (const slice of this.slices.values()) {
      waits.bounded += slice.waits.bounded
      waits.outside += slice.waits.outside
      const held = this.finishing && named && !slice.ended ? slice.stages.blame() : undefined
      if (held !== undefined) heldBy.add(held)
    }
    return { finishing: this.finishing, waits, heldBy: [...heldBy] }
  }

  /** The tasks that a commit concerns: those that have a slice, or stepped over positions. Most of thousands may have nothing to read. */
  touched(): Task[] {
    return [...this.looked()].filter((task) => this.slices.has(task) || task.dirty || task.bytes > 0)
  }

  /** How many tasks have a slice. */
  get width(): number {
    return this.slices.size
  }

  /** All that may be otherwise than their last commit left them. */
  looked(): ReadonlySet<Task> {
    return new Set([...this.seen, ...this.slices.keys()])
  }

  async run(): Promise<RoundEnd> {
    const { durations, time } = this.environment
    if (durations === undefined) return this.runThrough()
    const before = time.processingMs
    const end = await this.runThrough()
    const failed = end.kind === 'failed' ? { error: end.error } : undefined
    if (failed !== undefined || (end.kind === 'done' && this.records > 0))
      durations.processed({ ms: time.processingMs - before, ...failed, ...this.about() })
    return end
  }

  private async runThrough(): Promise<RoundEnd> {
    try {
      const early = (await this.takeIn()) ?? (await this.settleBefore()) ?? this.endInput() ?? (await this.finish())
      if (early !== undefined) return early
      this.endedAt = this.environment.clock.monotonic() - this.heldMs
      return this.startedAt === undefined ? { kind: 'idle' } : { kind: 'done' }
    } catch (error) {
      // Only the reader throws here: user code fails its slice instead.
      return { kind: 'log-failed', error }
    } finally {
      this.closed = true
      for (const slice of this.slices.values()) slice.close()
    }
  }

  /** Hands everything that is left to the producer; part of the commit. @throws what an earlier send failed with */
  flush(): void {
    this.send(true)
    if (this.sendError !== undefined) throw this.sendError.error
  }

  /** To be called before `run`: the task goes on without a record that it has given out. */
  leaveOut(task: Task, record: RawRecord): void {
    this.sliceOf(task).leaveOut(record)
  }

  /** Positions of the tasks that did something, moved or not. */
  standing(): Position[] {
    return [...this.slices.keys()].flatMap((task) => task.standing())
  }

  /** @throws LogError if somebody outside the log does not agree to the commit */
  prepare(): void {
    for (const participant of this.participants) participant.prepare()
  }

  committed(): void {
    this.traces?.settle('committed')
    for (const participant of this.participants) participant.committed()
  }

  /** Whether somebody outside the log is to be told. */
  get joined(): boolean {
    return this.participants.size > 0
  }

  async aborted(certain: boolean): Promise<void> {
    await Promise.all([...this.participants].map((participant) => participant.aborted(certain)))
  }

  private async takeIn(): Promise<RoundEnd | undefined> {
    const { clock, wakeup, demand, producer, outputs, streamBytes, time } = this.environment
    time.enter('working')
    const turn = new Turn(clock, TURN_MS)
    for (;;) {
      if (this.isBroken) return { kind: 'dropped' }
      if (demand() !== 'none') return demand() === 'drop' ? { kind: 'dropped' } : undefined
      let fed = 0
      const tasks = this.tasks.take()
      if (this.limits.live) {
        const failed = this.ring(tasks)
        if (failed !== undefined) return failed
      }
      // With a small limit the first task would otherwise take all of it, and with any the last one get less: where a limit is as many records
      // as there can be calls, those beyond another task's calls would wait for a second row of them.
      const share = Math.min(CHUNK, Math.ceil((this.limits.maxRecords - this.records) / Math.max(1, tasks.length)))
      for (const task of tasks) {
        const room = Math.min(share, this.limits.maxRecords - this.records - fed)
        if (room <= 0) break
        this.tasks.begin(task)
        task.inputs.updateViews()
        const bytesBefore = task.bytes
        const found = task.advance(this.limits.live)
        const slice = found ? this.sliceOf(task) : undefined
        if (slice?.ended === false) fed += task.feed(slice, room, this.limits.live)
        this.bytes += task.bytes - bytesBefore
        this.tasks.end(task, found)
        this.seen.add(task)
        if (slice?.failure !== undefined) return this.failed(task, slice)
        if (this.full(fed)) break
      }
      this.records += fed
      if (this.startedAt === undefined && this.isDirty) this.startedAt = clock.monotonic()
      if (this.sendError !== undefined) return { kind: 'log-failed', error: this.sendError.error }

      const elapsed = this.startedAt === undefined ? 0 : clock.monotonic() - this.startedAt
      if (this.full(0)) return undefined
      if (this.startedAt !== undefined && elapsed >= this.limits.everyMs) return undefined
      if (outputs.bytes >= streamBytes && !this.isHeld) this.send(false)

      const unsent = producer.pendingBytes > MAX_PENDING_BYTES
      const held = this.isHeld && outputs.bytes > MAX_HELD_BYTES
      if (fed === 0 || unsent || held) {
        if (!this.limits.live && fed === 0) return undefined
        // Nothing read yet: the caller has the longer view, and waits.
        if (this.startedAt === undefined) return undefined
        time.enter(unsent ? 'sending' : held ? 'committing' : 'waiting')
        await wakeup.wait(Math.min(this.limits.everyMs - elapsed, LOOK_MS, Math.max(1, this.tasks.untilDue())))
        time.enter('working')
        turn.begin()
      } else if (turn.isOver) {
        await nextTurn()
        turn.begin()
      }
    }
  }

  /** Alarms that came due: what operators do on them is part of the transaction. */
  private ring(tasks: readonly Task[]): RoundEnd | undefined {
    const { clock } = this.environment
    for (const task of tasks) {
      if (task.alarms.untilNext() > 0) continue
      const slice = this.sliceOf(task)
      // A record that was on its way may have failed since it was looked last.
      if (slice.failure !== undefined) return this.failed(task, slice)
      const failure = slice.ring()
      // No record set it off.
      if (failure !== undefined) return { kind: 'failed', task, error: failure.error, records: 0, hint: undefined }
      this.startedAt ??= clock.monotonic()
    }
    return undefined
  }

  private get isDirty(): boolean {
    for (const task of this.seen) if (task.dirty) return true
    return false
  }

  private get isHeld(): boolean {
    return this.environment.before?.state === 'open'
  }

  private get isBroken(): boolean {
    return this.environment.before?.state === 'failed'
  }

  /** Slices write what changed in their stores when they end, and that goes by what the log has of the transaction before. */
  private async settleBefore(): Promise<RoundEnd | undefined> {
    const { keeps, clock, wakeup, demand, time } = this.environment
    if (!keeps || !this.isHeld) return undefined
    const since = clock.monotonic()
    time.enter('committing')
    while (this.isHeld) {
      if (demand() === 'drop') return { kind: 'dropped' }
      await wakeup.wait(LOOK_MS)
    }
    this.heldMs = clock.monotonic() - since
    return this.isBroken ? { kind: 'dropped' } : undefined
  }

  private endInput(): RoundEnd | undefined {
    this.finishing = true
    for (const [task, slice] of this.slices) {
      slice.endInput()
      if (slice.failure !== undefined) return this.failed(task, slice)
    }
    return undefined
  }

  private async finish(): Promise<RoundEnd | undefined> {
    const { clock, wakeup, demand, drainMs, stallAfterMs, outputs, streamBytes, time } = this.environment
    let drainSince: number | undefined
    const open = new OpenSlices(this.slices, clock)
    let ended: Iterable<Task> = this.slices.keys()
    this.ended = []
    for (;;) {
      const failed = open.settle(ended)
      if (failed !== undefined) return this.failed(...failed)
      if (this.sendError !== undefined) return { kind: 'log-failed', error: this.sendError.error }
      if (this.isBroken) return { kind: 'dropped' }
      if (open.size === 0) return undefined
      const wanted = demand()
      if (wanted === 'drop') return { kind: 'dropped' }
      const now = clock.monotonic()
      if (wanted === 'drain' && now - (drainSince ??= now) >= drainMs) return { kind: 'dropped' }
      const look = open.look()
      if (wanted === 'drain' && look?.outside === true) return { kind: 'dropped' }
      if (look?.silent !== undefined && look.silent.ms >= stallAfterMs) {
        const { task, slice, ms } = look.silent
        return { kind: 'failed', task, error: slice.stalledError(ms, task.records), records: task.records, hint: undefined }
      }
      if (look !== undefined) {
        if (outputs.bytes >= streamBytes && !this.isHeld) this.send(false)
        time.enter(look.called ? 'calling' : 'finishing')
      }
      await wakeup.wait(LOOK_MS)
      const { last } = open
      if (last !== undefined && this.slices.size > 1) time.waitedFor(last.partition, clock.monotonic() - now)
      ended = this.ended
      this.ended = []
    }
  }

  private sliceOf(task: Task): Slice {
    let slice = this.slices.get(task)
    if (slice === undefined) {
      const { project, outputs, wakeup, group, taskCount, inputs, shared, standing, effects, clock, logger, profile } = this.environment
      const { state, alarms, partition } = task
      const Kind = this.traces === undefined ? Slice : TracedSlice
      slice = new Kind(inputs, partition, project, {
        group,
        tasks: taskCount,
        state,
        alarms,
        outputs,
        meters: this.meters,
        shared,
        behind: () => task.behind,
        standing,
        join: (participant) => this.participants.add(participant),
        effects,
        progress: () => progressOf(task).topics,
        clock,
        logger,
        profile,
        traces: this.traces,
        onEnd: () => {
          if (this.finishing) this.ended.push(task)
          wakeup.wake()
        },
      })
      this.slices.set(task, slice)
    }
    return slice
  }

  private full(fedNow: number): boolean {
    return this.records + fedNow >= this.limits.maxRecords || this.bytes >= this.limits.maxBytes
  }

  private failed(task: Task, slice: Slice): RoundEnd {
    const { error, pushing } = slice.failure as NonNullable<Slice['failure']>
    if (pushing !== undefined) this.traces?.of(pushing as LogRecord<unknown, unknown>)?.failed(error)
    return { kind: 'failed', task, error, records: task.records, hint: pushing === undefined ? undefined : task.records - 1 }
  }

  private about(): Pick<Took, 'group' | 'topic' | 'partition'> {
    const { group, inputs } = this.environment
    return { group, ...placeOf([...this.slices.keys()].flatMap(({ partition }) => inputs.map((topic) => ({ topic, partition })))) }
  }

  private send(all: boolean): void {
    const batches = this.environment.outputs.take(all)
    if (batches.length === 0) return
    this.sent = true
    this.unacknowledged++
    const { producer, wakeup, durations, clock } = this.environment
    const place = durations === undefined ? {} : placeOf(batches)
    timed(durations, () => clock.monotonic(), 'send', place, producer.send(batches)).then(
      () => {
        if (--this.unacknowledged === 0) this.onAcknowledged()
        wakeup.wake()
      },
      (error: unknown) => {
        this.sendError ??= { error }
        wakeup.wake()
      },
    )
  }
}
