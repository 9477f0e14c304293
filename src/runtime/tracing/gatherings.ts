import type { Trace } from '../../record/tracing.js'

/** Links that one span may have, by the default of OpenTelemetry's SDKs. */
const MOST_OF_A_KEY = 128
/** Keys beyond this push out those that were begun first. */
const MOST_KEYS = 10_000

interface Gathered {
  readonly time: number
  readonly trace: Trace
}

/** What was gathered of a key from one time to another, both included. */
export interface Part {
  readonly operator: string
  readonly key: string
  readonly from: number
  readonly to: number
  /** What is older will not be asked for again. Default: `from`, where results come in the order of time. */
  readonly keepFrom?: number
}

/**
 * Which records went into what stateful operators make of many: in memory alone, and of those that are followed only. What was gathered
 * before a restart, or by another member, is not told of.
 */
export class Gatherings {
  private readonly byKey = new Map<string, Gathered[]>()
  /** Of what was given up: those records come again. */
  private readonly dropped = new WeakSet<Trace>()

  add(operator: string, key: string, time: number, trace: Trace): void {
    const name = `${operator}\n${key}`
    const gathered = this.byKey.get(name)
    if (gathered === undefined) this.byKey.set(name, [{ time, trace }])
    else if (gathered.at(-1)?.trace !== trace) {
      gathered.push({ time, trace })
      if (gathered.length > MOST_OF_A_KEY) gathered.shift()
    }
    if (this.byKey.size > MOST_KEYS) this.byKey.delete(this.byKey.keys().next().value as string)
  }

  of({ operator, key, from, to, keepFrom = from }: Part): Trace[] {
    const name = `${operator}\n${key}`
    const gathered = this.byKey.get(name)
    if (gathered === undefined) return []
    const kept = gathered.filter(({ trace }) => !this.dropped.has(trace))
    const asked = kept.filter(({ time }) => time >= keepFrom)
    if (asked.length === 0) this.byKey.delete(name)
    else this.byKey.set(name, asked)
    return kept.filter(({ time }) => time >= from && time <= to).map(({ trace }) => trace)
  }

  drop(trace: Trace): void {
    this.dropped.add(trace)
  }
}
