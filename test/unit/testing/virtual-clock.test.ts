import { describe, expect, it } from 'vitest'
import { sleep } from '../../../src/record/clock.js'
import { VirtualClock } from '../../../src/testing/index.js'

describe('the virtual clock', () => {
  it('runs timers in order of time, each at its own, and those of one instant in the order they were set', async () => {
    const clock = new VirtualClock(1_000)
    const ran: string[] = []
    const timer = (name: string, ms: number): (() => void) => clock.after(ms, () => ran.push(`${name} ${clock.now()}`))
    timer('c', 30)
    timer('a', 10)
    timer('b', 10)
    timer('taken back', 20)()
    await clock.advance(29)
    expect(ran).toEqual(['a 1010', 'b 1010'])
    expect(clock.now()).toBe(1_029)
    await clock.advance('1s')
    expect(ran).toEqual(['a 1010', 'b 1010', 'c 1030'])
    expect(clock.now()).toBe(2_029)
    expect(clock.pendingTimers).toBe(0)
  })

  it('what a timer sets off is done before the next, however many turns it takes', async () => {
    const clock = new VirtualClock()
    const ran: string[] = []
    clock.after(10, () => {
      void (async () => {
        for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
        ran.push(`work of the first, at ${clock.now()}`)
      })()
    })
    clock.after(11, () => ran.push('second'))
    await clock.advance(100)
    expect(ran).toEqual(['work of the first, at 10', 'second'])
  })

  it('timers set on the way run in the same advance', async () => {
    const clock = new VirtualClock()
    const woke: number[] = []
    void (async () => {
      for (;;) {
        await sleep(clock, 60_000)
        woke.push(clock.now())
      }
    })()
    await clock.advance('1h')
    expect(woke).toEqual(Array.from({ length: 60 }, (_, i) => (i + 1) * 60_000))
  })

  it('two clocks are moved at the same time', async () => {
    const clocks = [new VirtualClock(), new VirtualClock()] as const
    const woke = [0, 0]
    clocks.forEach((clock, i) => {
      const again = (): void => {
        woke[i] = (woke[i] as number) + 1
        clock.after(1_000, again)
      }
      clock.after(1_000, again)
    })
    await Promise.all([clocks[0].advance('30s'), clocks[1].advance('1m')])
    expect(woke).toEqual([30, 60])
  })

  it('advanceToNext goes as far as the next timer', async () => {
    const clock = new VirtualClock()
    const ran: number[] = []
    for (const ms of [500, 70]) clock.after(ms, () => ran.push(clock.now()))
    expect([await clock.advanceToNext(), clock.now()]).toEqual([true, 70])
    expect([await clock.advanceToNext(), clock.now()]).toEqual([true, 500])
    expect([await clock.advanceToNext(), clock.now()]).toEqual([false, 500])
    expect(ran).toEqual([70, 500])
  })

  it('what a timer throws comes out of advance, and the time can be moved again', async () => {
    const clock = new VirtualClock()
    clock.after(5, () => {
      throw new Error('at five')
    })
    await expect(clock.advance(10)).rejects.toThrow('at five')
    expect(clock.now()).toBe(5)
    await clock.advance(10)
    expect(clock.now()).toBe(15)
  })

  it('refuses to be moved twice at once, by what is no duration, and while something never rests', async () => {
    const clock = new VirtualClock()
    const first = clock.advance(10)
    await expect(clock.advance(10)).rejects.toThrow(/await each call/)
    await first
    await expect(clock.advance('soon' as never)).rejects.toThrow(/advance: expected whole milliseconds/)
    let going = true
    const spin = (): void => void (going && setImmediate(spin))
    spin()
    await expect(clock.settle()).rejects.toThrow(/goes on for ever/)
    going = false
  })
})
