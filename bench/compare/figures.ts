import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface FigureResult {
  readonly id: string
  readonly title: string
  readonly command: string
  readonly rows: readonly Readonly<Record<string, unknown>>[]
}

/** A figure that is no race: another command of the bench, and what of its output is a row. */
export interface Figure {
  readonly id: string
  readonly title: string
  readonly script: string
  readonly args: readonly string[]
  readonly rows: (output: unknown) => readonly Readonly<Record<string, unknown>>[]
}

type Of<T> = Record<string, T>
const entries = (output: unknown, name: string): Of<unknown>[] =>
  Object.entries((output as Of<Of<Of<unknown>>>)[name] ?? {}).map(([key, row]) => ({ case: key, ...row }))

export const FIGURES: readonly Figure[] = [
  {
    id: 'W5',
    title: '1 % retried, 0.1 % dead-lettered, against the same pipeline without failures',
    script: 'retry',
    args: ['--only=throughput'],
    rows: (output) => entries(output, 'throughput'),
  },
  {
    id: 'W7',
    title: 'milliseconds from one topic to the other at 5,000 records/s',
    script: 'latency',
    args: ['--rate=5000', '--commit=100,10'],
    rows: (output) => output as Of<unknown>[],
  },
  {
    id: 'W8',
    title: 'copy by partitions and processes: CPU a record',
    script: 'scale',
    args: [],
    rows: (output) => output as Of<unknown>[],
  },
  {
    id: 'W9',
    title: 'restore of state',
    script: 'state',
    args: ['--keys=1000000,5000000'],
    rows: (output) => (output as Of<Of<unknown>[]>)['rows'] ?? [],
  },
  {
    id: 'W10',
    title: 'time without commits after kill -9, and in a rolling restart of 4 members',
    script: 'takeover',
    args: [],
    rows: (output) => output as Of<unknown>[],
  },
  {
    id: 'W11',
    title: 'idle with 400 tasks',
    script: 'idle',
    args: [],
    rows: (output) => output as Of<unknown>[],
  },
  {
    id: 'W13',
    title: 'records/s through calls that wait, 64 at once on each of 4 partitions',
    script: 'attempt',
    args: ['--on=kafka'],
    rows: (output) => output as Of<unknown>[],
  },
]

export async function runFigure(figure: Figure, say: (text: string) => void): Promise<FigureResult> {
  const command = `npx tsx bench/${figure.script}.ts ${[...figure.args, '--json'].join(' ')}`
  say(`${figure.id}: ${command}`)
  const script = fileURLToPath(new URL(`../${figure.script}.ts`, import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...figure.args, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] })
  let printed = ''
  child.stdout.on('data', (data: Buffer) => (printed += data.toString()))
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`${command} ended with ${code}`)
  return { id: figure.id, title: figure.title, command, rows: figure.rows(JSON.parse(printed)) }
}
