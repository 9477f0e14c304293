import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { loadBloomFilters } from '../../src/operators/dedupe/claims/bloom-filter.js'
import { Turn } from '../../src/record/turn.js'

// It takes random numbers when it is loaded, which otherwise would be during the first run that needs it.
loadBloomFilters()

/** Numbers from 0 to below 1, the same ones for the same seed (mulberry32). */
export function numbersFrom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Runs something with all that is otherwise left to chance made from a seed: random numbers and names, and, with the likelihood
 * `turnsOver`, whether a stretch of synchronous work has taken long enough for others to have their turn.
 */
export async function withChance<T>(seed: number, turnsOver: number, run: () => Promise<T>): Promise<T> {
  const next = numbersFrom(seed)
  const bytes = (count: number): Buffer => Buffer.from(Array.from({ length: count }, () => Math.floor(next() * 256)))
  const uuid = (): ReturnType<typeof crypto.randomUUID> => {
    const hex = bytes(16).toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  }
  const undo = [
    replaced(Math, 'random', next),
    replaced(crypto, 'randomBytes', bytes as typeof crypto.randomBytes),
    replaced(crypto, 'randomUUID', uuid),
    replaced(globalThis.crypto, 'randomUUID', uuid),
  ]
  const isOver = Object.getOwnPropertyDescriptor(Turn.prototype, 'isOver') as PropertyDescriptor
  Object.defineProperty(Turn.prototype, 'isOver', { ...isOver, get: () => next() < turnsOver })
  syncBuiltinESMExports()
  try {
    return await run()
  } finally {
    for (const one of undo) one()
    Object.defineProperty(Turn.prototype, 'isOver', isOver)
    syncBuiltinESMExports()
  }
}

function replaced<T extends object, Name extends keyof T>(of: T, name: Name, by: T[Name]): () => void {
  const own = Object.getOwnPropertyDescriptor(of, name)
  Object.defineProperty(of, name, { value: by, configurable: true, writable: true })
  return () => {
    if (own === undefined) delete of[name]
    else Object.defineProperty(of, name, own)
  }
}
