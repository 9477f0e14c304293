import { useState } from 'preact/hooks'
import type { Feed } from './feed.js'
import { dateTime, whole } from './format.js'
import type { Group } from './group.js'
import { TableHead } from './panels.js'
import type { Letter, LetterList, RedriveState } from '../src/serve/page/letters.js'
import type { PageState } from '../src/serve/page/state.js'

interface LettersProps {
  readonly group: Group
  readonly can: PageState['can']
  readonly feed: Feed
}

interface Filter {
  readonly error: string
  readonly step: string
  readonly key: string
}

const ALL: Filter = { error: '', step: '', key: '' }

/** Dead letters: found, looked at, and sent back, never without a dry run of the same. */
export function Letters({ group, can, feed }: LettersProps) {
  const topics = Object.keys(group.first.deadLetters.byTopic)
  const [topic = topics[0], setTopic] = useState<string>()
  const [filter, setFilter] = useState(ALL)
  const [list, setList] = useState<LetterList>()
  const [chosen, choose] = useState<Letter>()
  const [said, say] = useState('')
  const counts = topics.map((name) => `${name}: ${whole(group.written.get(name) ?? 0)} since the start`).join(' · ')
  if (topics.length === 0 || topic === undefined) return null
  const given = Object.fromEntries(Object.entries(filter).filter(([, text]) => text !== ''))
  const attemptTo = async (action: () => Promise<void>): Promise<void> => {
    say('…')
    try {
      await action()
      say('')
    } catch (error) {
      say(error instanceof Error ? error.message : String(error))
    }
  }
  const load = (): Promise<void> =>
    attemptTo(async () => {
      choose(undefined)
      setList(await feed.ask<LetterList>('page/letters', { topic, ...given }))
    })
  const open = (letter: Letter): Promise<void> =>
    attemptTo(async () => {
      const at = { topic, partition: String(letter.partition), offset: String(letter.offset) }
      const { letters } = await feed.ask<LetterList>('page/letters', at)
      choose(letters[0])
    })
  const field = (name: keyof Filter, label: string) => (
    <label>
      {label}{' '}
      <input
        id={`letters-${name}`}
        type="search"
        value={filter[name]}
        onInput={({ currentTarget }) => setFilter({ ...filter, [name]: currentTarget.value })}
      />
    </label>
  )
  return (
    <section class="panel" aria-labelledby="h-letters" id="letters">
      <h2 id="h-letters">Dead letters</h2>
      <p class="note">{counts}</p>
      {can.letters && (
        <form
          class="bar"
          onSubmit={(event) => {
            event.preventDefault()
            void load()
          }}
        >
          <label>
            Topic{' '}
            <select value={topic} onChange={({ currentTarget }) => setTopic(currentTarget.value)}>
              {topics.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          {field('error', 'Error has')}
          {field('step', 'Step')}
          {can.content && field('key', 'Key')}
          <button type="submit" id="letters-load">
            Show
          </button>
        </form>
      )}
      <p class="said" role="status" id="letters-said">
        {said}
      </p>
      {list !== undefined && (
        <>
          <p class="note" id="letters-count">
            {whole(list.matching)} match of {whole(list.read)} read
            {list.matching > list.letters.length ? `, the newest ${list.letters.length} are shown` : ''}
            {list.skipped > 0 ? `; ${whole(list.skipped)} older ones were not looked at` : ''}
          </p>
          <div class="scroll">
            <table>
              <TableHead head={['Letter', 'Failed', 'Step', 'Error', 'Came from', 'Redriven']} />
              <tbody>
                {list.letters.map((letter) => (
                  <tr key={`${letter.partition}/${letter.offset}`} class="letter">
                    <th scope="row">
                      <button type="button" class="plain" onClick={() => void open(letter)}>
                        {letter.partition}/{letter.offset}
                      </button>
                    </th>
                    <td>{dateTime(letter.at)}</td>
                    <td>{letter.step}</td>
                    <td>{letter.code === '' ? letter.error : `${letter.error} ${letter.code}`}</td>
                    <td>{letter.from}</td>
                    <td>{letter.redriven}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {chosen !== undefined && <Detail letter={chosen} />}
          {can.commands && <Redrive key={JSON.stringify([topic, given])} feed={feed} body={{ from: topic, filter: given }} what="these" />}
          {can.commands && chosen !== undefined && (
            <Redrive
              key={`${topic} ${chosen.partition}/${chosen.offset}`}
              feed={feed}
              body={{ from: topic, filter: { at: [{ partition: chosen.partition, offset: chosen.offset }] } }}
              what={`only ${chosen.partition}/${chosen.offset}`}
            />
          )}
        </>
      )}
    </section>
  )
}

function Detail({ letter }: { readonly letter: Letter }) {
  const { content } = letter
  return (
    <div class="detail" id="letter" tabIndex={-1}>
      <h3>
        Letter {letter.partition}/{letter.offset}
      </h3>
      {content === undefined ? (
        <p class="note">What it holds is shown only where the server allows it (deadLetters.content).</p>
      ) : (
        <dl>
          <dt>Message</dt>
          <dd>{content.message}</dd>
          <dt>Key</dt>
          <dd>
            <pre>{content.key ?? 'null'}</pre>
          </dd>
          <dt>Headers</dt>
          <dd>
            <pre>{content.headers.map(([name, value]) => `${name}: ${value ?? 'null'}`).join('\n') || 'none'}</pre>
          </dd>
          <dt>Value{content.cut ? ' (its beginning)' : ''}</dt>
          <dd>
            <pre id="letter-value">{content.value ?? 'null'}</pre>
          </dd>
        </dl>
      )}
    </div>
  )
}

interface RedriveProps {
  readonly feed: Feed
  readonly body: { readonly from: string; readonly filter: object }
  readonly what: string
}

const ASK_MS = 300

function Redrive({ feed, body, what }: RedriveProps) {
  const [state, setState] = useState<RedriveState>()
  const [said, say] = useState('')
  const run = async (dryRun: boolean): Promise<void> => {
    say('')
    try {
      let now = await feed.tell<RedriveState>('page/redrive', { ...body, dryRun })
      while (now.running) {
        setState(now)
        await new Promise((resolve) => setTimeout(resolve, ASK_MS))
        now = await feed.ask<RedriveState>('page/redrive')
      }
      setState(now)
    } catch (error) {
      say(error instanceof Error ? error.message : String(error))
    }
  }
  const result = state?.running === false ? state.result : undefined
  const count = (result?.sent ?? 0) + (result?.parked ?? 0)
  return (
    <div class="redrive">
      <div class="bar">
        <button type="button" disabled={state?.running === true} onClick={() => void run(true)}>
          Dry run of {what}
        </button>
        {result?.dryRun === true && count > 0 && result.missing.length === 0 && (
          <button type="button" class="do" onClick={() => void run(false)}>
            Redrive {whole(count)}
          </button>
        )}
      </div>
      <p class="said" role="status">
        {said}
        {state?.running === true && `${state.phase}: ${whole(state.read)} read, ${whole(state.sent)} sent`}
        {state?.error}
        {result !== undefined &&
          `${result.dryRun ? 'Would send' : 'Sent'} ${whole(result.sent)}, ${result.dryRun ? 'would park' : 'parked'} ${whole(result.parked)}; ` +
            `${whole(result.skipped)} were redriven before, ${whole(result.left)} are left by the filter, ${whole(result.unaddressed)} tell no topic.`}
        {result !== undefined && result.missing.length > 0 && ` These topics do not exist: ${result.missing.join(', ')}.`}
      </p>
      {result !== undefined && result.table.length > 0 && (
        <ul class="note">
          {result.table.map(({ target, outcome, error, step, records }) => (
            <li key={`${target} ${outcome} ${error} ${step}`}>
              {whole(records)} {outcome} to {target} {error} {step}
            </li>
          ))}
        </ul>
      )}
    </div>
  )
}
