import { MillraceError, redrive, type RedriveOptions, type RedriveProgress, type RedriveResult } from '../index.js'
import { CONNECTION_HELP, CONNECTION_OPTIONS, connectionOf } from './connection.js'
import { EXIT, type Surroundings } from './surroundings.js'
import { tableOf } from './table.js'
import { UsageError, numberOf, optionsOf, pairsOf } from './usage.js'

const HELP = `millrace redrive --brokers host:port --from <topic> [options]

Sends the records of a dead-letter topic back to where each came from, each once, as it was before it failed.
Interrupted and started again it goes on where it was. What a filter leaves out stays for another run.

  --from <topic>            the dead-letter topic
  --to <topic>              where to send to; else the topic and partition that each record came from
  --dry-run                 only look: nothing is written, nothing committed
  --rate <n>                at most so many records a second
  --limit <n>               at most so many records
  --max-redrives <n>        a record that came back as often as this is parked; 3
  --parked <topic>          where such records are parked; <from>.parked
  --group <name>            what remembers which records were sent; <from>.redrive
  --json                    the result for machines, on stdout
  --help

Filters, all of which must hold:
  --error <text>            stands in the error's class, code or message
  --step <name>             the step that failed
  --header <name>=<value>   a header's text; may be repeated
  --key <text>
  --after <time>            the record's own time, ISO 8601: from here on
  --before <time>           ... and before this

${CONNECTION_HELP}
Exit code: 0 done; 1 failed, or a dry run found that a topic is missing; 2 wrong options; 130 ended early by SIGINT or SIGTERM, in order.
`

const OPTIONS = {
  ...CONNECTION_OPTIONS,
  from: { type: 'string' },
  to: { type: 'string' },
  'dry-run': { type: 'boolean' },
  rate: { type: 'string' },
  limit: { type: 'string' },
  'max-redrives': { type: 'string' },
  parked: { type: 'string' },
  group: { type: 'string' },
  error: { type: 'string' },
  step: { type: 'string' },
  header: { type: 'string', multiple: true },
  key: { type: 'string' },
  after: { type: 'string' },
  before: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

/** Lines of progress where nothing can be written over, in milliseconds. */
const PROGRESS_MS = 2_000

export async function redriveCommand(
  args: readonly string[],
  { out, error, interactive, env, signal, connect }: Surroundings,
): Promise<number> {
  const given = optionsOf(args, OPTIONS)
  if (given.help === true) {
    out(HELP)
    return EXIT.done
  }
  if (given.from === undefined) throw new UsageError('--from: name the dead-letter topic')
  const { from, to, parked, group, error: text, step, key, after, before } = given
  const filter = defined({ error: text, step, key, after, before, header: pairsOf('header', given.header) })
  const numbers = defined({
    rate: numberOf('rate', given.rate),
    limit: numberOf('limit', given.limit),
    maxRedrives: numberOf('max-redrives', given['max-redrives']),
  })
  const connection = connectionOf(given, env)
  const show = progressOn(error, interactive)
  const options: RedriveOptions = {
    from,
    filter,
    dryRun: given['dry-run'] ?? false,
    onProgress: show.step,
    ...defined({ to, parked, group }),
    ...numbers,
  }
  const json = given.json === true
  try {
    const cluster = connect(connection)
    let result: RedriveResult
    try {
      result = await redrive(cluster, { ...options, signal: signal() })
    } finally {
      show.end()
      await cluster.close()
    }
    out(json ? `${JSON.stringify(result)}\n` : report(result, from))
    if (!result.complete) error(`ended early: ${result.dryRun ? 'this is not all' : 'start it again to go on from here'}\n`)
    if (result.missing.length > 0)
      error(
        `missing: ${result.missing.join(', ')}; nothing would be sent before ${result.missing.length === 1 ? 'it exists' : 'they exist'}\n`,
      )
    return !result.complete ? EXIT.interrupted : result.missing.length > 0 ? EXIT.failed : EXIT.done
  } catch (thrown) {
    if (!(thrown instanceof MillraceError)) throw thrown
    if (thrown.code === 'INVALID_OPTIONS') throw new UsageError(asFlags(thrown.message))
    if (json) out(`${JSON.stringify({ error: { code: thrown.code, message: thrown.message } })}\n`)
    throw thrown
  }
}

function report({ dryRun, read, sent, parked, skipped, left, unaddressed, table }: RedriveResult, from: string): string {
  const rows = table.map(
    ({ target, outcome, error, step, records }) =>
      [outcome === 'park' ? `${target} (parked)` : target, error || '-', step || '-', records] as const,
  )
  const text = rows.length === 0 ? '' : `${tableOf(['TARGET', 'ERROR', 'STEP', 'RECORDS'], rows)}\n`
  const rest = [
    skipped > 0 ? `${skipped} were sent before` : '',
    left > 0 ? `${left} are left out by the filter` : '',
    unaddressed > 0 ? `${unaddressed} tell nothing of where they came from (name a topic with --to)` : '',
  ].filter((part) => part !== '')
  return `${text}${dryRun ? 'would send' : 'sent'} ${sent}, ${dryRun ? 'would park' : 'parked'} ${parked}, of ${read} looked at in ${from}${rest.map((part) => `; ${part}`).join('')}\n`
}

function progressOn(write: (text: string) => void, interactive: boolean): { step: (progress: RedriveProgress) => void; end: () => void } {
  let shown = ''
  let last = Number.NEGATIVE_INFINITY
  return {
    step({ phase, read, sent, parked, chosen }) {
      const text = phase === 'looking' ? `looking: ${read} read, ${chosen} to send` : `sending: ${sent + parked} of ${chosen}`
      if (interactive) write(`\r${text.padEnd(shown.length)}`)
      else if (performance.now() - last >= PROGRESS_MS) {
        last = performance.now()
        write(`${text}\n`)
      }
      shown = text
    },
    end: () => (interactive && shown !== '' ? write(`\r${' '.repeat(shown.length)}\r`) : undefined),
  }
}

/** What the API calls an option, as the command line does. */
function asFlags(message: string): string {
  return message.replace(
    /^ {2}(?:filter\.)?(\w+)(?:\.[^:\s]+)?:/gm,
    (_, name: string) => `  --${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}:`,
  )
}

type Defined<T> = { [name in keyof T]?: Exclude<T[name], undefined> }

function defined<T extends object>(options: T): Defined<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Defined<T>
}
