import { spawn } from 'node:child_process'
import { serveStatus, type Cluster } from 'millrace'

/** In a process of its own, as Prometheus is: what it takes is not what serving takes. Ends where an answer is none. */
const SCRAPER = `
const [url, every] = process.argv.slice(1)
setInterval(async () => {
  const answer = await fetch(url)
  if (!answer.ok || (await answer.text()).length === 0) process.exit(1)
}, Number(every))
`

/** Serves the status of a cluster and has its metrics scraped; returns how to end that. */
export async function scraped(cluster: Cluster, everyMs: number): Promise<() => Promise<void>> {
  const server = await serveStatus(cluster, { port: 0 })
  const child = spawn(process.execPath, ['-e', SCRAPER, `${server.url}/metrics`, String(everyMs)], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  let over = false
  child.on('exit', (code) => {
    if (!over) throw new Error(`the scraper ended with ${code}`)
  })
  return async () => {
    over = true
    child.kill()
    await server.close()
  }
}
