import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { MillraceError } from '../../record/error.js'
import { FailedRecord } from '../../record/failed-record.js'
import type { LogRecord } from '../../record/record.js'
import type { Good } from '../../record/types.js'
import { activeSlice } from '../../runtime/context.js'
import { isIdRule, ruleOfFunction, type IdRule } from './id-rule.js'
import { resultKeepers, type KeepResult } from './kept-results.js'
import { operate } from '../../runtime/operate.js'
import { functionOption, parseOptions, storeName } from '../../runtime/options.js'

export interface KeepResultOptions<R> {
  /** The id of the record that passed, as `by` of dedupe gave it. */
  readonly by: ((record: NoInfer<Good<R>>) => string | null | undefined) | IdRule
  /** What came of it, as text; undefined stores nothing. */
  readonly result: (record: NoInfer<Good<R>>) => string | undefined
  /** Name of the dedupe before it. Default 'dedupe'. */
  readonly of?: string
}

const schema = z.strictObject({
  by: z.custom<((record: never) => unknown) | IdRule>((given) => typeof given === 'function' || isIdRule(given), {
    message: "expected a function from the record to its id, recordKey(), header('name') or contentHash()",
  }),
  result: functionOption<(record: unknown) => string | undefined>('a function from the record to text'),
  of: storeName.default('dedupe'),
})

/**
 * Stores what came of a record with the claim of its id, for whoever asks with `find(id)`.
 *
 * Order: kept. State: part of the dedupe's; in the task's own store it commits with the offsets, in a shared one it is written after the
 * commit, and lost if the process ends in between. FailedRecords pass untouched.
 *
 * @throws MillraceError INVALID_OPTIONS, also as error of the slice, if no dedupe of that name stands before it
 * @example
 * orders.pipe(
 *   dedupe({ by: (order) => order.value.id, within: '1d', partitioned: true, store: seen }),
 *   attempt(charge),
 *   keepResult({ by: (receipt) => receipt.value.orderId, result: (receipt) => receipt.value.number }),
 * )
 */
export function keepResult<R>(options: KeepResultOptions<R>): OperatorFunction<R, R> {
  const { by, result, of } = parseOptions(schema, options, 'keepResult')
  const rule = isIdRule(by) ? by : ruleOfFunction(by)
  const what = `keepResult of '${of}'`
  return operate(what, (target) => {
    const slice = activeSlice(what)
    // Operators are subscribed from the last to the first: the dedupe is there when the first record comes.
    let keep: KeepResult | undefined
    return {
      next(item) {
        if (item instanceof FailedRecord || slice.mode === 'plan') return target.next(item)
        const record = item as unknown as LogRecord<unknown, unknown>
        keep ??= resultKeepers(slice).get(`${of}/${slice.partition}`)
        if (keep === undefined)
          throw new MillraceError('INVALID_OPTIONS', `keepResult: no dedupe of the name '${of}' stands before it: name it with of: '...'`)
        const id = rule.idOf(record)
        const text = result(item)
        if (typeof id === 'string' && typeof text === 'string') keep(id, record, text)
        target.next(item)
      },
    }
  })
}
