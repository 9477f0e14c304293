import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { embedded, serveStatus, silentLogger, toTopic, withTransaction, type Cluster, type StatusServer } from '../../src/index.js'
import { FAMILIES } from '../../src/serve/families.js'
import { until } from '../support/until.js'

const run = promisify(execFile)
const OPS = fileURLToPath(new URL('../../ops', import.meta.url))
const TOKEN = 'a-token-for-the-scraper'

const names = new Set(
  FAMILIES.flatMap(({ name, type }) => (type === 'histogram' ? ['_bucket', '_sum', '_count'].map((part) => name + part) : [name])),
)
/** Names of metrics in an expression that no family has. */
const unknownIn = (text: string): string[] =>
  [...text.matchAll(/millrace_[a-z_]+/g)].map(([name]) => name).filter((name) => !names.has(name))

describe('what is shipped for Prometheus', () => {
  it('rules pass promtool and their unit tests', async () => {
    await expect(run('promtool', ['check', 'rules', 'alerts.yml'], { cwd: OPS })).resolves.toMatchObject({
      stdout: expect.stringContaining('SUCCESS: 9 rules found') as string,
    })
    await expect(run('promtool', ['test', 'rules', 'alerts.test.yml'], { cwd: OPS })).resolves.toMatchObject({
      stdout: expect.stringContaining('SUCCESS') as string,
    })
  }, 30_000)

  it('a rule that is weakened fails its unit test', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rules-'))
    try {
      const rules = await readFile(join(OPS, 'alerts.yml'), 'utf8')
      await writeFile(
        join(folder, 'alerts.yml'),
        rules.replace('millrace_transaction_open_seconds) > 120', 'millrace_transaction_open_seconds) > 12000'),
      )
      await writeFile(join(folder, 'alerts.test.yml'), await readFile(join(OPS, 'alerts.test.yml')))
      await expect(run('promtool', ['test', 'rules', 'alerts.test.yml'], { cwd: folder })).rejects.toThrow(/MillraceTransactionStuck/)
    } finally {
      await rm(folder, { recursive: true })
    }
  }, 30_000)

  it('rules and dashboard name only metrics that exist, and each alert is in the docs', async () => {
    const rules = await readFile(join(OPS, 'alerts.yml'), 'utf8')
    const dashboard = JSON.parse(await readFile(join(OPS, 'grafana-dashboard.json'), 'utf8')) as {
      readonly panels: readonly { readonly targets: readonly { readonly expr: string }[] }[]
    }
    const queries = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
    expect(queries.length).toBeGreaterThan(20)
    expect([...queries, rules].flatMap(unknownIn)).toEqual([])
    expect(unknownIn('sum(millrace_gone_total)')).toEqual(['millrace_gone_total'])
    const docs = await readFile(join(OPS, '../docs/operations.md'), 'utf8')
    const alerts = [...rules.matchAll(/alert: (\w+)/g)].map((match) => match[1] as string)
    expect(alerts.filter((alert) => !docs.includes(`### ${alert}`))).toEqual([])
  })

  describe('a real Prometheus', () => {
    let folder: string
    let cluster: Cluster
    let server: StatusServer
    let prometheus: ChildProcess
    let base: string

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'prometheus-'))
      cluster = embedded({ logger: silentLogger })
      await cluster.createTopics([{ topic: 'in', partitions: 3 }, { topic: 'out' }])
      cluster
        .source({ group: 'copy', topics: ['in'] })
        .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' }))))
        .subscribe()
      await cluster.produce({ topic: 'in', records: Array.from({ length: 100 }, (_, i) => ({ key: String(i), value: 'x' })) })
      server = await serveStatus(cluster, { port: 0, token: TOKEN })
      const config = `
global: { scrape_interval: 200ms, evaluation_interval: 200ms }
rule_files: ['${OPS}/alerts.yml']
scrape_configs:
  - job_name: millrace
    authorization: { credentials: '${TOKEN}' }
    static_configs: [{ targets: ['127.0.0.1:${server.port}'] }]
`
      await writeFile(join(folder, 'prometheus.yml'), config)
      const port = await freePort()
      base = `http://127.0.0.1:${port}`
      prometheus = spawn(
        'prometheus',
        [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`],
        { stdio: 'ignore' },
      )
    })
    afterAll(async () => {
      const ended = new Promise((resolve) => prometheus.once('exit', resolve))
      prometheus.kill('SIGKILL')
      await ended
      await server.close()
      await cluster.close()
      await rm(folder, { recursive: true, force: true })
    })

    const query = async (expr: string): Promise<readonly { readonly value: readonly [number, string] }[]> => {
      const answer = await fetch(`${base}/api/v1/query?query=${encodeURIComponent(expr)}`)
      const { data } = (await answer.json()) as { data: { result: readonly { value: readonly [number, string] }[] } }
      return data.result
    }

    it('scrapes it, with the token, and takes in all metrics', async () => {
      const found = await until(
        async () => {
          const result = await query('sum(millrace_records_total{group="copy",outcome="processed"})')
          return result[0]?.value[1] === '100'
        },
        { what: 'Prometheus to have scraped 100 records', within: 30_000, every: 200 },
      )
      expect(found).toBe(true)
      expect(Number((await query('sum(millrace_outputs_total{topic="out"})'))[0]?.value[1])).toBe(100)
      expect(await query('count(millrace_partition_committed_offset)')).toMatchObject([{ value: [expect.any(Number), '3'] }])
      expect(Number((await query('histogram_quantile(0.5, millrace_commit_duration_seconds_bucket)'))[0]?.value[1])).toBeGreaterThanOrEqual(
        0,
      )
      expect(await query('up{job="millrace"}')).toMatchObject([{ value: [expect.any(Number), '1'] }])
    }, 40_000)
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
