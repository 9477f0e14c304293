import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { Encoded } from '../log/batch/write.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { LogRecord, RawRecord, StreamRecord } from '../record/record.js'
import { bytes, isLater, type AnySerde, type AnySerdeFor } from '../record/serde.js'
import type { Good, Handled, RecordOrFailure, ValueOf } from '../record/types.js'
import { Mark, mark } from '../runtime/accounting.js'
import { activeSlice } from '../runtime/context.js'
import { isNobodys } from '../runtime/blame.js'
import { asWritable, encodeSoon } from '../runtime/encode.js'
import { InOrder } from '../runtime/in-order.js'
import { operate } from '../runtime/operate.js'
import { functionOption, objectWith, parseOptions, storeName, topicName } from '../runtime/options.js'
import { readBack } from '../state/read-back.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** A value as it comes out: bytes are buffers, whatever they were. */
export type Repartitioned<V> = V extends Uint8Array ? Buffer : V

/** Required unless the value is bytes. */
type ValueOption<V> = [V] extends [Uint8Array | null] ? { readonly value?: AnySerdeFor<V> } : { readonly value: AnySerdeFor<V> }

interface RepartitionBase<R> {
  /** The new key, as text (UTF-8) or bytes. */
  readonly key: (record: NoInfer<R>) => string | Uint8Array
  /** Names the internal topic, '<group>-<name>-repartition'; must stay the same. Default 'repartition'; needed where a pipeline has two. */
  readonly name?: string
  /** The whole name of the internal topic instead; one that nothing else writes to or reads. */
  readonly topic?: string
}

/** `value` is the serde that the value takes through the topic, which may answer later; it is required unless the value is bytes. */
export type RepartitionOptions<R> = RepartitionBase<R> & ValueOption<ValueOf<R>>

const schema = z
  .strictObject({
    key: functionOption<(record: AnyRecord) => string | Uint8Array>('a function from the record to text or bytes'),
    value: objectWith<AnySerde<unknown>>(['encode', 'decode'], 'a serde such as json()').optional(),
    name: storeName.optional(),
    topic: topicName.optional(),
  })
  .refine(({ name, topic }) => name === undefined || topic === undefined, {
    path: ['topic'],
    message: 'is the whole name of the topic, and name a part of it: give one of the two',
  })

interface Keyed {
  readonly record: LogRecord<unknown, unknown>
  readonly newKey: string | Uint8Array
}

/** Event times may be of any age, and nothing is to be lost while the pipeline stands still: time must not delete. */
const CONFIG = { 'cleanup.policy': 'delete', 'retention.ms': '-1' } as const

/**
 * Gives records another key and sends them through a topic of the pipeline's own, so that behind it all records of a key are in one task.
 *
 * What goes in is written with the new key, headers and timestamp kept, in the transaction of its slice. What comes out, some transaction
 * later, is read from the topic: its origin is there, its key is bytes, its value is decoded. With `provision` the topic is made with as
 * many partitions as the inputs have; without, it must exist so. It keeps all records: delete old ones below the group's offset if that is
 * too much.
 *
 * Order: of the records of one input partition and one new key, kept. Records of several partitions come mixed, so event time is less in
 * order than before: a window behind it needs `grace`. Offsets: those of the topic commit with the others of the task; a record counts
 * twice in `Commit.records`, as 'processed' where it is written and as what becomes of it where it is read. State, memory: none.
 * FailedRecords are not accepted: handle them before.
 *
 * @throws MillraceError INVALID_OPTIONS; LOSSY_SERDE; as error of the slice MISSING_KEY, ENCODE_FAILED, DECODE_FAILED
 * @example
 * orders.pipe(
 *   repartition({ key: (order) => order.value.sku, value: json() }),
 *   window(tumbling('1m'), { aggregate: count(), grace: '10s' }),
 * )
 */
export function repartition<R extends RecordOrFailure = AnyRecord>(
  options: Handled<R> & RepartitionOptions<Good<R>>,
): OperatorFunction<R, StreamRecord<Buffer, Repartitioned<ValueOf<R>>>>
export function repartition<R extends AnyRecord>(
  options: RepartitionOptions<R>,
): OperatorFunction<R, StreamRecord<Buffer, Repartitioned<ValueOf<R>>>> {
  const { key, value = bytes() as AnySerde<unknown>, name = 'repartition', topic: given } = parseOptions(schema, options, 'repartition')
  const what = `repartition '${given ?? name}'`
  // What comes out has the type of what went in.
  const serde = readBack(value, `${what}: the value it writes`, 'give it a serde that holds it (value: ...)')

  return operate<R, StreamRecord<Buffer, Repartitioned<ValueOf<R>>>>(what, (target) => {
    const slice = activeSlice(what)
    const topic = given ?? `${slice.group}-${name}-repartition`
    const output = slice.outputs(what, [topic]).get(topic)
    let open = 2
    const queue = {
      complete: () => {
        if (--open === 0) target.complete()
      },
      fail: (error: unknown) => target.error(error),
      slice,
      what,
    }
    const reading = new InOrder<RawRecord, unknown>({
      ...queue,
      begin: (record) => decoded(record),
      give: (record, value) => target.next(record.with({ value }) as StreamRecord<Buffer, Repartitioned<ValueOf<R>>>),
    })
    const writing = new InOrder<Keyed, Encoded>({
      ...queue,
      begin: ({ record }) => encodeSoon(what, serde, record.value, record, 'value'),
      give: ({ record, newKey }, encoded) => write(record, newKey, encoded),
    })
    target.add(() => reading.close())
    target.add(() => writing.close())
    slice.inlet(what, { topic, config: CONFIG }, (record) => reading.add(record))

    const decoded = (record: RawRecord): unknown => {
      const { value } = record
      if (value === null) return null
      const unreadable = (error: unknown): never => {
        if (isNobodys(error)) throw error
        throw new MillraceError(
          'DECODE_FAILED',
          `${record.id} cannot be read as ${serde.name}, though ${what} wrote it so: ${errorMessage(error)}. Was the serde changed while records were in the topic?`,
          { origin: record.origin, cause: error },
        )
      }
      try {
        const found: unknown = serde.decode(value)
        return isLater(found) ? Promise.resolve(found).catch(unreadable) : found
      } catch (error) {
        return unreadable(error)
      }
    }

    const write = (record: LogRecord<unknown, unknown>, newKey: string | Uint8Array, encoded: Encoded): void => {
      if (slice.closed || output === undefined) return
      output.append(record, output.partitionOf(record, newKey), newKey, encoded, undefined)
      mark(record, Mark.processed)
    }

    return {
      complete() {
        reading.end()
        writing.end()
      },
      next(item) {
        if (slice.mode === 'plan' || slice.closed || output === undefined) return
        const record = asWritable(what, item)
        const newKey = key(item)
        if (typeof newKey !== 'string' && !(newKey instanceof Uint8Array)) {
          throw new MillraceError(
            'MISSING_KEY',
            `${what}: the key function gave ${newKey === null ? 'null' : `a ${typeof newKey}`} for ${record.id}, not text or bytes. Drop such records with filter before it`,
            { origin: record.origin },
          )
        }
        if (!writing.isEmpty) return writing.add({ record, newKey })
        const encoded = encodeSoon(what, serde, record.value, record, 'value')
        if (isLater(encoded)) writing.wait({ record, newKey }, encoded)
        else write(record, newKey, encoded)
      },
    }
  })
}
