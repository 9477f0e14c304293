import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { Encoded } from '../log/batch/write.js'
import { MillraceError } from '../record/error.js'
import type { HeadersInput } from '../record/headers.js'
import { RAW_ALL, RAW_HEADERS, RAW_KEY, type LogRecord, type StreamRecord } from '../record/record.js'
import { bytes, isLater, type AnySerde } from '../record/serde.js'
import type { Good, Handled, RecordOrFailure, KeyOf, ValueOf } from '../record/types.js'
import { Mark, mark } from '../runtime/accounting.js'
import { activeSlice } from '../runtime/context.js'
import { asWritable, encodeSoon } from '../runtime/encode.js'
import { InOrder } from '../runtime/in-order.js'
import { operate } from '../runtime/operate.js'
import type { TopicOutput } from '../runtime/outputs.js'
import { functionOption, objectWith, parseOptions, topicName } from '../runtime/options.js'

export type AnyRecord = StreamRecord<unknown, unknown>
type AnyLogRecord = LogRecord<unknown, unknown>
/** What needs no serde. */
type Plain = Uint8Array | string | null
type EncoderOf<T> = Pick<AnySerde<T>, 'name' | 'encode'>

interface SerdeOptions<T, Name extends string> {
  readonly required: { readonly [name in Name]: EncoderOf<T> }
  readonly optional: { readonly [name in Name]?: EncoderOf<T> }
}

/** Required unless the type is bytes or text already. */
export type SerdeOption<T, Name extends string> = [T] extends [Plain]
  ? SerdeOptions<T, Name>['optional']
  : SerdeOptions<T, Name>['required']

export interface ToTopicBase<R> {
  /** Name of the topic, or a function that names one of `topics` for each record. */
  readonly topic: string | ((record: R) => string)
  /** All topics that the function may name; required with a function, so that they can be checked before anything is read. */
  readonly topics?: readonly string[]
  /** Headers to write instead of the record's own. Default: those of the record, byte for byte. */
  readonly headers?: (record: R) => HeadersInput
  /**
   * Partition to write to, of `partitions`. Default: Kafka's hash of the key; without a key the record's own partition, modulo, which keeps
   * its order.
   */
  readonly partition?: (record: R, partitions: number) => number
}

/** `key` and `value` are the serdes, which may answer later; they are required unless key or value are bytes or text. */
export type ToTopicOptions<R> = ToTopicBase<R> & SerdeOption<KeyOf<R>, 'key'> & SerdeOption<ValueOf<R>, 'value'>

/** Options of everything that writes records to topics. */
export const writeSchema = z.strictObject({
  key: objectWith<AnySerde<unknown>>(['encode'], 'a serde such as string()').optional(),
  value: objectWith<AnySerde<unknown>>(['encode'], 'a serde such as json()').optional(),
  headers: functionOption<(record: AnyRecord) => HeadersInput>('a function of the record').optional(),
  partition: functionOption<(record: AnyRecord, partitions: number) => number>(
    'a function of the record and the number of partitions',
  ).optional(),
})

const schema = writeSchema
  .extend({
    topic: z.union([topicName, functionOption<(record: AnyRecord) => string>('a topic name or a function of the record')]),
    topics: z.array(topicName).min(1).optional(),
  })
  .refine((options) => typeof options.topic === 'string' || options.topics !== undefined, {
    path: ['topics'],
    message: 'list the topics that the function `topic` may name',
  })
  .refine((options) => typeof options.topic !== 'string' || options.topics === undefined, {
    path: ['topics'],
    message: 'goes with a function `topic` only',
  })

/**
 * Writes each record to a topic, in the transaction of its slice, and passes it on.
 *
 * Order: records of one output partition stand in the order they arrive here. Offsets: commit with the outputs. State: none.
 * Memory: outputs stay encoded in memory until the slice is done, or beyond `streamBytes`. Timestamp, headers and key are the
 * record's own; a record nobody changed is copied as bytes.
 *
 * It does not take FailedRecords: handle them before (dropFailed, or filter them into another sink).
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction; ENCODE_FAILED, RECORD_TOO_LARGE as error of
 * the slice
 * @example
 * records.pipe(toTopic({ topic: 'copies' }))
 * orders.pipe(toTopic({ topic: (o) => o.value.rush ? 'rush' : 'normal', topics: ['rush', 'normal'], value: json() }))
 */
export function toTopic<R extends RecordOrFailure = AnyRecord>(
  options: Handled<R> & ToTopicOptions<Good<R>>,
): OperatorFunction<R, Good<R>> {
  return writeTo<R>('toTopic', parseOptions(schema, options, 'toTopic')) as OperatorFunction<R, Good<R>>
}

