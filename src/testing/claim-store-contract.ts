import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import type { Origin } from '../record/origin.js'
import type { ClaimTerms, HeldClaim } from '../operators/dedupe/claims/claim-store.js'
import { origin, unique, type ClaimStoreCase } from './claim-store-case.js'

const MINUTE = 60_000
/** For claims that are to be over: real stores go by real time. */
const MOMENT = 200
const GIVE_UP_MS = 5_000

const terms = (given: Partial<ClaimTerms> = {}): ClaimTerms => ({
  group: 'billing',
  transaction: unique(),
  generation: 3,
  withinMs: MINUTE,
  ...given,
})
/** What a claim is, but for its age. */
const facts = (held: HeldClaim | undefined): unknown =>
  held && { group: held.group, origin: held.origin, transaction: held.transaction, generation: held.generation }
const expected = ({ group, transaction, generation }: ClaimTerms, from: Origin): unknown => ({
  group,
  origin: from,
  transaction,
  generation,
})

async function eventually(what: string, condition: () => Promise<boolean>): Promise<void> {
  const until = performance.now() + GIVE_UP_MS
  while (!(await condition())) {
    if (performance.now() > until) assert.fail(`waited ${GIVE_UP_MS} ms for ${what}`)
    await pause(10)
  }
}

/**
 * What `ClaimStore` promises, case by case, for a store of your own.
 *
 * @example
 * it.each(claimStoreContract)('$name', ({ run }) => run(() => myClaims()))
 */
