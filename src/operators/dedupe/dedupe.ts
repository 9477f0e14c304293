import type { OperatorFunction, Subscriber } from 'rxjs'
import { MillraceError } from '../../record/error.js'
import { FailedRecord } from '../../record/failed-record.js'
import type { LogRecord } from '../../record/record.js'
import type { Good } from '../../record/types.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { ClaimQueue } from './claim-queue.js'
import { ClaimSession, type ClaimSettings } from './claim-session.js'
import { activeSlice, type SliceContext } from '../../runtime/context.js'
import { dedupeSchema, isShared, type DedupeOptions, type Duplicate } from './dedupe-options.js'
import { isIdRule, ruleOfFunction, type IdRule } from './id-rule.js'
import { resultKeepers, type KeepResult } from './kept-results.js'
import { operate, type Step } from '../../runtime/operate.js'
import { parseOptions } from '../../runtime/options.js'
import { ExclusiveQueue } from './exclusive-queue.js'
import type { IdQueueTarget } from './id-queue.js'
import { ExclusiveSession, type ExclusiveSettings } from './exclusive-session.js'
import { JoinedSession } from './joined-session.js'
import { withSideOutput, type SideOutput } from '../../runtime/side-output.js'
import type { SqlTransaction } from '../../sinks/database/database.js'
import { ExternalSession } from '../../sinks/external/session.js'
import { loadBloomFilters } from './claims/bloom-filter.js'
import { bloomTable } from './claims/bloom-table.js'
import type { JoinedClaims } from './claims/claim-store.js'
import { claimTable } from './claims/claim-table.js'
import { TaskClaims } from './claims/task-claims.js'

/**
 * Lets the first record of each id pass; later ones within the time are duplicates.
 *
 * The claim of an id commits with the outputs and offsets of the record that made it, or not at all. The same record again, after an abort,
 * a crash, through a retry topic or sent back by `redrive`, is not its own duplicate: it is told by where it was first read. A second
 * record of one origin with the same id in one transaction, a copy that user code made, is one.
 *
 * Order: kept. Offsets: duplicates are consumed like others, counted as `duplicate`. State: one claim an id for `within`, on the changelog
 * many to a record. Memory: about 120 bytes an id beside its text, bounded by the ids of `within` and by `maxIds`. With a shared store: no
 * state here, and in memory the records of the slice that wait for its answer. FailedRecords pass untouched.
 *
 * With `sqlClaims` a claim commits with what the pipeline writes to its database. With other shared stores a claim counts when its transaction has committed; until then others with the same id wait. Which is first is the
 * store's to say; what it loses lets duplicates pass, never a record. While it does not answer, nothing is taken in.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction; as error of the slice MISSING_ID,
 * CLAIM_STORE_FAILED
 * @example
 * orders.pipe(
 *   dedupe({ by: (order) => order.value.id, within: '10m', partitioned: true, onDuplicate: (all) => all.pipe(map(({ record }) => record), toTopic({ topic: 'again' })) }),
 *   toTopic({ topic: 'orders-once', value: json() }),
 * )
 */
