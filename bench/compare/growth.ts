import { median } from './median.js'

/** Above it something costs what is merely held, or has been taken. */
const MOST = 1.1

export interface GrowthOptions {
  readonly n: number
  readonly runs: number
  /** Parts of names, with commas between; all cases where it is empty. */
  readonly only: string
}

export type GrowthRow = Readonly<Record<string, string | number>> & { readonly name: string; readonly verdict: 'ok' | 'GROWS' }

export interface Growth {
  readonly rows: readonly GrowthRow[]
  /** What is to be said of those that grow. */
  readonly summary: string
  readonly exitCode: 0 | 1
}

/** The CPU of each case at n, 2n and 4n, medians of so many runs, and the exponent by which it grows. */
export async function measureGrowth<C>(
  cases: Readonly<Record<string, C>>,
  cpuMs: (one: C, n: number) => Promise<number>,
  { n, runs, only }: GrowthOptions,
): Promise<Growth> {
  const wanted = only === '' ? [] : only.split(',')
  const rows: GrowthRow[] = []
  for (const [name, one] of Object.entries(cases)) {
    if (wanted.length > 0 && !wanted.some((part) => name.includes(part))) continue
    // Compiled first.
    await cpuMs(one, Math.ceil(n / 10))
    const spent: number[] = []
    for (const times of [1, 2, 4]) {
      const samples: number[] = []
      for (let i = 0; i < runs; i++) samples.push(await cpuMs(one, n * times))
      spent.push(median(samples))
    }
    const [at1, at2, at4] = spent as [number, number, number]
    // The line through the three, in logarithms: its middle point does not count.
    const exponent = Math.log2(at4 / at1) / 2
    const times = { 'n, ms': Math.round(at1), '2n, ms': Math.round(at2), '4n, ms': Math.round(at4) }
    rows.push({ name, ...times, exponent: Number(exponent.toFixed(2)), verdict: exponent <= MOST ? 'ok' : 'GROWS' })
    process.stderr.write(`${name}: ${exponent.toFixed(2)}\n`)
  }
  const growing = rows.filter(({ verdict }) => verdict !== 'ok').map(({ name }) => name)
  const summary = growing.length === 0 ? `no exponent is above ${MOST}` : `${growing.length} above ${MOST}: ${growing.join('; ')}`
  return { rows, summary, exitCode: growing.length === 0 ? 0 : 1 }
}
