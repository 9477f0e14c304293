import { useEffect, useMemo, useState } from 'preact/hooks'
import { short, whole, bytes } from './format.js'
import { shareOf, type Group } from './group.js'
import type { History } from './history.js'
import { draw, shortened, type Edge, type Node } from './layout.js'

const NARROW = '(max-width: 760px)'

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => matchMedia(NARROW).matches)
  useEffect(() => {
    const query = matchMedia(NARROW)
    const listen = (): void => setNarrow(query.matches)
    query.addEventListener('change', listen)
    return () => query.removeEventListener('change', listen)
  }, [])
  return narrow
}

/** The pipeline as a graph; edges move as records flow. */
export function Topology({ group, history }: { readonly group: Group; readonly history: History }) {
  const { first } = group
  const narrow = useNarrow()
  const plan = JSON.stringify([first.topics, first.steps, first.retries.map(({ topic }) => topic)])
  const drawing = useMemo(() => draw(first, narrow ? 'TB' : 'LR'), [plan, narrow])
  const [chosen, choose] = useState<string>()
  const node = drawing.nodes.find(({ id }) => id === chosen)
  const rateOf = (edge: Edge): number => {
    if (edge.keeps) return 0
    return edge.topic === undefined || first.topics.includes(edge.topic) ? group.records : history.rateOf(edge.topic)
  }
  return (
    <section class="panel" aria-labelledby="h-graph">
      <h2 id="h-graph">Topology</h2>
      <div class="scroll" tabIndex={0} role="group" aria-label="The pipeline as a graph">
        <svg
          class="graph"
          width={drawing.width}
          height={drawing.height}
          viewBox={`0 0 ${drawing.width} ${drawing.height}`}
          data-nodes={drawing.nodes.length}
        >
          <defs>
            <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
              <path d="M0 0L8 4L0 8z" class="tip" />
            </marker>
          </defs>
          {drawing.edges.map((edge) => (
            <Flow key={`${edge.from} ${edge.to}`} edge={edge} rate={rateOf(edge)} />
          ))}
          {drawing.nodes.map((one) => (
            <Box
              key={one.id}
              node={one}
              slow={isSlow(one, group)}
              chosen={one.id === chosen}
              onChoose={() => choose(one.id === chosen ? undefined : one.id)}
            />
          ))}
        </svg>
      </div>
      <p class="legend">
        {(['source', 'operator', 'store', 'inlet', 'sink', 'dead'] as const)
          .filter((kind) => drawing.nodes.some((one) => one.kind === kind))
          .map((kind) => (
            <span key={kind} class={`key ${kind}`}>
              {kind === 'dead' ? 'dead letters' : kind === 'inlet' ? 'topic of its own' : kind}
            </span>
          ))}
      </p>
      <p class="note" aria-live="polite">
        {node === undefined ? 'Choose a node to see more of it.' : aboutNode(node, group, history)}
      </p>
    </section>
  )
}

function Flow({ edge, rate }: { readonly edge: Edge; readonly rate: number }) {
  const [from, ...rest] = edge.points
  const path = `M${from?.x ?? 0} ${from?.y ?? 0}${rest.map(({ x, y }) => `L${x} ${y}`).join('')}`
  const middle = edge.points[Math.floor(edge.points.length / 2)]
  // Ten times the records, twice the speed; steps of a whole so that the animation is not begun anew all the time.
  const speed = rate <= 0 ? 0 : Math.min(6, Math.max(1, Math.round(Math.log10(rate + 1) * 1.5)))
  return (
    <g class={edge.keeps ? 'edge keeps' : 'edge'}>
      <path d={path} class="line" marker-end={edge.keeps ? undefined : 'url(#tip)'} />
      {speed > 0 && <path d={path} class={`flow speed-${speed}`} />}
      {edge.topic !== undefined && rate > 0 && middle !== undefined && (
        <text x={middle.x} y={middle.y - 6} class="rate">
          {short(rate)}/s
        </text>
      )}
    </g>
  )
}

/** It takes more than all others together. */
function isSlow({ kind, label }: Node, group: Group): boolean {
  return kind === 'operator' && (shareOf(group, label) ?? 0) > 0.5
}

interface BoxProps {
  readonly node: Node
  readonly slow: boolean
  readonly chosen: boolean
  readonly onChoose: () => void
}

function Box({ node, slow, chosen, onChoose }: BoxProps) {
  const { kind, label, x, y, width, height } = node
  return (
    <g
      class={`node ${kind}${slow ? ' slow' : ''}${chosen ? ' chosen' : ''}`}
      transform={`translate(${x - width / 2} ${y - height / 2})`}
      tabIndex={0}
      role="button"
      aria-pressed={chosen}
      aria-label={`${kind === 'dead' ? 'dead letters' : kind} ${label}${slow ? ', slow' : ''}`}
      onClick={onChoose}
      onKeyDown={(event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return
        event.preventDefault()
        onChoose()
      }}
    >
      <title>{label}</title>
      <rect width={width} height={height} rx={kind === 'operator' ? 6 : height / 2} />
      <text x={width / 2} y={height / 2 + 4}>
        {shortened(label)}
      </text>
    </g>
  )
}

function aboutNode({ id, kind, label }: Node, group: Group, history: History): string {
  const { members, partitions } = group
  if (kind === 'operator') {
    const step = group.first.steps[Number(id.slice('step:'.length))]
    const share = shareOf(group, label)
    const parts = [
      share !== undefined && `${Math.round(share * 100)} % of the time of all steps`,
      step?.piece && `part of ${step.piece}`,
      step && step.writes.length > 0 && `writes ${step.writes.join(', ')}`,
      step && step.keeps.length > 0 && `keeps ${step.keeps.join(', ')}`,
    ]
    return [label, ...parts.filter(Boolean)].join(' · ')
  }
  if (kind === 'store') {
    const stores = members.flatMap(({ status }) => status.stores.filter(({ name }) => name === label))
    const sum = (of: 'keys' | 'bytes'): number => stores.reduce((total, store) => total + store[of], 0)
    return `${label} · ${whole(sum('keys'))} keys · ${bytes(sum('bytes'))}`
  }
  const lag = partitions.filter(({ topic }) => topic === label).reduce((total, { place }) => total + (place?.lag ?? 0), 0)
  if (kind === 'source') return `${label} · ${short(group.records)} records/s read · ${whole(lag)} behind`
  const written = `${label} · ${whole(group.written.get(label) ?? 0)} written, ${short(history.rateOf(label))}/s`
  return kind === 'inlet' ? `${written} · ${whole(lag)} wait in it` : written
}
