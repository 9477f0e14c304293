import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { StreamRecord } from '../../record/record.js'
import type { Good } from '../../record/types.js'
import { delaying, keptAs, type KeptAs } from './delaying.js'
import { grouping } from '../../runtime/grouping.js'
import { functionOption, parseOptions, storeName } from '../../runtime/options.js'

interface ScheduleBase<R> {
  /** When a record is to pass: milliseconds since the epoch or a Date. */
  readonly at: (record: NoInfer<Good<R>>) => number | Date
  /** Whether a record only takes back what waits under its id. It does not pass itself. Default: none does. */
  readonly cancel?: (record: NoInfer<Good<R>>) => boolean
  /**
   * Names the state and its changelog, '<group>-<name>-changelog', and the meters; must stay the same. Default 'schedule'; needed where a
   * pipeline has two.
   */
  readonly name?: string
}

interface ByRecordKey {
  readonly id?: never
  readonly partitioned?: never
}

interface ById<R> {
  /** Under each id one record waits: a later one takes its place. Default: the record's key. */
  readonly id: (record: NoInfer<Good<R>>) => string
  /** Says that all records of one id are in one partition. Where they are not, use `repartition` and leave `id` out. */
  readonly partitioned: true
}

/** `key` and `value` are the serdes by which records are kept; they are required unless key and value are bytes. */
export type ScheduleOptions<R> = ScheduleBase<R> & (ByRecordKey | ById<R>) & KeptAs<R>

type AnyRecord = StreamRecord<unknown, unknown>

const schema = z
  .strictObject({
    ...keptAs,
    at: functionOption<(record: AnyRecord) => number | Date>('a function from the record to the time it is to pass'),
    cancel: functionOption<(record: AnyRecord) => boolean>('a function of the record').optional(),
    id: functionOption<(record: AnyRecord) => string>('a function from the record to text').optional(),
    partitioned: z.literal(true).optional(),
    name: storeName.default('schedule'),
  })
  .refine((options) => (options.id === undefined) === (options.partitioned === undefined), {
    path: ['id'],
    message:
      'goes by something else than the record key, so what is to replace or cancel a record may be in another partition: put repartition({ ... }) before it and leave id out, or, if all records of an id are in one partition anyway, say so with partitioned: true',
  })

/**
 * Lets each record pass at a time of its own, as `delayUntil` does, unless another one with its id replaces or cancels it before.
 *
 * A record that replaces one that waits counts with its own time: at once if that has come. One that comes late, from a retry topic,
 * replaces and cancels nothing newer. In `Commit.meters` also `<name>.replaced`, `.cancelled` and `.superseded`.
 *
 * Order, offsets, state, memory: as of `delayUntil`. What cancels counts as `processed`. FailedRecords pass untouched.
 *
 * @throws MillraceError INVALID_OPTIONS; LOSSY_SERDE; OUTSIDE_SLICE when subscribed outside withTransaction; as error of the slice
 * MISSING_KEY, INVALID_TIMESTAMP, ENCODE_FAILED
 * @example
 * reminders.pipe(schedule({ at: (r) => r.value.at, cancel: (r) => r.value.done, value: json() }), toTopic({ topic: 'due', value: json() }))
 */
export function schedule<R>(options: ScheduleOptions<R>): OperatorFunction<R, R> {
  const { at, cancel, id, name, key, value } = parseOptions(schema, options, 'schedule')
  const what = `schedule '${name}'`
  return delaying<R>(
    name,
    what,
    { key, value },
    {
      id: grouping(what, id) as (record: Good<R>) => string,
      at: (record) => (cancel?.(record as AnyRecord) === true ? undefined : (at(record as AnyRecord) ?? Number.NaN)),
    },
  )
}
