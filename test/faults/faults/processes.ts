import type { TraceStep } from '../../../src/index.js'
import { PIPELINE_NAMES } from '../pipelines/index.js'
import type { Fault, Run } from '../run.js'

const STEPS: readonly TraceStep[] = ['produce-acknowledged', 'offsets-acknowledged', 'end-sent', 'end-acknowledged']

export async function killAndReplace(run: Run): Promise<void> {
  const victim = run.victim()
  const last = run.fleet.lastPartitions(victim)
  const partitions = last.length > 0 ? last : run.allPartitions
  await run.lasts(run.random.between(200, 1_500))
  const since = Date.now()
  await run.fleet.kill(victim)
  const next = await run.replace(victim)
  await run.recovers(partitions, since)
  // A member that dies while the group is made anew is waited for once more: the next one dies in a group at work.
  await run.works(next)
}

async function stopped(run: Run, ms: number): Promise<void> {
  const victim = run.victim()
  const since = Date.now()
  victim.kill('SIGSTOP')
  await run.lasts(ms)
  victim.kill('SIGCONT')
  await run.recovers(run.allPartitions, since + ms)
}

/** What happens to the processes of a pipeline. */
export const processFaults: readonly Fault[] = [
  {
    name: 'kill -9',
    how: 'SIGKILL to one of two members at a random moment, and another started; three times',
    pipelines: ['copy', 'count', 'window', 'join', 'dedupe', 'retry', 'delay', 'idle'],
    soak: true,
    // The session, and 2 s.
    withinMs: 8_000,
    async inject(run) {
      for (let i = 0; i < 3; i++) await killAndReplace(run)
    },
  },
  {
    name: 'kill -9, named member',
    how: 'the same with an instance id each and a session of 5 minutes: the place is taken again, its session not waited for',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    named: true,
    env: { SESSION_MS: '300000' },
    async inject(run) {
      for (let i = 0; i < 3; i++) await killAndReplace(run)
    },
  },
  {
    name: 'kill -9 at named points',
    how: `SIGKILL by itself at ${STEPS.join(', ')}, after a random number of transactions`,
    pipelines: ['copy', 'count', 'window', 'dedupe'],
    also: PIPELINE_NAMES,
    named: true,
    members: 1,
    async inject(run) {
      await run.fleet.term(run.victim())
      for (const step of STEPS) {
        const child = await run.start({ name: 'doomed', env: { KILL_AT: step, KILL_AFTER: String(run.random.between(0, 5)) } })
        await child.ended
      }
      const since = Date.now()
      await run.start({ name: 'doomed' })
      await run.recovers(run.allPartitions, since)
    },
  },
  {
    name: 'kill -9 in an open transaction',
    how: 'SIGKILL by itself when its outputs are in the log and their transaction is open, to one that joined; three times',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    withinMs: 8_000,
    async inject(run) {
      for (let i = 0; i < 3; i++) {
        const doomed = await run.start({ env: { KILL_AT: 'produce-acknowledged', KILL_AFTER: String(run.random.between(10, 30)) } })
        await doomed.ended
        const last = run.fleet.lastPartitions(doomed)
        await run.recovers(last.length > 0 ? last : run.allPartitions, Date.now())
      }
    },
  },
  {
    name: 'rolling SIGTERM',
    how: 'SIGTERM to each member in turn, and another started in its place',
    pipelines: ['copy', 'count', 'window', 'join', 'dedupe', 'retry', 'delay', 'idle'],
    soak: true,
    async inject(run) {
      for (const member of run.fleet.running) {
        await run.fleet.term(member)
        const since = Date.now()
        const next = await run.replace(member)
        await run.recovers(run.allPartitions, since)
        await run.works(next)
      }
    },
  },
  {
    name: 'SIGSTOP longer than the session',
    how: 'SIGSTOP for 9 s with a session of 6 s, then SIGCONT: a zombie',
    pipelines: ['copy', 'count', 'window'],
    also: PIPELINE_NAMES,
    soak: true,
    inject: (run) => stopped(run, 9_000),
  },
  {
    name: 'SIGSTOP longer than the transaction',
    how: 'SIGSTOP for 7 s with a transaction timeout of 2 s and a session of 30 s, then SIGCONT',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    env: { SESSION_MS: '30000', TRANSACTION_MS: '2000' },
    async inject(run) {
      for (let i = 0; i < 2; i++) await stopped(run, 7_000)
    },
  },
  {
    name: 'event loop blocked',
    how: 'user code that blocks one member for 30 s, session 6 s',
    pipelines: ['copy', 'count'],
    env: { BLOCK_MS: '30000' },
    async inject(run) {
      const since = Date.now()
      run.victim().kill('SIGUSR1')
      await run.recovers(run.allPartitions, since + 1_000)
      await run.lasts(30_000)
      await run.recovers()
    },
  },
  {
    name: 'members come and go',
    how: 'every 5 s a member more or one less, by SIGTERM or SIGKILL; six times',
    pipelines: ['copy', 'count', 'dedupe'],
    also: PIPELINE_NAMES,
    soak: true,
    async inject(run) {
      for (let i = 0; i < 6; i++) {
        const { running } = run.fleet
        if (running.length < 2 || (running.length < 4 && run.random.below(2) === 0)) await run.start()
        else run.victim().kill(run.random.of(['SIGTERM', 'SIGKILL']))
        await run.lasts(5_000)
      }
      if (run.fleet.running.length === 0) await run.start()
      await run.recovers()
    },
  },
  {
    name: 'killed while it restores',
    how: 'SIGKILL to a member soon after it started, again and again',
    pipelines: ['count', 'window'],
    also: ['join', 'dedupe', 'retry', 'delay', 'idle'],
    members: 1,
    async inject(run) {
      let member = run.victim()
      for (let i = 0; i < 5; i++) {
        await run.fleet.kill(member)
        member = await run.start()
        await run.lasts(run.random.between(1_000, 9_000))
      }
      await run.recovers()
    },
  },
  {
    name: 'user code that throws',
    how: 'on every 97th record, the first time it sees it',
    pipelines: ['copy', 'count', 'window', 'dedupe'],
    env: { THROWS_AT: '97' },
    async inject(run) {
      await run.lasts(8_000)
      await run.recovers()
    },
  },
  {
    name: 'clock steps',
    how: 'the clock of one member an hour ahead, of another an hour back, while they run',
    pipelines: ['copy', 'count', 'window'],
    async inject(run) {
      const [one] = run.fleet.running
      const other = await run.start({ env: { CLOCK_STEP_MS: '-3600000' } })
      await run.works(other)
      one?.kill('SIGUSR2')
      other.kill('SIGUSR2')
      await run.lasts(5_000)
      await run.recovers()
    },
    env: { CLOCK_STEP_MS: '3600000' },
  },
]
