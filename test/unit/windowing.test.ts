import { describe, expect, it } from 'vitest'
import { aggregator, bytes, json, session, sliding, tumbling, window } from '../../src/index.js'
import { sessionSerde, type Session } from '../../src/operators/window/session-windows.js'
import { windowing } from '../../src/operators/window/create.js'
import type { StoreSpec, TaskStore } from '../../src/state/store.js'

const withoutMerge = aggregator({ name: 'list', init: () => [] as number[], add: (state: number[]) => state })

describe('windows that merge', () => {
  for (const [name, windows] of Object.entries({ session: session(1_000), sliding: sliding(1_000) })) {
    it(`${name} windows refuse an aggregator without merge where it is given`, () => {
      // @ts-expect-error the compiler refuses it as well
      expect(() => window(windows, { aggregate: withoutMerge, name: 'mine' })).toThrow(
        expect.objectContaining({
          code: 'INVALID_OPTIONS',
          message: expect.stringMatching(new RegExp(`window 'mine': ${name} windows .* 'list' has no merge function`)) as string,
        }),
      )
    })
  }

  it('tumbling ones do not need it', () => {
    expect(() => window(tumbling(1_000), { aggregate: withoutMerge })).not.toThrow()
  })
})

describe('the state of a session', () => {
  it('keeps its end beside what its own serde writes, text or bytes', () => {
    const asText = sessionSerde(json<{ n: string }>())
    const back = (encoded: Uint8Array | string | null): Buffer => Buffer.from(encoded as Uint8Array)
    expect(asText.decode(back(asText.encode({ end: 1_700_000_000_123, state: { n: 'ü' } })))).toEqual({
      end: 1_700_000_000_123,
      state: { n: 'ü' },
    })
    const asBytes = sessionSerde(bytes())
    expect(asBytes.decode(back(asBytes.encode({ end: 7, state: Buffer.from([0, 255]) })))).toEqual({ end: 7, state: Buffer.from([0, 255]) })
    expect(asBytes.encode({ end: 7, state: null })).toBeNull()
  })

  it('of an older version goes through the migration of the state itself', () => {
    const v2 = aggregator({
      name: 'n',
      version: 2,
      init: () => ({ n: 0 }),
      add: (state: { n: number }) => state,
      merge: (a) => a,
      migrate: (state, version) => ({ n: (state as number) + version }),
    })
    let store: (TaskStore & Iterable<readonly [string, Session<{ n: number }>, number]>) | undefined
    const open = windowing(session(10), { name: 'w', kind: 'k', graceMs: 0, updates: false, aggregator: v2 })
    open(
      <S extends TaskStore>(spec: StoreSpec<S>): S => {
        const created = spec.create()
        store = created as unknown as NonNullable<typeof store>
        return created
      },
      () => {},
    )
    const key = Buffer.concat([Buffer.from('a'), Buffer.alloc(7), Buffer.from([5])])
    store?.load(key, Buffer.from(sessionSerde(json<number>()).encode({ end: 9, state: 41 }) as Uint8Array), 1)
    store?.loaded()
    expect([...(store ?? [])]).toEqual([['a', { end: 9, state: { n: 42 } }, 5]])
  })
})
