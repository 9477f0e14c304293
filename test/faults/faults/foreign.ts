import type { Fault, Run } from '../run.js'
import { killAndReplace } from './processes.js'

interface Foreign {
  readonly topic: string
  readonly partition: number
  /** An open one ends by its timeout. */
  readonly end: 'abort' | 'open'
  readonly transactionalId?: string
}

function foreign(run: Run, given: Foreign): Promise<unknown> {
  return run.order('foreign', { timeoutMs: 5_000, ...given })
}

async function onTopics(run: Run, topics: readonly string[]): Promise<void> {
  for (const topic of topics) for (const partition of run.allPartitions) await foreign(run, { topic, partition, end: 'abort' })
  for (const topic of topics) await foreign(run, { topic, partition: run.random.of(run.allPartitions), end: 'open' })
  // What is restored meets them as well as what is read.
  await killAndReplace(run)
  await run.recovers()
}

/** What others do in the topics of a pipeline. */
export const foreignFaults: readonly Fault[] = [
  {
    name: 'foreign transactions on the input',
    how: 'on each partition one that is aborted, on one partition one that stays open until its timeout of 5 s; a member killed meanwhile',
    pipelines: ['copy', 'count'],
    inject: (run) => onTopics(run, run.topics.inputs),
  },
  {
    name: 'foreign transactions on input and changelog',
    how: 'the same on both, so that the next member meets them where it restores',
    pipelines: ['count', 'window'],
    inject: (run) => onTopics(run, [...run.topics.inputs, run.changelog]),
  },
  {
    name: 'a rival with the same transactional id',
    how: "a Java producer that takes a member's id, writes to the output and does not commit; three times",
    pipelines: ['copy', 'count'],
    named: true,
    async inject(run) {
      for (let i = 0; i < 3; i++) {
        const since = Date.now()
        await foreign(run, { topic: run.topics.out, partition: i, end: 'open', transactionalId: `${run.group}/member-${i % 2}` })
        await run.recovers(run.allPartitions, since)
        await run.lasts(2_000)
      }
    },
  },
]
