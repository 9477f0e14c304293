import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RecordSource } from '../../src/record/record-source.js'
import { BatchReader, viewBatch, type BatchView } from '../../src/log/batch/read.js'
import { foreignBatch, type ForeignBatch } from '../support/foreign-batch.js'

const MILLISECONDS = 1_755_933_141_855n
const NANOSECONDS = 1_755_933_141_855_875_123n
const [MIN, MAX] = [-(2n ** 63n), 2n ** 63n - 1n]

function timesOf(batch: ForeignBatch): number[] {
  const view = viewBatch(foreignBatch(batch), 0, 'test') as BatchView
  const reader = new BatchReader(view, new RecordSource({ topic: 't', partition: 0, bytes: view.bytes }), 0)
  const times: number[] = []
  for (let record = reader.next(0); record !== undefined; record = reader.next(0)) times.push(record.timestamp)
  return times
}

/** The nearest number that is an int64 too. */
const nearest = (time: bigint): number => Math.min(Number(time), 2 ** 63 - 1024)

describe('timestamps of other clients', () => {
  it('one in nanoseconds costs those beside it in its batch nothing, wherever it stands', () => {
    for (const timestamps of [
      [NANOSECONDS, MILLISECONDS, MILLISECONDS + 1n],
      [MILLISECONDS, NANOSECONDS, MILLISECONDS + 1n],
    ])
      expect(timesOf({ timestamps })).toEqual(timestamps.map(Number))
  })

  it('any int64 is read as the nearest number that can be written again', () => {
    const time = fc.oneof(fc.bigInt({ min: MIN, max: MAX }), fc.constantFrom(MIN, MAX, -1n, 0n, MILLISECONDS))
    fc.assert(
      fc.property(time, fc.array(fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }), { maxLength: 3 }), (first, distances) => {
        const timestamps = [first, ...distances.map((distance) => (first > 0n ? first - distance : first + distance))]
        expect(timesOf({ timestamps })).toEqual(timestamps.map(nearest))
      }),
    )
  })

  it('where the broker sets the time, that of the producer does not count', () => {
    const timestamps = [NANOSECONDS, NANOSECONDS + 1n]
    expect(timesOf({ timestamps, maxTimestamp: MILLISECONDS, logAppendTime: true })).toEqual([MILLISECONDS, MILLISECONDS].map(Number))
  })
})
