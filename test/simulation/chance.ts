import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { loadBloomFilters } from '../../src/operators/dedupe/claims/bloom-filter.js'
import { Turn } from '../../src/record/turn.js'
import { thisProcess } from '../../src/runtime/process-heap.js'
import { Random } from '../faults/random.js'

/** So many different random numbers. */
const FINE = 2 ** 32

// It takes random numbers when it is loaded, which otherwise would be during the first run that needs it.
loadBloomFilters()

/**
 * Runs something with all that is otherwise left to chance made from a seed: random numbers and names, what the process tells of its
 * memory, and, with the likelihood `turnsOver`, whether a stretch of synchronous work has taken long enough for others to have their turn.
 */
export async function withChance<T>(seed: number, turnsOver: number, run: () => Promise<T>): Promise<T> {
  const random = new Random(seed)
  const next = (): number => random.below(FINE) / FINE
  const bytes = (count: number): Buffer => Buffer.from(Array.from({ length: count }, () => random.below(256)))
  const uuid = (): ReturnType<typeof crypto.randomUUID> => {
    const hex = bytes(16).toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  }
  let upMs = 0
  let gcMs = 0
  const status = (): ReturnType<typeof thisProcess.status> => {
    upMs += 1_000
    gcMs += random.below(300)
    const [live, resident] = [random.below(1_000), random.below(1_000)]
    const [heapUsedBytes, heapLimitBytes, residentLimitBytes] = [live, 1_000, 1_000]
    return { upMs, busyMs: upMs, gcMs, heapUsedBytes, heapLiveBytes: live, heapLimitBytes, residentBytes: resident, residentLimitBytes }
  }
  const undo = [
    replaced(thisProcess, 'status', status),
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
