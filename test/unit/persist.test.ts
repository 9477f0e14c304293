import { describe, expect, it } from 'vitest'
import { logError } from '../../src/log/error.js'
import type { ErrorCode } from '../../src/record/error.js'
import { silentLogger } from '../../src/record/logger.js'
import { persist, type Persistence } from '../../src/runtime/persist.js'
import { VirtualClock } from '../../src/testing/index.js'

function setUp(options: Partial<Persistence> = {}): {
  clock: VirtualClock
  stop: AbortController
  warnings: [seconds: number | undefined, error: string | undefined, message: string][]
  run: <T>(action: () => Promise<T>) => { result: { value?: T | undefined; error?: unknown; done: boolean } }
} {
  const clock = new VirtualClock()
  const stop = new AbortController()
  const warnings: [number | undefined, string | undefined, string][] = []
  const logger = {
    ...silentLogger,
    warn: (fields: { seconds?: number; error?: string }, message: string) => void warnings.push([fields.seconds, fields.error, message]),
  }
  return {
    clock,
    stop,
    warnings,
    run<T>(action: () => Promise<T>) {
      const result: { value?: T | undefined; error?: unknown; done: boolean } = { done: false }
      persist({ what: 'for a test', fields: {}, clock, logger, signal: stop.signal, ...options }, action).then(
        (value) => Object.assign(result, { value, done: true }),
        (error: unknown) => Object.assign(result, { error, done: true }),
      )
      return { result }
    },
  }
}
const failing =
  (code: ErrorCode, reaction: 'retry' | 'fatal' = 'retry') =>
  (): Promise<never> =>
    Promise.reject(logError(code, reaction, `it is ${code}`))

describe('doing something against the log until it works', () => {
  it('says after 5 s what it waits for and why, then at a growing interval, and no more once it is over', async () => {
    const { clock, stop, warnings, run } = setUp()
    const { result } = run(failing('BROKER_UNREACHABLE'))
    await clock.advance('3m')
    expect(result.done).toBe(false)
    expect(warnings).toEqual([5, 10, 20, 40, 80, 160].map((seconds) => [seconds, 'it is BROKER_UNREACHABLE', 'still waiting: for a test']))
    stop.abort()
    await clock.advance('10m')
    expect(result).toEqual({ value: undefined, done: true })
    expect(warnings).toHaveLength(6)
  })

  it('says it of one attempt that takes long as well, and nothing where it works at once', async () => {
    const { clock, warnings, run } = setUp()
    const { result } = run(() => Promise.resolve('yes'))
    await clock.advance('1m')
    expect([result.value, warnings]).toEqual(['yes', []])
    run(() => new Promise(() => {}))
    await clock.advance('6s')
    expect(warnings).toEqual([[5, undefined, 'still waiting: for a test']])
  })

  it('a stop ends it at once, also in the middle of an attempt', async () => {
    const { clock, stop, run } = setUp()
    const { result } = run(() => new Promise(() => {}))
    await clock.advance('1s')
    stop.abort()
    await clock.advance(0)
    expect(result).toEqual({ value: undefined, done: true })
  })

  it('with a grace, a stop lets one attempt take that long, and begins no other', async () => {
    const { clock, stop, run } = setUp({ graceMs: 5_000 })
    const { result } = run(() => new Promise(() => {}))
    stop.abort()
    await clock.advance(4_999)
    expect(result.done).toBe(false)
    await clock.advance(1)
    expect(result).toEqual({ value: undefined, done: true })
    let attempts = 0
    const again = run(() => (attempts++, failing('TIMEOUT')()))
    const answered = run(() => Promise.resolve('known'))
    await clock.advance(0)
    expect([again.result.done, attempts, answered.result.value]).toEqual([true, 1, 'known'])
  })

  it('what cannot pass ends it: a fatal error at once, a missing topic after a minute without a break, anything after withinMs', async () => {
    const fatal = setUp()
    const first = fatal.run(failing('UNAUTHORIZED', 'fatal'))
    await fatal.clock.advance(0)
    expect(first.result.error).toMatchObject({ code: 'UNAUTHORIZED' })

    const missing = setUp()
    const second = missing.run(failing('MISSING_TOPIC'))
    await missing.clock.advance('50s')
    expect(second.result.done).toBe(false)
    await missing.clock.advance('20s')
    expect(second.result.error).toMatchObject({ code: 'MISSING_TOPIC' })

    const mixed = setUp()
    let attempts = 0
    const third = mixed.run(() => failing(attempts++ % 8 === 7 ? 'TIMEOUT' : 'MISSING_TOPIC')())
    await mixed.clock.advance('10m')
    expect(third.result.done).toBe(false)
    mixed.stop.abort()

    const limited = setUp({ withinMs: 30_000 })
    const fourth = limited.run(failing('BROKER_UNREACHABLE'))
    await limited.clock.advance('29s')
    expect(fourth.result.done).toBe(false)
    await limited.clock.advance('6s')
    expect(fourth.result.error).toMatchObject({ code: 'BROKER_UNREACHABLE' })
  })
})
