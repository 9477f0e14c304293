import { z } from 'zod'
import { MillraceError, errorMessage } from '../record/error.js'
import type { AsyncSerde } from '../record/serde.js'
import { objectWith, parseOptions } from '../runtime/options.js'
import { codecOf, type Codec, type RegistrySchema } from './codec.js'
import { schemaIdOf } from './wire.js'

export type { RegistrySchema } from './codec.js'

/** What is needed of a client: `new SchemaRegistry(...)` of `@kafkajs/confluent-schema-registry` has it. */
export interface RegistryClient {
  getSchema(id: number): Promise<RegistrySchema>
  getLatestSchemaId(subject: string): Promise<number>
  register(schema: never, options: never): Promise<{ readonly id: number }>
}

/** The text of a schema, and of what kind it is. */
export interface SchemaText {
  readonly type: 'AVRO' | 'PROTOBUF' | 'JSON'
  readonly schema: string
}

export interface RegistrySerdeOptions {
  /** What schemas are registered and looked up under: see `topicSubject`, `recordSubject`, `topicRecordSubject`. */
  readonly subject: string
  /**
   * The schema that values are written by; it is registered when the first one is, and the registry refuses one that is not compatible with
   * those before it. Of Avro, values are also read by it, whatever schema they were written by. Default: the latest of the subject, as of
   * the first value.
   */
  readonly schema?: SchemaText
  /** Of a Protobuf schema with several messages the one to write, by its name. Default: the first. */
  readonly message?: string
  /**
   * What is asked of versions of a subject that this is the first to write to, and must be what the registry has for it. Default 'BACKWARD',
   * as in the registry.
   */
  readonly compatibility?: 'NONE' | 'FULL' | 'BACKWARD' | 'FORWARD' | 'BACKWARD_TRANSITIVE' | 'FORWARD_TRANSITIVE' | 'FULL_TRANSITIVE'
  /**
   * While the registry cannot be reached, or says that it cannot serve: 'wait' (default) has the pipeline wait, 'fail' makes it a failure of
   * the record.
   */
  readonly onUnavailable?: 'wait' | 'fail'
}

const clientSchema = objectWith<RegistryClient>(
  ['getSchema', 'getLatestSchemaId', 'register'],
  'a SchemaRegistry of @kafkajs/confluent-schema-registry',
)
const optionsSchema = z.strictObject({
  subject: z.string().min(1),
  schema: z.strictObject({ type: z.enum(['AVRO', 'PROTOBUF', 'JSON']), schema: z.string().min(1) }).optional(),
  message: z.string().min(1).optional(),
  compatibility: z
    .enum(['NONE', 'FULL', 'BACKWARD', 'FORWARD', 'BACKWARD_TRANSITIVE', 'FORWARD_TRANSITIVE', 'FULL_TRANSITIVE'])
    .default('BACKWARD'),
  onUnavailable: z.enum(['wait', 'fail']).default('wait'),
})

/** TopicNameStrategy: one schema, in all its versions, for all values of a topic. */
export function topicSubject(topic: string, part: 'key' | 'value' = 'value'): string {
  return `${topic}-${part}`
}

/** RecordNameStrategy: by the full name of the record or message, wherever it is written. */
export function recordSubject(fullName: string): string {
  return fullName
}

/** TopicRecordNameStrategy: by topic and full name, for topics with records of several kinds. */
export function topicRecordSubject(topic: string, fullName: string): string {
  return `${topic}-${fullName}`
}

/** What a serde writes with. */
interface Writer {
  readonly id: number
  readonly codec: Codec
}

/**
 * A serde of a schema registry, in the wire format of Confluent's serializers: a zero byte, the id of the schema, for Protobuf the way to
 * the message, then the value in Avro, Protobuf or JSON that a JSON Schema describes.
 *
 * A schema is asked for once, when its id is first met; from then on values are written and read at once, without a promise. What is not
 * of the format, has an id that the registry does not know, or does not fit its schema, is a failure of its record. While the registry is
 * away the pipeline waits (see `onUnavailable`). A schema that the registry refuses as not compatible ends the pipeline: no record is to
 * blame.
 *
 * @throws MillraceError INVALID_OPTIONS; in its promises INVALID_OPTIONS for a refused schema, SERDE_UNAVAILABLE
 * @example
 * const client = new SchemaRegistry({ host: 'http://registry:8081' })
 * const orders = registrySerde<Order>(client, { subject: topicSubject('orders'), schema: { type: 'AVRO', schema: text } })
 * records.pipe(decode(Order, { from: orders }), dropFailed(), toTopic({ topic: 'copies', value: orders }))
 * @see https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
 */
