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
      fc.uint8Array({ maxLength: 20 }),
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

  it('that pretend to be very long take room only as they come', () => {
    const frames = new Frames(() => {})
    frames.push(Buffer.from('HTTP/1.1 400 Bad Request\r\n'))
    expect(frames.room().length).toBeLessThanOrEqual(64 * 1024 * 1024)
  })
})
