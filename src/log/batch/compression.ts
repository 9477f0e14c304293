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

export function codecFor(name: CompressionName, lookup: CodecLookup): Codec {
  const codec = lookup(name)
  if (codec === undefined) {
    throw new MillraceError(
      'UNSUPPORTED_FORMAT',
      `no codec for ${name} compression: register one with kafkajs, e.g. CompressionCodecs[CompressionTypes.${name.toUpperCase()}] = ... (kafkajs-snappy, kafkajs-lz4, @kafkajs/zstd)`,
    )
  }
  return codec
}

/** The codec for the number in a batch's attributes. */
export function codecByNumber(number: number, lookup: CodecLookup): Codec {
  const name = NAMES[number]
  if (name === undefined || name === 'none') throw new MillraceError('UNSUPPORTED_FORMAT', `unknown compression ${number} in a record batch`)
  return codecFor(name, lookup)
}