export function dedupe<R>(options: DedupeOptions<R>): OperatorFunction<R, R> {
  const {
    by,
    within: withinMs,
    store,
    partitioned,
    onDuplicate,
    onMissing,
    maxIds = 10_000_000,
    waitAtMost = 5_000,
    takeOverAfter = 120_000,
    bloom,
    checksum,
    name,
  } = parseOptions(dedupeSchema, options, 'dedupe')
  const what = `dedupe '${name}'`
  const rule = isIdRule(by) ? by : ruleOfFunction(by)
  const sum = checksum === undefined || isIdRule(checksum) ? checksum : ruleOfFunction(checksum)
  const checksumOf = sum && ((item: R) => textOf(sum.idOf(item as unknown as LogRecord<unknown, unknown>)))
  const table = claimTable(name, { withinMs, maxIds })
  if (bloom !== undefined) loadBloomFilters()
  const settings = isShared(store) ? { what, store, withinMs, waitMs: waitAtMost, takeOverMs: takeOverAfter } : undefined

  /** The id, or undefined for a record that passes without one. */
  const idOf = (record: LogRecord<unknown, unknown>): string | undefined => {
    const id = rule.idOf(record)
    if (typeof id === 'string' && id !== '' && isWellFormed(id)) return id
    if (onMissing === 'fail') throw missingId(what, rule, record, id)
    return undefined
  }

  return withSideOutput<R, R, Duplicate<Good<R>>>(
    what,
    (put) => {
      const takeResults = (slice: SliceContext, target: Subscriber<R>, keep: KeepResult): void => {
        const keepers = resultKeepers(slice)
        const key = `${name}/${slice.partition}`
        keepers.set(key, keep)
        target.add(() => keepers.delete(key))
      }

      const inTask = (slice: SliceContext, target: Subscriber<R>): Step<R> => {
        const claims = slice.store(what, table)
        claims.useClock(slice.clock)
        if (slice.mode === 'plan' && !rule.partitioned && partitioned !== true) slice.warn(notPartitioned(what, rule))
        if (slice.mode === 'run') {
          if (store instanceof TaskClaims) store.attach(`${slice.group}/${slice.partition}`, claims)
          takeResults(slice, target, (id, record, result) => claims.keepResult(id, record, result))
        }
        const forgotten = claims.takeEvicted()
        if (forgotten > 0) {
          slice.logger.warn(
            { partition: slice.partition, forgotten, maxIds },
            `${what} forgot ids before their time, as there are more than maxIds: their duplicates pass`,
          )
        }
        return {
          next(item) {
            if (item instanceof FailedRecord) return target.next(item)
            const record = item as unknown as LogRecord<unknown, unknown>
            const id = idOf(record)
            if (id === undefined) return target.next(item)
            const first = claims.take(id, record)
            if (first < 0) return target.next(item)
            mark(record, Mark.duplicate)
            if (onDuplicate !== undefined)
              put({ record: item as Good<R>, id, first: { origin: claims.originOf(first), at: claims.timeOf(first) } })
          },
        }
      }

      /** What both kinds of queues do with records. */
      const ends = (target: Subscriber<R>): IdQueueTarget<R> => ({
        pass: (item) => target.next(item),
        duplicate(item, id, first) {
          mark(item as unknown as LogRecord<unknown, unknown>, Mark.duplicate)
          if (onDuplicate !== undefined) put({ record: item as Good<R>, id, first })
        },
        fail: (error) => target.error(error),
        done: () => target.complete(),
      })

      const through = (queue: Queue<R>, target: Subscriber<R>): Step<R> => {
        target.add(() => queue.close())
        return {
          next(item) {
            const record = item as unknown as LogRecord<unknown, unknown>
            const id = item instanceof FailedRecord ? undefined : idOf(record)
            if (id === undefined) queue.pass(item)
            else if (record.offset >= 0) queue.add(item, id, record)
            else throw withoutOrigin(what)
          },
          complete: () => queue.end(),
        }
      }

      const shared = (slice: SliceContext, target: Subscriber<R>, claiming: ClaimSettings): Step<R> => {
        const session = slice.shared(what, () => new ClaimSession(claiming, slice.clock, slice.logger))
        slice.join(session)
        takeResults(slice, target, (id, _, result) => session.keepResult(id, result))
        return through(new ClaimQueue<R>(session, checksumOf, slice, ends(target)), target)
      }

      const inDatabase = (slice: SliceContext, target: Subscriber<R>, joined: JoinedClaims): Step<R> => {
        const effects = slice.effects(
          what,
          joined.db,
          name,
          (environment, sinks) =>
            new ExternalSession<SqlTransaction>(joined.db, environment, sinks, { withinMs: 30_000, onBehind: 'stop' }),
        )
        if (slice.mode === 'plan') return { next() {} }
        const session = slice.shared(what, () => new JoinedSession({ what, name, joined, withinMs }, effects, slice.clock))
        slice.join(session)
        takeResults(slice, target, (id, _, result) => session.keepResult(id, result))
        return through(new ClaimQueue<R>(session, checksumOf, slice, ends(target)), target)
      }

      const behindFilter = (
        slice: SliceContext,
        target: Subscriber<R>,
        owning: ExclusiveSettings,
        filters: NonNullable<typeof bloom>,
      ): Step<R> => {
        const { expected, errorRate } = filters
        const seen = slice.store(what, bloomTable(name, { withinMs, expected: Math.ceil(expected / slice.tasks), errorRate }))
        if (slice.mode === 'plan') return { next() {} }
        const session = slice.shared(what, () => new ExclusiveSession(owning, slice.clock, slice.logger))
        slice.join(session)
        if (seen.overfull && !seen.told) {
          seen.told = true
          slice.logger.warn(
            { partition: slice.partition, expected },
            `${what}: more ids come within the time than expected; further filters are put beside the first, which costs memory and time. Raise bloom.expected`,
          )
        }
        takeResults(slice, target, (id, _, result) => session.keepResult(id, result))
        return through(new ExclusiveQueue<R>(session, seen, withinMs, slice, ends(target)), target)
      }

      return operate<R, R>(what, (target) => {
        const slice = activeSlice(what)
        if (settings === undefined) return inTask(slice, target)
        if (settings.store.joined !== undefined) return inDatabase(slice, target, settings.store.joined)
        if (slice.mode === 'plan') {
          refuseSecond(what, slice)
          slice.join(new ClaimSession(settings, slice.clock, slice.logger))
        }
        if (bloom !== undefined) return behindFilter(slice, target, settings as ClaimSettings & ExclusiveSettings, bloom)
        // Planning claims nothing.
        return slice.mode === 'plan' ? { next() {} } : shared(slice, target, settings)
      })
    },
    onDuplicate as SideOutput<Duplicate<Good<R>>> | undefined,
  )
}

