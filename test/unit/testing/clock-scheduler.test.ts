import { asyncScheduler, bufferTime, debounceTime, interval, map, of, Subject, take, throwError, timeInterval, timeout, timer } from 'rxjs'
import { afterEach, describe, expect, it } from 'vitest'
import { useClockInPipelines } from '../../../src/testing/clock-scheduler.js'
import { clockScheduler, VirtualClock } from '../../../src/testing/index.js'
import { memberContext } from '../../../src/testing/member-context.js'

describe('RxJS on a virtual clock', () => {
  it('operators that take a scheduler', async () => {
    const clock = new VirtualClock()
    const scheduler = clockScheduler(clock)
    const seen: unknown[] = []
    interval(1_000, scheduler)
      .pipe(timeInterval(scheduler), take(3))
      .subscribe(({ value, interval: ms }) => seen.push([value, ms, clock.now()]))
    await clock.advance('2999ms')
    expect(seen).toEqual([
      [0, 1_000, 1_000],
      [1, 1_000, 2_000],
    ])
    await clock.advance(1)
    expect(seen).toHaveLength(3)
    expect(clock.pendingTimers).toBe(0)
  })

  it('debounce, timeout and buffers', async () => {
    const clock = new VirtualClock()
    const scheduler = clockScheduler(clock)
    const seen: unknown[] = []
    const input = new Subject<string>()
    input.pipe(debounceTime(100, scheduler)).subscribe((value) => seen.push(`debounced ${value} ${clock.now()}`))
    input.pipe(bufferTime(250, scheduler), take(2)).subscribe((values) => seen.push(`${values.join('+')} ${clock.now()}`))
    input.pipe(timeout({ each: 300, scheduler })).subscribe({ error: (error: Error) => seen.push(`${error.name} ${clock.now()}`) })
    input.next('a')
    await clock.advance(60)
    input.next('b')
    await clock.advance('1s')
    expect(seen).toEqual(['debounced b 160', 'a+b 250', 'TimeoutError 360', ' 500'])
  })

  it('unsubscribing takes the timer back', () => {
    const clock = new VirtualClock()
    timer(10, 10, clockScheduler(clock)).subscribe().unsubscribe()
    expect(clock.pendingTimers).toBe(0)
  })

  it('an error nobody handles comes out of advance', async () => {
    const clock = new VirtualClock()
    clockScheduler(clock).schedule(() => {
      throw new Error('unhandled')
    }, 5)
    await expect(clock.advance(5)).rejects.toThrow('unhandled')
    const seen: unknown[] = []
    timer(5, clockScheduler(clock))
      .pipe(map(() => throwError(() => 'never')))
      .subscribe((value) => seen.push(value))
    await clock.advance(5)
    expect(seen).toHaveLength(1)
  })

  describe('the default scheduler', () => {
    const { schedule, now } = asyncScheduler
    const releases: (() => void)[] = []
    afterEach(() => {
      for (const release of releases.splice(0)) release()
      expect(asyncScheduler.schedule).toBe(schedule)
      expect(asyncScheduler.now).toBe(now)
    })

    it('is virtual in the context of a pipeline, whoever moves the time, and real outside; two contexts do not mix', async () => {
      releases.push(useClockInPipelines(), useClockInPipelines())
      const seen: string[] = []
      const clocks = [new VirtualClock(), new VirtualClock(50)] as const
      clocks.forEach((clock, i) => {
        memberContext.run({ clock, signal: new AbortController().signal, clients: new Set() }, () => {
          timer(100, 100)
            .pipe(take(2))
            .subscribe((n) => seen.push(`${i}: ${n} at ${clock.now()}, ${asyncScheduler.now()}`))
        })
      })
      await new Promise<void>((resolve) => timer(1).subscribe(() => resolve()))
      expect(seen).toEqual([])
      await clocks[1].advance(250)
      expect(seen).toEqual(['1: 0 at 150, 150', '1: 1 at 250, 250'])
      await clocks[0].advance(250)
      expect(seen.slice(2)).toEqual(['0: 0 at 100, 100', '0: 1 at 200, 200'])
      releases[0]?.()
      releases[0]?.()
      expect(asyncScheduler.schedule).not.toBe(schedule)
    })

    it('work without delay is virtual too', async () => {
      releases.push(useClockInPipelines())
      const clock = new VirtualClock()
      const seen: string[] = []
      memberContext.run({ clock, signal: new AbortController().signal, clients: new Set() }, () => {
        asyncScheduler.schedule(() => seen.push('scheduled'))
        of(1).subscribe(() => seen.push('at once'))
      })
      expect(seen).toEqual(['at once'])
      await clock.advance(0)
      expect(seen).toEqual(['at once', 'scheduled'])
    })
  })
})
