import { describe, expect, it } from 'vitest'
import type { KafkaReader } from '../../../src/kafka/reader.js'
import { OneBroker, batchAt } from '../../support/one-broker.js'
import { until } from '../../support/until.js'

const PARTITIONS = 4
const BATCHES = 12

/** Reads all of four partitions whose batches are so long. Returns how many bytes a broker sent for one of the log. */
async function sentForOne(lengthOf: (offset: number) => number): Promise<number> {
  const batches = Array.from({ length: BATCHES }, (_, offset) => batchAt(offset, -1, lengthOf(offset)))
  const all = Buffer.concat(batches)
  const startOf = (offset: number): number => batches.slice(0, offset).reduce((sum, { length }) => sum + length, 0)
  let sent = 0
  const broker = new OneBroker((_, offset, maxBytes) => {
    const start = startOf(offset)
    // A batch that does not fit is left out, unless it is the first.
    const bytes = all.subarray(start, start + Math.max(maxBytes, batches[offset]?.length ?? 0))
    sent += bytes.length
    return { bytes, end: BATCHES }
  })
  const taken = Array.from({ length: PARTITIONS }, (): number[] => [])
  const take = (reader: KafkaReader): void => {
    taken.forEach((offsets, partition) => {
      for (let found = reader.take('t', partition); found !== undefined; found = reader.take('t', partition))
        if (found.batch !== undefined) offsets.push(found.batch.baseOffset)
    })
  }
  const reader = broker.reader(take, 16 * 1024 * 1024)
  reader.assign(taken.map((_, partition) => ({ topic: 't', partition, offset: 0 })))
  await until(() => taken.every((offsets) => offsets.length === BATCHES))
  reader.close()
  for (const offsets of taken) expect(offsets).toEqual(batches.map((_, offset) => offset))
  return sent / (all.length * PARTITIONS)
}

describe('of an answer that is cut in the middle of a batch', () => {
  it('little is sent twice, however long batches are', async () => {
    expect(await sentForOne(() => 1_000_000)).toBeLessThan(1.2)
    expect(await sentForOne((offset) => 1_000_000 + offset * 2_000)).toBeLessThan(1.2)
    expect(await sentForOne(() => 16_000)).toBeLessThan(1.2)
    expect(await sentForOne(() => 2_500_000)).toBeLessThan(1.2)
  })
})
