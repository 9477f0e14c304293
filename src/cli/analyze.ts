import { setTimeout as pause } from 'node:timers/promises'
import { analysisOf, type Analysis, type PipelineStatus } from '../index.js'
import { STATUS_HELP, STATUS_OPTIONS, statusesOf } from './statuses.js'
import { EXIT, type Surroundings } from './surroundings.js'
import { UsageError, optionsOf, positiveOf } from './usage.js'

const HELP = `millrace analyze --status <url> [options]

Looks at running pipelines for a while and says what keeps each group from going faster, with figures, and what to change.

${STATUS_HELP}
  --group <name>            only this group
  --seconds <n>             how long to look; 10
  --json                    the result for machines, on stdout
  --help

In which step the time goes is known where withTransaction has sampleSteps; analyze(pipeline) in the process turns it on itself.
Exit code: 0 done; 1 a process does not answer, or no pipeline was found; 2 wrong options.
`

const OPTIONS = {
  ...STATUS_OPTIONS,
  group: { type: 'string' },
  seconds: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

export async function analyzeCommand(args: readonly string[], { out, error, env }: Surroundings): Promise<number> {
  const given = optionsOf(args, OPTIONS)
  if (given.help === true) {
    out(HELP)
    return EXIT.done
  }
  if (given.status === undefined) throw new UsageError('--status: name where serveStatus of a process listens')
  const seconds = positiveOf('seconds', given.seconds, 10)
  const ask = statusesOf(given.status, given.token ?? env['MILLRACE_TOKEN'])
  const members = new Map<string, PipelineStatus[]>()
  const look = async (): Promise<void> => {
    for (const { url, pipelines } of await ask())
      for (const [i, status] of pipelines.entries()) {
        if (given.group !== undefined && status.group !== given.group) continue
        const name = `${status.group} ${url} ${i}`
        members.set(name, [...(members.get(name) ?? []), status])
      }
  }
  const until = performance.now() + seconds * 1_000
  await look()
  do {
    await pause(Math.max(0, Math.min(1_000, until - performance.now())))
    await look()
  } while (performance.now() < until)
  const groupOf = (statuses: readonly PipelineStatus[]): string | undefined => statuses[0]?.group
  const all = [...members.values()]
  const found = [...new Set(all.map(groupOf))].map((group) => analysisOf(all.filter((statuses) => groupOf(statuses) === group)))
  if (given.json === true) out(`${JSON.stringify(found)}\n`)
  else for (const analysis of found) out(report(analysis))
  if (found.length > 0) return EXIT.done
  error('no pipeline runs there\n')
  return EXIT.failed
}

function report({ group, bound, members, lag, recordsPerSecond, findings }: Analysis): string {
  const head = `${group}: ${bound === 'nothing' ? 'bound by nothing' : `bound by ${bound}`} (${members} ${members === 1 ? 'member' : 'members'}, ${Math.round(recordsPerSecond)} records/s, lag ${lag.before} -> ${lag.after})\n`
  const parts = findings.map(({ bound: of, what, evidence, advice }) =>
    [
      `  ${of}: ${what}`,
      ...evidence.map((line) => `    - ${line}`),
      ...(advice.length > 0 ? ['    to change:', ...advice.map((line) => `      * ${line}`)] : []),
    ].join('\n'),
  )
  return `${head}${parts.join('\n')}\n`
}
