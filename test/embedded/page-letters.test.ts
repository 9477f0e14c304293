import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { attempt, deadLetter, serveStatus, toTopic, withTransaction, type StatusServer } from '../../src/index.js'
import type { LetterList } from '../../src/serve/page/letters.js'
import type { PageState } from '../../src/serve/page/state.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { until } from '../support/until.js'

const TOKEN = 'a-long-enough-token'
const SECRET = 'customer-4711'

describe('dead letters over HTTP', () => {
  let kit: TestKit
  let server: StatusServer | undefined

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} }, start: 1_000_000 })
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction((records) =>
          records.pipe(
            attempt((record) => {
              throw new RangeError(`refused ${String(record.value)}`)
            }),
            deadLetter({ topic: 'dead' }),
            toTopic({ topic: 'out' }),
          ),
        ),
      ),
    )
    await kit.feed('in', [{ key: SECRET, value: SECRET, headers: { about: SECRET } }])
    await kit.advance('1s')
  })
  afterEach(async () => {
    await server?.close()
    await kit.stop()
  })

  const serve = async (content?: boolean): Promise<StatusServer> =>
    (server = await serveStatus(kit.cluster, {
      port: 0,
      token: TOKEN,
      commands: true,
      clock: kit.clock,
      deadLetters: { cluster: kit.cluster, ...(content === undefined ? {} : { content }) },
    }))
  const ask = async (path: string, body?: object): Promise<{ status: number; text: string }> => {
    let answer: { status: number; text: string } | undefined
    const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }
    void fetch(`${server?.url}${path}`, { headers, ...(body && { method: 'POST', body: JSON.stringify(body) }) }).then(
      async (got) => (answer = { status: got.status, text: await got.text() }),
    )
    // What is asked of the log goes by the clock of the test.
    return until(async () => (await kit.advance('100ms'), answer), { what: `an answer to ${path}` })
  }
  const ONE = '/page/letters?topic=dead&partition=0&offset=0'
  const FILTERS = [`/page/letters?topic=dead&key=${SECRET}`, '/page/letters?topic=dead&error=refused']

  it('tell where, when and with what class of error, and nothing out of the record, unless it is allowed', async () => {
    await serve()
    const all = await ask('/page/letters?topic=dead')
    const letter = { partition: 0, offset: 0, step: 'attempt', error: 'RangeError', from: 'in/0/0' }
    expect((JSON.parse(all.text) as LetterList).letters).toMatchObject([letter])
    const state = await ask('/page/state')
    expect((JSON.parse(state.text) as PageState).can).toEqual({ letters: true, content: false, commands: true })
    const texts = [all, state, await ask(ONE), await ask('/status'), await ask('/metrics')].map(({ text }) => text)
    expect(texts.join('\n')).not.toContain(SECRET)
    // What may not be seen may not be found out by asking for it either, nor chosen for a redrive by it.
    for (const path of FILTERS) expect((await ask(path)).status).toBe(400)
    const order = { from: 'dead', filter: { key: SECRET }, dryRun: true }
    expect((await ask('/page/redrive', order)).status).toBe(400)
  })

  it('show key, value, headers and message of a single one where that is allowed', async () => {
    await serve(true)
    expect((JSON.parse((await ask('/page/state')).text) as PageState).can.content).toBe(true)
    expect((await ask('/page/letters?topic=dead')).text).not.toContain(SECRET)
    const [letter] = (JSON.parse((await ask(ONE)).text) as LetterList).letters
    expect(letter?.content).toMatchObject({ key: SECRET, value: SECRET, message: `refused ${SECRET}`, cut: false })
    expect(letter?.content?.headers).toContainEqual(['about', SECRET])
    for (const path of FILTERS) expect((JSON.parse((await ask(path)).text) as LetterList).matching).toBe(1)
  })

  it('are of topics that a pipeline here writes them to, and of no others', async () => {
    await serve(true)
    expect((await ask('/page/letters?topic=in')).status).toBe(400)
    expect((await ask('/page/redrive', { from: 'in', filter: {}, dryRun: true })).status).toBe(400)
  })
})
