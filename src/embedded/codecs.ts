import { gunzipSync, gzipSync } from 'node:zlib'
import { asTooLarge, type Codec, type CodecLookup } from '../log/batch/compression.js'

/** In the calling thread: a virtual clock waits until nothing is under way, and cannot see what other threads do. */
const gzip: Codec = {
  compress: async (records) => gzipSync(records),
  decompress: async (records, maxOutputLength) => {
    try {
      return gunzipSync(records, { maxOutputLength })
    } catch (error) {
      return asTooLarge(maxOutputLength)(error)
    }
  },
}

/** The codecs of the broker in this process. */
export const embeddedCodecs: CodecLookup = (name) => (name === 'gzip' ? gzip : undefined)