export function registrySerde<T>(client: RegistryClient, options: RegistrySerdeOptions): AsyncSerde<T> {
  parseOptions(z.tuple([clientSchema]), [client], 'registrySerde')
  const { subject, schema, message, compatibility, onUnavailable } = parseOptions(optionsSchema, options, 'registrySerde')
  const codecs = new Map<number, Codec>()
  const asked = new Map<number, Promise<Codec>>()
  let writer: Writer | undefined
  let writing: Promise<Writer> | undefined
  let reader: RegistrySchema | undefined

  const call = async <O>(what: string, make: () => Promise<O>): Promise<O> => {
    try {
      return await make()
    } catch (error) {
      throw refusal(what, error)
    }
  }

  const refusal = (what: string, error: unknown): unknown => {
    if (error instanceof MillraceError) return error
    const status = (error as { readonly status?: unknown } | null)?.status
    const text = `${what}: ${errorMessage(error)}`
    if (isAway(error, status)) {
      return onUnavailable === 'wait'
        ? new MillraceError('SERDE_UNAVAILABLE', `the schema registry cannot be asked: ${text}`, { retryable: true, cause: error })
        : new Error(`the schema registry cannot be asked: ${text}`, { cause: error })
    }
    return new Error(text, { cause: error })
  }

  const codecOfId = (id: number): Promise<Codec> => {
    let found = asked.get(id)
    if (found === undefined) {
      found = call(`schema ${id}`, () => client.getSchema(id))
        .then((known) => {
          const codec = codecOf(known, undefined)
          codecs.set(id, codec)
          return codec
        })
        .finally(() => asked.delete(id))
      asked.set(id, found)
    }
    return found
  }

  const openWriter = (): Promise<Writer> => {
    writing ??= call(`subject '${subject}'`, async () => {
      const id = schema === undefined ? await client.getLatestSchemaId(subject) : await registered()
      const known = await client.getSchema(id)
      if (schema !== undefined) reader = known
      return (writer = { id, codec: codecOf(known, message) })
    }).finally(() => (writing = undefined))
    return writing
  }

  const registered = async (): Promise<number> => {
    try {
      return (await client.register(schema as never, { subject, compatibility } as never)).id
    } catch (error) {
      const status = (error as { readonly status?: unknown } | null)?.status
      if (isAway(error, status)) throw error
      throw new MillraceError(
        'INVALID_OPTIONS',
        `registrySerde: the schema for subject '${subject}' is refused: ${errorMessage(error)}. Values written by it could not be read by those who know its earlier versions: change it so that they can, or write under another subject`,
        { cause: error },
      )
    }
  }

  return {
    name: `schema registry '${subject}'`,
    async: true,
    encode(value) {
      if (value === null) return null
      return writer === undefined ? openWriter().then(({ id, codec }) => codec.encode(id, value)) : writer.codec.encode(writer.id, value)
    },
    decode(bytes) {
      const codec = codecs.get(schemaIdOf(bytes))
      // What values are to be seen by has to be known first.
      if (codec !== undefined && (schema === undefined || reader !== undefined)) return codec.decode(bytes, reader) as T
      return decodeLater(bytes)
    },
  }

  async function decodeLater(bytes: Buffer): Promise<T> {
    if (schema !== undefined && reader === undefined) await openWriter()
    return (await codecOfId(schemaIdOf(bytes))).decode(bytes, reader) as T
  }
}

/** Of a socket; the client makes answers with status 400 of them. */
const UNREACHED = /ECONN|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|EHOST|ENET|socket hang up|timed? ?out/i

/** Not reached, overloaded, failing, or not letting us in: all of that passes, or somebody has to act; no record is to blame. */
function isAway(error: unknown, status: unknown): boolean {
  if (typeof status === 'number' && (status < 400 || status >= 500 || [401, 403, 408, 429].includes(status))) return true
  return (status === undefined || status === 400) && UNREACHED.test(errorMessage(error))
}
