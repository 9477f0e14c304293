import type { LogClient, LogReader } from '../log/port.js'
import { isOutOfRange, reactionTo } from '../log/error.js'
import { Fresh } from '../log/fresh.js'
import { UnreadPartitions } from '../log/unread.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import { loadFetched, type Restoring } from '../state/restore.js'
import { MemoryGuard } from './memory-guard.js'
import { TaskState, usageOf, type PlannedStore } from './task-state.js'
import { Wakeup } from './wakeup.js'

const PREFETCH_BYTES = 4 * 1024 * 1024
const LOOK_MS = 1_000
/** From this part of the heap on there is no room for copies: before the tasks of one's own find none. */
const NO_ROOM_AT = 0.8

/** Warm copies of the state of tasks that others own: follow their changelogs, and are handed over when such a task comes here. */
export class Standbys {
  private readonly copies = new Map<number, { readonly state: TaskState; readonly parts: readonly Restoring[] }>()
  private readonly fresh = new Fresh<Restoring>()
  private reader: LogReader | undefined
  private readonly wakeup: Wakeup
  private readonly unread: UnreadPartitions
  private closed = false
  private readonly memory: MemoryGuard

  constructor(
    private readonly log: LogClient,
    private readonly stores: readonly PlannedStore[],
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    this.wakeup = new Wakeup(clock)
    this.unread = new UnreadPartitions(clock, logger)
    this.memory = new MemoryGuard(logger, undefined, NO_ROOM_AT)
  }

  /** The tasks there are copies of. */
  get tasks(): readonly number[] {
    return [...this.copies.keys()]
  }

  /** The copy of a task that is now ours: the restore goes on from where it stands. */
  take(task: number): TaskState | undefined {
    const copy = this.copies.get(task)
    this.copies.delete(task)
    return copy?.state
  }

  /** Keeps copies of these tasks and of no others. */
  async keep(tasks: readonly number[]): Promise<void> {
    const wanted = new Set(tasks)
    for (const task of this.copies.keys()) if (!wanted.has(task)) this.copies.delete(task)
    for (const task of tasks) if (!this.copies.has(task)) this.begin(task)
    await this.place()
  }

  /** An empty copy. */
  private begin(task: number): void {
    const state = new TaskState(task, this.stores)
    this.copies.set(task, { state, parts: state.restoring })
  }

  /** Sets the reader where the copies stand. */
  private async place(): Promise<void> {
    const parts = this.parts()
    const unknown = parts.filter(({ reached }) => reached === undefined)
    const starts = await this.log.offsets(unknown, 'earliest')
    unknown.forEach((part, i) => (part.reached ??= starts[i] as number))
    if (parts.length > 0 && this.reader === undefined) {
      this.reader = this.log.reader({
        isolation: 'read_committed',
        prefetchBytes: PREFETCH_BYTES,
        onData: () => this.wakeup.wake(),
        onNews: this.fresh.tell,
      })
      void this.follow(this.reader)
    }
    const placed = this.parts().filter(({ reached }) => reached !== undefined)
    this.fresh.reset(placed)
    this.reader?.assign(
      placed.map(({ topic, partition, reached, reachedEpoch }) => ({
        topic,
        partition,
        offset: reached as number,
        leaderEpoch: reachedEpoch,
      })),
    )
  }

  /** What a changelog no longer holds must not stay in the copy. False if that cannot be done now. */
  private async beginAgain(task: number, error: Error): Promise<boolean> {
    this.logger.warn({ task, error: errorMessage(error) }, 'a warm copy of state is read again from the beginning')
    this.begin(task)
    try {
      await this.place()
      return true
    } catch (failure) {
      if (!this.closed) this.logger.debug({ task, error: errorMessage(failure) }, 'a warm copy of state could not be begun again')
      return false
    }
  }

  close(): void {
    this.closed = true
    this.reader?.close()
    this.wakeup.wake()
  }

  private parts(): Restoring[] {
    return [...this.copies.values()].flatMap(({ parts }) => parts)
  }

  private async follow(reader: LogReader): Promise<void> {
    const { clock, logger, unread } = this
    while (!this.closed) {
      for (const part of this.fresh.take()) {
        const { topic, partition: task } = part
        // What is handed over, or begun again, is of another copy.
        const gone = (): boolean => this.closed || this.copies.get(task)?.parts.includes(part) !== true
        try {
          while (!gone()) {
            const fetched = reader.take(topic, task)
            if (fetched === undefined) break
            unread.passed(part)
            const loaded = loadFetched(part, fetched, { clock, logger, cancelled: gone })
            if (typeof loaded !== 'number') await loaded
          }
        } catch (error) {
          if (isOutOfRange(error) && (await this.beginAgain(task, error))) continue
          if (reactionTo(error) !== 'fatal') {
            if (error instanceof MillraceError && error.origin !== undefined) unread.failed(error.origin, error)
            continue
          }
          // A copy is a convenience: whoever gets the task restores it whole, and then learns what is wrong.
          logger.warn({ task, error: errorMessage(error) }, 'a warm copy of state cannot be kept')
          this.copies.delete(task)
        }
      }
      this.mindMemory()
      await this.wakeup.wait(LOOK_MS)
    }
  }

  private mindMemory(): void {
    if (this.copies.size === 0) return
    try {
      this.memory.check(() => usageOf([...this.copies.values()].map(({ state }) => state)))
    } catch (error) {
      this.logger.warn(
        { tasks: this.tasks, error: errorMessage(error) },
        'there is no room for warm copies of state: they are given up until the next rebalance',
      )
      this.copies.clear()
    }
  }
}
