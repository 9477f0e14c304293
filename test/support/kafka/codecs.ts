import { compress as compressZstd, init as initZstd } from '@bokuweb/zstd-wasm'
import { decompress as decompressZstd } from 'fzstd'
import { CompressionCodecs, CompressionTypes } from 'kafkajs'
// @ts-expect-error the package has no types
import snappy from 'kafkajs-snappy'
import { compressFrame, decompressFrame } from 'lz4-napi'

interface Encoded {
  readonly buffer: Buffer
}

/** Registers a codec for each compression that kafkajs leaves to others, from packages that nothing is compiled for. */
export async function registerCodecs(): Promise<void> {
  await initZstd()
  CompressionCodecs[CompressionTypes.Snappy] = snappy
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async ({ buffer }: Encoded) => compressFrame(buffer),
    decompress: async (buffer: Buffer) => decompressFrame(buffer),
  })
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async ({ buffer }: Encoded) => Buffer.from(compressZstd(buffer)),
    decompress: async (buffer: Buffer) => Buffer.from(decompressZstd(buffer)),
  })
}
