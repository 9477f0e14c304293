import { useEffect, useRef, useState } from 'preact/hooks'
import { Charts } from './charts.js'
import type { Feed, News } from './feed.js'
import { Topology } from './graph.js'
import { groupsOf, type Group, type Member, type PartitionRow } from './group.js'
import { History } from './history.js'
import { Letters } from './letters.js'
import { Breakers, Events, Figures, Members, Restores, Retries, Stores, Timers, TransactionPanel, Waits } from './panels.js'
import { Partitions } from './partitions.js'
import type { PageState } from '../src/serve/page/state.js'

export function App({ feed }: { readonly feed: Feed }) {
  const [news, setNews] = useState<News>()
  useEffect(() => feed.subscribe(setNews), [feed])
  const { connection = 'connecting', state, refused = false } = news ?? {}
  return (
    <>
      <header>
        <h1>millrace</h1>
        <span class={`connection ${connection}`} role="status" id="connection">
          {connection === 'token' ? 'asks for a token' : connection}
        </span>
      </header>
      {connection === 'token' && <TokenForm refused={refused} onToken={(token) => feed.useToken(token)} />}
      {state !== undefined && connection !== 'token' && <Groups state={state} feed={feed} />}
    </>
  )
}

function TokenForm({ refused, onToken }: { readonly refused: boolean; readonly onToken: (token: string) => void }) {
  const [token, setToken] = useState('')
  return (
    <form
      class="panel token"
      onSubmit={(event) => {
        event.preventDefault()
        onToken(token)
      }}
    >
      <label>
        Token{' '}
        <input
          id="token"
          type="password"
          autocomplete="off"
          required
          value={token}
          onInput={({ currentTarget }) => setToken(currentTarget.value)}
        />
      </label>{' '}
      <button type="submit">Show</button>
      <p class="note">
        {refused ? 'This token was refused.' : 'The server was given a token. It is kept for as long as this tab is open.'}
      </p>
    </form>
  )
}

function Groups({ state, feed }: { readonly state: PageState; readonly feed: Feed }) {
  const groups = groupsOf(state)
  const [chosen, choose] = useState<string>()
  const histories = useRef(new Map<string, History>())
  const group = groups.find(({ name }) => name === chosen) ?? groups[0]
  for (const one of groups) {
    const history = histories.current.get(one.name) ?? new History()
    histories.current.set(one.name, history)
    history.add(one, state.here.at)
  }
  if (group === undefined) return <p class="panel note">No pipeline was subscribed yet.</p>
  const history = histories.current.get(group.name) as History
  return (
    <main>
      {groups.length > 1 && (
        <nav class="bar" aria-label="Groups">
          {groups.map(({ name }) => (
            <button key={name} type="button" aria-pressed={name === group.name} onClick={() => choose(name)}>
              {name}
            </button>
          ))}
        </nav>
      )}
      <h2 class="title">
        Group <b id="group">{group.name}</b>
      </h2>
      <GroupPage key={group.name} group={group} history={history} state={state} feed={feed} />
    </main>
  )
}

interface GroupPageProps {
  readonly group: Group
  readonly history: History
  readonly state: PageState
  readonly feed: Feed
}

function GroupPage({ group, history, state, feed }: GroupPageProps) {
  const { can, here } = state
  const [said, say] = useState('')
  const command = (path: string, body: object, done: string): void => {
    feed.tell(path, { group: group.name, ...body }).then(
      () => say(done),
      (error: unknown) => say(`It did not work: ${error instanceof Error ? error.message : String(error)}`),
    )
  }
  const pause = ({ partition, topic }: PartitionRow, on: boolean): void =>
    command(
      on ? 'page/pause' : 'page/resume',
      { partition },
      `Task ${partition} (${topic} and what goes with it) is ${on ? 'paused' : 'read on'}.`,
    )
  const stop = ({ name, status }: Member): void => {
    if (confirm(`Stop ${name} in order? It commits what is open and leaves the group; it does not start again by itself.`))
      command('page/stop', { memberId: status.member.memberId }, `${name} is being stopped.`)
  }
  const close = (_: Member, step: string): void => command('page/close-breaker', { step }, `The breaker of ${step} is closed.`)
  return (
    <>
      <Figures group={group} />
      <p class="said" role="status">
        {said}
      </p>
      <Waits group={group} />
      <Topology group={group} history={history} />
      <Charts series={history.series} at={here.at} />
      <Partitions group={group} onPause={can.commands ? pause : undefined} />
      <TransactionPanel group={group} />
      <Members group={group} onStop={can.commands ? stop : undefined} />
      <Restores group={group} />
      <Breakers group={group} onClose={can.commands ? close : undefined} />
      <div class="columns">
        <Stores group={group} />
        <Retries group={group} now={here.at} />
        <Timers group={group} />
      </div>
      <Letters group={group} can={can} feed={feed} />
      <Events group={group} />
    </>
  )
}
