import { HEADER_BYTES, framed, indexesOf, readIndexes } from './wire.js'

/** A schema as `@kafkajs/confluent-schema-registry` hands it out. */
export interface RegistrySchema {
  toBuffer(value: unknown): Uint8Array
  fromBuffer(bytes: Buffer, resolver?: unknown): unknown
}

/** An Avro type of `avsc`. */
interface AvroType extends RegistrySchema {
  createResolver(writer: unknown): unknown
  equals(other: unknown): boolean
}

/** A message of `protobufjs`, which stands in its file among others. */
interface ProtoMessage {
  readonly name: string
  readonly fullName: string
  readonly parent: { readonly nested?: Readonly<Record<string, unknown>> } | null
  readonly nested?: Readonly<Record<string, unknown>>
  verify(value: unknown): string | null
  create(value: unknown): unknown
  encode(value: unknown): { finish(): Uint8Array }
  decode(bytes: Uint8Array): unknown
}

/** Values of one schema, and of one message in it. */
export interface Codec {
  /** @throws anything, for a value that the schema does not allow */
  encode(id: number, value: unknown): Buffer
  /** Of a whole value of the wire format; `reader` is the schema its content is to be seen by. */
  decode(bytes: Buffer, reader?: RegistrySchema): unknown
}

export function codecOf(schema: RegistrySchema, message: string | undefined): Codec {
  const first = protoMessageOf(schema)
  return first === undefined ? plainCodec(schema) : protoCodec(first, message)
}

/** Avro and JSON. */
function plainCodec(schema: RegistrySchema): Codec {
  const resolvers = new Map<RegistrySchema, unknown>()
  return {
    encode: (id, value) => framed(id, undefined, schema.toBuffer(value)),
    decode(bytes, reader) {
      const payload = bytes.subarray(HEADER_BYTES)
      if (reader === undefined || reader === schema || !isAvro(reader) || !isAvro(schema)) return schema.fromBuffer(payload)
      if (!resolvers.has(reader)) resolvers.set(reader, reader.equals(schema) ? undefined : reader.createResolver(schema))
      return reader.fromBuffer(payload, resolvers.get(reader))
    },
  }
}

/** The client writes no message indexes, which Java's deserializer needs, and guesses where they end: so that is done here. */
function protoCodec(first: ProtoMessage, name: string | undefined): Codec {
  const top = messagesIn(first.parent?.nested)
  const paths = new Map<ProtoMessage, readonly number[]>()
  const walk = (messages: readonly ProtoMessage[], before: readonly number[]): void =>
    messages.forEach((message, i) => {
      paths.set(message, [...before, i])
      walk(messagesIn(message.nested), [...before, i])
    })
  walk(top, [])
  const written =
    name === undefined ? top[0] : [...paths.keys()].find((message) => message.name === name || message.fullName.replace(/^\./, '') === name)
  if (written === undefined)
    throw new TypeError(
      `the schema has no message '${String(name)}': it has ${[...paths.keys()].map((message) => message.name).join(', ')}`,
    )
  const indexes = indexesOf(paths.get(written) as readonly number[])
  return {
    encode(id, value) {
      const wrong = written.verify(value)
      if (wrong !== null) throw new TypeError(`${written.name}: ${wrong}`)
      return framed(id, indexes, written.encode(written.create(value)).finish())
    },
    decode(bytes) {
      const { path, end } = readIndexes(bytes, HEADER_BYTES)
      let message: ProtoMessage | undefined
      let among = top
      for (const index of path) {
        message = among[index]
        if (message === undefined) throw new RangeError(`the schema has no message at [${path.join(', ')}]`)
        among = messagesIn(message.nested)
      }
      return (message as ProtoMessage).decode(bytes.subarray(end))
    },
  }
}

function messagesIn(nested: Readonly<Record<string, unknown>> | undefined): readonly ProtoMessage[] {
  return Object.values(nested ?? {}).filter(isMessage)
}

function isMessage(given: unknown): given is ProtoMessage {
  return typeof given === 'object' && given !== null && 'fields' in given && 'decode' in given
}

function protoMessageOf(schema: RegistrySchema): ProtoMessage | undefined {
  const { message } = schema as { readonly message?: unknown }
  return isMessage(message) ? message : undefined
}

function isAvro(schema: RegistrySchema): schema is AvroType {
  return typeof (schema as Partial<AvroType>).createResolver === 'function'
}