/** What a dedupe with a shared store keeps from slice to slice is kept by its name. */
function refuseSecond(what: string, slice: SliceContext): void {
  const own = {}
  if (slice.shared(what, () => own) === own) return
  throw new MillraceError(
    'PLAN_FAILED',
    `there are two of ${what} in the pipeline, or one that is subscribed twice: give each a name of its own`,
  )
}

interface Queue<R> {
  pass(item: R): void
  add(item: R, id: string, record: LogRecord<unknown, unknown>): void
  end(): void
  close(): void
}

function withoutOrigin(what: string): MillraceError {
  return new MillraceError(
    'INVALID_OPTIONS',
    `${what}: a record that was not read from a topic (made by an operator before it) cannot be told from its own replay in a shared store. Put dedupe before that operator, or use the task's own store`,
  )
}

function notPartitioned(what: string, rule: IdRule): string {
  return (
    `${what} goes by ${rule.name} and keeps its ids in each task: two records of one id in two partitions would both pass. If one id is always in one partition, say so with partitioned: true; ` +
    'else put repartition({ key: ... }) before it and go by recordKey(), or use a shared store'
  )
}

/** String.prototype.isWellFormed of ES2024, which Node 20 has: half a surrogate pair is another id when it was stored and read again. */
function isWellFormed(id: string): boolean {
  return (id as string & { isWellFormed(): boolean }).isWellFormed()
}

function textOf(given: unknown): string | undefined {
  return typeof given === 'string' ? given : undefined
}

function missingId(what: string, rule: IdRule, { id, origin }: LogRecord<unknown, unknown>, given: unknown): MillraceError {
  const found =
    given === ''
      ? 'is empty'
      : given === undefined || given === null
        ? 'is missing'
        : typeof given === 'string'
          ? 'holds half a surrogate pair, which UTF-8 has no bytes for'
          : `is a ${typeof given}, not text`
  return new MillraceError(
    'MISSING_ID',
    `${what}: the id of ${id} (${rule.name}) ${found}. Drop such records before it, let them pass with onMissing: 'pass', or see onError of withTransaction`,
    { origin },
  )
}
