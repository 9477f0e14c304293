import type { ComponentChildren } from 'preact'
import { bytes, clockTime, short, span, whole } from './format.js'
import type { Group, Member } from './group.js'

interface TableProps {
  readonly title: string
  readonly head: readonly string[]
  readonly rows: readonly (readonly ComponentChildren[])[]
  readonly none: string
}

export function TableHead({ head }: Pick<TableProps, 'head'>) {
  return (
    <thead>
      <tr>
        {head.map((text) => (
          <th key={text} scope="col">
            {text}
          </th>
        ))}
      </tr>
    </thead>
  )
}

/** A table in a panel; the first column is what each row is about. */
function Table({ title, head, rows, none }: TableProps) {
  const id = `h-${title.toLowerCase().replaceAll(' ', '-')}`
  return (
    <section class="panel" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {rows.length === 0 ? (
        <p class="note">{none}</p>
      ) : (
        <div class="scroll">
          <table>
            <TableHead head={head} />
            <tbody>
              {rows.map((cells, i) => (
                <tr key={i}>{cells.map((cell, at) => (at === 0 ? <th scope="row">{cell}</th> : <td>{cell}</td>))}</tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}

const of = (member: Member): string => member.name

/** The figures at the top. */
export function Figures({ group }: { readonly group: Group }) {
  const dead = group.members.reduce((sum, { status }) => sum + status.deadLetters.total, 0)
  const figure = (name: string, value: string, extra = '') => (
    <div class="figure" key={name}>
      <dt>{name}</dt>
      <dd data-figure={name}>
        {value} <small>{extra}</small>
      </dd>
    </div>
  )
  const total = (key: 'records' | 'outputs'): number => group.members.reduce((sum, { status }) => sum + status.totals[key], 0)
  return (
    <dl class="figures">
      {figure('Lag', whole(group.lag), group.lagMs === undefined ? '' : span(group.lagMs))}
      {figure('Read', `${short(group.records)}/s`, `${whole(total('records'))} in all`)}
      {figure('Written', `${short(group.outputs)}/s`, `${whole(total('outputs'))} in all`)}
      {figure('Commits', `${short(group.commits)}/s`)}
      {figure('Dead letters', whole(dead), 'since the start')}
      {figure('Members', String(group.members.length), group.unreachable.length > 0 ? `${group.unreachable.length} do not answer` : '')}
    </dl>
  )
}

export function Members({ group, onStop }: { readonly group: Group; readonly onStop: ((member: Member) => void) | undefined }) {
  const rows = group.members.map((member) => {
    const { state, stateMs, member: about, tasks, taskCount, rebalances, lastError } = member.status
    return [
      of(member),
      <i class={`state ${state}`}>{state}</i>,
      span(stateMs),
      `${tasks.length} of ${taskCount}`,
      about.generation ?? '–',
      rebalances.count,
      lastError === undefined ? '–' : `${clockTime(lastError.at)} ${lastError.code ?? lastError.name}`,
      ...(onStop === undefined
        ? []
        : [
            member.address === undefined && ['running', 'joining', 'starting'].includes(state) ? (
              <button type="button" onClick={() => onStop(member)}>
                Stop
              </button>
            ) : null,
          ]),
    ]
  })
  const silent = group.unreachable.map(({ address, error }) => [address, <i class="state failed">no answer</i>, '', '', '', '', error])
  const head = ['Member', 'State', 'For', 'Tasks', 'Generation', 'Assignments', 'Last error', ...(onStop === undefined ? [] : [''])]
  return <Table title="Members" head={head} rows={[...rows, ...silent]} none="No pipeline was subscribed." />
}

export function TransactionPanel({ group }: { readonly group: Group }) {
  const rows = group.members.map((member) => {
    const { transaction, commits } = member.status
    const { last } = commits
    return [
      of(member),
      transaction === undefined ? 'none' : transaction.state,
      span(transaction?.openMs),
      transaction === undefined ? '–' : `${whole(transaction.records)} in, ${whole(transaction.outputs)} out`,
      transaction === undefined || transaction.heldBy.length === 0 ? '–' : transaction.heldBy.join(', '),
      whole(commits.committed),
      whole(commits.aborted + commits.unknown),
      last === undefined ? '–' : `${clockTime(last.at)}, ${whole(last.records)} in ${span(last.durationMs)}`,
    ]
  })
  const head = ['Member', 'Open now', 'For', 'Records', 'Held by', 'Committed', 'Given up', 'Last commit']
  return <Table title="Transactions" head={head} rows={rows} none="None yet." />
}

export function Restores({ group }: { readonly group: Group }) {
  const rows = group.members.flatMap((member) =>
    member.status.tasks.flatMap(({ partition, state, restoring, why }) => {
      if (state === 'running') return []
      const progress =
        restoring === undefined || restoring.total === undefined ? null : (
          <progress max={Math.max(1, restoring.total)} value={restoring.total === 0 ? 1 : restoring.done} />
        )
      const text =
        state === 'set-aside'
          ? `${why?.code ?? why?.name ?? ''} ${why?.message ?? ''}`
          : restoring === undefined
            ? ''
            : `${whole(restoring.done)} of ${whole(restoring.total)} in ${span(restoring.forMs)}`
      return [[partition, of(member), <i class={`state ${state}`}>{state}</i>, progress, text]]
    }),
  )
  if (rows.length === 0) return null
  return <Table title="Tasks that do not run" head={['Task', 'Member', 'State', 'Progress', 'Why']} rows={rows} none="" />
}

export function Retries({ group, now }: { readonly group: Group; readonly now: number }) {
  const rows = group.members.flatMap((member) =>
    member.status.retries.map(({ topic, records, nextDueAt }) => [
      topic,
      of(member),
      whole(records),
      nextDueAt === undefined ? '–' : `in ${span(Math.max(0, nextDueAt - now))}`,
    ]),
  )
  return <Table title="Retry tiers" head={['Topic', 'Member', 'Waiting', 'Next']} rows={rows} none="This pipeline has none." />
}

export function Timers({ group }: { readonly group: Group }) {
  const rows = group.members.flatMap((member) => member.status.timers.map(({ name, waiting }) => [name, of(member), whole(waiting)]))
  return <Table title="Timers" head={['Store', 'Member', 'Waiting']} rows={rows} none="This pipeline has none." />
}

export function Stores({ group }: { readonly group: Group }) {
  const rows = group.members.flatMap((member) =>
    member.status.stores.map((store) => [store.name, of(member), whole(store.keys), bytes(store.bytes)]),
  )
  return <Table title="Stores" head={['Store', 'Member', 'Keys', 'Size']} rows={rows} none="This pipeline keeps nothing." />
}

interface BreakersProps {
  readonly group: Group
  readonly onClose: ((member: Member, step: string) => void) | undefined
}

export function Breakers({ group, onClose }: BreakersProps) {
  const rows = group.members.flatMap((member) =>
    member.status.breakers.map(({ step, state, retryInMs }) => [
      step,
      of(member),
      <i class={`state ${state}`}>{state}</i>,
      retryInMs === undefined ? '–' : `in ${span(retryInMs)}`,
      ...(onClose === undefined
        ? []
        : [
            state !== 'closed' && member.address === undefined ? (
              <button type="button" onClick={() => onClose(member, step)}>
                Close
              </button>
            ) : null,
          ]),
    ]),
  )
  if (rows.length === 0) return null
  const head = ['Step', 'Member', 'State', 'Tries again', ...(onClose === undefined ? [] : [''])]
  return <Table title="Circuit breakers" head={head} rows={rows} none="" />
}

export function Waits({ group }: { readonly group: Group }) {
  const waits = group.members.flatMap((member) => member.status.waits.map((wait) => ({ ...wait, member: of(member) })))
  const unread = group.members.flatMap((member) => member.status.unread.map((one) => ({ ...one, member: of(member) })))
  if (waits.length === 0 && unread.length === 0) return null
  return (
    <section class="panel alert" role="status">
      {waits.map(({ what, forMs, why, member }) => (
        <p key={`${member} ${what}`}>
          <b>{member}</b> waits {what}, for {span(forMs)}
          {why === undefined ? '' : `: ${why}`}
        </p>
      ))}
      {unread.map(({ topic, partition, member }) => (
        <p key={`${topic}/${partition}`}>
          <b>{member}</b> cannot read {topic}/{partition}
        </p>
      ))}
    </section>
  )
}

export function Events({ group }: { readonly group: Group }) {
  return (
    <section class="panel" aria-labelledby="h-events">
      <h2 id="h-events">Events</h2>
      <ol class="events" tabIndex={0} aria-label="Events, newest first">
        {group.events.slice(0, 200).map(({ at, level, message, fields, member }, i) => (
          <li key={`${at} ${i}`} class={level}>
            <time dateTime={new Date(at).toISOString()}>{clockTime(at)}</time> <b>{level}</b> {message}{' '}
            <small>{[member, ...Object.entries(fields).map(([name, value]) => `${name}=${String(value)}`)].join(' ')}</small>
          </li>
        ))}
      </ol>
      {group.events.length === 0 && <p class="note">Nothing yet.</p>}
    </section>
  )
}
