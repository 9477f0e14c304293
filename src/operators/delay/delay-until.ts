import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { MillraceError } from '../../record/error.js'
import type { Good } from '../../record/types.js'
import { delaying, keptAs, type KeptAs } from './delaying.js'
import { parseOptions, storeName } from '../../runtime/options.js'

interface DelayUntilBase {
  /**
   * Names the state and its changelog, '<group>-<name>-changelog', and the meters; must stay the same. Default 'delay'; needed where a
   * pipeline has two.
   */
  readonly name?: string
}

/** `key` and `value` are the serdes by which records are kept; they are required unless key and value are bytes. */
export type DelayUntilOptions<R> = DelayUntilBase & KeptAs<R>

const schema = z.strictObject({ ...keptAs, name: storeName.default('delay') })

/**
 * Lets each record pass at a time of its own, any time ahead; one whose time has come passes at once.
 *
 * A record that waits is kept with its origin, time and headers, in memory and on a changelog, and its offset commits: it survives crashes
 * and moves with its partition. At its time it passes on in a transaction of its task, also if no other record comes; never early. In
 * `Commit.meters`: `<name>.held`, `.passed`, and by how much they were late, `.lateMs` in all and `.maxLateMs`.
 *
 * Order: by time; of one time, as they came. Offsets: commit when a record is kept, and it counts as `processed` then; as it passes it is
 * counted nowhere. State: what waits. Memory: what waits, as bytes, and about 250 bytes each. FailedRecords pass untouched. What fails
 * behind it in plain operators fails for the alarm and names no record: put `attempt` there.
 *
 * @throws MillraceError INVALID_OPTIONS; LOSSY_SERDE; OUTSIDE_SLICE when subscribed outside withTransaction; as error of the slice
 * INVALID_TIMESTAMP, ENCODE_FAILED
 * @example
 * reminders.pipe(delayUntil((reminder) => reminder.value.at, { value: json() }), toTopic({ topic: 'due', value: json() }))
 */
export function delayUntil<R>(
  at: (record: NoInfer<Good<R>>) => number | Date,
  ...options: {} extends DelayUntilOptions<R> ? [options?: DelayUntilOptions<R>] : [options: DelayUntilOptions<R>]
): OperatorFunction<R, R> {
  const { name, key, value } = parseOptions(schema, options[0] ?? {}, 'delayUntil')
  if (typeof at !== 'function')
    throw new MillraceError('INVALID_OPTIONS', 'delayUntil: its first argument is a function from the record to the time it is to pass')
  return delaying<R>(name, `delayUntil '${name}'`, { key, value }, { at: (record) => at(record) ?? Number.NaN })
}
