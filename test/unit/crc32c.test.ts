import { crc32c as native } from '@node-rs/crc32'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { crc32c, slicingBy8 } from '../../src/log/batch/crc32c.js'

it('the checksum without machine code is the one with it', () => {
  expect(crc32c).toBe(native)
  // The check value of the polynomial (RFC 3720, B.4).
  expect(slicingBy8(Buffer.from('123456789'))).toBe(0xe306_9283)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), fc.nat(7), (bytes, from) => {
      const part = Buffer.from(bytes).subarray(from)
      expect(slicingBy8(part)).toBe(native(part))
    }),
  )
})
