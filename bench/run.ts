/**
 * millrace beside its peers: on one broker, in turns, medians and spread, each output verified before its figure counts.
 *
 *   npm run bench                                     all workloads, a table
 *   npm run bench -- --only=W1,W4h --runs=3           some of them; pass, json and other modes are names as well
 *   npm run bench -- --programs=millrace,streams      some of the programs
 *   npm run bench -- --records=200000 --json          for machines
 *   npm run bench -- --docs                           also writes docs/performance.md and its chart
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { kafka } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { FIGURES, runFigure, type FigureResult } from './compare/figures.js'
import { writePage } from './compare/page.js'
import { findProgram, type Program } from './compare/programs.js'
import { keepResults, machine } from './compare/results.js'
import { runWorkload, type WorkloadResult } from './compare/run-workload.js'
import type { ProgramName } from './compare/workload.js'
import { WORKLOADS } from './workloads/workloads.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    docs: { type: 'boolean', default: false },
    records: { type: 'string', default: '2000000' },
    runs: { type: 'string', default: '5' },
    commit: { type: 'string', default: '100' },
    only: { type: 'string' },
    programs: { type: 'string' },
  },
})
const say = (text: string): void => void process.stderr.write(`${text}\n`)
const wanted = values.only?.split(',')
const ids = [...WORKLOADS, ...FIGURES].map(({ id }) => id)
const unknown = wanted?.filter((name) => !ids.includes(name) && !WORKLOADS.some(({ mode }) => mode === name)) ?? []
if (unknown.length > 0) throw new Error(`no workload ${unknown.join(', ')}: there are ${ids.join(', ')}`)
// A mode stands for the first workload that has it.
const named = (id: string, mode?: string): boolean =>
  wanted === undefined ||
  wanted.includes(id) ||
  (mode !== undefined && wanted.includes(mode) && WORKLOADS.find((w) => w.mode === mode)?.id === id)
const workloads = WORKLOADS.filter(({ id, mode }) => named(id, mode))
const figures = FIGURES.filter(({ id }) => named(id))

const programs = new Map<ProgramName, Program>()
for (const program of new Set(workloads.flatMap(({ entries }) => entries.map((entry) => entry.program)))) {
  if (values.programs !== undefined && !values.programs.split(',').includes(program)) continue
  programs.set(program, await findProgram(program))
}

const results: WorkloadResult[] = []
const measured: FigureResult[] = []
/** After each, so that what took an hour is not lost with what fails after it. */
async function keep(): Promise<void> {
  if (!values.docs) return
  const kept = await keepResults(fileURLToPath(new URL('./results.json', import.meta.url)), results, measured, ids)
  await writePage(fileURLToPath(new URL('../docs', import.meta.url)), kept)
}
const scratch = await mkdtemp(join(tmpdir(), 'millrace-bench-'))
try {
  if (workloads.length > 0) {
    const server = process.env['KAFKA_BROKERS'] ? undefined : await startKafka({ heap: '2g' })
    const brokers = server?.brokers ?? (process.env['KAFKA_BROKERS'] as string).split(',')
    const cluster = kafka({ brokers })
    const bench = {
      ...{ cluster, brokers, scratch, programs, say },
      records: Number(values.records),
      runs: Number(values.runs),
      commitMs: Number(values.commit),
      filled: new Map<string, string>(),
    }
    try {
      for (const workload of workloads) {
        results.push(await runWorkload(bench, workload))
        await keep()
      }
    } finally {
      await cluster.close()
      await server?.stop()
    }
  }
  for (const figure of figures) {
    measured.push(await runFigure(figure, say))
    await keep()
  }
} finally {
  await rm(scratch, { recursive: true, force: true })
}

if (values.json) console.log(JSON.stringify({ machine: machine(), workloads: results, figures: measured }, null, 2))
else {
  for (const { id, title, records, runs, entries, absent, goals } of results) {
    console.log(`${id}: ${title}; ${records} records, medians of ${runs}`)
    console.table(entries.map(({ verified, spread, ...entry }) => ({ ...entry, spread: spread.join(' to '), verified })))
    for (const { label, why } of absent) console.log(`  ${label}: ${why}`)
    for (const { of, over, atLeast, ratio, by = 'rate' } of goals) console.log(`  ${of} over ${over}, by ${by}: ${ratio} (aim ${atLeast})`)
  }
  for (const { id, title, rows } of measured) (console.log(`${id}: ${title}`), console.table(rows))
}
