import { readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import type { FigureResult } from './figures.js'
import type { WorkloadResult } from './run-workload.js'

export interface Machine {
  readonly node: string
  readonly cores: number
  readonly cpu: string
  readonly day: string
}

interface Dated<T> {
  readonly machine: Machine
  readonly result: T
}

/** The latest result of each, from whichever run of the bench it is. */
export interface Results {
  readonly workloads: readonly Dated<WorkloadResult>[]
  readonly figures: readonly Dated<FigureResult>[]
}

export function machine(): Machine {
  return { node: process.version, cores: cpus().length, cpu: cpus()[0]?.model ?? '', day: new Date().toISOString().slice(0, 10) }
}

export async function readResults(path: string): Promise<Results> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Results
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { workloads: [], figures: [] }
    throw error
  }
}

export async function keepResults(
  path: string,
  workloads: readonly WorkloadResult[],
  figures: readonly FigureResult[],
  order: readonly string[],
): Promise<Results> {
  const before = await readResults(path)
  const now = machine()
  const merged = <T extends { readonly id: string }>(old: readonly Dated<T>[], fresh: readonly T[]): Dated<T>[] =>
    [...old.filter(({ result }) => !fresh.some(({ id }) => id === result.id)), ...fresh.map((result) => ({ machine: now, result }))].sort(
      (a, b) => order.indexOf(a.result.id) - order.indexOf(b.result.id),
    )
  const results = { workloads: merged(before.workloads, workloads), figures: merged(before.figures, figures) }
  await writeFile(path, `${JSON.stringify(results, null, 2)}\n`)
  return results
}