export interface WriteSettings extends z.output<typeof writeSchema> {
  readonly topic: string | ((record: AnyRecord) => string)
  readonly topics?: readonly string[] | undefined
}

/** What `toTopic` and other sinks of its kind do, each under its own name. */
export function writeTo<R>(
  sink: string,
  { topic, topics, key: keySerde, value: valueSerde, headers, partition }: WriteSettings,
): OperatorFunction<R, R> {
  const plain = bytes() as AnySerde<unknown>
  // Defaults are set here, not in the schema: zod hands out copies of them, and `plain` is compared below.
  const [key, value] = [keySerde ?? plain, valueSerde ?? plain]
  const names = typeof topic === 'string' ? [topic] : (topics as readonly string[])
  const copies = key === plain && value === plain && headers === undefined

  return operate(`${sink} ${names.join('|')}`, (target) => {
    const slice = activeSlice(`${sink} '${names.join("', '")}'`)
    const outputs = slice.outputs(sink, names)
    const only = typeof topic === 'string' ? outputs.get(topic) : undefined

    /** False where the record waits for its serdes. */
    const write = (given: R): boolean => {
      const item = asWritable(sink, given)
      const output = only ?? outputOf(item)
      if (copies && item.raw === RAW_ALL) {
        output.appendRaw(item, partition === undefined ? output.partitionOfRaw(item) : partition(item, output.partitions))
        mark(item, Mark.processed)
        return true
      }
      const rawKey = hasRawKey(item)
      const keyBytes = rawKey ? null : encodeSoon(sink, key, item.key, item, 'key')
      const valueBytes = encodeSoon(sink, value, item.value, item, 'value')
      if (isLater(keyBytes) || isLater(valueBytes)) {
        waiting.wait(given, Promise.all([keyBytes, valueBytes]))
        return false
      }
      append(item, output, rawKey, keyBytes, valueBytes)
      return true
    }

    const append = (item: AnyLogRecord, output: TopicOutput, rawKey: boolean, keyBytes: Encoded, valueBytes: Encoded): void => {
      const to =
        partition !== undefined
          ? partition(item, output.partitions)
          : rawKey
            ? output.partitionOfRaw(item)
            : output.partitionOf(item, keyBytes)
      if (rawKey && headers === undefined && (item.raw & RAW_HEADERS) !== 0) output.appendValue(item, to, valueBytes)
      else output.append(item, to, rawKey ? (item.key as Encoded) : keyBytes, valueBytes, headers?.(item))
      mark(item, Mark.processed)
    }
    const hasRawKey = (item: AnyLogRecord): boolean => key === plain && (item.raw & RAW_KEY) !== 0

    /** Those behind one whose serde answers later. */
    const waiting = new InOrder<R, readonly [Encoded, Encoded]>({
      begin(given) {
        const item = asWritable(sink, given)
        const keyBytes = hasRawKey(item) ? null : encodeSoon(sink, key, item.key, item, 'key')
        // The value's may throw at once, and then nobody waits for the key's.
        if (keyBytes instanceof Promise) keyBytes.catch(() => undefined)
        return Promise.all([keyBytes, encodeSoon(sink, value, item.value, item, 'value')])
      },
      give(given, [keyBytes, valueBytes]) {
        const item = asWritable(sink, given)
        if (!slice.closed) append(item, only ?? outputOf(item), hasRawKey(item), keyBytes, valueBytes)
        target.next(given)
      },
      complete: () => target.complete(),
      fail: (error) => target.error(error),
      slice,
      what: `${sink} '${names.join("', '")}'`,
    })
    target.add(() => waiting.close())

    const outputOf = (item: AnyRecord): TopicOutput => {
      const name = (topic as (record: AnyRecord) => string)(item)
      const output = outputs.get(name)
      if (output === undefined) {
        throw new MillraceError(
          'NOT_PLANNED',
          `${sink}: the function named topic '${String(name)}' for ${item.id}, which is not in its list: add it to topics: [${names.map((known) => `'${known}'`).join(', ')}]`,
          { origin: item.origin },
        )
      }
      return output
    }

    return {
      next(item) {
        // Planning and what comes after the slice was given up write nothing.
        if (slice.mode === 'plan' || slice.closed) target.next(item)
        else if (!waiting.isEmpty) waiting.add(item)
        else if (write(item)) target.next(item)
      },
      complete: () => waiting.end(),
    }
  })
}
