import { sleep, systemClock } from '../../record/clock.js'
import type { Database, SqlTransaction } from './database.js'

const MAX_TRIES = 50
const MAX_PAUSE_MS = 100

/** Does something in a transaction of its own; again after a deadlock, or while SQLite's one writer is at work. @throws what it, or the database, fails with */
export async function alone<Tx extends SqlTransaction, T>(db: Database<Tx>, work: (tx: Tx) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await inTransaction(db, work)
    } catch (error) {
      if (db.blame(error) !== 'again' || tries >= MAX_TRIES) throw error
      await sleep(systemClock, Math.min(MAX_PAUSE_MS, 2 ** tries))
    }
  }
}

/** Once. @throws what it, or the database, fails with; then nothing took effect, unless it is not known */
export async function inTransaction<Tx extends SqlTransaction, T>(db: Database<Tx>, work: (tx: Tx) => Promise<T>): Promise<T> {
  const tx = await db.begin()
  try {
    const done = await work(tx.handle)
    await tx.commit('', [])
    return done
  } catch (error) {
    await tx.rollback(db.blame(error) === 'away')
    throw error
  }
}
