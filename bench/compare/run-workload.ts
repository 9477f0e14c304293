import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { Cluster } from 'millrace'
import type { Report } from '../programs/report.js'
import { median } from './median.js'
import type { Program } from './programs.js'
import type { Entry, Goal, Input, Output, ProgramName, Sample, Workload } from './workload.js'

export interface Bench {
  readonly cluster: Cluster
  readonly brokers: readonly string[]
  readonly scratch: string
  readonly records: number
  readonly runs: number
  readonly commitMs: number
  readonly programs: ReadonlyMap<ProgramName, Program>
  /** The topics that are filled already, by the name of their input. */
  readonly filled: Map<string, string>
  say(text: string): void
}

export interface EntryResult extends Sample {
  readonly label: string
  readonly version: string
  /** Lowest and highest rate of the runs. */
  readonly spread: readonly [number, number]
  readonly verified: string
}

export interface WorkloadResult {
  readonly id: string
  readonly title: string
  readonly records: number
  readonly runs: number
  readonly entries: readonly EntryResult[]
  readonly absent: readonly { readonly label: string; readonly why: string }[]
  readonly goals: readonly (Goal & { readonly ratio: number })[]
}

/** The programs in turns, so that a machine that grows slow meanwhile is slow for all of them. A figure counts once its output was verified. */
export async function runWorkload(bench: Bench, workload: Workload): Promise<WorkloadResult> {
  const records = workload.records(bench.records)
  const topics: string[] = []
  for (const input of workload.inputs(records)) topics.push(await fill(bench, input))
  const absent: { label: string; why: string }[] = []
  const present: (Entry & { found: Exclude<Program, { absent: string }> })[] = []
  for (const entry of workload.entries) {
    const found = bench.programs.get(entry.program)
    if (found === undefined) continue
    if ('absent' in found) absent.push({ label: entry.label, why: found.absent })
    else present.push({ ...entry, found })
  }
  const samples = new Map<string, Sample[]>()
  const verified = new Map<string, string>()
  for (let run = 1; run <= bench.runs; run++) {
    // Each program is first as often as it is last.
    for (const entry of run % 2 === 1 ? present : present.toReversed()) {
      const { sample, seen } = await measure(bench, workload, records, topics, entry)
      samples.set(entry.label, [...(samples.get(entry.label) ?? []), sample])
      verified.set(entry.label, seen)
      bench.say(
        `${workload.id} run ${run}/${bench.runs} ${entry.label}: ${Math.round(sample.recordsPerSecond)} records/s, ${sample.cpuMicrosPerRecord.toFixed(2)} µs CPU, ${Math.round(sample.peakMegabytes)} MB; ${seen}`,
      )
    }
  }
  const entries = present.map(({ label, found }): EntryResult => {
    const all = samples.get(label) ?? []
    const rates = all.map(({ recordsPerSecond }) => recordsPerSecond)
    return {
      label,
      version: found.version,
      recordsPerSecond: Math.round(median(rates)),
      spread: [Math.round(Math.min(...rates)), Math.round(Math.max(...rates))],
      cpuMicrosPerRecord: Number(median(all.map(({ cpuMicrosPerRecord }) => cpuMicrosPerRecord)).toFixed(2)),
      peakMegabytes: Math.round(Math.max(...all.map(({ peakMegabytes }) => peakMegabytes))),
      verified: verified.get(label) ?? '',
    }
  })
  const goals = workload.goals.flatMap((goal) => {
    const speed = (label: string): number | undefined => {
      const entry = entries.find((one) => one.label === label)
      return entry && (goal.by === 'cpu' ? 1_000_000 / entry.cpuMicrosPerRecord : entry.recordsPerSecond)
    }
    const [of, over] = [speed(goal.of), speed(goal.over)]
    return of === undefined || over === undefined ? [] : [{ ...goal, ratio: Number((of / over).toFixed(2)) }]
  })
  return { id: workload.id, title: workload.title, records, runs: bench.runs, entries, absent, goals }
}

async function fill({ cluster, filled, say }: Bench, input: Input): Promise<string> {
  const there = filled.get(input.name)
  if (there !== undefined) return there
  const topic = `bench-${input.name}-${Date.now()}`
  say(`filling ${topic}`)
  const config = { 'retention.ms': '-1', ...(input.table === true && { 'cleanup.policy': 'compact' }) }
  await cluster.createTopics([{ topic, partitions: input.partitions, config }])
  await cluster.produce({ topic, records: input.rows() })
  filled.set(input.name, topic)
  return topic
}

async function measure(
  bench: Bench,
  workload: Workload,
  records: number,
  [input, other = '']: readonly string[],
  { label, env = {}, found }: Entry & { found: Exclude<Program, { absent: string }> },
): Promise<{ sample: Sample; seen: string }> {
  const { cluster, brokers, scratch, commitMs } = bench
  const output = `bench-out-${randomUUID()}`
  await cluster.createTopics([{ topic: output, partitions: 4, config: { 'retention.ms': '-1' } }])
  const { file, args, env: own } = await found.command(scratch)
  const child = spawn(file, args, {
    env: {
      ...process.env,
      KAFKA_BROKERS: brokers.join(','),
      INPUT_TOPIC: input ?? '',
      OTHER_TOPIC: other,
      OUTPUT_TOPIC: output,
      RECORDS: String(records),
      COMMIT_MS: String(commitMs),
      MODE: workload.mode,
      ...own,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let printed = ''
  let errors = ''
  child.stdout.on('data', (data: Buffer) => (printed += data.toString()))
  child.stderr.on('data', (data: Buffer) => (errors = (errors + data.toString()).slice(-4_000)))
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  const last = printed.trim().split('\n').at(-1) ?? ''
  if (code !== 0 || !last.startsWith('{'))
    throw new Error(`${workload.id} ${label} ended with ${code}: ${printed.slice(-1_000)}\n${errors}`)
  const report = JSON.parse(last) as Report
  const seen = env['VERIFY'] === 'none' ? 'not verified' : await verified(cluster, workload, output, records, label)
  await cluster.deleteTopics([output])
  return { sample: { ...report, recordsPerSecond: report.records / report.seconds }, seen }
}

async function verified(cluster: Cluster, workload: Workload, topic: string, records: number, label: string): Promise<string> {
  async function* outputs(): AsyncGenerator<Output> {
    for await (const { key, value } of cluster.read({ topic })) yield { key: String(key), value: String(value) }
  }
  try {
    return await workload.verify(outputs(), records)
  } catch (error) {
    throw new Error(`${workload.id} ${label}: ${(error as Error).message}`, { cause: error })
  }
}
