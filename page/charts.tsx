import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import type { Series } from './history.js'
import { short, span } from './format.js'

interface Line {
  readonly label: string
  readonly of: (series: Series) => (number | null)[]
  /** Name of a CSS variable. */
  readonly colour: string
}

interface ChartProps {
  readonly id: string
  readonly title: string
  readonly lines: readonly Line[]
  readonly series: Series
  readonly value: (value: number) => string
  /** Changes with each look. */
  readonly at: number
}

const LINES = {
  throughput: [
    { label: 'read', of: (series) => series.records, colour: '--line-1' },
    { label: 'written', of: (series) => series.outputs, colour: '--line-2' },
  ],
  latency: [
    { label: 'transaction', of: (series) => series.transactionMs, colour: '--line-1' },
    { label: 'commit', of: (series) => series.commitMs, colour: '--line-2' },
  ],
  lag: [{ label: 'behind', of: (series) => series.lag, colour: '--line-3' }],
} satisfies Record<string, readonly Line[]>

export function Charts({ series, at }: { readonly series: Series; readonly at: number }) {
  return (
    <div class="charts">
      <Chart id="throughput" title="Records a second" lines={LINES.throughput} series={series} at={at} value={short} />
      <Chart id="latency" title="Length of transactions" lines={LINES.latency} series={series} at={at} value={span} />
      <Chart id="lag" title="Lag, in records" lines={LINES.lag} series={series} at={at} value={short} />
    </div>
  )
}

function Chart({ id, title, lines, series, value, at }: ChartProps) {
  const place = useRef<HTMLDivElement>(null)
  const chart = useRef<uPlot | undefined>(undefined)
  useEffect(() => {
    const element = place.current
    if (element === null) return undefined
    const make = (): uPlot => new uPlot(optionsOf(lines, value, element.clientWidth), dataOf(lines, series), element)
    chart.current = make()
    const sizes = new ResizeObserver(() => chart.current?.setSize({ width: element.clientWidth, height: HEIGHT }))
    sizes.observe(element)
    const dark = matchMedia('(prefers-color-scheme: dark)')
    const again = (): void => {
      chart.current?.destroy()
      chart.current = make()
    }
    dark.addEventListener('change', again)
    return () => {
      sizes.disconnect()
      dark.removeEventListener('change', again)
      chart.current?.destroy()
    }
  }, [series])
  useEffect(() => chart.current?.setData(dataOf(lines, series)), [at])
  const last = lines.map(({ label, of }) => `${label} ${lastOf(of(series), value)}`).join(', ')
  return (
    <figure class="panel chart" id={`chart-${id}`} aria-label={`${title}: ${last}`}>
      <figcaption>
        <h2>{title}</h2>
        <span class="legend">
          {lines.map(({ label, of }, i) => (
            <span key={label} class={`key line-${id === 'lag' ? 3 : i + 1}`}>
              {label} <b data-value={label}>{lastOf(of(series), value)}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={place} />
    </figure>
  )
}

const HEIGHT = 150

function lastOf(values: readonly (number | null)[], text: (value: number) => string): string {
  const last = values.findLast((value) => value !== null)
  return last == null ? '–' : text(last)
}

function dataOf(lines: readonly Line[], series: Series): uPlot.AlignedData {
  return [series.at, ...lines.map(({ of }) => of(series))] as uPlot.AlignedData
}

function optionsOf(lines: readonly Line[], value: (value: number) => string, width: number): uPlot.Options {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string): string => style.getPropertyValue(name).trim()
  const axis: uPlot.Axis = {
    stroke: colour('--dim'),
    grid: { stroke: colour('--grid'), width: 1 },
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  }
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
    axes: [
      { ...axis, space: 70, values: (_, times) => times.map((time) => new Date(time * 1_000).toLocaleTimeString('en-GB')) },
      { ...axis, size: 56, values: (_, values) => values.map((one) => value(one)) },
    ],
    series: [
      {},
      ...lines.map(({ label, colour: name }) => ({ label, stroke: colour(name), width: 1.6, spanGaps: true, points: { show: false } })),
    ],
  }
}
