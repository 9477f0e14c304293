import { until } from '../../support/until.js'
import { PARTITIONS, type Fault, type Run } from '../run.js'

/** Longer than the minute that a missing topic is waited for. */
const GIVES_UP_MS = 150_000

async function stopAll(run: Run): Promise<void> {
  await Promise.all(run.fleet.running.map((member) => run.fleet.term(member)))
}

async function startTwo(run: Run, env: Readonly<Record<string, string>> = {}): Promise<void> {
  const since = Date.now()
  for (let i = 0; i < 2; i++) await run.start({ env })
  await run.recovers(run.allPartitions, since)
}

/** All that run end by themselves, and say so. */
async function allEnd(run: Run, code: string): Promise<void> {
  const members = run.fleet.running
  for (const member of members) run.fleet.excused.add(member)
  await until(() => members.every(({ running }) => !running), { within: GIVES_UP_MS, every: 100, what: `the members to end with ${code}` })
  for (const { errors } of members) if (!errors.includes(code)) run.problems.push(`a member ended without ${code}: ${errors.slice(-1_500)}`)
}

/** What happens to the topics of a pipeline. */
export const topicFaults: readonly Fault[] = [
  {
    name: 'retention ahead of the reader',
    how: "all members stopped; what they had read is deleted, and half of what they had not; one with the default ends, naming the place, then two with onOutOfRange: 'earliest'",
    pipelines: ['copy', 'count'],
    async inject(run) {
      await stopAll(run)
      await run.lasts(3_000)
      if ((await run.order<number>('retain', {})) === 0) throw new Error('nothing was deleted that had not been read')
      await run.start()
      await allEnd(run, 'OFFSET_OUT_OF_RANGE')
      await startTwo(run, { OUT_OF_RANGE: 'earliest' })
    },
  },
  {
    name: 'partitions added',
    how: 'two more for the output, then for the input, while it is read and written by members that look for new ones once a minute',
    pipelines: ['copy'],
    async inject(run) {
      const partitions = PARTITIONS + 2
      const since = Date.now()
      for (const topic of [run.topics.out, ...run.topics.inputs]) await run.order('grow', { topics: [topic], partitions })
      await run.recovers(
        Array.from({ length: partitions }, (_, partition) => partition),
        since,
      )
    },
  },
  {
    name: 'the output deleted',
    how: 'while it is written, and made anew 5 s later: what was in it is gone, and what comes after is there',
    pipelines: ['copy', 'count'],
    async inject(run) {
      run.allows.shortened = true
      await run.order('remove', { topics: [run.topics.out] })
      await run.lasts(5_000)
      await run.order('create', { topics: [run.topics.out], partitions: PARTITIONS, replicas: run.lab.replicas })
      await run.recovers()
    },
  },
  {
    name: 'the input deleted',
    how: 'when all of it was read: the members end and say so; made anew, it is read from its beginning',
    pipelines: ['copy'],
    async inject(run) {
      const { inputs } = run.topics
      await run.stopFeed()
      await until(async () => (await run.behind()) === 0, { within: 60_000, what: 'the last record to be committed' })
      await run.order('keep', {})
      await run.order('remove', { topics: inputs })
      await allEnd(run, 'MISSING_TOPIC')
      await run.order('create', { topics: inputs, partitions: PARTITIONS, replicas: run.lab.replicas })
      await run.feed()
      await startTwo(run)
    },
  },
  {
    name: 'the input deleted and made anew at once',
    how: "when all of it was read, under the eyes of its members, with onOutOfRange: 'earliest': what is written then is read from its beginning",
    pipelines: ['copy'],
    env: { OUT_OF_RANGE: 'earliest' },
    async inject(run) {
      const { inputs } = run.topics
      await run.stopFeed()
      await until(async () => (await run.behind()) === 0, { within: 60_000, what: 'the last record to be committed' })
      await run.order('keep', {})
      await run.order('remove', { topics: inputs })
      await run.order('create', { topics: inputs, partitions: PARTITIONS, replicas: run.lab.replicas })
      const since = Date.now()
      await run.feed()
      await run.recovers(run.allPartitions, since)
    },
  },
]
