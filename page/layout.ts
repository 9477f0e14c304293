import { Graph, layout } from '@dagrejs/dagre'
import type { PipelineStatus } from '../src/runtime/status/status.js'

export type Kind = 'source' | 'operator' | 'store' | 'inlet' | 'sink' | 'dead'

export interface Node {
  readonly id: string
  readonly kind: Kind
  readonly label: string
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

export interface Edge {
  readonly from: string
  readonly to: string
  /** The topic whose records it stands for, where it is one. */
  readonly topic: string | undefined
  /** Between an operator and its store. */
  readonly keeps: boolean
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

export interface Drawing {
  readonly width: number
  readonly height: number
  readonly nodes: readonly Node[]
  readonly edges: readonly Edge[]
}

const HEIGHT = 34
const LONGEST = 30

export function shortened(text: string): string {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST / 2 - 1)}…${text.slice(-LONGEST / 2)}`
}

/** Where everything stands; the same for the same plan. */
export function draw({ topics, steps, deadLetters, retries }: PipelineStatus, direction: 'LR' | 'TB'): Drawing {
  const graph = new Graph()
  graph.setGraph({ rankdir: direction, nodesep: 18, ranksep: direction === 'LR' ? 46 : 30, marginx: 8, marginy: 8 })
  graph.setDefaultEdgeLabel(() => ({}))
  const kinds = new Map<string, { readonly kind: Kind; readonly label: string }>()
  const edges: Omit<Edge, 'points'>[] = []
  const inlets = new Set([...steps.flatMap(({ readsBack }) => readsBack), ...retries.map(({ topic }) => topic)])
  const node = (id: string, kind: Kind, label: string): string => {
    if (!kinds.has(id)) {
      kinds.set(id, { kind, label })
      graph.setNode(id, { width: Math.max(64, shortened(label).length * 7.4 + 24), height: HEIGHT })
    }
    return id
  }
  const edge = (from: string, to: string, topic: string | undefined, keeps = false): void => {
    if (edges.some((one) => one.from === from && one.to === to)) return
    edges.push({ from, to, topic, keeps })
    graph.setEdge(from, to)
  }
  const topicNode = (topic: string): string => {
    const kind = inlets.has(topic) ? 'inlet' : Object.hasOwn(deadLetters.byTopic, topic) ? 'dead' : 'sink'
    return node(`topic:${topic}`, kind, topic)
  }
  const sources = topics.map((topic) => node(`source:${topic}`, 'source', topic))
  steps.forEach(({ name, after, writes, keeps, readsBack }, i) => {
    const step = node(`step:${i}`, 'operator', name)
    if (after === undefined) sources.forEach((source, at) => edge(source, step, topics[at]))
    else edge(node(`step:${after}`, 'operator', steps[after]?.name ?? ''), step, undefined)
    for (const topic of writes) edge(step, topicNode(topic), topic)
    for (const topic of readsBack) edge(topicNode(topic), step, topic)
    for (const store of keeps) edge(step, node(`store:${store}`, 'store', store), undefined, true)
  })
  layout(graph)
  const { width = 0, height = 0 } = graph.graph() as { readonly width?: number; readonly height?: number }
  return {
    width,
    height,
    nodes: [...kinds].map(([id, { kind, label }]) => {
      const place = graph.node(id) as { readonly x: number; readonly y: number; readonly width: number; readonly height: number }
      return { id, kind, label, x: place.x, y: place.y, width: place.width, height: place.height }
    }),
    edges: edges.map((one) => ({ ...one, points: (graph.edge(one.from, one.to) as { readonly points: Edge['points'] }).points })),
  }
}
