import {
  builtInCodecs,
  codecFor,
  compressionNumber,
  tooLarge,
  type Codec,
  type CodecLookup,
  type CompressionName,
} from '../log/batch/compression.js'
import { AT } from '../log/batch/header.js'
import type { OutputBatch } from '../log/batch/write.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { registeredCodecs } from './kafkajs.js'

/** A compression format, in the form that packages made for kafkajs have. */
export interface CompressionCodec {
  compress(encoder: { readonly buffer: Buffer }): Promise<Uint8Array> | Uint8Array
  decompress(buffer: Buffer): Promise<Uint8Array> | Uint8Array
}

/** Makes a codec, by the name of its format. */
export type CompressionCodecs = Partial<Record<'snappy' | 'lz4' | 'zstd', () => CompressionCodec>>

/** gzip, the codecs given, and whatever was registered in kafkajs's own CompressionCodecs. */
export function codecLookup(given: CompressionCodecs): CodecLookup {
  const adapted = new Map<CompressionName, { readonly factory: unknown; readonly codec: Codec }>()
  return (name) => {
    const builtIn = builtInCodecs(name)
    if (builtIn !== undefined || name === 'none') return builtIn
    const factory =
      given[name as keyof CompressionCodecs] ?? (registeredCodecs[compressionNumber(name)] as (() => CompressionCodec) | undefined)
    if (factory === undefined) return undefined
    const known = adapted.get(name)
    if (known?.factory === factory) return known.codec
    const codec = adapt(name, factory)
    if (codec !== undefined) adapted.set(name, { factory, codec })
    return codec
  }
}

function adapt(name: CompressionName, factory: () => CompressionCodec): Codec | undefined {
  let codec: CompressionCodec
  try {
    codec = factory()
  } catch (error) {
    // kafkajs's place-holder for a codec that is not registered.
    if ((error as Error).name === 'KafkaJSNotImplemented') return undefined
    throw new MillraceError('UNSUPPORTED_FORMAT', `the codec registered for ${name} compression cannot be set up: ${errorMessage(error)}`, {
      cause: error,
    })
  }
  return {
    compress: async (records) => codec.compress({ buffer: records }),
    async decompress(records, maxBytes) {
      // None of them can be told where to stop.
      const plain = asBuffer(await codec.decompress(records))
      if (plain.length > maxBytes) throw tooLarge(maxBytes)
      return plain
    },
  }
}

/** Some codecs give a bare Uint8Array. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The records of a batch, compressed. @throws MillraceError UNSUPPORTED_FORMAT */
export async function compressRecords(
  { bytes, topic, partition }: OutputBatch,
  compression: CompressionName,
  codecs: CodecLookup,
): Promise<Uint8Array> {
  const codec = codecFor(compression, codecs)
  try {
    return await codec.compress(bytes.subarray(AT.records))
  } catch (error) {
    throw new MillraceError(
      'UNSUPPORTED_FORMAT',
      `the codec registered for ${compression} cannot compress what goes to ${topic}/${partition}: ${errorMessage(error)}`,
      { cause: error },
    )
  }
}
