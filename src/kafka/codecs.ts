import { createRequire } from 'node:module'
import { builtInCodecs, compressionNumber, type Codec, type CodecLookup, type CompressionName } from '../log/batch/compression.js'
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
    decompress: async (records) => asBuffer(await codec.decompress(records)),
  }
}

/** Some codecs give a bare Uint8Array. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
