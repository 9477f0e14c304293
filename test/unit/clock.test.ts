import { afterEach, describe, expect, it, vi } from 'vitest'
import { sleep, systemClock } from '../../src/record/clock.js'

const DAY = 86_400_000

describe("the system's clock", () => {
  afterEach(() => vi.useRealTimers())

  it('waits for longer than a timer of Node can, and no shorter', async () => {
    vi.useFakeTimers()
    const rung: string[] = []
    const cancel = systemClock.after(60 * DAY, () => rung.push('taken back'))
    systemClock.after(50 * DAY, () => rung.push('rung'))
    await vi.advanceTimersByTimeAsync(50 * DAY - 1)
    expect(rung).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    expect(rung).toEqual(['rung'])
    cancel()
    await vi.advanceTimersByTimeAsync(20 * DAY)
    expect(rung).toEqual(['rung'])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('never rings for what is infinitely far, until it is taken back', async () => {
    vi.useFakeTimers()
    const stop = new AbortController()
    let over = false
    const slept = sleep(systemClock, Number.POSITIVE_INFINITY, stop.signal).then(() => (over = true))
    await vi.advanceTimersByTimeAsync(100 * DAY)
    expect(over).toBe(false)
    stop.abort()
    await slept
    expect(vi.getTimerCount()).toBe(0)
  })

  it('measures without the date', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const before = systemClock.monotonic()
    vi.setSystemTime(systemClock.now() - DAY)
    const passed = systemClock.monotonic() - before
    expect(passed).toBeGreaterThanOrEqual(0)
    expect(passed).toBeLessThan(DAY)
  })
})
