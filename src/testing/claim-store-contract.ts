import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Origin } from '../record/origin.js'
import type { ClaimStore, ClaimTerms, HeldClaim, ExclusiveId, ExclusiveIds } from '../operators/dedupe/claims/claim-store.js'

/** One thing a claim store must do; `run` rejects where it does not. */
export interface ClaimStoreCase {
  readonly name: string
  /** `open` gives a client of its own on the same store, as another process would have; the caller closes what it opened. */
  run(open: () => ClaimStore): Promise<void>
}

const MINUTE = 60_000
/** For claims that are to be over: real stores go by real time. */
const MOMENT = 60
const GIVE_UP_MS = 3_000

const origin = (offset: number, partition = 0, topic = 'orders'): Origin => ({ topic, partition, offset })
const unique = (): string => randomUUID().slice(0, 13)
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
      await store.claim([{ id, origin: origin(1) }], terms({ withinMs: MOMENT * 50 }))
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

const HOUR = 3_600_000
/** Sections are counted by an hour here, and begin with the present one. */
const present = (): number => Math.floor(Date.now() / HOUR)

function exclusive(store: ClaimStore): ExclusiveIds {
  assert.ok(store.exclusive, 'the store has no exclusive ids, which only bloom needs')
  return store.exclusive
}

const exclusiveId = (id: string, offset: number, more: Partial<ExclusiveId> = {}): ExclusiveId => ({
  id,
  origin: origin(offset),
  at: Date.now(),
  section: present(),
  writer: unique(),
  duplicates: 0,
  result: undefined,
  ...more,
})
const put = (ids: ExclusiveIds, ...given: ExclusiveId[]): Promise<void> => ids.put(given, 3 * HOUR, HOUR)

/** What the `exclusive` part of a store promises, which `bloom` needs. */
export const exclusiveIdsContract: readonly ClaimStoreCase[] = [
  {
    name: 'what was put is found, in the order asked, by every client',
    async run(open) {
      const [one, other] = [open(), open()]
      const given = Array.from({ length: 500 }, (_, i) =>
        exclusiveId(`${unique()} ${i} {ü}\n`, i, i % 2 === 0 ? { duplicates: i, result: `a result\nof ${i}` } : {}),
      )
      await put(exclusive(one), ...given)
      const asked = given.flatMap((each, i) => (i % 5 === 0 ? [each.id, unique()] : [each.id]))
      assert.deepEqual(
        await exclusive(other).get(asked, [present(), present() - 1]),
        asked.map((id) => given.find((each) => each.id === id)),
      )
    },
  },
  {
    name: 'what is put again stands in place of what was there',
    async run(open) {
      const ids = exclusive(open())
      const id = unique()
      await put(ids, exclusiveId(id, 1))
      const second = exclusiveId(id, 2)
      await put(ids, second)
      assert.deepEqual(await ids.get([id], [present()]), [second])
    },
  },
  {
    name: 'the first section that has it is the one that counts',
    async run(open) {
      const ids = exclusive(open())
      const [both, old] = [unique(), unique()]
      const [before, after, only] = [
        exclusiveId(both, 1, { section: present() - 1 }),
        exclusiveId(both, 2),
        exclusiveId(old, 3, { section: present() - 1 }),
      ]
      await put(ids, before, after, only)
      assert.deepEqual(await ids.get([both, old], [present(), present() - 1]), [after, only])
      assert.deepEqual(await ids.get([both, old], [present() - 1, present()]), [before, only])
      assert.deepEqual(await ids.get([both, old], [present()]), [after, undefined])
    },
  },
  {
    name: 'is taken out only where it is still what was put',
    async run(open) {
      const ids = exclusive(open())
      const [mine, others] = [exclusiveId(unique(), 1), exclusiveId(unique(), 1)]
      const newer = { ...others, writer: unique() }
      await put(ids, mine, others)
      await put(ids, newer)
      await ids.remove([mine, others])
      await ids.remove([mine])
      assert.deepEqual(await ids.get([mine.id, others.id], [present()]), [undefined, newer])
    },
  },
  {
    name: 'a section is forgotten whole',
    async run(open) {
      const ids = exclusive(open())
      // One that no other case uses.
      const section = present() + 1_000
      const [gone, kept] = [exclusiveId(unique(), 1, { section }), exclusiveId(unique(), 2)]
      await put(ids, gone, kept)
      await ids.forget(section)
      assert.deepEqual(await ids.get([gone.id, kept.id], [section, present()]), [undefined, kept])
    },
  },
  {
    name: 'find knows of exclusive ids too',
    async run(open) {
      const store = open()
      const given = exclusiveId(unique(), 7, { duplicates: 2, result: 'paid' })
      await put(exclusive(store), given)
      const { id, origin: from, at } = given
      assert.deepEqual(await store.find(id), { id, state: 'passed', origin: from, at, until: at + HOUR, duplicates: 2, result: 'paid' })
      const past = exclusiveId(unique(), 8, { at: Date.now() - HOUR - 1, section: present() - 1 })
      await put(exclusive(store), past)
      assert.equal(await store.find(past.id), undefined)
    },
  },
  {
    name: 'nothing asked of it is nothing answered',
    async run(open) {
      const ids = exclusive(open())
      await ids.put([], HOUR, HOUR)
      assert.deepEqual(await ids.get([], [present()]), [])
      assert.deepEqual(await ids.get(['x'], []), [undefined])
      await ids.remove([])
    },
  },
]
