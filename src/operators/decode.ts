import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { MillraceError, errorMessage } from '../record/error.js'
import { FailedRecord } from '../record/failed-record.js'
import type { LogRecord, RawRecord, StreamRecord } from '../record/record.js'
import { isLater, json, type AnySerde } from '../record/serde.js'
import type { KeyOf } from '../record/types.js'
import { Mark, mark } from '../runtime/accounting.js'
import { isNobodys } from '../runtime/blame.js'
import { optionalSlice } from '../runtime/context.js'
import { InOrder } from '../runtime/in-order.js'
import { objectWith, parseOptions } from '../runtime/options.js'
import { operate } from '../runtime/operate.js'
import { issuesText, isStandardSchema } from '../runtime/schema.js'

export interface DecodeOptions {
  /** How the bytes become the value that the schema checks; it may answer later. Default `json()`. */
  readonly from?: AnySerde<unknown>
  /** Name in `FailedRecord.step`. Default 'decode'; give another where a pipeline decodes twice. */
  readonly step?: string
}

const schema = z.strictObject({
  from: objectWith<AnySerde<unknown>>(['decode'], 'a serde such as json()').default(json()),
  step: z.string().min(1).default('decode'),
})

type Undecoded = StreamRecord<unknown, Buffer | null> | FailedRecord
/** What does not fit is a failure of what went in; failures of steps before pass with their type. */
export type Decoded<R, S extends StandardSchemaV1> =
  | StreamRecord<KeyOf<R>, StandardSchemaV1.InferOutput<S>>
  | FailedRecord<MillraceError, Extract<R, StreamRecord<unknown, unknown>>>
  | Extract<R, FailedRecord>

/**
 * Turns the bytes of each value into a checked, typed one; what does not parse or does not fit becomes a FailedRecord.
 *
 * Any Standard Schema does: zod, valibot, arktype. A tombstone is checked as null. FailedRecords from before pass untouched.
 *
 * Order: kept, also with serdes and schemas that answer with a promise, of which 256 are asked at once. State: none. Memory: those records
 * of the slice that wait; where nothing answers with a promise, none. The failed record keeps its bytes (`failed.raw`). A serde that fails
 * with SERDE_UNAVAILABLE is asked again until it answers: nobody's record is to blame.
 *
 * @throws MillraceError INVALID_OPTIONS if the first argument is not a Standard Schema; as error of the slice SCHEMA_FAILED where the
 * schema throws
 * @example
 * const Order = z.object({ id: z.string(), amount: z.number() })
 * records.pipe(decode(Order), dropFailed())
 * @see https://standardschema.dev
 */
export function decode<S extends StandardSchemaV1, R extends Undecoded = RawRecord | FailedRecord>(
  valueSchema: S,
  options: DecodeOptions = {},
): OperatorFunction<R, Decoded<R, S>> {
  const { from, step } = parseOptions(schema, options, 'decode')
  if (!isStandardSchema(valueSchema)) {
    throw new MillraceError(
      'INVALID_OPTIONS',
      "decode: its first argument must be a Standard Schema, e.g. z.object({ ... }) of zod 3.24 or later (it has a '~standard' property)",
    )
  }
  const standard = valueSchema['~standard']

  const check = (record: LogRecord<KeyOf<R>, Buffer | null>): Decoded<R, S> | Promise<Decoded<R, S>> => {
    const failed = (error: MillraceError): Decoded<R, S> => {
      mark(record, Mark.failed)
      return new FailedRecord(record, error, step) as unknown as Decoded<R, S>
    }
    const settle = (result: StandardSchemaV1.Result<unknown>): Decoded<R, S> =>
      result.issues === undefined
        ? (record.with({ value: result.value }) as unknown as Decoded<R, S>)
        : failed(mismatch(result.issues, record))
    const unreadable = (error: unknown): Decoded<R, S> =>
      failed(
        new MillraceError('DECODE_FAILED', `${record.id} is not ${from.name}: ${errorMessage(error)}`, {
          origin: record.origin,
          cause: error,
        }),
      )
    // It tells by issues what does not fit: what it throws is a mistake in it, most likely met by every record, and no failure of this one.
    const threw = (error: unknown): never => {
      throw new MillraceError(
        'SCHEMA_FAILED',
        `${step}: the schema threw on ${record.id} instead of saying what does not fit: ${errorMessage(error)}. Does a transform or refinement of it throw? Have it add an issue`,
        { origin: record.origin, cause: error },
      )
    }
    const checked = (given: StandardSchemaV1.Result<unknown>): Decoded<R, S> => {
      if (typeof given === 'object' && given !== null && ('value' in given || given.issues !== undefined)) return settle(given)
      throw new MillraceError(
        'SCHEMA_FAILED',
        `${step}: the schema made of ${record.id} what is no result of a Standard Schema, { value } or { issues }: is a return missing in its validate?`,
        { origin: record.origin },
      )
    }
    const validated = (value: unknown): Decoded<R, S> | Promise<Decoded<R, S>> => {
      let result: ReturnType<typeof standard.validate>
      try {
        result = standard.validate(value)
      } catch (error) {
        return threw(error)
      }
      return result instanceof Promise ? result.then(checked, threw) : checked(result)
    }
    let value: unknown
    try {
      value = record.value === null ? null : from.decode(record.value)
    } catch (error) {
      if (isNobodys(error)) throw error
      return unreadable(error)
    }
    if (!isLater(value)) return validated(value)
    return Promise.resolve(value).then(validated, (error: unknown) => {
      if (isNobodys(error)) throw error
      return unreadable(error)
    })
  }

  return operate(step, (target) => {
    const queue = new InOrder<R, Decoded<R, S>>({
      begin: (item) =>
        item instanceof FailedRecord ? (item as Decoded<R, S>) : check(item as unknown as LogRecord<KeyOf<R>, Buffer | null>),
      give: (_, out) => target.next(out),
      complete: () => target.complete(),
      fail: (error) => target.error(error),
      slice: optionalSlice(),
      what: step,
    })
    target.add(() => queue.close())
    return { next: (item) => queue.add(item), complete: () => queue.end() }
  })
}

function mismatch(issues: readonly StandardSchemaV1.Issue[], record: LogRecord<unknown, unknown>): MillraceError {
  return new MillraceError('DECODE_FAILED', `${record.id} does not fit its schema: ${issuesText(issues)}`, {
    origin: record.origin,
    cause: issues,
  })
}
