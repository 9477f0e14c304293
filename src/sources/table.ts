import type { StandardSchemaV1 } from '@standard-schema/spec'
import { z } from 'zod'
import { MillraceError, errorMessage } from '../record/error.js'
import { isLater, json, type AnySerde } from '../record/serde.js'
import type { DeepReadonly } from '../record/types.js'
import { isNobodys } from '../runtime/blame.js'
import type { SliceContext } from '../runtime/context.js'
import { objectWith, parseOptions, storeName, topicName } from '../runtime/options.js'
import { isStandardSchema, validValue } from '../runtime/schema.js'
import type { KeyText } from '../state/key.js'
import type { StoreSpec } from '../state/store.js'
import { ViewStore } from '../state/view-store.js'

type ValueForm = AnySerde<unknown> | StandardSchemaV1

/** The type of a table's values. A tombstone is no value but the end of one. */
export type TableValue<F extends ValueForm> = F extends StandardSchemaV1
  ? StandardSchemaV1.InferOutput<F>
  : F extends { decode(bytes: Buffer): infer V }
    ? Exclude<Awaited<V>, null>
    : never

export interface TableOptions<F extends ValueForm> {
  /**
   * The compacted topic: key by key, its last value counts and a null value deletes. It has as many partitions as the inputs, and is
   * partitioned by the same key in the same way.
   */
  readonly topic: string
  /** How bytes become values: a serde, or a Standard Schema that checks JSON. Either may answer with a promise. */
  readonly value: F
  /** Name of the table within the pipeline, for messages and queries. Default: the topic's. */
  readonly name?: string
}

const schema = z.strictObject({
  topic: topicName,
  value: z.custom<ValueForm>((given) => isStandardSchema(given) || objectWith<AnySerde<unknown>>(['decode'], '').safeParse(given).success, {
    message: 'expected a serde such as json(), or a Standard Schema such as z.object({ ... })',
  }),
  name: storeName.optional(),
})

/** What a record finds in a table. */
export interface TableRows<V> {
  /** A promise where the value is not there at once. @throws what reading it throws, each time */
  get(key: KeyText): DeepReadonly<V> | PromiseLike<DeepReadonly<V>> | undefined
}

/** Values by key that others write, which records are joined with. */
export abstract class LookupTable<V, Whole extends boolean = boolean> {
  /** Never set: of which type its values are. */
  declare readonly valueType?: V
  /** Where its rows lie, for messages. */
  abstract readonly place: string
  /** Whether every row is at hand in every task, not only those that are partitioned as the task is. */
  abstract readonly whole: Whole

  constructor(readonly name: string) {}

  /** @internal */
  abstract open(slice: SliceContext, what: string): TableRows<V>
}

/** A compacted topic whose latest values are at hand; made by `table`, used by `joinTable`. It may be used in several places. */
export class Table<V> extends LookupTable<V, false> {
  /** @internal */
  readonly spec: StoreSpec<ViewStore<V>>
  readonly place: string
  readonly whole = false

  constructor(
    readonly topic: string,
    name: string,
    decode: (bytes: Buffer) => V | PromiseLike<V>,
  ) {
    super(name)
    this.place = `topic '${topic}'`
    this.spec = { name, kind: 'table', version: 1, source: topic, create: () => new ViewStore<V>(decode) }
  }

  /** @internal */
  open(slice: SliceContext, what: string): TableRows<V> {
    return slice.store(what, this.spec)
  }
}

/**
 * Defines a table: the latest value of each key of a compacted topic, kept in memory, partition p of it beside partition p of the inputs.
 *
 * It is read to its end before a task takes its first record, anew after each restart and by each new owner of a task, and followed from
 * then on. Only what is committed is seen. Nothing is written, no offsets are committed. Memory: the bytes of keys and values plus about
 * 150 bytes a key; a value that was looked up is kept decoded as well.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const customers = table({ topic: 'customers', value: Customer })
 */
export function table<F extends ValueForm>(options: TableOptions<F>): Table<TableValue<F>> {
  const { topic, value, name = topic } = parseOptions(schema, options, 'table')
  return new Table(topic, name, decoderOf<TableValue<F>>(value))
}

function decoderOf<V>(value: ValueForm): (bytes: Buffer) => V | PromiseLike<V> {
  if (!isStandardSchema(value)) return (bytes) => wrap(value.name, () => value.decode(bytes) as V | PromiseLike<V>)
  const { '~standard': standard } = value
  const from = json()
  return (bytes) => {
    const result = wrap(from.name, () => standard.validate(from.decode(bytes)))
    return isLater(result) ? result.then(validValue<V>) : validValue<V>(result)
  }
}

function wrap<T>(form: string, decode: () => T | PromiseLike<T>): T | PromiseLike<T> {
  const refuse = (error: unknown): never => {
    if (isNobodys(error)) throw error
    throw new MillraceError('DECODE_FAILED', `it is not ${form}: ${errorMessage(error)}`, { cause: error })
  }
  try {
    const decoded = decode()
    return isLater(decoded) ? decoded.then(undefined, refuse) : decoded
  } catch (error) {
    return refuse(error)
  }
}
