import { describe, expect, it } from 'vitest'
import { memoryClaims, type ClaimStore } from '../../src/index.js'
import { claimStoreContract, exclusiveIdsContract } from '../../src/testing/index.js'

describe('claims in memory', () => {
  it.each([...claimStoreContract, ...exclusiveIdsContract])('$name', async ({ run }) => {
    const store = memoryClaims()
    await run(() => store)
  })

  it('forget what is over', async () => {
    let now = 0
    const store = memoryClaims({ clock: { now: () => now, monotonic: () => now, after: () => () => {} } })
    for (; now < 100_000; now++) {
      await store.claim([{ id: String(now), origin: { topic: 't', partition: 0, offset: now } }], {
        group: 'g',
        transaction: 't',
        generation: 1,
        withinMs: 100,
      })
      await store.end(String(now), 'committed', 100)
    }
    const { held, ended } = store as unknown as { held: Map<string, unknown>; ended: Map<string, unknown> }
    expect([held.size, ended.size].map((size) => size <= 101)).toEqual([true, true])
  })
})

/** Stores with one thing wrong each, and the case that must fail on it. */
const broken: [name: string, failing: RegExp, change: (store: ClaimStore) => Partial<ClaimStore>][] = [
  ['says yes to everybody', /first to claim/, () => ({ claim: async (requests) => requests.map(() => undefined) })],
  [
    'tells a record of its own claim in the same transaction',
    /made again/,
    (store) => ({
      claim: async (requests, terms) =>
        (await store.claim(requests, terms)).map(() => ({ ...terms, origin: requests[0]?.origin as never, ageMs: 0 })),
    }),
  ],
  [
    'lets anybody take over',
    /taken over by naming/,
    (store) => ({
      claim: async (requests, terms) => {
        const holders = await store.claim(
          requests.map(({ id, origin }) => ({ id, origin })),
          terms,
        )
        return store.claim(
          requests.map((request, i) => (request.over === undefined ? request : { ...request, over: holders[i] })),
          terms,
        )
      },
    }),
  ],
  [
    'forgets the time',
    /over after its time/,
    (store) => ({ claim: (requests, terms) => store.claim(requests, { ...terms, withinMs: 3_600_000 }) }),
  ],
  [
    'lets a later end stand',
    /how transactions ended/,
    (store) => {
      const ends = new Map<string, 'committed' | 'aborted'>()
      return {
        end: async (transaction, how) => void ends.set(transaction, how),
        ends: async (asked) => asked.map((one) => ends.get(one)),
        find: (id) => store.find(id),
      }
    },
  ],
  [
    'takes the time of the batch for that of the claim',
    /gets older/,
    (store) => ({ claim: async (requests, terms) => (await store.claim(requests, terms)).map((held) => held && { ...held, ageMs: 0 }) }),
  ],
]

describe('the contract of claim stores', () => {
  it.each(broken)(
    'notices a store that %s',
    async (_, failing, change) => {
      const store = memoryClaims()
      const bad: ClaimStore = {
        name: 'bad',
        claim: store.claim.bind(store),
        end: store.end.bind(store),
        ends: store.ends.bind(store),
        note: store.note.bind(store),
        find: store.find.bind(store),
        close: store.close.bind(store),
        ...change(store),
      }
      const cases = claimStoreContract.filter(({ name }) => failing.test(name))
      expect(cases).toHaveLength(1)
      await expect(Promise.all(cases.map(({ run }) => run(() => bad)))).rejects.toThrow()
    },
    20_000,
  )
})