export const claimStoreContract: readonly ClaimStoreCase[] = [
  {
    name: 'the first to claim an id has it, and the others are told who',
    async run(open) {
      const [one, other] = [open(), open()]
      const id = unique()
      const first = terms()
      assert.deepEqual(await one.claim([{ id, origin: origin(7) }], first), [undefined])
      for (const store of [one, other]) {
        const [held] = await store.claim([{ id, origin: origin(8) }], terms({ group: 'shipping' }))
        assert.deepEqual(facts(held), expected(first, origin(7)))
        assert.ok((held as HeldClaim).ageMs >= 0)
      }
      const [held] = await one.claim([{ id, origin: origin(7, 1) }], first)
      assert.deepEqual(facts(held), expected(first, origin(7)), 'another record of the same transaction is another')
    },
  },
  {
    name: 'a call made again changes nothing',
    async run(open) {
      const store = open()
      const requests = [unique(), unique()].map((id, i) => ({ id, origin: origin(i) }))
      const first = terms()
      for (let i = 0; i < 3; i++) assert.deepEqual(await store.claim(requests, first), [undefined, undefined])
    },
  },
  {
    name: 'the same record in another transaction is told of its earlier claim',
    async run(open) {
      const store = open()
      const id = unique()
      const first = terms()
      await store.claim([{ id, origin: origin(7) }], first)
      const [held] = await store.claim([{ id, origin: origin(7) }], terms())
      assert.deepEqual(facts(held), expected(first, origin(7)))
    },
  },
  {
    name: 'of two records with one id in one call the first has it',
    async run(open) {
      const store = open()
      const id = unique()
      const first = terms()
      const [won, told] = await store.claim(
        [
          { id, origin: origin(1) },
          { id, origin: origin(2) },
        ],
        first,
      )
      assert.equal(won, undefined)
      assert.deepEqual(facts(told), expected(first, origin(1)))
    },
  },
  {
    name: 'answers come in the order asked',
    async run(open) {
      const store = open()
      const ids = Array.from({ length: 700 }, (_, i) => `${unique()}-${i}`)
      const first = terms()
      await store.claim(
        ids.filter((_, i) => i % 3 === 0).map((id, i) => ({ id, origin: origin(i * 3) })),
        first,
      )
      const answers = await store.claim(
        ids.map((id, i) => ({ id, origin: origin(i, 1) })),
        terms(),
      )
      assert.deepEqual(
        answers.map(facts),
        ids.map((_, i) => (i % 3 === 0 ? expected(first, origin(i)) : undefined)),
      )
    },
  },
  {
    name: 'of many that claim at once exactly one gets each id',
    async run(open) {
      const stores = Array.from({ length: 4 }, open)
      const ids = Array.from({ length: 200 }, unique)
      const answers = await Promise.all(
        stores.map((store, partition) =>
          store.claim(
            ids.map((id, offset) => ({ id, origin: origin(offset, partition) })),
            terms(),
          ),
        ),
      )
      ids.forEach((_, i) => assert.equal(answers.filter((answer) => answer[i] === undefined).length, 1))
    },
  },
  {
    name: 'a claim is taken over by naming it, and only while it holds the id',
    async run(open) {
      const store = open()
      const id = unique()
      const [first, second, third] = [terms(), terms({ group: 'shipping', generation: 9 }), terms()]
      await store.claim([{ id, origin: origin(1) }], first)
      const [over] = await store.claim([{ id, origin: origin(2) }], second)
      assert.deepEqual(await store.claim([{ id, origin: origin(2), over }], second), [undefined])
      assert.deepEqual(await store.claim([{ id, origin: origin(2), over }], second), [undefined], 'the call made again')
      const [told] = await store.claim([{ id, origin: origin(3), over }], third)
      assert.deepEqual(facts(told), expected(second, origin(2)))
      const free = unique()
      assert.deepEqual(await store.claim([{ id: free, origin: origin(3), over }], third), [undefined], 'an id that nobody holds')
    },
  },
  {
    name: 'the same record takes its own claim over into another transaction',
    async run(open) {
      const store = open()
      const id = unique()
      const [first, second] = [terms(), terms()]
      await store.claim([{ id, origin: origin(1) }], first)
      const [over] = await store.claim([{ id, origin: origin(1) }], second)
      assert.deepEqual(await store.claim([{ id, origin: origin(1), over }], second), [undefined])
      const [held] = await store.claim([{ id, origin: origin(2) }], terms())
      assert.deepEqual(facts(held), expected(second, origin(1)))
    },
  },
  {
    name: 'a claim is over after its time, counted anew when it is taken over',
    async run(open) {
      const store = open()
      const [short, long] = [unique(), unique()]
      await store.claim(
        [
          { id: short, origin: origin(1) },
          { id: long, origin: origin(1) },
        ],
        terms({ withinMs: MOMENT }),
      )
      const [over] = await store.claim([{ id: long, origin: origin(2) }], terms())
      const later = terms()
      assert.deepEqual(await store.claim([{ id: long, origin: origin(2), over }], later), [undefined])
      await eventually(
        'the claim to be over',
        async () => (await store.claim([{ id: short, origin: origin(3) }], terms()))[0] === undefined,
      )
      const [held] = await store.claim([{ id: long, origin: origin(4) }], terms())
      assert.deepEqual(facts(held), expected(later, origin(2)))
    },
  },
  {
    name: 'a claim gets older',
    async run(open) {
      const store = open()
      const id = unique()
      await store.claim([{ id, origin: origin(1) }], terms())
      const age = async (): Promise<number> => ((await store.claim([{ id, origin: origin(2) }], terms()))[0] as HeldClaim).ageMs
      const first = await age()
      await eventually('the claim to get older', async () => (await age()) >= first + 30)
    },
  },
  {
    name: 'tells how transactions ended, as first said',
    async run(open) {
      const [one, other] = [open(), open()]
      const [a, b, c] = [unique(), unique(), unique()]
      await one.end(a, 'committed', MINUTE)
      await one.end(b, 'aborted', MINUTE)
      await one.end(a, 'aborted', MINUTE)
      assert.deepEqual(await other.ends([c, b, a, b]), [undefined, 'aborted', 'committed', 'aborted'])
    },
  },
  {
    name: 'finds what happened to an id',
    async run(open) {
      const [one, other] = [open(), open()]
      const id = unique()
      const first = terms()
      assert.equal(await one.find(id), undefined)
      await one.claim([{ id, origin: origin(5, 2) }], first)
      const pending = await other.find(id)
      assert.deepEqual(
        { ...pending, at: 0, until: 0 },
        { id, state: 'pending', origin: origin(5, 2), at: 0, until: 0, duplicates: 0, result: undefined },
      )
      assert.ok(Math.abs((pending?.until ?? 0) - (pending?.at ?? 0) - MINUTE) < 1_000)
      await one.end(first.transaction, 'committed', MINUTE)
      assert.equal((await other.find(id))?.state, 'passed')
      const given = unique()
      const second = terms()
      await one.claim([{ id: given, origin: origin(6) }], second)
      await one.end(second.transaction, 'aborted', MINUTE)
      assert.equal(await one.find(given), undefined)
    },
  },
  {
    name: 'counts duplicates and keeps results, as long as the claim',
    async run(open) {
      const store = open()
      const [id, nobody] = [unique(), unique()]
      await store.claim([{ id, origin: origin(1) }], terms({ withinMs: MOMENT * 5 }))
      await store.note([
        { id, duplicates: 2 },
        { id: nobody, duplicates: 1, result: 'x' },
      ])
      await store.note([{ id, duplicates: 1, result: 'paid' }])
      await store.note([{ id, duplicates: 0 }])
      const found = await store.find(id)
      assert.deepEqual([found?.duplicates, found?.result], [3, 'paid'])
      assert.equal(await store.find(nobody), undefined)
      const renewed = terms()
      await eventually('the claim to be over', async () => (await store.claim([{ id, origin: origin(2) }], renewed))[0] === undefined)
      const again = await store.find(id)
      assert.deepEqual([again?.origin.offset, again?.duplicates, again?.result], [2, 0, undefined])
    },
  },
  {
    name: 'takes any text as id, and any group',
    async run(open) {
      const store = open()
      const tail = unique()
      const ids = [' ', 'a b', 'line\nbreak', '{tag}', 'a:b|c', '"quoted"', 'ünï', '\u{1f600}', 'x'.repeat(2_000), '__proto__', '0'].map(
        (id) => `${id}${tail}`,
      )
      const first = terms({ group: 'a group with : | " and \n in it' })
      assert.deepEqual(
        await store.claim(
          ids.map((id, i) => ({ id, origin: origin(i, 0, 'a-topic_1.x') })),
          first,
        ),
        ids.map(() => undefined),
      )
      const answers = await store.claim(
        ids.map((id) => ({ id, origin: origin(99) })),
        terms(),
      )
      assert.deepEqual(
        answers.map(facts),
        ids.map((_, i) => expected(first, origin(i, 0, 'a-topic_1.x'))),
      )
      for (const id of ids) assert.equal((await store.find(id))?.id, id)
    },
  },
  {
    name: 'nothing asked is nothing answered',
    async run(open) {
      const store = open()
      assert.deepEqual(await store.claim([], terms()), [])
      assert.deepEqual(await store.ends([]), [])
      await store.note([])
    },
  },
]
