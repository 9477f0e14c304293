import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { chart } from './chart.js'
import { NOTES } from './notes.js'
import type { Results } from './results.js'

const number = (value: number): string => value.toLocaleString('en-US')

/** docs/performance.md and its chart, from all results that are kept. */
export async function writePage(docs: string, results: Results): Promise<void> {
  const workloads = results.workloads.map(({ result, machine }) => {
    const { id, title, records, runs, entries, absent, goals } = result
    const first = entries[0]?.recordsPerSecond ?? Number.NaN
    const rows = entries.map(
      ({ label, version, recordsPerSecond, spread, cpuMicrosPerRecord, peakMegabytes }) =>
        `| ${label} (${version}) | ${number(recordsPerSecond)} | ${number(spread[0])} to ${number(spread[1])} | ${(recordsPerSecond / first).toFixed(2)} | ${cpuMicrosPerRecord} | ${peakMegabytes} |`,
    )
    return [
      `## ${id}: ${title}`,
      '',
      `${number(records)} records, medians of ${runs} run${runs === 1 ? '' : 's'} in turns; Node ${machine.node}, ${machine.cores} cores, ${machine.day}.`,
      '',
      '| program | records/s | lowest to highest | of the first | µs of CPU a record | peak MB |',
      '|---|---|---|---|---|---|',
      ...rows,
      ...(absent.length > 0 ? ['', ...absent.map(({ label, why }) => `- ${label}: ${why}`)] : []),
      ...(goals.length > 0
        ? [
            '',
            ...goals.map(
              ({ of, over, atLeast, ratio, by }) =>
                `- ${of} over ${over}${by === 'cpu' ? ', records for a second of CPU' : ''}: ${ratio}, aim ${atLeast}${ratio >= atLeast ? '' : ': not reached in this run'}`,
            ),
          ]
        : []),
      ...noteOn(id),
      '',
    ].join('\n')
  })
  const figures = results.figures.map(({ result, machine }) => {
    const names = Object.keys(result.rows[0] ?? {})
    return [
      `## ${result.id}: ${result.title}`,
      '',
      `\`${result.command}\`; Node ${machine.node}, ${machine.cores} cores, ${machine.day}.`,
      '',
      `| ${names.join(' | ')} |`,
      `|${names.map(() => '---').join('|')}|`,
      ...result.rows.map((row) => `| ${names.map((name) => cell(row[name])).join(' | ')} |`),
      ...noteOn(result.id),
      '',
    ].join('\n')
  })
  const page = `# Performance

Written by \`npm run bench -- --docs\` from its own runs. All programs of a table ran in turns against one broker on the same machine, which
had nothing else to do than the broker and them; each output was read and checked before its figure counted. "Again" is the same program a second time: what it
differs by from itself is noise. Ratios travel better to other machines than rates.

![Throughput of each program, of millrace's](performance.svg)

${[...workloads, ...figures].join('\n')}`
  await writeFile(join(docs, 'performance.md'), page)
  await writeFile(join(docs, 'performance.svg'), chart(results.workloads.map(({ result }) => result)))
}

function noteOn(id: string): string[] {
  const note = NOTES[id]
  return note === undefined ? [] : ['', note]
}

function cell(value: unknown): string {
  return typeof value === 'number' ? number(value) : String(value ?? '')
}
