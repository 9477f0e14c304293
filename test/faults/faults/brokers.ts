import { PIPELINE_NAMES } from '../pipelines/index.js'
import type { Fault, Run } from '../run.js'

async function pausedBroker(run: Run, index: number, ms: number): Promise<void> {
  await run.lab.server.kill('SIGSTOP', index)
  await run.lasts(ms)
  const since = Date.now()
  await run.lab.server.kill('SIGCONT', index)
  await run.recovers(run.allPartitions, since)
}

/** What happens to the brokers. */
export const brokerFaults: readonly Fault[] = [
  {
    name: 'the only broker killed',
    how: 'SIGKILL to the broker, and started again on its data',
    pipelines: ['copy', 'count', 'window', 'dedupe'],
    also: PIPELINE_NAMES,
    soak: true,
    async inject(run) {
      if (run.lab.server.brokers.length > 1) return await oneByOne(run)
      await run.lab.server.kill('SIGKILL')
      await run.lab.server.restart()
      await run.recovers()
    },
  },
  {
    name: 'the only broker down for 15 s',
    how: 'SIGKILL to the broker, and started again on its data when its transactions have timed out (10 s)',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    async inject(run) {
      await run.lab.server.kill('SIGKILL')
      await run.lasts(15_000)
      const since = Date.now()
      await run.lab.server.restart()
      await run.recoversByHand(since)
    },
  },
  {
    name: 'the only broker paused',
    how: 'SIGSTOP to the broker for 8 s, the session of the members being 6 s',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    soak: true,
    inject: (run) => pausedBroker(run, run.random.below(run.lab.server.brokers.length), 8_000),
  },
]

async function oneByOne(run: Run): Promise<void> {
  for (let index = 0; index < run.lab.server.brokers.length; index++) {
    const since = Date.now()
    await run.lab.server.kill('SIGKILL', index)
    await run.recovers(run.allPartitions, since)
    await run.lab.server.restart(index)
  }
  await run.recovers()
}

/** What happens where records have three replicas, two of them in sync at least. */
export const replicatedFaults: readonly Fault[] = [
  {
    name: 'brokers killed one by one',
    how: 'SIGKILL to each of three brokers in turn, started again when the pipeline goes on without it',
    pipelines: ['copy', 'count', 'window'],
    also: PIPELINE_NAMES,
    replicated: true,
    inject: oneByOne,
  },
  {
    name: 'all brokers killed',
    how: 'SIGKILL to all three at once, and all started again',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    replicated: true,
    async inject(run) {
      await run.lab.server.kill('SIGKILL')
      await Promise.all(run.lab.server.brokers.map((_, index) => run.lab.server.restart(index)))
      await run.recovers()
    },
  },
  ...(
    [
      ['group coordinators', '__consumer_offsets'],
      ['transaction coordinators', '__transaction_state'],
    ] as const
  ).map(([what, topic]): Fault => ({
    name: `all ${what} moved`,
    how: `every partition of ${topic} gets another leader, by reassignment and election; three times`,
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    replicated: true,
    async inject(run) {
      for (let i = 0; i < 3; i++) {
        const since = Date.now()
        const moved = await run.order<number>('move', { topic })
        if (moved === 0) throw new Error('no coordinator was moved')
        await run.recovers(run.allPartitions, since)
        await run.lasts(2_000)
      }
    },
  })),
  ...(['leader', 'group', 'transaction'] as const).map((role): Fault => ({
    name: `the ${role === 'leader' ? 'leader of a partition' : `${role} coordinator`} paused`,
    how: `SIGSTOP for 12 s to the broker that is it`,
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    replicated: true,
    async inject(run) {
      const ids = await run.order<Record<string, number>>('coordinators', { topic: run.topics.out })
      await pausedBroker(run, (ids[role] as number) - 1, 12_000)
    },
  })),
  {
    name: 'one member cut off from its coordinator only',
    how: 'its connections to the group coordinator end and none comes up, for 9 s with a session of 6 s',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    replicated: true,
    async inject(run) {
      const { group = 1 } = await run.order<Record<string, number>>('coordinators', { topic: run.topics.out })
      const link = run.linksOf(run.victim())[group - 1]
      link?.let('cut')
      await run.lasts(9_000)
      const since = Date.now()
      link?.let('open')
      await run.recovers(run.allPartitions, since)
    },
  },
  {
    name: 'one member cut off from one broker only',
    how: 'its connections to one of three brokers are a black hole for 15 s',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    replicated: true,
    async inject(run) {
      const link = run.random.of(run.linksOf(run.victim()))
      link.let('paused')
      await run.lasts(15_000)
      const since = Date.now()
      link.let('open')
      await run.recovers(run.allPartitions, since)
    },
  },
]
