import { createHook } from 'node:async_hooks'
import { memberContext, type MemberContext } from './member-context.js'

/** A timer of the system's that code of a pipeline has set, and that has not run. */
interface RealTimer {
  readonly of: MemberContext
  /** The line that set it, where it can be told. */
  readonly at: string | undefined
}

interface Timeout {
  hasRef(): boolean
}

/** Of so many those that were cleared are looked for. */
const MANY = 1_000
const OWN = /testing[/\\]real-timers\.[jt]s/
const timers = new Map<number, RealTimer & { readonly timeout: Timeout }>()
const hook = createHook({
  init(id, type, _trigger, resource) {
    if (type !== 'Timeout') return
    const of = memberContext.getStore()
    if (of === undefined) return
    if (timers.size >= sweepAt) sweep()
    timers.set(id, { of, at: callerOf(new Error().stack), timeout: resource as Timeout })
  },
  before: (id) => void timers.delete(id),
  // No `destroy`: it would have every promise of the process watched by the garbage collector. A timer that was cleared holds no reference.
})
let users = 0
let sweepAt = MANY

function sweep(): void {
  for (const [id, { timeout }] of timers) if (!timeout.hasRef()) timers.delete(id)
  sweepAt = Math.max(MANY, 2 * timers.size)
}

/** Notes the system's timers that pipelines set, as long as it is in use. Returns how to stop that. */
export function noteRealTimers(): () => void {
  if (users++ === 0) hook.enable()
  let used = true
  return () => {
    if (!used) return
    used = false
    if (--users > 0) return
    hook.disable()
    timers.clear()
  }
}

/** Where a pipeline waits for the system's time, as far as it is not known that it went on since; undefined if nowhere. */
export function waitsForRealTime(of: MemberContext): string | undefined {
  for (const { of: whose, at, timeout } of timers.values()) if (whose === of && timeout.hasRef()) return at ?? 'a timer'
  return undefined
}

/** What a pipeline has committed did not wait for the timers that it set before. */
export function forgetRealTimers(of: MemberContext): void {
  for (const [id, timer] of timers) if (timer.of === of) timers.delete(id)
}

function callerOf(stack: string | undefined): string | undefined {
  const lines = stack?.split('\n').slice(1) ?? []
  // The first lines are this hook's and those of Node.
  const own = lines.findIndex((line) => line.includes('node:internal/timers') || line.includes('node:timers'))
  return lines
    .slice(own + 1)
    .find((line) => !line.includes('node:') && !OWN.test(line))
    ?.trim()
    .replace(/^at /, '')
}
