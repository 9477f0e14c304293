import type { Fate, Proxy } from '../../support/kafka/proxy.js'
import { API, type Api } from '../inject/requests.js'
import { PIPELINE_NAMES } from '../pipelines/index.js'
import type { Fault, Run } from '../run.js'

/** What becomes of so many requests of a kind; undefined for ever more. */
function decide(links: readonly Proxy[], api: Api, fate: Fate, times: number): () => number {
  let left = times
  for (const link of links)
    link.decide = ({ apiKey }) => {
      if (apiKey !== API[api] || left === 0) return 'pass'
      left--
      return fate
    }
  return () => times - left
}

async function cutOff(run: Run, links: readonly Proxy[], passage: 'cut' | 'paused', ms: number): Promise<void> {
  for (const link of links) link.let(passage)
  await run.lasts(ms)
  const since = Date.now()
  for (const link of links) link.let('open')
  await run.recovers(run.allPartitions, since)
}

/** Joining is rare: a member has to come for it. */
async function provoke(run: Run, api: Api): Promise<void> {
  if (api === 'JoinGroup' || api === 'InitProducerId' || api === 'SyncGroup') await run.start()
}

function answersLost(api: Api): Fault {
  return {
    name: `answers to ${api} lost`,
    how: `the broker gets the request, its answer never arrives, the connection ends; three times`,
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    soak: true,
    async inject(run) {
      const links = run.linksOf(run.victim())
      for (let i = 0; i < 3; i++) {
        const since = Date.now()
        if (api === 'InitProducerId') {
          const member = await run.start()
          decide(run.linksOf(member), api, 'lose answer', 1)
        } else {
          decide(links, api, 'lose answer', 1)
          await provoke(run, api)
        }
        await run.lasts(1_000)
        await run.recovers(run.allPartitions, since + 1_000)
      }
    },
  }
}

function answersLate(api: Api): Fault {
  return {
    name: `answers to ${api} late`,
    how: `each answer of this kind to one member 3 s late, for 12 s`,
    pipelines: ['copy'],
    also: PIPELINE_NAMES,
    soak: true,
    async inject(run) {
      const links = run.linksOf(run.victim())
      for (const link of links) link.delayOf = (apiKey) => (apiKey === API[api] ? 3_000 : 0)
      await provoke(run, api)
      await run.lasts(12_000)
      for (const link of links) link.delayOf = () => 0
      await run.recovers()
    },
  }
}

const requests: readonly Api[] = ['Produce', 'TxnOffsetCommit', 'EndTxn', 'InitProducerId', 'JoinGroup']

/** What happens between members and brokers. */
export const networkFaults: readonly Fault[] = [
  ...requests.map(answersLost),
  ...requests.map(answersLate),
  {
    name: 'EndTxn and TxnOffsetCommit delivered late',
    how: 'the connection ends before the broker has the request, which arrives 2 s later all the same',
    pipelines: ['copy', 'count'],
    also: PIPELINE_NAMES,
    soak: true,
    async inject(run) {
      const links = run.linksOf(run.victim())
      for (const api of ['EndTxn', 'TxnOffsetCommit', 'EndTxn'] as const) {
        decide(links, api, 'deliver late', 1)
        await run.lasts(2_000)
        for (const link of links) void link.release()
        await run.recovers()
      }
    },
  },
  {
    name: 'one member cut off',
    how: 'its connections to all brokers end and none comes up, for 9 s with a session of 6 s',
    pipelines: ['copy', 'count', 'window'],
    also: PIPELINE_NAMES,
    soak: true,
    inject: (run) => cutOff(run, run.linksOf(run.victim()), 'cut', 9_000),
  },
  {
    name: 'one member in a black hole',
    how: 'nothing it sends arrives and nothing comes, for 9 s with a session of 6 s; then all of it does',
    pipelines: ['copy', 'count', 'window'],
    also: PIPELINE_NAMES,
    soak: true,
    inject: (run) => cutOff(run, run.linksOf(run.victim()), 'paused', 9_000),
  },
  {
    name: 'all members cut off',
    how: 'no connection of any member to any broker, for 5 s',
    pipelines: ['copy', 'join'],
    also: PIPELINE_NAMES,
    soak: true,
    inject: (run) => cutOff(run, [...run.links.values()].flat(), 'cut', 5_000),
  },
  {
    name: 'slow links',
    how: 'every answer to every member 150 ms later, for 15 s',
    pipelines: ['copy', 'retry'],
    also: PIPELINE_NAMES,
    soak: true,
    async inject(run) {
      const links = [...run.links.values()].flat()
      for (const link of links) link.delayOf = () => 150
      await run.lasts(15_000)
      for (const link of links) link.delayOf = () => 0
      await run.recovers()
    },
  },
]
