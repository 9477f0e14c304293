import { describe, expect, it } from 'vitest'
import { Refused } from '../../../src/kafka/errors.js'
import { OffsetFetch } from '../../../src/kafka/protocol/offset-fetch.js'
import { retrying } from '../../../src/kafka/retry.js'
import { systemClock } from '../../../src/record/clock.js'
import { inArea, silentLogger } from '../../../src/record/logger.js'
import { WaitBoard, WaitReport } from '../../../src/record/wait-report.js'
import { VirtualClock } from '../../../src/testing/index.js'

const UNSTABLE = 88

describe('what is tried again inside the port', () => {
  it('is known to whoever waits for it, before the port gives up', async () => {
    const clock = new VirtualClock()
    const lines: { readonly error?: string }[] = []
    const logger = { ...silentLogger, warn: (fields: object) => void lines.push(fields) }
    const board = new WaitBoard()
    WaitBoard.attach(logger, board)
    const wait = new WaitReport(clock, logger, {}, 'to know where its tasks go on')
    let told = (): void => {}
    const answered = new Promise<void>((resolve) => (told = resolve))
    let tries = 0
    const options = {
      what: 'reading offsets',
      until: systemClock.monotonic() + 60_000,
      signal: new AbortController().signal,
      logger: inArea(logger, 'log'),
      refresh: () => {},
    }
    const done = retrying(options, async () => {
      if (++tries === 1) throw new Refused(OffsetFetch, UNSTABLE, 'reading offsets')
      await answered
    })
    await clock.advance('5s')
    expect(lines).toEqual([expect.objectContaining({ seconds: 5, error: expect.stringContaining('[UNSTABLE_OFFSET_COMMIT]') as string })])
    expect(board.list()).toMatchObject([
      { what: 'to know where its tasks go on', why: expect.stringContaining('kafka-transactions.sh') as string },
    ])
    told()
    await done
    wait.end()
  })
})
