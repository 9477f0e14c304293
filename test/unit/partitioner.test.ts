import { describe, expect, it } from 'vitest'
import { murmur2, partitionOfKey } from '../../src/log/partitioner.js'

/** Of org.apache.kafka.common.utils.UtilsTest. */
const VECTORS = [
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
] as const

describe('the partition of a key', () => {
  it.each(VECTORS)('hashes %s as the Java client does', (text, hash) => {
    const bytes = Buffer.from(text)
    expect(murmur2(bytes, 0, bytes.length)).toBe(hash)
  })

  it('hashes only the part it is given', () => {
    const bytes = Buffer.from('xxfoobarx')
    expect(murmur2(bytes, 2, 8)).toBe(-790332482)
  })

  it('drops the sign bit before it divides, as the Java client does', () => {
    for (const [text, hash] of VECTORS) {
      const bytes = Buffer.from(text)
      expect(partitionOfKey(bytes, 0, bytes.length, 7)).toBe(Number((BigInt(hash) & 0x7fffffffn) % 7n))
    }
  })

  it('tells bytes above 127 from others at every place of the rest', () => {
    const hashes = new Set<number>()
    for (const length of [1, 2, 3, 4, 5, 6, 7]) {
      for (let at = 0; at < length; at++) {
        for (const byte of [0x01, 0x81]) {
          const bytes = Buffer.alloc(length)
          bytes[at] = byte
          hashes.add(murmur2(bytes, 0, length))
        }
      }
    }
    expect(hashes.size).toBe(2 * (1 + 2 + 3 + 4 + 5 + 6 + 7))
  })
})
