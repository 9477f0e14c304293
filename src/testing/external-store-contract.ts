import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import type { ExternalStore, Place, RowChange, StoredRow } from '../sinks/external/port.js'
import { unique } from './claim-store-case.js'

/** A system under test, and how its cases write to it. */
export interface ExternalStoreHarness<Tx> {
  /** A client of its own on the same system, as another process would have. */
  open(): ExternalStore<Tx>
  /** Writes a text in the transaction. */
  write(tx: Tx, text: string): Promise<void>
  /** The texts that begin so, of committed transactions, in any order. */
  written(prefix: string): Promise<readonly string[]>
  /** Writes what the system cannot store. */
  writePoison(tx: Tx): Promise<void>
}

/** One thing a sink's system must do; `run` rejects where it does not. */
export interface ExternalStoreCase {
  readonly name: string
  run<Tx>(harness: ExternalStoreHarness<Tx>): Promise<void>
}

const place = (partition = 0, topic = 'orders', sink = 'database'): Place => ({ sink, topic, partition })
const from = (places: readonly Place[], start = 0) => places.map((one) => ({ ...one, start }))
const change = (at: Place, row: StoredRow, to: Partial<StoredRow>): RowChange => ({ ...at, ...row, ...to, was: row.position })

/**
 * What `ExternalStore` promises, case by case, for a system of your own.
 *
 * @example
 * it.each(externalStoreContract)('$name', ({ run }) => run({ open: () => myStore(), write, written, writePoison }))
 */
