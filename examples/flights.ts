// The 20,000 flights of vega-datasets, out of order, and what should come of them, computed from the file alone.
import { readFileSync } from 'node:fs'
import { type Flight, GRACE_MS } from './delays.js'

const HOUR = 3_600_000
const file = new URL('../data/flights-20k.json', import.meta.resolve('vega-datasets'))

export interface Departure {
  readonly flight: Flight
  readonly time: number
}

/** In the order they arrive: up to two hours after departure, one in 200 a day later. */
export function arrivals(): Departure[] {
  const flights = JSON.parse(readFileSync(file, 'utf8')) as Flight[]
  return flights
    .map((flight, i) => {
      const time = Date.parse(`${flight.date.replaceAll('/', '-').replace(' ', 'T')}:00Z`)
      const scattered = (i * 2_654_435_761) % 2 ** 32
      return { flight, time, arrives: time + (i % 200 === 7 ? 24 * HOUR : Math.floor((scattered / 2 ** 32) * 2 * HOUR)) }
    })
    .sort((a, b) => a.arrives - b.arrives)
}

export interface Expected {
  /** A line for each airport and hour, sorted. */
  readonly lines: string[]
  readonly failed: number
  readonly late: number
}

export const lineOf = (
  origin: string,
  start: number,
  { flights, average, p95 }: { flights: number; average: number; p95?: number | undefined },
): string => `${origin} ${new Date(start).toISOString().slice(0, 13)} ${flights} flights, ${average.toFixed(6)} min, p95 ${p95}`

/** Naively: every flight in its hour, unless the flights before it in its partition were further on than the grace allows. */
export function expected(departures: readonly Departure[], partitionOf: (origin: string) => number): Expected {
  const hours = new Map<string, number[]>()
  const latest = new Map<number, number>()
  let failed = 0
  let late = 0
  for (const { flight, time } of departures) {
    if (flight.delay > 300) {
      failed++
      continue
    }
    const partition = partitionOf(flight.origin)
    latest.set(partition, Math.max(latest.get(partition) ?? 0, time))
    const start = time - (time % HOUR)
    if (start + HOUR + GRACE_MS <= (latest.get(partition) as number)) late++
    else {
      const key = `${flight.origin} ${start}`
      hours.set(key, [...(hours.get(key) ?? []), flight.delay])
    }
  }
  const lines = [...hours].map(([key, delays]) => {
    const [origin, start] = key.split(' ') as [string, string]
    const sorted = delays.sort((a, b) => a - b)
    const average = sorted.reduce((sum, delay) => sum + delay, 0) / sorted.length
    return lineOf(origin, Number(start), { flights: sorted.length, average, p95: sorted[Math.ceil(sorted.length * 0.95) - 1] })
  })
  return { lines: lines.sort(), failed, late }
}
