import { mergeMap, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  attempt,
  dedupe,
  dropFailed,
  memoryClaims,
  recordKey,
  retryTopic,
  silentLogger,
  toTopic,
  withTransaction,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import { createTestKit, type Clock } from '../../src/testing/index.js'

type Dedupe = (records: RecordStream) => Observable<RawRecord>

const kinds: Record<string, (clock: Clock) => Dedupe> = {
  'the ids of a task': () => (records) => records.pipe(dedupe({ by: recordKey(), within: '1h' })),
  'shared ids': (clock) => {
    const store = memoryClaims({ clock })
    return (records) => records.pipe(dedupe({ by: recordKey(), within: '1h', store }))
  },
  'exclusive ids behind a filter': (clock) => {
    const store = memoryClaims({ clock })
    return (records) => records.pipe(dedupe({ by: recordKey(), within: '1h', store, bloom: { expected: 100, exclusive: true } }))
  },
}

describe('dedupe before a retry topic', () => {
  for (const [name, make] of Object.entries(kinds)) {
    it(`${name}: what comes back is not its own duplicate, and another with its id is, before and after`, async () => {
      const kit = await createTestKit({ topics: { in: { partitions: 2 }, out: {} }, start: 1_000_000, logger: silentLogger })
      const once = make(kit.clock)
      const tries = new Map<string, number>()
      const project = (records: RecordStream): Observable<unknown> =>
        once(records).pipe(
          attempt((record) => {
            const so = (tries.get(record.id) ?? 0) + 1
            tries.set(record.id, so)
            if (so < 3) throw new Error(`try ${so}`)
          }),
          retryTopic({ delays: ['10s', '1m'] }),
          dropFailed(),
          toTopic({ topic: 'out' }),
        )
      const run = (): ReturnType<typeof kit.run> =>
        kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { every: 50, provision: true })))
      const first = run()
      const feed = (value: string): Promise<number> =>
        kit.feed(
          'in',
          Array.from({ length: 20 }, (_, i) => ({ key: `id-${i}`, value })),
        )
      await feed('first')
      await kit.advance('5s')
      await feed('while it waits')
      await kit.advance('10s')
      await first.crash()
      run()
      await kit.advance('3m')
      await feed('when it is done')
      await kit.advance('5m')
      expect((await kit.read('out')).map(({ key, value }) => `${key} ${value}`).sort()).toEqual(
        Array.from({ length: 20 }, (_, i) => `id-${i} first`).sort(),
      )
      expect([...tries.values()].every((count) => count >= 3)).toBe(true)
      expect(tries.size).toBe(20)
      await kit.stop()
    })

    it(`${name}: what comes back behind another with its id, in one transaction, passes, and passes once`, async () => {
      const kit = await createTestKit({ topics: { in: {}, out: {} }, start: 1_000_000 })
      const once = make(kit.clock)
      const tried = new Set<string>()
      const project = (records: RecordStream): Observable<unknown> =>
        once(records.pipe(mergeMap((record) => [record, record])) as unknown as RecordStream).pipe(
          attempt((record) => {
            if (tried.has(record.id)) return
            tried.add(record.id)
            throw new Error('not yet')
          }),
          retryTopic({ delays: ['10s'] }),
          dropFailed(),
          toTopic({ topic: 'out' }),
        )
      const source = kit.cluster.source({ group: 'g', topics: ['in'] })
      const { commits } = kit.run(source.pipe(withTransaction(project, { every: '5s', provision: true })))
      await kit.feed('in', { key: 'a', value: 'first' })
      await kit.advance('8s')
      expect(await kit.read('out')).toEqual([])
      await kit.feed('in', { key: 'a', value: 'second' })
      await kit.advance('6s')
      expect((await kit.read('out')).map(({ value }) => value)).toEqual(['first'])
      expect(commits.map(({ records }) => records)).toEqual([1, 2])
      await kit.stop()
    })
  }
})
