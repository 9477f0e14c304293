import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Frames } from '../../../src/kafka/frames.js'

const framed = (payload: Uint8Array): Buffer => {
  const frame = Buffer.alloc(4 + payload.length)
  frame.writeUInt32BE(payload.length)
  frame.set(payload, 4)
  return frame
}

describe('frames', () => {
  const payloads = fc.array(
    fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 20 }),
      fc.integer({ min: 60_000, max: 200_000 }).map((size) => new Uint8Array(size).fill(size)),
    ),
    { maxLength: 12 },
  )
  const cuts = fc.infiniteStream(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 300_000 })))

  it('come out whole and in order, however their bytes come in', () => {
    fc.assert(
      fc.property(payloads, cuts, fc.boolean(), (given, sizes, inPlace) => {
        const got: Buffer[] = []
        const frames = new Frames((frame) => got.push(frame))
        const stream = Buffer.concat(given.map(framed))
        for (let at = 0; at < stream.length;) {
          const { value: size } = sizes.next() as { value: number }
          if (inPlace) {
            const read = stream.copy(frames.room(), 0, at, at + size)
            frames.filledBy(read)
            at += read
          } else {
            frames.push(stream.subarray(at, at + size))
            at += size
          }
        }
        // None shares its bytes with what came later.
        expect(got.map((frame) => frame.toString('latin1'))).toEqual(given.map((payload) => framed(payload).toString('latin1')))
      }),
      { numRuns: 200 },
    )
  })

  it('lie in buffers of their own: one that is kept keeps nothing else', () => {
    const got: Buffer[] = []
    const frames = new Frames((frame) => got.push(frame))
    for (const size of [4, 100, 5_000, 200_000]) frames.push(framed(Buffer.alloc(size)))
    expect(got.map((frame) => frame.buffer.byteLength)).toEqual(got.map((frame) => frame.length))
  })

  it('that pretend to be very long take room only as they come', () => {
    const frames = new Frames(() => {})
    // A TLS alert.
    frames.push(Buffer.from([0x15, 3, 3, 0, 2, 2, 40]))
    expect(frames.room().length).toBeLessThanOrEqual(64 * 1024 * 1024)
  })

  it.each([0, 1, 3, 2 ** 30 + 1, 2 ** 31, 2 ** 32 - 1])('of %i bytes there are none', (length) => {
    const bytes = Buffer.alloc(8)
    bytes.writeUInt32BE(length)
    expect(() => new Frames(() => {}).push(bytes)).toThrow(RangeError)
  })
})
