import { afterEach, describe, expect, it } from 'vitest'
import type { StoreUsage } from '../../src/state/store.js'
import { aggregate, count, dedupe, json, recordKey, toTopic, withTransaction } from '../../src/index.js'
import { Child } from '../support/child.js'
import { inOutDeadKit } from '../support/in-out-dead-kit.js'

describe('state that fills the memory', () => {
  let child: Child | undefined
  afterEach(() => child?.kill('SIGKILL'))

  it('ends the pipeline with what to do, where V8 would have ended the process; the restore too', async () => {
    // What survives the young generation comes into the old one in small pieces: on a busy machine all of it at once could be too much.
    const NODE_OPTIONS = '--max-old-space-size=160 --max-semi-space-size=1'
    child = new Child(new URL('./programs/state-too-large.ts', import.meta.url), { NODE_OPTIONS })
    const { code, signal } = await child.ended
    expect({ code, signal, errors: child.errors }).toEqual({ code: 0, signal: null, errors: '' })
    const [first, stores, again, warnings] = child.lines as [string, string, string, string]
    for (const end of [first, again])
      expect(end).toMatch(/^STATE_TOO_LARGE .*MB.*'filling' has \d+ keys, \d+ MB as stored.*max-old-space-size.*members.*ttl/)
    const [filling] = JSON.parse(stores) as StoreUsage[]
    expect(filling?.name).toBe('filling')
    // 520 bytes of text, its quotes, and 12 of key.
    expect((filling?.bytes ?? 0) / (filling?.keys ?? 1)).toBe(534)
    expect(JSON.parse(warnings)).toHaveLength(2)
  }, 120_000)
})

describe('what a commit says of its stores', () => {
  it('keys, and bytes as they are stored, of all tasks together', async () => {
    const kit = await inOutDeadKit(2)
    const start = () =>
      kit.run(
        kit.cluster
          .source({ group: 'g', topics: ['in'] })
          .pipe(
            withTransaction(
              (records) =>
                records.pipe(
                  dedupe({ by: recordKey(), within: '1h' }),
                  aggregate(count(), { name: 'counts' }),
                  toTopic({ topic: 'out', value: json() }),
                ),
              { provision: true },
            ),
          ),
      )
    const run = start()
    await kit.feed('in', [
      { key: 'a', value: '', partition: 0 },
      { key: 'bc', value: '', partition: 1 },
      { key: 'a', value: '', partition: 0 },
    ])
    await kit.advance('1s')
    const of = (name: string): StoreUsage | undefined => run.commits.at(-1)?.stores.find((one) => one.name === name)
    expect(of('counts')).toEqual({ name: 'counts', keys: 2, bytes: 'a1'.length + 'bc1'.length })
    expect(of('dedupe')).toMatchObject({ keys: 2 })
    const { bytes } = of('dedupe') as StoreUsage
    await run.stop()
    const again = start()
    await kit.feed('in', [{ key: 'a', value: '', partition: 0 }])
    await kit.advance('1s')
    expect(again.commits.at(-1)?.stores.find(({ name }) => name === 'counts')).toEqual({ name: 'counts', keys: 2, bytes: 5 })
    expect(again.commits.at(-1)?.stores.find(({ name }) => name === 'dedupe')).toEqual({ name: 'dedupe', keys: 2, bytes })
  })
})
