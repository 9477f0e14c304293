import { countOperationsOf } from '../../support/operations.js'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { OneBroker, batchAt } from '../../support/one-broker.js'

describe('a reader of many partitions', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  /** The operations of 20 fetches that each bring one record of one partition, beside so many others. */
  const workBeside = async (others: number): Promise<number> => {
    let end = 0
    const broker = new OneBroker((partition, offset) =>
      partition === 0 && offset < end ? { bytes: batchAt(offset), end } : { bytes: Buffer.alloc(0), end: partition === 0 ? end : 0 },
    )
    let taken = 0
    const reader = broker.reader((it) => {
      while (it.take('t', 0) !== undefined) taken++
    })
    reader.assign(Array.from({ length: others + 1 }, (_, partition) => ({ topic: 't', partition, offset: 0 })))
    await vi.advanceTimersByTimeAsync(1_000)
    const before = broker.fetches
    const operations = await countOperationsOf(async () => {
      for (let i = 0; i < 20; i++) {
        end++
        await vi.advanceTimersByTimeAsync(50)
      }
    })
    expect(taken).toBe(20)
    expect(broker.fetches - before).toBeGreaterThanOrEqual(20)
    reader.close()
    return operations
  }

  it('does for a fetch what its news asks for, however many have none', async () => {
    const few = await workBeside(20)
    expect(await workBeside(320)).toBeLessThan(few * 1.2)
  })

  it('ends its sessions with the brokers when it is closed', async () => {
    const broker = new OneBroker(() => ({ bytes: Buffer.alloc(0), end: 0 }))
    for (let i = 0; i < 3; i++) {
      const reader = broker.reader(() => {})
      reader.assign([{ topic: 't', partition: 0, offset: 0 }])
      await vi.advanceTimersByTimeAsync(200)
      expect(broker.sessions.open).toBeGreaterThan(0)
      reader.close()
      await vi.advanceTimersByTimeAsync(200)
      expect(broker.sessions.open).toBe(0)
    }
  })
})
