/** Faults on real brokers: `npm run faults -- --only 'kill -9' --seed 7`. */
import { parseArgs } from 'node:util'
import { BROKEN, build } from './broken.js'
import { FAULTS } from './faults/index.js'
import { openLab, type Lab } from './lab.js'
import { PIPELINE_NAMES, type PipelineName } from './pipelines/index.js'
import { Run, type Fault, type Outcome } from './run.js'
import { randomFault } from './soak.js'
import { tableOf, writeDocs } from './table.js'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    pipeline: { type: 'string' },
    seed: { type: 'string', default: '1' },
    brokers: { type: 'string', default: '1' },
    kafka: { type: 'string', default: '4.3' },
    soak: { type: 'string' },
    broken: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    docs: { type: 'boolean', default: false },
  },
})
const seed = Number(values.seed)
const brokers = Number(values.brokers)
const soak = values.soak === undefined ? undefined : Number(values.soak)
const wanted = values.pipeline?.split(',') as PipelineName[] | undefined
if (
  !Number.isSafeInteger(seed) ||
  (brokers !== 1 && brokers !== 3) ||
  (values.kafka !== '4.3' && values.kafka !== '3.9') ||
  (soak !== undefined && !(soak > 0)) ||
  wanted?.some((name) => !PIPELINE_NAMES.includes(name)) === true
) {
  console.error(
    `usage: npm run faults -- [--only REGEXP] [--pipeline ${PIPELINE_NAMES.join('|')},...] [--seed N] [--brokers 1|3] [--kafka 4.3|3.9] [--soak MINUTES] [--broken] [--docs] [--json]`,
  )
  process.exit(2)
}

const outcomes: Outcome[] = []
const say = (text: string): void => void process.stderr.write(`${text}\n`)

async function one(run: Run): Promise<void> {
  tell(await run.go())
}

function tell(outcome: Outcome): void {
  outcomes.push(outcome)
  if (values.json) console.log(JSON.stringify(outcome))
  const { fault, pipeline, recoveries, problems, seconds } = outcome
  const times = recoveries.map((ms) => `${(ms / 1_000).toFixed(1)} s`).join(', ')
  say(
    `${problems.length === 0 ? 'ok  ' : 'FAIL'} ${pipeline}: ${fault} (seed ${outcome.seed}, ${seconds} s${times === '' ? '' : `, recovered in ${times}`})`,
  )
  say(
    `     ${Object.entries(outcome.counts)
      .map(([name, n]) => `${name} ${n}`)
      .join(', ')}`,
  )
  for (const problem of problems) say(`     ${problem}`)
}

/** Those for so many brokers. On three, what needs no more than one is done where it is asked for by name. */
const chosen = FAULTS.filter(({ name }) => values.only === undefined || new RegExp(values.only).test(name)).filter(
  ({ replicated = false, ownDisk = false }) => replicated === (brokers === 3) || (brokers === 3 && values.only !== undefined && !ownDisk),
)

function pipelinesOf({ pipelines, also = [] }: Fault): readonly PipelineName[] {
  return wanted?.filter((name) => pipelines.includes(name) || also.includes(name)) ?? pipelines
}

async function all(lab: Lab): Promise<void> {
  const runs = chosen.flatMap((fault) => pipelinesOf(fault).map((pipeline, i) => new Run(lab, fault, pipeline, { seed: seed + i })))
  for (const [i, run] of runs.entries()) {
    say(`${i + 1} of ${runs.length}: ${run.pipeline}, ${run.fault.name}`)
    await one(run)
  }
}

async function soaked(lab: Lab, minutes: number): Promise<void> {
  const end = performance.now() + minutes * 60_000
  for (let next = seed; performance.now() < end; next++) {
    const { fault, pipeline } = randomFault(next, brokers === 3)
    say(`${Math.round((end - performance.now()) / 60_000)} minutes left: ${pipeline}, ${fault.how}`)
    await one(new Run(lab, fault, pipeline, { seed: next }))
  }
}

/** Builds with one thing broken: what the suite does not tell of them is a problem. */
async function brokenBuilds(lab: Lab): Promise<void> {
  for (const broken of BROKEN.filter(({ name }) => values.only === undefined || new RegExp(values.only).test(name))) {
    const fault = FAULTS.find(({ name }) => name === broken.fault)
    if (fault === undefined) throw new Error(`there is no fault '${broken.fault}'`)
    say(`broken build, ${broken.name}: ${broken.pipeline}, ${fault.name}`)
    const run = new Run(lab, { ...fault, named: broken.named ?? fault.named ?? false }, broken.pipeline, {
      seed,
      env: { MILLRACE: await build(broken) },
      patienceMs: 15_000,
    })
    const { problems, ...outcome } = await run.go()
    for (const problem of problems) say(`     told: ${problem}`)
    const caught = problems.some((problem) => broken.told.test(problem))
    tell({
      ...outcome,
      fault: `broken build: ${broken.name}`,
      problems: caught ? [] : ['it was not told'],
    })
  }
}

const ownDisks = soak === undefined && !values.broken && chosen.some(({ ownDisk }) => ownDisk)
const lab = await openLab({ brokers, kafka: values.kafka, ownDisks })
try {
  if (values.broken) await brokenBuilds(lab)
  else if (soak === undefined) await all(lab)
  else await soaked(lab, soak)
} finally {
  await lab.close()
}
if (!values.json) console.log(tableOf(outcomes))
if (values.docs) await writeDocs(outcomes)
const failed = outcomes.filter(({ problems }) => problems.length > 0)
say(`${outcomes.length} runs, ${failed.length} failed`)
process.exit(failed.length > 0 || outcomes.length === 0 ? 1 : 0)
