import { z } from 'zod'
import type { Encoded } from '../log/batch/write.js'
import type { Headers, HeadersInput } from '../record/headers.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { string, type Serde } from '../record/serde.js'
import { objectWith, positiveInteger } from '../runtime/options.js'

/** How a topic's records become values in a test, and come back. Default of both: `string()`. */
export interface TopicSerdes<K = unknown, V = unknown> {
  readonly key?: Serde<K>
  readonly value?: Serde<V>
}

/** A topic of a test. */
export interface TestTopic extends TopicSerdes {
  /** Default 1. */
  readonly partitions?: number
  /** Topic configuration, as the broker names it: `{ 'max.message.bytes': '1000' }`. */
  readonly config?: Readonly<Record<string, string>>
}

/** Topics by name. */
export type TestTopics = Readonly<Record<string, TestTopic>>

type PartOf<Topics extends TestTopics, Name extends string, Part extends 'key' | 'value', Default> = Name extends keyof Topics
  ? Topics[Name] extends { readonly [part in Part]: Serde<infer T> }
    ? T
    : Default
  : Default

/** Type of a topic's keys, as written or as read. */
export type TopicKey<Topics extends TestTopics, Name extends string, Default> = PartOf<Topics, Name, 'key', Default>
/** Type of a topic's values, as written or as read. */
export type TopicValue<Topics extends TestTopics, Name extends string, Default> = PartOf<Topics, Name, 'value', Default>

/** A record to feed. */
export interface FeedRecord<K = Encoded, V = Encoded> {
  /** Default null: no key. */
  readonly key?: K | null
  /** null is a tombstone. */
  readonly value: V | null
  readonly headers?: HeadersInput
  /** Milliseconds since the epoch. Default: the virtual time. */
  readonly timestamp?: number
  /** Default: Kafka's hash of the key; without a key, the partitions in turn. */
  readonly partition?: number
}

/** A record that was written: a plain object, for `toEqual` and `toMatchObject`. */
export interface WrittenRecord<K = string | null, V = string | null> {
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch. */
  readonly timestamp: number
  readonly key: K | null
  /** null is a tombstone. */
  readonly value: V | null
  readonly headers: Headers
}

const serde = objectWith<Serde<unknown>>(['encode', 'decode'], 'a serde such as json()')

export const serdesShape = { key: serde.optional(), value: serde.optional() }

export const testTopics = z.record(
  z.string(),
  z.strictObject({ partitions: positiveInteger.default(1), config: z.record(z.string(), z.string()).optional(), ...serdesShape }),
)

export const feedRecord = z.strictObject({
  key: z.unknown().optional(),
  value: z.unknown().refine((value) => value !== undefined, { message: 'give a value; null is a tombstone' }),
  headers: z.custom<HeadersInput>((given) => typeof given === 'object' && given !== null, { message: 'expected an object' }).optional(),
  timestamp: z.number().int().optional(),
  partition: z.number().int().min(0).optional(),
})

interface Stored {
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Headers
}

type Given = { readonly [part in 'key' | 'value']?: Serde<unknown> | undefined }

/** Bytes that a serde does not take are a finding of the test: the error says which record and which serde. */
export function decoded<K, V>(topic: string, { key = string(), value = string() }: Given, stored: Stored): WrittenRecord<K, V> {
  const { partition, offset, timestamp, headers } = stored
  const part = (name: 'key' | 'value', by: Serde<unknown>): unknown => {
    const bytes = stored[name]
    if (bytes === null) return null
    try {
      return by.decode(bytes)
    } catch (error) {
      throw new MillraceError(
        'DECODE_FAILED',
        `the ${name} of ${topic}/${partition}/${offset} is not ${by.name}: ${errorMessage(error)}. Read it with another serde, e.g. { ${name}: bytes() }`,
        {
          origin: { topic, partition, offset },
          cause: error,
        },
      )
    }
  }
  return { partition, offset, timestamp, key: part('key', key) as K | null, value: part('value', value) as V | null, headers }
}

/** The bytes of a record to feed. */
export function encoded(topic: string, { key = string(), value = string() }: Given, given: FeedRecord<unknown, unknown>): FeedRecord {
  const part = (name: 'key' | 'value', by: Serde<unknown>): Encoded => {
    const what = given[name] ?? null
    try {
      const out = what === null ? null : by.encode(what)
      if (out === null || typeof out === 'string' || out instanceof Uint8Array) return out
    } catch (error) {
      throw new MillraceError(
        'ENCODE_FAILED',
        `the ${name} of a record for '${topic}' cannot be written as ${by.name}: ${errorMessage(error)}`,
        { cause: error },
      )
    }
    throw new MillraceError(
      'ENCODE_FAILED',
      `the ${name} of a record for '${topic}' is of type ${typeof what}, not text or bytes: give a serde for it, e.g. ${name}: json()`,
    )
  }
  return { ...given, key: part('key', key), value: part('value', value) }
}
