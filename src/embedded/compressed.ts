import { codecFor, type CompressionName } from '../log/batch/compression.js'
import { AT } from '../log/batch/header.js'
import type { OutputBatch } from '../log/batch/write.js'
import { embeddedCodecs } from './codecs.js'

/** The records of a batch compressed; undefined where they stay as they are. */
export async function compressed(batch: OutputBatch, compression: CompressionName): Promise<Uint8Array | undefined> {
  return compression === 'none' ? undefined : codecFor(compression, embeddedCodecs).compress(batch.bytes.subarray(AT.records))
}
