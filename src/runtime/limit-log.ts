import { z } from 'zod'
import { systemClock, type Clock } from '../record/clock.js'
import { areaOf, type LogArea, type Logger } from '../record/logger.js'
import { objectWith, parseOptions, positiveInteger } from './options.js'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

export interface LimitLogOptions {
  /** What goes through at all. Default 'debug': everything the logger takes. */
  readonly level?: LogLevel
  /**
   * The same for one area: 'engine' (transactions, tasks), 'group' (membership), 'state' (restores, copies), 'steps' (operators and sinks),
   * 'log' (connections, fetches). Default: `level`.
   */
  readonly areas?: Readonly<Partial<Record<LogArea, LogLevel>>>
  /** Lines of one text a minute; the next one that goes through says how many did not (`suppressed`). Default: all. */
  readonly perMinute?: number
  /** Default: the system's. */
  readonly clock?: Clock
}

const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
const AREAS = ['engine', 'group', 'state', 'steps', 'log'] as const
/** Texts that are counted; a pipeline has some hundred. */
const MOST_TEXTS = 1_000
const MINUTE_MS = 60_000

const schema = z.strictObject({
  level: z.enum(LEVELS).default('debug'),
  areas: z.partialRecord(z.enum(AREAS), z.enum(LEVELS)).default({}),
  perMinute: positiveInteger.optional(),
  clock: objectWith<Clock>(['now', 'monotonic', 'after'], 'a clock').default(systemClock),
})

interface Counted {
  since: number
  lines: number
  suppressed: number
}

/**
 * A logger that lets through what is wanted: by level, by area, and so many lines of one text a minute. Errors are limited like all else,
 * and none is lost without being counted.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * kafka({ brokers, logger: limitLog(pino(), { level: 'info', areas: { log: 'warn' }, perMinute: 10 }) })
 */
export function limitLog(logger: Logger, options: LimitLogOptions = {}): Logger {
  const { level, areas, perMinute = Number.POSITIVE_INFINITY, clock } = parseOptions(schema, options, 'limitLog')
  parseOptions(
    z.tuple([objectWith<Logger>(['debug', 'info', 'warn', 'error'], 'a logger with debug, info, warn and error')]),
    [logger],
    'limitLog',
  )
  const counts = new Map<string, Counted>()

  const pass = (of: Exclude<LogLevel, 'silent'>, fields: object, message: string): void => {
    if (LEVELS.indexOf(of) < LEVELS.indexOf(areas[areaOf(fields)] ?? level)) return
    const now = clock.monotonic()
    const text = `${of} ${message}`
    let counted = counts.get(text)
    if (counted === undefined) {
      // The one that was counted first goes: a text with a name in it may come only once.
      if (counts.size >= MOST_TEXTS) counts.delete(counts.keys().next().value as string)
      counts.set(text, (counted = { since: now, lines: 0, suppressed: 0 }))
    }
    if (now - counted.since >= MINUTE_MS) {
      counted.since = now
      counted.lines = 0
    }
    if (counted.lines >= perMinute) {
      counted.suppressed++
      return
    }
    counted.lines++
    const { suppressed } = counted
    counted.suppressed = 0
    logger[of](suppressed === 0 ? fields : { ...fields, suppressed }, message)
  }
  return {
    debug: (fields, message) => pass('debug', fields, message),
    info: (fields, message) => pass('info', fields, message),
    warn: (fields, message) => pass('warn', fields, message),
    error: (fields, message) => pass('error', fields, message),
  }
}
