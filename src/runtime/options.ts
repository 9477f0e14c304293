import { z } from 'zod'
import { parseDuration, type Duration } from '../record/duration.js'
import { MillraceError } from '../record/error.js'

/** A duration option; comes out as milliseconds. */
export const duration = z
  .custom<Duration>((given) => parseDuration(given) !== undefined, {
    message: "expected whole milliseconds or a text like '100ms', '10s', '5m'",
  })
  .transform((given) => parseDuration(given) as number)

/** A duration that may not be zero. */
export const positiveDuration = duration.refine((ms) => ms > 0, { message: 'must be more than zero' })

/** A time limit that is told to a broker or held by a timer: beyond 31 bits of milliseconds neither can. */
export const timeLimit = positiveDuration.refine((ms) => ms < 2 ** 31, {
  message: 'must be less than 24.8 days, the most that brokers take',
})

export const positiveInteger = z.number().int().positive()

export const topicName = z
  .string()
  .min(1)
  .max(249)
  .regex(/^[a-zA-Z0-9._-]+$/, { message: 'topic names are made of letters, digits, ".", "_" and "-"' })

/** Names a store: part of its changelog's name. */
export const storeName = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[a-zA-Z0-9._-]+$/, { message: 'names of state are made of letters, digits, ".", "_" and "-", as they are part of a topic name' })

export function functionOption<F>(what: string): z.ZodType<F> {
  return z.custom<F>((given) => typeof given === 'function', { message: `expected ${what}` })
}

export function objectWith<T>(methods: readonly string[], what: string): z.ZodType<T> {
  return z.custom<T>(
    (given) =>
      typeof given === 'object' &&
      given !== null &&
      methods.every((name) => typeof (given as Record<string, unknown>)[name] === 'function'),
    { message: `expected ${what}` },
  )
}

/**
 * Options as the code wants them, or an error that names every wrong one.
 *
 * @throws MillraceError INVALID_OPTIONS
 */
export function parseOptions<S extends z.ZodType>(schema: S, given: unknown, where: string): z.output<S> {
  const result = schema.safeParse(given)
  if (result.success) return result.data
  const problems = result.error.issues.map((issue) => `  ${issue.path.length > 0 ? issue.path.join('.') : 'options'}: ${problemOf(issue)}`)
  throw new MillraceError('INVALID_OPTIONS', `${where}: wrong options\n${problems.join('\n')}`, { cause: result.error })
}

function problemOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') return `unknown option ${issue.keys.map((key) => `'${key}'`).join(', ')}`
  return issue.message
}
