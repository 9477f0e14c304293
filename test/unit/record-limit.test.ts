import { describe, expect, it } from 'vitest'
import { RecordLimit } from '../../src/runtime/record-limit.js'

/** How long a round of so many records takes, in milliseconds. */
type Took = (records: number) => number

/** Asks a service for so many records at once, each of which takes its time. */
const latency =
  (concurrency: number, ms: number): Took =>
  (records) =>
    Math.ceil(records / concurrency) * ms
/** Works on one record after the other. */
const work =
  (ms: number): Took =>
  (records) =>
    records * ms

function run(
  everyMs: number,
  took: Took,
  rounds: number,
  available = Number.POSITIVE_INFINITY,
  limit = new RecordLimit(everyMs, { maxRecords: 1_000_000 }),
  atOnce = 0,
) {
  const done: { readonly records: number; readonly took: number }[] = []
  for (let i = 0; i < rounds; i++) {
    const records = Math.min(limit.records, available)
    done.push({ records, took: took(records) })
    limit.adapt({ records, startedAt: 0, endedAt: took(records) }, atOnce)
  }
  return { limit, done }
}

const rateOf = (done: readonly { readonly records: number; readonly took: number }[]): number =>
  done.reduce((sum, { records }) => sum + records, 0) / done.reduce((sum, { took }) => sum + took, 0)

describe('how many records a transaction may take', () => {
  const latencies = [1, 10, 100, 300, 2_000].flatMap((ms) => [4, 50, 256].map((concurrency) => [concurrency, ms] as const))

  it.each(latencies)('%i records at once, %i ms each: latency is not taken for work', (concurrency, ms) => {
    const { done } = run(100, latency(concurrency, ms), 400)
    // What it takes to find out is not in it, what it takes to look again later is.
    expect(rateOf(done.slice(50)) / (concurrency / ms)).toBeGreaterThanOrEqual(0.8)
    // Most of them take no longer than a few calls.
    const settled = done.slice(50).map(({ took }) => took)
    expect(settled.sort((a, b) => a - b)[settled.length >> 1]).toBeLessThanOrEqual(Math.max(200, 8 * ms))
  })

  it.each([
    [4_000, 300],
    [4_000, 2_000],
    [40_000, 100],
  ])('%i records at once, %i ms each, as far as is known: so many go in from the second transaction on', (atOnce, ms) => {
    const { done } = run(100, latency(atOnce, ms), 20, undefined, undefined, atOnce)
    expect(done[1]?.records).toBe(atOnce)
    // A look at fewer is part of it.
    expect(rateOf(done.slice(1)) / (atOnce / ms)).toBeGreaterThanOrEqual(0.8)
  })

  it('work that many calls are said to be is done in rounds of about the interval all the same', () => {
    const { done } = run(100, work(1), 60, undefined, undefined, 4_000)
    expect(done.slice(20).filter(({ took }) => took <= 200).length).toBeGreaterThan(36)
  })

  it.each([0.01, 1, 10, 150])('work of %d ms a record is done in rounds of about the interval', (ms) => {
    const { done } = run(100, work(ms), 60)
    const settled = done.slice(20).map(({ took }) => took)
    expect(settled.filter((took) => took <= Math.max(200, ms)).length).toBeGreaterThan(0.9 * settled.length)
    // Now and then more are tried.
    expect(Math.max(...settled)).toBeLessThanOrEqual(Math.max(800, 4 * ms))
    expect(done.at(-1)?.records).toBeGreaterThanOrEqual(Math.max(1, Math.floor(25 / ms)))
  })

  it('few records that take long say nothing of many', () => {
    const few = run(100, latency(256, 2_000), 100, 4)
    const { done } = run(100, latency(256, 2_000), 100, undefined, few.limit)
    expect(rateOf(done.slice(20)) / (256 / 2_000)).toBeGreaterThanOrEqual(0.8)
  })

  it('work that becomes latency, and the other way, is noticed', () => {
    const { limit } = run(100, work(10), 50)
    const { done } = run(100, latency(256, 300), 400, undefined, limit)
    expect(rateOf(done.slice(100)) / (256 / 300)).toBeGreaterThanOrEqual(0.8)
    const back = run(100, work(10), 200, undefined, limit)
    expect(back.done.slice(100).filter(({ took }) => took <= 200).length).toBeGreaterThan(90)
  })
})
