import type { WorkloadResult } from './run-workload.js'

const BAR = 14
const LEFT = 190
const WIDTH = 760
const COLOURS: Record<string, string> = { millrace: '#0b7285', streams: '#e8590c' }

/** A bar for each program of each workload, as a share of the fastest. */
export function chart(results: readonly WorkloadResult[]): string {
  const parts: string[] = []
  let y = 10
  for (const { id, title, entries } of results) {
    const most = Math.max(...entries.map(({ recordsPerSecond }) => recordsPerSecond))
    y += 16
    parts.push(`<text x="10" y="${y}" class="title">${escape(`${id}: ${title}`)}</text>`)
    y += 6
    for (const { label, recordsPerSecond } of entries) {
      const length = Math.max(1, Math.round((recordsPerSecond / most) * (WIDTH - LEFT - 110)))
      const fill = COLOURS[label.split(',')[0]?.split(' ')[0] ?? ''] ?? '#868e96'
      parts.push(
        `<text x="${LEFT - 8}" y="${y + BAR - 3}" text-anchor="end">${escape(label)}</text>`,
        `<rect x="${LEFT}" y="${y}" width="${length}" height="${BAR - 3}" rx="2" fill="${fill}"/>`,
        `<text x="${LEFT + length + 6}" y="${y + BAR - 3}">${recordsPerSecond.toLocaleString('en-US')}/s</text>`,
      )
      y += BAR + 2
    }
    y += 6
  }
  const style = `text{font:11px system-ui,sans-serif;fill:#495057}.title{font-weight:600;fill:#212529}@media(prefers-color-scheme:dark){text{fill:#ced4da}.title{fill:#f1f3f5}}`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 10}" width="${WIDTH}" height="${y + 10}"><style>${style}</style>\n${parts.join('\n')}\n</svg>\n`
}

function escape(text: string): string {
  return text.replace(/[&<>]/g, (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[char] as string)
}
