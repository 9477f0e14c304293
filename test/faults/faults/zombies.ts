import { until } from '../../support/until.js'
import { API, type Api } from '../inject/requests.js'
import { PIPELINE_NAMES } from '../pipelines/index.js'
import type { Fault, Run } from '../run.js'

/**
 * Requests of a kind do not reach the broker, and the member that sent them stands still until others have its partitions. Then they arrive, and
 * it goes on where it was.
 */
async function late(run: Run, api: Api): Promise<void> {
  const zombie = run.victim()
  const links = run.linksOf(zombie)
  const partitions = run.fleet.lastPartitions(zombie)
  for (const link of links) link.decide = ({ apiKey }) => (apiKey === API[api] ? 'hold' : 'pass')
  await until(() => links.some(({ holding }) => holding > 0), { within: 60_000, what: `a ${api} to be held back` })
  const since = Date.now()
  zombie.kill('SIGSTOP')
  // Of offsets that are about to move the next owner knows nothing before they have.
  if (api === 'EndTxn') await run.lasts(run.sessionMs + 6_000)
  else await run.recovers(partitions, since)
  for (const link of links) link.decide = () => 'pass'
  await Promise.all(links.map((link) => link.release()))
  const released = Date.now()
  zombie.kill('SIGCONT')
  await run.recovers(run.allPartitions, released)
  await run.lasts(1_000)
}

/** Members that were taken for dead. */
export const zombieFaults: readonly Fault[] = (['Produce', 'TxnOffsetCommit', 'EndTxn'] as const).map((api): Fault => ({
  name: `${api} of a zombie`,
  how: `a ${api} held back, its member stopped until others have its partitions, then both let go`,
  pipelines: ['copy', 'count'],
  also: PIPELINE_NAMES,
  env: { TRANSACTION_MS: '40000' },
  soak: true,
  inject: (run) => late(run, api),
}))

/** No record comes any more, so windows close by the clock: in a transaction that moves no offset. */
export const idleZombie: Fault = {
  name: 'alarms of a zombie',
  how: 'the Produce of a transaction of alarms held back, its member stopped until others have closed the same windows, then both let go',
  pipelines: ['idle'],
  env: { TRANSACTION_MS: '40000' },
  async inject(run) {
    const [zombie] = run.fleet.running
    if (zombie === undefined) throw new Error('no member runs')
    const links = run.linksOf(zombie)
    await run.stopFeed()
    await until(async () => (await run.behind()) === 0, { within: 60_000, what: 'the last record to be committed' })
    for (const link of links) link.decide = ({ apiKey }) => (apiKey === API.Produce ? 'hold' : 'pass')
    await until(() => links.some(({ holding }) => holding > 0), { within: 10_000, what: 'a Produce to be held back' }).catch(
      () => undefined,
    )
    zombie.kill('SIGSTOP')
    await run.lasts(run.sessionMs + 6_000)
    for (const link of links) link.decide = () => 'pass'
    await Promise.all(links.map((link) => link.release()))
    zombie.kill('SIGCONT')
    await run.lasts(3_000)
  },
}
