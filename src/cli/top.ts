import { setTimeout as pause } from 'node:timers/promises'
import { firstValueFrom } from 'rxjs'
import { watchLag, type GroupLag, type PipelineStatus } from '../index.js'
import { CONNECTION_HELP, CONNECTION_OPTIONS, connectionOf } from './connection.js'
import { STATUS_HELP, STATUS_OPTIONS, statusesOf, type Asked } from './statuses.js'
import { EXIT, type Surroundings } from './surroundings.js'
import { tableOf } from './table.js'
import { UsageError, optionsOf, positiveOf } from './usage.js'

const HELP = `millrace top --status <url> [options]
millrace top --brokers host:port --group <name> --topics <topic>,... [options]

Lag, rate and state of pipelines and their tasks, again and again; or, without --status, how far a group is behind, of whatever program.
On a terminal it is written over, else line by line.

${STATUS_HELP}
  --group <name>            only this group
  --topics <topic>,...      what the group reads, where the brokers are asked
  --every <seconds>         between two looks; 2
  --rows <n>                tasks or partitions shown of each group, those furthest behind; 20
  --json                    one look, for machines, on stdout
  --help

${CONNECTION_HELP}
Exit code: 0 done, or ended by SIGINT or SIGTERM; 1 a process does not answer, or the brokers refuse; 2 wrong options.
`

const OPTIONS = {
  ...CONNECTION_OPTIONS,
  ...STATUS_OPTIONS,
  group: { type: 'string' },
  topics: { type: 'string' },
  every: { type: 'string' },
  rows: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

/** To the top left; what is below is cleared when the text was written, so that nothing flickers. */
const HOME = '\u001b[H'
const CLEAR_BELOW = '\u001b[J'

export async function topCommand(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { out, env, connect, signal } = surroundings
  const given = optionsOf(args, OPTIONS)
  if (given.help === true) {
    out(HELP)
    return EXIT.done
  }
  const everyMs = positiveOf('every', given.every, 2) * 1_000
  const rows = positiveOf('rows', given.rows, 20)
  const { group } = given
  if (given.status !== undefined) {
    const ask = statusesOf(given.status, given.token ?? env['MILLRACE_TOKEN'])
    const only = (asked: readonly Asked[]): readonly Asked[] =>
      asked.map(({ url, pipelines }) => ({ url, pipelines: pipelines.filter((status) => group === undefined || status.group === group) }))
    return show(
      surroundings,
      given.json === true,
      everyMs,
      async (stop) => only(await ask(stop)),
      (asked) => processes(asked, rows),
    )
  }
  const topics = given.topics?.split(',').map((topic) => topic.trim())
  if (group === undefined || topics === undefined)
    throw new UsageError('--status: name where serveStatus of a process listens; or --group and --topics, to ask the brokers')
  const cluster = connect(connectionOf(given, env))
  try {
    const look = (): Promise<GroupLag | undefined> =>
      firstValueFrom(watchLag(cluster, { groups: [{ group, topics }] }), { defaultValue: undefined })
    const stop = given.json === true ? undefined : signal()
    return await show({ ...surroundings, signal: () => stop as AbortSignal }, given.json === true, everyMs, look, (lag) =>
      lag === undefined ? '' : groupLag(lag, rows),
    )
  } finally {
    await cluster.close()
  }
}

/** Once as JSON, or text again and again until it is to end. */
async function show<T>(
  { out, signal, terminal = false }: Surroundings,
  json: boolean,
  everyMs: number,
  look: (stop?: AbortSignal) => Promise<T>,
  text: (seen: T) => string,
): Promise<number> {
  if (json) {
    out(`${JSON.stringify(await look())}\n`)
    return EXIT.done
  }
  const stop = signal()
  while (!stop.aborted) {
    let seen: T
    try {
      seen = await look(stop)
    } catch (error) {
      if (stop.aborted) break
      throw error
    }
    const lines = `${new Date().toISOString()}\n${text(seen)}`
    out(terminal ? `${HOME}${lines.replaceAll('\n', '\u001b[K\n')}${CLEAR_BELOW}` : `${lines}\n`)
    // It rejects for `stop` alone, which ends the loop.
    await pause(everyMs, undefined, { signal: stop }).catch(() => {})
  }
  return EXIT.done
}

/** All processes, and of each group the tasks that are furthest behind. */
function processes(asked: readonly Asked[], rows: number): string {
  const all = asked.flatMap(({ url, pipelines }) => pipelines.map((status) => ({ url, status })))
  if (all.length === 0) return 'no pipeline runs there\n'
  const head = ['GROUP', 'PROCESS', 'STATE', 'TASKS', 'LAG', 'BEHIND', 'IN/S', 'OUT/S', 'COMMITS/S', 'MOSTLY']
  const members = all.map(
    ({ url, status: { group, state, tasks, lag, rates, time } }) =>
      [
        group,
        hostOf(url),
        state,
        tasks.length,
        lag.records,
        age(lag.ms),
        Math.round(rates.records),
        Math.round(rates.outputs),
        rate(rates.commits),
        mostly(time),
      ] as const,
  )
  const tasks = all
    .flatMap(({ url, status }) => status.tasks.map((task) => ({ url, status, task })))
    .sort((a, b) => b.task.lag - a.task.lag)
    .slice(0, rows)
    .map(
      ({ url, status: { group, partitions }, task: { partition, state, lag } }) =>
        [
          group,
          hostOf(url),
          partition,
          state,
          lag,
          age(
            partitions.reduce<number | undefined>(
              (most, at) => (at.partition === partition && !at.held ? oldest(most, at.lagMs) : most),
              undefined,
            ),
          ),
        ] as const,
    )
  return `${tableOf(head, members)}\n${tableOf(['GROUP', 'PROCESS', 'TASK', 'STATE', 'LAG', 'BEHIND'], tasks)}`
}

function groupLag({ group, lag, partitions }: GroupLag, rows: number): string {
  const furthest = [...partitions].sort((a, b) => (b.lag ?? 0) - (a.lag ?? 0)).slice(0, rows)
  const table = tableOf(
    ['TOPIC', 'PARTITION', 'COMMITTED', 'END', 'LAG'],
    furthest.map(({ topic, partition, committed, end, lag: of }) => [topic, partition, committed ?? '-', end, of ?? '-']),
  )
  return `${group}: ${lag} records behind\n\n${table}`
}

const hostOf = (url: string): string => url.replace(/^https?:\/\//, '')

const oldest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Math.max(a, b)

/** What most of its time went to since the start. */
function mostly({ phases }: PipelineStatus['time']): string {
  return Object.entries(phases).reduce((most, phase) => (phase[1] > most[1] ? phase : most), ['-', 0] as [string, number])[0]
}

function age(ms: number | undefined): string {
  if (ms === undefined) return '-'
  return ms < 60_000 ? `${(ms / 1_000).toFixed(1)}s` : ms < 3_600_000 ? `${Math.round(ms / 60_000)}m` : `${Math.round(ms / 3_600_000)}h`
}

const rate = (perSecond: number): number => Number(perSecond.toFixed(1))
