import type { MonoTypeOperatorFunction } from 'rxjs'
import { z } from 'zod'
import { MillraceError } from '../../record/error.js'
import type { LogRecord, StreamRecord } from '../../record/record.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { activeSlice, type SliceContext } from '../../runtime/context.js'
import { asWritable } from '../../runtime/encode.js'
import { operate } from '../../runtime/operate.js'
import { positiveInteger, storeName, timeLimit } from '../../runtime/options.js'
import type { ExternalStore, ExternalWrite } from './port.js'
import { topicRead } from './read-place.js'
import { ExternalSession } from './session.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** Options of every sink outside the log. */
export const externalSchema = z.strictObject({
  name: storeName.optional(),
  batch: positiveInteger.default(1_000),
  repeatable: z.boolean().optional(),
  within: timeLimit.default(30_000),
  onBehind: z.enum(['stop', 'continue']).default('stop'),
})

export type ExternalSettings = z.output<typeof externalSchema> & { readonly name: string; readonly repeatable: boolean }

/** What `toDatabase` and other sinks of its kind do, each under its own name. */
export function toExternal<Tx, R extends AnyRecord>(
  operator: string,
  store: ExternalStore<Tx>,
  write: ExternalWrite<Tx, R>,
  { name, batch, repeatable, within: withinMs, onBehind }: ExternalSettings,
  /** What else is to be had of each slice. */
  subscribed: (slice: SliceContext, what: string) => void = () => {},
): MonoTypeOperatorFunction<R> {
  const what = `${operator} '${name}'`
  return operate(what, (target) => {
    const slice = activeSlice(what)
    subscribed(slice, what)
    const session = slice.effects(
      what,
      store,
      name,
      (environment, sinks) => new ExternalSession<Tx>(store, environment, sinks, { withinMs, onBehind }),
    )
    let waiting: R[] = []
    let underWay = 0
    let ended = false

    const flush = (): void => {
      if (waiting.length === 0) return
      const records = waiting
      waiting = []
      underWay++
      session.write({ slice, sink: name, write: write as ExternalWrite<Tx, unknown>, records }).then(
        () => {
          underWay--
          if (ended && underWay === 0) target.complete()
        },
        (error: unknown) => target.error(error),
      )
    }

    return {
      next(item) {
        // Planning and what comes after the slice was given up write nothing.
        if (slice.mode === 'run' && !slice.closed) {
          const record = asWritable(operator, item) as R & LogRecord<unknown, unknown>
          if (!repeatable && topicRead(record) === undefined) throw placeless(what, record)
          mark(record, Mark.processed)
          waiting.push(item)
          if (waiting.length >= batch) flush()
        }
        target.next(item)
      },
      complete() {
        ended = true
        flush()
        if (underWay === 0) target.complete()
      },
    }
  })
}

/** The result of a window, an aggregate, a delay: by no position could it be told whether it is written. */
function placeless(what: string, record: AnyRecord): MillraceError {
  return new MillraceError(
    'NO_POSITION',
    `${what} was given a record that was not read in this slice (key ${String(record.key)}, ${record.id}): the result of a window, an aggregate or a join of streams, or one that waited for a time. ` +
      'No position tells whether it is written already. Put repartition before the sink, which gives it one; or, if writing it again changes nothing, as with upsert, say so: repeatable: true',
    { origin: record.origin },
  )
}
