import assert from 'node:assert/strict'
import type { ClaimStore, ExclusiveId, ExclusiveIds } from '../operators/dedupe/claims/claim-store.js'
import { origin, unique, type ClaimStoreCase } from './claim-store-case.js'

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
