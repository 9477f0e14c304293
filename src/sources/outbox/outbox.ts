import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { sleep } from '../../record/clock.js'
import type { Duration } from '../../record/duration.js'
import { MillraceError, errorMessage } from '../../record/error.js'
import type { RawRecord } from '../../record/record.js'
import { json } from '../../record/serde.js'
import { activeSlice } from '../../runtime/context.js'
import { operate } from '../../runtime/operate.js'
import { objectWith, parseOptions, positiveDuration, positiveInteger, storeName } from '../../runtime/options.js'
import type { Database } from '../../sinks/database/database.js'
import { tableName } from '../../sinks/database/table-name.js'
import { Waiting } from '../../sinks/external/waiting.js'
import { memoryStore } from '../../state/memory-store.js'
import type { OutboxRecord } from './outbox-record.js'
import { Relay } from './relay.js'

export interface OutboxOptions {
  /** PostgreSQL or PGlite. */
  readonly db: Database
  /** Default 'outbox'. */
  readonly table?: string
  /** Names its state and its row of positions; must stay the same. Default 'outbox'; needed where a pipeline has two. */
  readonly name?: string
  /** How often it looks where no NOTIFY wakes it. Default '1s'. */
  readonly poll?: Duration
  /** Most rows of one transaction. Default 1,000. */
  readonly batch?: number
}

const schema = z.strictObject({
  db: objectWith<Database>(['take', 'begin', 'blame'], 'a database such as postgres(pool)'),
  table: tableName.default('outbox'),
  name: storeName.default('outbox'),
  poll: positiveDuration.default(1_000),
  batch: positiveInteger.default(1_000),
})

/** A relay is kept for the life of the pipeline, by its database and name. */
const keys = new WeakMap<Database, Map<string, object>>()

function relayKey(db: Database, name: string): object {
  const ofDb = keys.get(db) ?? new Map<string, object>()
  keys.set(db, ofDb)
  const key = ofDb.get(name) ?? {}
  ofDb.set(name, key)
  return key
}

const FIRST_PAUSE_MS = 50
const MAX_PAUSE_MS = 5_000

/**
 * Publishes a transactional outbox: gives the rows of a table as records, each of which comes out in one transaction that commits, in the
 * order they were written; published rows are deleted.
 *
 * It stands in a pipeline of its own, whose source is a topic of one partition that nobody writes to: whoever has the partition is the one
 * relay at work, others of the group wait for its place. Records of that topic go nowhere. Rows are taken in numbered batches; the number
 * of the last one published commits with what was made of it, as state of the task, so a batch is published again, as it was, only where
 * that did not commit.
 *
 * Order: by `seq`, so of an aggregate in the order its transactions wrote. Offsets: none. State: one number. Memory: a batch. Key, value and
 * headers are as Debezium's outbox event router gives them. While the database is away it waits, and a stop does not wait for it.
 *
 * @throws MillraceError INVALID_OPTIONS; as error of the slice SINK_REFUSED
 * @example
 * cluster.source({ group: 'outbox', topics: ['outbox-relay'] }).pipe(
 *   withTransaction((records) =>
 *     records.pipe(outbox({ db: postgres(pool) }), toTopic({ topic: (e) => `events.${e.headers.aggregatetype}`, topics: ['events.order'] })),
 *   ),
 * )
 */
export function outbox(options: OutboxOptions): OperatorFunction<RawRecord, OutboxRecord> {
  const { db, table, name, poll, batch } = parseOptions(schema, options, 'outbox')
  const what = `outbox '${name}'`
  const spec = memoryStore<number>({ name, kind: 'outbox', version: 1, serde: json<number>(), timed: false })

  return operate<RawRecord, OutboxRecord>(what, (target) => {
    const slice = activeSlice(what)
    const store = slice.store(what, spec)
    let state: 'idle' | 'working' | 'done' = 'idle'
    let more = false
    let ended = false
    const alarm = slice.alarm(what, () => {
      // One batch a transaction: the one before is deleted when it is known to be published.
      if (state !== 'idle') more = true
      if (slice.mode !== 'run' || state !== 'idle') return
      state = 'working'
      publish().then(
        (published) => {
          state = 'done'
          more ||= published
          if (ended) end()
        },
        (error: unknown) => target.error(error),
      )
    })
    const end = (): void => {
      if (state === 'done') alarm.setIn(more ? 0 : poll)
      target.complete()
    }
    // One relay for each group, and its task is the first: that has its number.
    const isOurs = slice.mode === 'run' && slice.partition === 0
    const relay = slice.effects(what, relayKey(db, name), name, (environment) => new Relay(db, { name, table, batch }, environment))
    if (isOurs) {
      if (alarm.at === undefined) alarm.setIn(0)
      relay.onNotify(() => {
        alarm.setIn(0)
        slice.wake()
      })
    }

    const publish = async (): Promise<boolean> => {
      const waiting = new Waiting(slice, slice.clock, (why) => slice.logger.warn({ outbox: name, why }, `${what} waits for ${db.name}`))
      try {
        const entry = store.edit('published')
        for (let pause = FIRST_PAUSE_MS; !slice.closed; pause = Math.min(MAX_PAUSE_MS, pause * 2)) {
          try {
            const next = await relay.next(entry.value ?? 0, slice.standing.generation)
            if (next === undefined || slice.closed) return false
            entry.value = next.number
            slice.meter(`${name}.published`).count += next.records.length
            for (const event of next.records) target.next(event)
            return true
          } catch (error) {
            const blame = db.blame(error)
            if (blame !== 'away' && blame !== 'again')
              throw new MillraceError('SINK_REFUSED', `${what} cannot read its table: ${errorMessage(error)}`, { cause: error })
            waiting.hangs(errorMessage(error))
            await sleep(slice.clock, pause)
          }
        }
        return false
      } finally {
        waiting.end()
      }
    }

    return {
      next() {},
      complete() {
        ended = true
        if (state !== 'working') end()
      },
    }
  })
}
