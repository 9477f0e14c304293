import { describe, expect, it } from 'vitest'
import { attempt, dropFailed, limitLog, withTransaction, type LimitLogOptions, type Logger } from '../../src/index.js'
import { inArea } from '../../src/record/logger.js'
import { VirtualClock, createTestKit } from '../../src/testing/index.js'

interface Line {
  readonly level: string
  readonly message: string
  readonly fields: object
}

function keeping(): { readonly lines: Line[]; readonly logger: Logger } {
  const lines: Line[] = []
  const at =
    (level: string) =>
    (fields: object, message: string): void =>
      void lines.push({ level, message, fields })
  return { lines, logger: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') } }
}

describe('limitLog', () => {
  const clock = new VirtualClock()
  const limited = (options: LimitLogOptions): { readonly lines: Line[]; readonly logger: Logger } => {
    const { lines, logger } = keeping()
    return { lines, logger: limitLog(logger, { clock, ...options }) }
  }

  it('by level, and by area where one has a level of its own', () => {
    const { lines, logger } = limited({ level: 'warn', areas: { group: 'debug', log: 'silent' } })
    for (const one of [logger, inArea(logger, 'group'), inArea(logger, 'log')]) {
      one.info({}, 'told')
      one.error({}, 'failed')
    }
    expect(lines.map(({ level, message }) => [level, message])).toEqual([
      ['error', 'failed'],
      ['info', 'told'],
      ['error', 'failed'],
    ])
  })

  it('so many of a text a minute; the next says how many did not go through', async () => {
    const { lines, logger } = limited({ perMinute: 2 })
    for (let i = 0; i < 10; i++) logger.warn({ i }, 'again')
    logger.warn({}, 'another')
    logger.error({}, 'again')
    expect(lines.map(({ level, message }) => `${level} ${message}`)).toEqual(['warn again', 'warn again', 'warn another', 'error again'])
    await clock.advance('1m')
    logger.warn({ i: 10 }, 'again')
    expect(lines.at(-1)?.fields).toEqual({ i: 10, suppressed: 8 })
    logger.warn({ i: 11 }, 'again')
    expect(lines.at(-1)?.fields).toEqual({ i: 11 })
  })

  it('what a pipeline says comes with its areas', async () => {
    const areas = ['engine', 'group', 'state', 'steps', 'log'] as const
    const heard: Record<string, Line[]> = {}
    for (const area of areas) {
      const { lines, logger } = keeping()
      const silent = Object.fromEntries(areas.filter((other) => other !== area).map((other) => [other, 'silent']))
      const kit = await createTestKit({ topics: { in: {} }, logger: limitLog(logger, { areas: silent }) })
      const fails = (): never => {
        throw new Error('no')
      }
      kit.run(
        kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(attempt(fails), dropFailed()))),
      )
      await kit.feed('in', [{ key: 'k', value: 'v' }])
      await kit.advance('1s')
      await kit.stop()
      heard[area] = lines
    }
    const texts = (area: (typeof areas)[number]): string => (heard[area] ?? []).map(({ message }) => message).join()
    expect(texts('group')).toContain('joined the group')
    expect(texts('steps')).toContain('failed records were dropped')
    expect(texts('engine')).not.toMatch(/joined the group|failed records were dropped/)
  })

  it('refuses wrong options by name', () => {
    const { logger } = keeping()
    expect(() => limitLog(logger, { perMinute: 0 })).toThrow(/perMinute/)
    expect(() => limitLog(logger, { areas: { nowhere: 'info' } } as never)).toThrow(/nowhere/)
    expect(() => limitLog({} as Logger)).toThrow(/a logger with debug, info, warn and error/)
  })
})
