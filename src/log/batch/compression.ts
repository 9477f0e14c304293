import { promisify } from 'node:util'
import { gunzip, gzip, type ZlibOptions } from 'node:zlib'
import { MillraceError } from '../../record/error.js'

export type CompressionName = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

const NUMBER: Record<CompressionName, number> = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }
const NAMES = Object.keys(NUMBER) as CompressionName[]

/** One compression format, over whole record sections. */
export interface Codec {
  compress(records: Buffer): Promise<Uint8Array>
  /** `maxBytes`: what becomes larger than this is refused, where the codec can tell before it is done. */
  decompress(records: Buffer, maxBytes: number): Promise<Buffer>
}

/** Finds a codec by name; undefined where none is installed. */
export type CodecLookup = (name: CompressionName) => Codec | undefined

const compressGzip = promisify<Buffer, Buffer>(gzip)
const decompressGzip = promisify<Buffer, ZlibOptions, Buffer>(gunzip)

export const gzipCodec: Codec = {
  compress: compressGzip,
  decompress: (records, maxOutputLength) => decompressGzip(records, { maxOutputLength }).catch(asTooLarge(maxOutputLength)),
}

/** For codecs that stop at a size: what they throw, as an error that says what to do. */
export function asTooLarge(maxBytes: number): (error: unknown) => never {
  return (error) => {
    throw (error as { readonly code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge(maxBytes, error) : error
  }
}

export function tooLarge(maxBytes: number, cause?: unknown): MillraceError {
  return new MillraceError(
    'CORRUPT_BATCH',
    `a batch holds more than ${maxBytes} bytes when uncompressed: written to harm, or legitimate with a larger maxBytes of withTransaction`,
    { retryable: true, cause },
  )
}

/** The codecs that need no package. */
export const builtInCodecs: CodecLookup = (name) => (name === 'gzip' ? gzipCodec : undefined)

export function compressionNumber(name: CompressionName): number {
  return NUMBER[name]
}

/** What to install for the others. */
const PACKAGES: Partial<Record<CompressionName, string>> = { snappy: 'kafkajs-snappy', lz4: 'lz4-napi', zstd: 'fzstd @bokuweb/zstd-wasm' }

export function codecFor(name: CompressionName, lookup: CodecLookup): Codec {
  const codec = lookup(name)
  if (codec !== undefined) return codec
  throw new MillraceError(
    'UNSUPPORTED_FORMAT',
    `no codec for ${name} compression is registered: npm install ${PACKAGES[name] ?? ''}, and give kafka({ codecs: { ${name}: () => ({ compress({ buffer }), decompress(buffer) }) } })`,
  )
}

/** The codec for the number in a batch's attributes. */
export function codecByNumber(number: number, lookup: CodecLookup): Codec {
  const name = NAMES[number]
  if (name === undefined || name === 'none')
    throw new MillraceError('UNSUPPORTED_FORMAT', `unknown compression ${number} in a record batch`)
  return codecFor(name, lookup)
}
