import { describe, expect, it } from 'vitest'
import { kafkaSuite } from '../support/kafka/suite.js'
import { uniqueName } from '../support/kafka/client.js'
import { until } from '../support/until.js'

const PROGRAM = new URL('./programs/ends.ts', import.meta.url)

describe('a process with nothing more to do', () => {
  const { start } = kafkaSuite()

  it('ends on SIGTERM when its pipeline has completed, though it produced and closes nothing', async () => {
    const child = start(PROGRAM, { INPUT: uniqueName('in'), OUTPUT: uniqueName('out') })
    await until(() => child.lines.includes('committed 1'), { within: 30_000, what: 'the first commit' })
    child.kill('SIGTERM')
    await until(() => !child.running, { within: 10_000, what: 'the end of the process' })
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
    expect(child.lines.at(-1)).toBe('complete')
  })
})
