import { setTimeout as pause } from 'node:timers/promises'

export interface UntilOptions {
  /** What is awaited, for the error message: "the group to be stable". */
  readonly what?: string
  /** Milliseconds before giving up. */
  readonly within?: number
  /** Milliseconds between two looks. */
  readonly every?: number
}

/**
 * Waits for a condition by looking at it again and again, and fails when it does not come true in time. It is the only
 * way tests wait for the outside world: a fixed sleep is either too long or, on a busy machine, too short.
 *
 * Resolves to the first value that is neither `undefined`, `null` nor `false`. A condition that throws counts as not yet
 * true; the last error becomes the cause of the failure.
 */
export async function until<T>(condition: () => T | Promise<T>, options: UntilOptions = {}): Promise<Exclude<T, undefined | null | false>> {
  const { what = 'the condition to hold', within = 10_000, every = 20 } = options
  const deadline = performance.now() + within
  let lastError: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value !== undefined && value !== null && value !== false) {
        return value as Exclude<T, undefined | null | false>
      }
      lastError = undefined
    } catch (error) {
      if (error instanceof Hopeless) throw error.cause
      lastError = error
    }
    if (performance.now() >= deadline) {
      throw new Error(`waited ${within} ms for ${what}`, { cause: lastError })
    }
    await pause(every)
  }
}

/** Thrown inside a condition to end the wait at once with `cause`: what is awaited can no longer happen. */
export class Hopeless extends Error {
  constructor(override readonly cause: Error) {
    super(cause.message)
  }
}
