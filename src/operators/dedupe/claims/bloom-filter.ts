import { MillraceError, errorMessage } from '../../../record/error.js'
import { load } from '../../../record/load.js'

/** What is used of a filter of bloom-filters. */
interface LibraryFilter {
  add(element: string): void
  has(element: string): boolean
  _hashing: { getIndexes(element: string, size: number, count: number): readonly number[] }
}

interface Library {
  readonly BloomFilter: { create(expected: number, errorRate: number): LibraryFilter }
}

let library: Library | undefined

/** @throws MillraceError INVALID_OPTIONS if bloom-filters is not installed */
export function loadBloomFilters(): Library {
  try {
    // Loaded when it is asked for: it is an optional dependency, and not small.
    return (library ??= load('bloom-filters') as Library)
  } catch (error) {
    throw new MillraceError(
      'INVALID_OPTIONS',
      `bloom needs bloom-filters, which is not installed: npm install bloom-filters (${errorMessage(error)})`,
      { cause: error },
    )
  }
}

/** 64 bits of an id, as two numbers. They are stored, so they never change. */
export const idHash = { high: 0, low: 0 }

/** Sets `idHash`: two passes of a multiplicative hash at once, each mixed at the end. */
export function hashId(id: string): void {
  let high = 0x811c_9dc5
  let low = 0x1b87_3593
  for (let i = 0; i < id.length; i++) {
    const code = id.charCodeAt(i)
    high = Math.imul(high ^ code, 0x0100_0193)
    low = Math.imul((low << 13) | (low >>> 19), 5) + 0xe654_6b64 + Math.imul(code, 0xcc9e_2d51)
  }
  idHash.high = mixed(high)
  idHash.low = mixed(low ^ id.length)
}

function mixed(hash: number): number {
  let h = hash ^ (hash >>> 16)
  h = Math.imul(h, 0x85eb_ca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** Where `idHash` points: what the library would take some microseconds of xxhash and big integers for. */
class FastHashing {
  private indexes: number[] = []
  /** What they were worked out for: an id is looked for and then added. */
  private high = -1
  private low = -1

  getIndexes(_element: string, size: number, count: number): readonly number[] {
    const { high, low } = idHash
    const { indexes } = this
    if (high === this.high && low === this.low) return indexes
    this.high = high
    this.low = low
    const scale = size / 0x1_0000_0000
    // Odd, so that it is never zero.
    const step = low | 1
    let at = high
    for (let i = 0; i < count; i++) {
      indexes[i] = Math.floor(at * scale)
      // Enhanced double hashing: ids whose first places coincide part later.
      at = (at + step + i * i) >>> 0
    }
    return indexes
  }
}

/** A Bloom filter of bloom-filters over what `idHash` holds. */
export class IdFilter {
  private readonly filter: LibraryFilter
  /** Added so far, those that were in it included. */
  count = 0

  constructor(
    readonly expected: number,
    errorRate: number,
  ) {
    this.filter = loadBloomFilters().BloomFilter.create(expected, errorRate)
    this.filter._hashing = new FastHashing()
  }

  has(): boolean {
    return this.filter.has('')
  }

  add(): void {
    this.count++
    this.filter.add('')
  }
}
