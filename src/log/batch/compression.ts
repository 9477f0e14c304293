import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { MillraceError } from '../../record/error.js'

export type CompressionName = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

const NUMBER: Record<CompressionName, number> = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }
const NAMES = Object.keys(NUMBER) as CompressionName[]

/** One compression format, over whole record sections. */
export interface Codec {
  compress(records: Buffer): Promise<Uint8Array>
  decompress(records: Buffer): Promise<Buffer>
}

/** Finds a codec by name; undefined where none is installed. */
export type CodecLookup = (name: CompressionName) => Codec | undefined

const compressGzip = promisify<Buffer, Buffer>(gzip)
const decompressGzip = promisify<Buffer, Buffer>(gunzip)

export const gzipCodec: Codec = { compress: compressGzip, decompress: decompressGzip }

/** The codecs that need no package. */
export const builtInCodecs: CodecLookup = (name) => (name === 'gzip' ? gzipCodec : undefined)

export function compressionNumber(name: CompressionName): number {
  return NUMBER[name]
}

/** What to install for the others, and what kafkajs calls them. */
const ELSEWHERE: Partial<Record<CompressionName, { readonly packages: string; readonly type: string }>> = {
  snappy: { packages: 'kafkajs-snappy', type: 'Snappy' },
  lz4: { packages: 'lz4-napi', type: 'LZ4' },
  zstd: { packages: 'fzstd @bokuweb/zstd-wasm', type: 'ZSTD' },
}

export function codecFor(name: CompressionName, lookup: CodecLookup): Codec {
  const codec = lookup(name)
  if (codec !== undefined) return codec
  const { packages = '', type = name } = ELSEWHERE[name] ?? {}
  throw new MillraceError(
    'UNSUPPORTED_FORMAT',
    `no codec for ${name} compression is registered: npm install ${packages}, and set CompressionCodecs[CompressionTypes.${type}] of kafkajs to a function that returns { compress({ buffer }), decompress(buffer) }`,
  )
}

/** The codec for the number in a batch's attributes. */
export function codecByNumber(number: number, lookup: CodecLookup): Codec {
  const name = NAMES[number]
  if (name === undefined || name === 'none')
    throw new MillraceError('UNSUPPORTED_FORMAT', `unknown compression ${number} in a record batch`)
  return codecFor(name, lookup)
}
