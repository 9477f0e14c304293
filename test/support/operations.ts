import { Session, type Profiler } from 'node:inspector'
import { setFlagsFromString } from 'node:v8'

// Import this before what is to be counted: functions that were compiled earlier, or are optimized, are not.
setFlagsFromString('--no-opt')
const session = new Session()
session.connect()
session.post('Profiler.enable')
session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })

/**
 * How many blocks of the project's own code run: what V8 counts for coverage. It is the same each time, unlike the clock, and no loop
 * escapes it but those inside V8.
 */
export function countOperations(run: () => void): number {
  taken()
  run()
  return counted()
}

export async function countOperationsOf(run: () => Promise<void>): Promise<number> {
  taken()
  await run()
  return counted()
}

function counted(): number {
  const total = taken()
  if (total === 0) throw new Error('nothing was counted')
  return total
}

/** What was counted since this was called last. */
function taken(): number {
  let total = 0
  session.post('Profiler.takePreciseCoverage', (error, { result }: Profiler.TakePreciseCoverageReturnType) => {
    if (error !== null) throw error
    for (const { url, functions } of result) {
      if (!url.includes('/src/')) continue
      for (const { ranges } of functions) for (const { count } of ranges) total += count
    }
  })
  return total
}

/**
 * The exponent by which the operations of `run` grow from 2n to 4n: 1 where each thing costs the same, 2 where each costs what there is
 * already.
 */
export function growthOf(n: number, run: (n: number) => void): number {
  const [twice, fourTimes] = [countOperations(() => run(2 * n)), countOperations(() => run(4 * n))]
  return Math.log2(fourTimes / twice)
}

export async function growthOfRun(n: number, run: (n: number) => Promise<void>): Promise<number> {
  const twice = await countOperationsOf(() => run(2 * n))
  const fourTimes = await countOperationsOf(() => run(4 * n))
  return Math.log2(fourTimes / twice)
}

/**
 * Above it something costs what is merely held. n log n stays below, also where a tree is a little out of balance; n times the root of n
 * does not.
 */
export const LINEAR = 1.4
