/** Whole pipelines on the embedded broker and virtual time, made from a seed: `npm run simulate -- --seed 1 --runs 1000`. */
import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { CORES, type Core, type Scenario } from './scenario.js'
import type { Order, Told } from './worker.js'

/** A scenario without an end after so long has none. */
const HANGS_AFTER_MS = 120_000

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '1000' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    core: { type: 'string' },
    shrink: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const [first, runs, jobs] = [values.seed, values.runs, values.jobs].map(Number) as [number, number, number]
const cores = values.core === undefined ? CORES : CORES.filter((core) => core === values.core)
if (![first, runs, jobs].every(Number.isSafeInteger) || runs < 1 || jobs < 1 || cores.length === 0) {
  console.error(
    `usage: npm run simulate -- --seed <number> --runs <number> [--core ${CORES.join('|')}] [--jobs <number>] [--shrink] [--json]`,
  )
  process.exit(2)
}

const counts = new Map<Core, number>()
const failed: Told[] = []
let done = 0
let told = performance.now()

function tell(one: Told): void {
  done++
  counts.set(one.scenario.core, (counts.get(one.scenario.core) ?? 0) + 1)
  if (one.problems.length > 0) {
    failed.push(one)
    if (!values.json) console.log(`seed ${one.seed} fails:\n${JSON.stringify(one.scenario)}\n${one.problems.join('\n')}\n`)
  }
  if (performance.now() - told < (process.stderr.isTTY ? 1_000 : 15_000)) return
  told = performance.now()
  process.stderr.write(`${done} of ${runs} seeds, ${failed.length} failed\n`)
}

/** Seeds from..to in one process; from the next one again after one that hangs. */
function run(from: number, to: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = fork(new URL('./worker.ts', import.meta.url), { execArgv: ['--import', 'tsx'] })
    let at = from
    let scenario: Scenario | undefined
    let timer = setTimeout(hangs, HANGS_AFTER_MS)
    function hangs(): void {
      child.kill('SIGKILL')
    }
    child.on('message', (message: Told) => {
      clearTimeout(timer)
      timer = setTimeout(hangs, HANGS_AFTER_MS)
      scenario = message.scenario
      if ((message as Partial<Told>).problems === undefined) return
      tell(message)
      at = message.seed + 1
    })
    child.on('error', reject)
    child.on('exit', (code) => {
      clearTimeout(timer)
      if (at >= to) return resolve()
      if (scenario === undefined)
        return reject(new Error(`the process that simulates ended with ${String(code)} before its first scenario`))
      tell({ seed: at, scenario, problems: [code === null ? 'hangs' : `ended its process with ${code}`] })
      if (at + 1 >= to) resolve()
      else run(at + 1, to).then(resolve, reject)
    })
    child.send({ from, to, cores, shrink: values.shrink } satisfies Order)
  })
}

const share = Math.ceil(runs / jobs)
await Promise.all(
  Array.from({ length: jobs }, (_, i) => [first + i * share, Math.min(first + runs, first + (i + 1) * share)] as const)
    .filter(([from, to]) => from < to)
    .map(([from, to]) => run(from, to)),
)
if (values.json) console.log(JSON.stringify({ first, runs, scenarios: Object.fromEntries(counts), failed }))
else {
  console.table(Object.fromEntries([...counts].sort().map(([core, scenarios]) => [core, { scenarios }])))
  const seeds = failed.map(({ seed }) => seed).sort((a, b) => a - b)
  console.log(`${runs} seeds from ${first}: ${failed.length} failed${seeds.length > 0 ? `: ${seeds.join(', ')}` : ''}`)
}
process.exitCode = failed.length > 0 ? 1 : 0
