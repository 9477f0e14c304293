import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { KafkaReader } from '../../../src/kafka/reader.js'
import { AT } from '../../../src/log/batch/header.js'
import { OneBroker, batchAt } from '../../support/one-broker.js'

/**
 * A log of one partition: in which election's time the record at each offset was written. It says as Kafka does where it parts from what
 * was fetched.
 */
class EpochLog {
  constructor(public epochs: readonly number[]) {}

  broker(): OneBroker {
    const broker = new OneBroker((_partition, offset) => ({
      bytes: Buffer.concat(this.epochs.slice(offset, offset + 3).map((epoch, i) => batchAt(offset + i, epoch))),
      end: this.epochs.length,
    }))
    broker.divergence = (offset, last) => {
      if (last < 0) return undefined
      const epoch = Math.max(-1, ...this.epochs.filter((each) => each <= last))
      const endOffset = this.epochs.lastIndexOf(epoch) + 1
      return epoch < last || endOffset < offset ? { epoch, endOffset } : undefined
    }
    return broker
  }
}

describe('the reader', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it.each([
    ['is damaged', (bytes: Buffer) => void (bytes[65] = (bytes[65] as number) ^ 1)],
    ['claims to be longer than the answer', (bytes: Buffer) => void bytes.writeInt32BE(1_000_000, AT.batchLength)],
    ['is of an old format', (bytes: Buffer) => void bytes.writeInt8(1, AT.magic)],
  ])('fetches a batch that %s again at growing pauses, and not in a loop', async (_how, spoil) => {
    const bad = batchAt(0)
    spoil(bad)
    const broker = new OneBroker(() => ({ bytes: bad, end: 5 }))
    const errors: unknown[] = []
    const reader = broker.reader((it) => {
      try {
        it.take('t', 0)
      } catch (error) {
        errors.push(error)
      }
    })
    reader.assign([{ topic: 't', partition: 0, offset: 0 }])
    await vi.advanceTimersByTimeAsync(60_000)
    expect(errors.length).toBeGreaterThan(5)
    expect(errors[0]).toMatchObject({ reaction: 'retry', origin: { topic: 't', partition: 0, offset: 0 } })
    expect(broker.fetches).toBe(errors.length)
    expect(broker.fetches).toBeLessThan(25)
    reader.close()
  })

  it('looks at its partitions once a turn, however many of them are taken from', async () => {
    const looks = async (count: number): Promise<number> => {
      const broker = new OneBroker((_partition, offset) => ({ bytes: batchAt(offset), end: 1_000 }))
      // Room for one batch of each: every take is one that makes room.
      const reader = broker.reader(() => {}, count * 100)
      reader.assign(Array.from({ length: count }, (_, partition) => ({ topic: 't', partition, offset: 0 })))
      await vi.advanceTimersByTimeAsync(100)
      const before = broker.leaderLooks
      for (let partition = 0; partition < count; partition++) expect(reader.take('t', partition)).toBeDefined()
      await vi.advanceTimersByTimeAsync(0)
      const looked = broker.leaderLooks - before
      reader.close()
      return looked
    }
    expect(await looks(400)).toBeLessThan(400 * 4)
  })

  it('looks leaders up when they may have changed, and not for each fetch', async () => {
    const COUNT = 400
    let end = 0
    const broker = new OneBroker((partition, offset) =>
      partition === 7 && offset < end ? { bytes: batchAt(offset), end } : { bytes: Buffer.alloc(0), end: partition === 7 ? end : 0 },
    )
    let taken = 0
    const reader = broker.reader((it) => {
      while (it.take('t', 7) !== undefined) taken++
    })
    reader.assign(Array.from({ length: COUNT }, (_, partition) => ({ topic: 't', partition, offset: 0 })))
    await vi.advanceTimersByTimeAsync(600)
    const before = broker.leaderLooks
    expect(before).toBe(COUNT)
    for (let times = 0; times < 20; times++) {
      end++
      await vi.advanceTimersByTimeAsync(50)
    }
    expect([taken, broker.leaderLooks]).toEqual([20, before])
    reader.close()
  })

  it('goes on at the next leader, also where the answer of the one before is still out, and reads each record once', async () => {
    let end = 0
    const broker = new OneBroker((_partition, offset) => ({ bytes: offset < end ? batchAt(offset) : Buffer.alloc(0), end }))
    const taken: number[][] = [[], [], []]
    const reader = broker.reader((it) => {
      for (const [partition, offsets] of taken.entries())
        for (let got = it.take('t', partition); got !== undefined; got = it.take('t', partition)) offsets.push(got.fromOffset)
    })
    reader.assign(taken.map((_, partition) => ({ topic: 't', partition, offset: 0 })))
    broker.answersAfterMs = 30
    for (let move = 0; move < 4; move++) {
      for (let times = 0; times < 5; times++) {
        end++
        await vi.advanceTimersByTimeAsync(17)
      }
      broker.node = 3 - broker.node
      broker.leaderChanges++
    }
    await vi.advanceTimersByTimeAsync(2_000)
    const offsets = Array.from({ length: end }, (_, offset) => offset)
    expect(taken).toEqual([offsets, offsets, offsets])
    // Led by the first again, and nothing is fetched from the other.
    expect(new Set(broker.asked.slice(-5))).toEqual(new Set([1]))
    expect(new Set(broker.asked)).toEqual(new Set([1, 2]))
    reader.close()
  })

  it('names the election that made its leader one: after another it looks the leader up, and waits for one that is yet to hear of it', async () => {
    const broker = new OneBroker((_partition, offset) => ({ bytes: offset === 0 ? batchAt(0) : Buffer.alloc(0), end: 1 }))
    const errors: unknown[] = []
    let taken = 0
    const reader = broker.reader((it) => {
      try {
        while (it.take('t', 0) !== undefined) taken++
      } catch (error) {
        errors.push(error)
      }
    })
    // FENCED_LEADER_EPOCH: there was an election that the client has not heard of.
    broker.knownEpoch = 4
    broker.epoch = 5
    reader.assign([{ topic: 't', partition: 0, offset: 0 }])
    await vi.advanceTimersByTimeAsync(5_000)
    expect([taken, errors, broker.knownEpoch]).toEqual([1, [], 5])
    // UNKNOWN_LEADER_EPOCH: the broker was deposed, or has not heard yet that it was not.
    broker.epoch = 4
    reader.assign([{ topic: 't', partition: 0, offset: 0 }])
    await vi.advanceTimersByTimeAsync(5_000)
    expect([taken, errors]).toEqual([1, []])
    broker.epoch = 5
    await vi.advanceTimersByTimeAsync(5_000)
    expect([taken, errors]).toEqual([2, []])
    reader.close()
  })

  describe('of a log that an unclean election cut short', () => {
    const taking = (broker: OneBroker): { reader: KafkaReader; taken: [number, number][]; errors: unknown[]; take: () => void } => {
      const taken: [number, number][] = []
      const errors: unknown[] = []
      const reader = broker.reader(() => {})
      const take = (): void => {
        try {
          for (let fetched = reader.take('t', 0); fetched !== undefined; fetched = reader.take('t', 0))
            if (fetched.batch !== undefined) taken.push([fetched.batch.baseOffset, fetched.batch.leaderEpoch])
        } catch (error) {
          errors.push(error)
        }
      }
      reader.assign([{ topic: 't', partition: 0, offset: 0 }])
      return { reader, taken, errors, take }
    }

    it.each([
      ['what was taken lay behind the end of what is left', [4, 4, 4, 4, 4], [4, 4, 5, 5, 5, 5, 5, 5], 2],
      ['offsets that were taken hold what others wrote before', [4, 5, 5], [4, 4, 4, 4, 4, 6], 5],
    ])('%s: OFFSET_OUT_OF_RANGE again and again, until it is to read on elsewhere', async (_how, before, after, endOffset) => {
      const log = new EpochLog(before)
      const { reader, taken, errors, take } = taking(log.broker())
      await vi.advanceTimersByTimeAsync(1_000)
      take()
      expect([taken.length, errors]).toEqual([before.length, []])
      log.epochs = after
      for (let times = 1; times <= 3; times++) {
        await vi.advanceTimersByTimeAsync(15_000)
        take()
        expect([taken.length, errors.length]).toEqual([before.length, times])
      }
      for (const error of errors)
        expect(error).toMatchObject({
          code: 'OFFSET_OUT_OF_RANGE',
          origin: { topic: 't', partition: 0, offset: before.length },
          message: expect.stringContaining(`offset ${endOffset} or before`),
        })
      // The same position is another one now: whoever goes on there wants what is there.
      reader.assign([{ topic: 't', partition: 0, offset: before.length }])
      await vi.advanceTimersByTimeAsync(1_000)
      take()
      expect(errors).toHaveLength(3)
      expect(taken.slice(before.length)).toEqual(after.map((epoch, offset) => [offset, epoch]).slice(before.length))
      reader.close()
    })

    it('what was fetched and not taken is dropped, and what is there now is read', async () => {
      const log = new EpochLog([4, 4, 4, 4, 5])
      const { reader, taken, errors, take } = taking(log.broker())
      await vi.advanceTimersByTimeAsync(1_000)
      log.epochs = [4, 4, 6, 6, 6, 6, 6]
      await vi.advanceTimersByTimeAsync(1_000)
      for (let times = 0; times < 3; times++) {
        take()
        await vi.advanceTimersByTimeAsync(1_000)
      }
      expect(errors).toEqual([])
      expect(taken).toEqual(log.epochs.map((epoch, offset) => [offset, epoch]))
      reader.close()
    })
  })
})
