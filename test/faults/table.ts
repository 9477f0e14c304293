import { readFile, writeFile } from 'node:fs/promises'
import type { Outcome } from './run.js'

const PAGE = new URL('../../docs/guarantees.md', import.meta.url)
const BEGIN = '<!-- runs -->'
const END = '<!-- /runs -->'

/** One row a run, as Markdown. */
export function tableOf(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ fault, how, pipeline, brokers, kafka, seed, counts, recoveries, problems, note }) => [
    fault,
    how,
    pipeline,
    `${kafka}, ${brokers}`,
    String(counts['in'] ?? ''),
    String(seed),
    problems.length === 0 ? ['holds', note].filter(Boolean).join('; ') : `**${problems.length} problems**`,
    recoveries.length === 0 ? '' : `${(Math.max(...recoveries) / 1_000).toFixed(1)} s`,
  ])
  const head = ['Fault', 'How injected', 'Pipeline', 'Kafka, brokers', 'Records in', 'Seed', 'Result', 'Recovered in at most']
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

/** Puts the runs into docs/guarantees.md, in the place of those of the same fault, pipeline and brokers. */
export async function writeDocs(outcomes: readonly Outcome[]): Promise<void> {
  const page = await readFile(PAGE, 'utf8')
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`docs/guarantees.md has no place for the runs, between ${BEGIN} and ${END}`)
  const cells = (row: string): string[] =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim())
  const nameOf = (row: string): string => {
    const [fault = '', , pipeline = '', kafka = ''] = cells(row)
    return [fault, pipeline, kafka].join('|')
  }
  const [head = '', rule = '', ...fresh] = tableOf(outcomes).split('\n')
  const rows = new Map<string, string>()
  for (const row of page
    .slice(from, to)
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2))
    rows.set(nameOf(row), row)
  for (const row of fresh) rows.set(nameOf(row), row)
  const table = [head, rule, ...rows.values()].map((row) => `| ${cells(row).join(' | ')} |`)
  await writeFile(PAGE, `${page.slice(0, from)}${BEGIN}\n\n${table.join('\n')}\n\n${page.slice(to)}`)
}
