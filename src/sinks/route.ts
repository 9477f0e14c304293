import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { MillraceError } from '../record/error.js'
import type { Good, Handled, RecordOrFailure, KeyOf, ValueOf } from '../record/types.js'
import { functionOption, parseOptions, topicName } from '../runtime/options.js'
import { writeSchema, writeTo, type AnyRecord, type SerdeOption, type ToTopicBase } from './to-topic.js'

interface RouteBase<R> extends Pick<ToTopicBase<R>, 'headers' | 'partition'> {
  /** Names the route of a record: one of `topics`, by its topic or, where names were given, by its name. Anything else is the fallback. */
  readonly to: (record: R) => string | null | undefined
  /** The topics to route to: a list, or by names of your own, `{ eu: 'orders.europe', us: 'orders.america' }`. */
  readonly topics: readonly string[] | Readonly<Record<string, string>>
  /** Topic of the records whose route is none of `topics`, so that none is lost. */
  readonly fallback: string
}

/** `key` and `value` are the serdes, as in `toTopic`; they are required unless key or value are bytes or text. */
export type RouteOptions<R> = RouteBase<R> & SerdeOption<KeyOf<R>, 'key'> & SerdeOption<ValueOf<R>, 'value'>

const schema = writeSchema.extend({
  to: functionOption<(record: AnyRecord) => string | null | undefined>('a function of the record'),
  topics: z.union([
    z.array(topicName).min(1),
    z.record(z.string(), topicName).refine((names) => Object.keys(names).length > 0, { message: 'name at least one topic' }),
  ]),
  fallback: topicName,
})

/**
 * Writes each record to the topic that a function names, in the transaction of its slice, and passes it on; what has no route goes to a
 * fallback topic.
 *
 * All of the topics stand in the plan, the fallback too: a missing one is found before anything is read. Use `toTopic` with a function
 * where an unknown topic is a mistake in the program.
 *
 * Order, offsets, state, memory: as `toTopic`. It does not take FailedRecords. What `to` throws fails the slice: see `onError` of
 * withTransaction.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction; MISSING_TOPIC before anything is read;
 * ENCODE_FAILED, RECORD_TOO_LARGE as error of the slice
 * @example
 * orders.pipe(route({ to: (o) => o.value.country, topics: { DE: 'orders.eu', FR: 'orders.eu', US: 'orders.us' }, fallback: 'orders.other', value: json() }))
 */
export function route<R extends RecordOrFailure = AnyRecord>(options: Handled<R> & RouteOptions<Good<R>>): OperatorFunction<R, Good<R>> {
  const { to, topics, fallback, ...writing } = parseOptions(schema, options, 'route')
  const named: readonly string[] = Array.isArray(topics) ? topics : Object.values(topics as Readonly<Record<string, string>>)
  // A map: records may well name routes like `constructor`.
  const routes = new Map([
    ...named.map((topic) => [topic, topic] as const),
    ...(Array.isArray(topics) ? [] : Object.entries(topics as Readonly<Record<string, string>>)),
  ])
  return writeTo<R>('route', {
    ...writing,
    topic(record) {
      const name: unknown = to(record)
      if (typeof name === 'object' && name !== null && 'then' in name)
        throw new MillraceError(
          'INVALID_OPTIONS',
          'route: `to` returned a promise: it names the route of a record at once. Look it up before, with attempt',
        )
      return routes.get(name as string) ?? fallback
    },
    topics: [...new Set([...named, fallback])],
  }) as OperatorFunction<R, Good<R>>
}
