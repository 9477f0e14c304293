import { createRequire } from 'node:module'
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

interface KafkaJsCodec {
  compress(encoder: { readonly buffer: Buffer }): Promise<Buffer> | Buffer
  decompress(buffer: Buffer): Promise<Buffer> | Buffer
}

const require = createRequire(import.meta.url)
const adapted = new Map<CompressionName, { readonly factory: unknown; readonly codec: Codec }>()

/** gzip, and whatever was registered in kafkajs's CompressionCodecs, so that the codec packages made for kafkajs fit. */
export const kafkaCodecs: CodecLookup = (name) => {
  const builtIn = builtInCodecs(name)
  if (builtIn !== undefined || name === 'none') return builtIn
  const { CompressionCodecs } = require('kafkajs') as { CompressionCodecs: Record<number, (() => KafkaJsCodec) | undefined> }
  const factory = CompressionCodecs[compressionNumber(name)]
  if (factory === undefined) return undefined
  const known = adapted.get(name)
  if (known?.factory === factory) return known.codec
  const codec = adapt(name, factory)
  if (codec !== undefined) adapted.set(name, { factory, codec })
  return codec
}

function adapt(name: CompressionName, factory: () => KafkaJsCodec): Codec | undefined {
  let codec: KafkaJsCodec
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
export async function compressRecords({ bytes, topic, partition }: OutputBatch, compression: CompressionName): Promise<Uint8Array> {
  const codec = codecFor(compression, kafkaCodecs)
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
