import { useState } from 'preact/hooks'
import { span, whole } from './format.js'
import type { Group, PartitionRow } from './group.js'

const ROW = 30
const SHOWN = 14
/** Rows made above and below of what is seen. */
const MORE = 6

type Order = 'place' | 'lag' | 'owner'

interface PartitionsProps {
  readonly group: Group
  /** Undefined where commands are not allowed. */
  readonly onPause: ((row: PartitionRow, pause: boolean) => void) | undefined
}

/** A list of which only the rows in sight are made: a group may have thousands. */
export function Partitions({ group, onPause }: PartitionsProps) {
  const [filter, setFilter] = useState('')
  const [behind, setBehind] = useState(false)
  const [order, setOrder] = useState<Order>('place')
  const [top, setTop] = useState(0)
  const wanted = group.partitions.filter(
    ({ topic, partition, owner, state, place }) =>
      (!behind || (place?.lag ?? 0) > 0) && `${topic}/${partition} ${owner} ${state}`.includes(filter.trim()),
  )
  const rows =
    order === 'lag'
      ? wanted.sort((a, b) => (b.place?.lag ?? -1) - (a.place?.lag ?? -1))
      : order === 'owner'
        ? wanted.sort((a, b) => (a.owner < b.owner ? -1 : a.owner > b.owner ? 1 : 0))
        : wanted
  const from = Math.max(0, Math.floor(top / ROW) - MORE)
  const seen = rows.slice(from, from + SHOWN + 2 * MORE)
  const head = (of: Order, text: string) => (
    <span role="columnheader" aria-sort={order === of ? 'descending' : 'none'}>
      <button type="button" class="plain" onClick={() => setOrder(of)}>
        {text}
        {order === of ? ' ▾' : ''}
      </button>
    </span>
  )
  const columns = onPause === undefined ? 7 : 8
  return (
    <section class="panel" aria-labelledby="h-partitions">
      <h2 id="h-partitions">Partitions</h2>
      <div class="bar">
        <label>
          Filter <input type="search" value={filter} onInput={({ currentTarget }) => setFilter(currentTarget.value)} />
        </label>
        <label>
          <input type="checkbox" checked={behind} onChange={({ currentTarget }) => setBehind(currentTarget.checked)} /> only with lag
        </label>
        <span class="note" id="partition-count">
          {rows.length} of {group.partitions.length}
        </span>
      </div>
      <div class="scroll">
        <div class="rows" role="table" aria-label="Partitions" aria-rowcount={rows.length + 1} aria-colcount={columns}>
          <div class="row head" role="row" aria-rowindex={1}>
            {head('place', 'Partition')}
            {head('owner', 'Owner')}
            <span role="columnheader">State</span>
            <span role="columnheader" class="number">
              Committed
            </span>
            <span role="columnheader" class="number">
              End
            </span>
            {head('lag', 'Lag')}
            <span role="columnheader" class="number">
              Age
            </span>
            {onPause !== undefined && <span role="columnheader" />}
          </div>
          <div
            class="window"
            role="rowgroup"
            tabIndex={0}
            onScroll={({ currentTarget }) => setTop(currentTarget.scrollTop)}
            style={{ height: `${Math.min(rows.length, SHOWN) * ROW + 2}px` }}
          >
            <div role="presentation" style={{ height: `${rows.length * ROW}px`, paddingTop: `${from * ROW}px`, boxSizing: 'border-box' }}>
              {seen.map((row, i) => (
                <Row key={`${row.topic}/${row.partition}`} row={row} index={from + i + 2} onPause={onPause} />
              ))}
            </div>
          </div>
        </div>
      </div>
    </section>
  )
}

function Row({ row, index, onPause }: { readonly row: PartitionRow; readonly index: number } & Pick<PartitionsProps, 'onPause'>) {
  const { topic, partition, owner, state, place, member } = row
  return (
    <div class="row" role="row" aria-rowindex={index} data-partition={`${topic}/${partition}`}>
      <span role="cell" class="clip" title={`${topic}/${partition}`}>
        {topic}/<b>{partition}</b>
      </span>
      <span role="cell" class="clip" title={owner}>
        {owner}
      </span>
      <span role="cell">
        <i class={`state ${state}`}>{state}</i>
      </span>
      <span role="cell" class="number">
        {whole(place?.committed)}
      </span>
      <span role="cell" class="number">
        {whole(place?.end)}
      </span>
      <span role="cell" class={`number${(place?.lag ?? 0) > 0 ? ' behind' : ''}`} data-lag>
        {whole(place?.lag)}
      </span>
      <span role="cell" class="number">
        {place?.held === true ? 'not due' : span(place?.lagMs)}
      </span>
      {onPause !== undefined && (
        <span role="cell">
          {member !== undefined && member.address === undefined && state !== 'held' && (
            <button type="button" onClick={() => onPause(row, state !== 'paused')}>
              {state === 'paused' ? 'Resume' : 'Pause'}
            </button>
          )}
        </span>
      )}
    </div>
  )
}
