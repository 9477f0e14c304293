/**
 * How long nothing is committed when a member is killed (kill -9), with and without an instance id, and while 4 members are restarted one
 * after the other: `npx tsx bench/takeover.ts --runs=3 --json`.
 */
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { kafka, type Cluster } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { until } from '../test/support/until.js'
import { Member } from './compare/member.js'
import { median } from './compare/median.js'

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false }, runs: { type: 'string', default: '3' } } })
const say = (text: string): void => void process.stderr.write(`${text}\n`)
const server = process.env['KAFKA_BROKERS'] ? undefined : await startKafka()
const brokers = server?.brokers ?? (process.env['KAFKA_BROKERS'] as string).split(',')
const cluster = kafka({ brokers })
const PARTITIONS = 8

/** 400 records a second over all partitions, so that each has something to commit in every interval. */
async function steadily(to: Cluster, topic: string, stop: AbortSignal): Promise<void> {
  for (let i = 0; !stop.aborted; i++) {
    await to.produce({ topic, records: Array.from({ length: PARTITIONS }, (_, partition) => ({ value: String(i), partition })) })
    await pause(20)
  }
}

async function scene<T>(run: (member: (instance?: string) => Member, commits: number[]) => Promise<T>): Promise<T> {
  const name = `takeover-${Date.now()}`
  const topics = [`${name}-in`, `${name}-out`]
  await cluster.createTopics(topics.map((topic) => ({ topic, partitions: PARTITIONS })))
  const stop = new AbortController()
  const producing = steadily(cluster, topics[0] as string, stop.signal)
  const commits: number[] = []
  const members: Member[] = []
  const start = (instance?: string): Member => {
    const env = {
      KAFKA_BROKERS: brokers.join(','),
      INPUT_TOPIC: topics[0] as string,
      OUTPUT_TOPIC: topics[1] as string,
      GROUP: name,
      COMMIT_MS: '100',
    }
    const member = new Member({ ...env, ...(instance !== undefined && { INSTANCE: instance }) }, (at) => commits.push(at))
    members.push(member)
    return member
  }
  try {
    return await run(start, commits)
  } finally {
    for (const member of members) member.signal('SIGKILL')
    stop.abort()
    await producing
    await cluster.deleteTopics(topics)
  }
}

const working = (member: Member): Promise<unknown> =>
  until(() => Promise.resolve(member.commits.length > 5 || undefined), { what: 'a member to commit', within: 60_000 })

/** One member of its own is killed, and the one that takes its place was started at once. */
const killed = (instance?: string): Promise<number> =>
  scene(async (start, commits) => {
    const first = start(instance)
    await working(first)
    first.signal('SIGKILL')
    const at = Date.now()
    await first.ended
    const second = start(instance)
    await until(() => Promise.resolve(second.commits.length > 0 || undefined), { what: 'the next member to commit', within: 60_000 })
    return (commits.find((time) => time > at + 50) ?? Number.NaN) - at
  })

/** The longest time without any commit of any member, while each of four is stopped in order and started anew. */
const rolling = (): Promise<number> =>
  scene(async (start, commits) => {
    const members = Array.from({ length: 4 }, () => start())
    await Promise.all(members.map(working))
    const began = Date.now()
    for (const member of members) {
      await member.stop()
      await working(start())
    }
    const times = commits.filter((time) => time >= began).sort((a, b) => a - b)
    return Math.max(...times.slice(1).map((time, i) => time - (times[i] as number)))
  })

const rows: Record<string, unknown>[] = []
try {
  for (const [what, measure] of [
    ['kill -9, a new member started at once', () => killed()],
    ['kill -9, the same instance id', () => killed('one')],
    ['rolling restart of 4 members, longest pause', rolling],
  ] as const) {
    const times: number[] = []
    for (let run = 0; run < Number(values.runs); run++) {
      times.push(await measure())
      say(`${what}: ${times.at(-1)} ms`)
    }
    rows.push({ what, medianMs: Math.round(median(times)), mostMs: Math.max(...times) })
  }
} finally {
  await cluster.close()
  await server?.stop()
}
if (values.json) {
  process.stdout.write(`${JSON.stringify(rows)}\n`) || (await once(process.stdout, 'drain'))
} else console.table(rows)