export const externalStoreContract: readonly ExternalStoreCase[] = [
  {
    name: 'a row that is not there is made where it is to start, and known from then on',
    async run({ open }) {
      const store = open()
      const group = unique()
      assert.deepEqual(await store.read(group, [place(1)]), [undefined])
      const rows = await store.take(group, from([place(1), place(0), place(1, 'retries')], 40))
      assert.deepEqual(
        rows.map(({ position, epoch, owed }) => ({ position, epoch, owed })),
        [1, 2, 3].map(() => ({ position: 40, epoch: 1, owed: '' })),
      )
      assert.equal((await store.take(group, from([place(0)], 99)))[0]?.position, 40)
      assert.equal((await open().read(group, [place(1, 'retries')]))[0]?.epoch, 1)
    },
  },
  {
    name: 'rows of other groups, sinks, topics and partitions are other rows',
    async run({ open }) {
      const store = open()
      const group = unique()
      const places = [place(0), place(1), place(0, 'other'), place(0, 'orders', 'second')]
      const rows = await store.take(group, from(places))
      const tx = await store.begin()
      const changes = places.map((at, i) => change(at, rows[i] as StoredRow, { position: i + 1, gaps: `${i}`, owed: `${i}@9` }))
      assert.equal(await tx.commit(group, changes), true)
      const read = await store.read(group, [...places].reverse())
      assert.deepEqual(
        read.map((row) => [row?.position, row?.gaps, row?.owed]),
        [4, 3, 2, 1].map((position) => [position, `${position - 1}`, `${position - 1}@9`]),
      )
      assert.deepEqual(await store.read(unique(), [place(0)]), [undefined])
    },
  },
  {
    name: 'what was written and the positions take effect together',
    async run({ open, write, written }) {
      const store = open()
      const [group, text] = [unique(), unique()]
      const [row] = (await store.take(group, from([place()]))) as [StoredRow]
      const tx = await store.begin()
      await write(tx.handle, `${text}-a`)
      await write(tx.handle, `${text}-b`)
      assert.equal(await tx.commit(group, [change(place(), row, { position: 2 ** 40 + 1 })]), true)
      assert.deepEqual([...(await written(text))].sort(), [`${text}-a`, `${text}-b`])
      assert.equal((await open().read(group, [place()]))[0]?.position, 2 ** 40 + 1)
    },
  },
  {
    name: 'nothing of a transaction that is rolled back is there',
    async run({ open, write, written }) {
      const store = open()
      const [group, text] = [unique(), unique()]
      await store.take(group, from([place()]))
      for (const hard of [false, true]) {
        const tx = await store.begin()
        await write(tx.handle, text)
        await tx.rollback(hard)
        await tx.rollback(hard)
      }
      assert.deepEqual(await written(text), [])
      assert.equal((await store.read(group, [place()]))[0]?.position, 0)
    },
  },
  {
    name: 'who had a row that another has taken cannot commit, and wrote nothing',
    async run({ open, write, written }) {
      const [store, next] = [open(), open()]
      const [group, text] = [unique(), unique()]
      const rows = await store.take(group, from([place(0), place(1)]))
      const [taken] = (await next.take(group, from([place(1)]))) as [StoredRow]
      assert.ok(taken.epoch > (rows[1] as StoredRow).epoch)
      const zombie = await store.begin()
      await write(zombie.handle, `${text}-old`)
      // One of its rows is still its own.
      const changes = [place(0), place(1)].map((at, i) => change(at, rows[i] as StoredRow, { position: 5 }))
      assert.equal(await zombie.commit(group, changes), false)
      const owner = await next.begin()
      await write(owner.handle, `${text}-new`)
      assert.equal(await owner.commit(group, [change(place(1), taken, { position: 3 })]), true)
      assert.deepEqual(await written(text), [`${text}-new`])
      assert.deepEqual(
        (await store.read(group, [place(0), place(1)])).map((row) => row?.position),
        [0, 3],
      )
    },
  },
  {
    name: 'a row that stands elsewhere than it was left, as after a backup or a failover, is not changed',
    async run({ open, write, written }) {
      const store = open()
      const [group, text] = [unique(), unique()]
      const rows = await store.take(group, from([place(0), place(1)]))
      const before = await store.begin()
      assert.equal(await before.commit(group, [change(place(1), rows[1] as StoredRow, { position: 5 })]), true)
      const tx = await store.begin()
      await write(tx.handle, text)
      const changes = [place(0), place(1)].map((at, i) => change(at, rows[i] as StoredRow, { position: 9 }))
      assert.equal(await tx.commit(group, changes), false)
      assert.deepEqual(await written(text), [])
      assert.deepEqual(
        (await store.read(group, [place(0), place(1)])).map((row) => row?.position),
        [0, 5],
      )
    },
  },
  {
    name: 'taking a row twice refuses even its own earlier transactions',
    async run({ open }) {
      const store = open()
      const group = unique()
      const [row] = (await store.take(group, from([place()]))) as [StoredRow]
      await store.take(group, from([place()]))
      const tx = await store.begin()
      assert.equal(await tx.commit(group, [change(place(), row, { position: 5 })]), false)
    },
  },
  {
    name: 'who takes a row waits for the transaction that changes it, or is told to come again',
    async run({ open, write }) {
      const store = open()
      const group = unique()
      const [row] = (await store.take(group, from([place()]))) as [StoredRow]
      const tx = await store.begin()
      await write(tx.handle, unique())
      const other = open()
      const seen: number[] = []
      const taking = (async (): Promise<void> => {
        for (;;) {
          try {
            const [taken] = (await other.take(group, from([place()]))) as [StoredRow]
            seen.push(taken.position)
            return
          } catch (error) {
            assert.equal(other.blame(error), 'again')
            await pause(5)
          }
        }
      })()
      const committed = await tx.commit(group, [change(place(), row, { position: 7 })])
      await taking
      // Whichever came first, the two agree.
      assert.deepEqual(seen, [committed ? 7 : 0])
    },
  },
  {
    name: 'what cannot be stored is the fault of its record, and the transaction can be undone',
    async run({ open, write, writePoison, written }) {
      const store = open()
      const text = unique()
      const tx = await store.begin()
      await write(tx.handle, text)
      let blame: unknown = 'stored'
      try {
        await writePoison(tx.handle)
      } catch (error) {
        blame = store.blame(error)
      }
      await tx.rollback(false)
      assert.equal(blame, 'record')
      assert.deepEqual(await written(text), [])
      assert.equal(store.blame(new TypeError('of the code that writes')), undefined)
    },
  },
]
