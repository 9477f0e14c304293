import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Child } from '../support/child.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { psql, startPostgres, type PostgresServer } from '../support/postgres.js'
import { until } from '../support/until.js'

const PROGRAM = new URL('./programs/database.ts', import.meta.url)
const PARTITIONS = 2
const COUNT = 4_000

const expected = (partition: number): string[] => Array.from({ length: COUNT / PARTITIONS }, (_, i) => `${partition}-${i}`)
const shared = Array.from({ length: 200 }, (_, i) => `both-${i}`)

describe('a process that writes to PostgreSQL, killed in the middle', () => {
  const { cluster, start: startProgram } = kafkaSuite()
  let server: PostgresServer
  let names: { readonly INPUT: string; readonly OUTPUT: string; readonly GROUP: string; readonly TABLE: string }
  let runs = 0

  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server.stop())

  beforeEach(async () => {
    const name = `database-${process.pid}-${Date.now()}-${runs++}`
    names = { INPUT: `${name}-in`, OUTPUT: `${name}-out`, GROUP: `${name}-group`, TABLE: `lines_${runs}` }
    await psql(server.url, `CREATE TABLE ${names.TABLE} (place bigserial, n text)`)
    await cluster.createTopics([names.INPUT, names.OUTPUT].map((topic) => ({ topic, partitions: PARTITIONS })))
    await cluster.produce({
      topic: names.INPUT,
      records: [0, 1].flatMap((partition) => expected(partition).map((value) => ({ value, partition }))),
    })
  })
  /** The same again in the other partition, and what both have. */
  const produceDuplicates = (): Promise<unknown> =>
    cluster.produce({
      topic: names.INPUT,
      records: [0, 1].flatMap((partition) => [...expected(1 - partition).slice(-200), ...shared].map((value) => ({ value, partition }))),
    })

  const start = (env: Record<string, string> = {}): Child => startProgram(PROGRAM, { ...names, DATABASE_URL: server.url, ...env })
  /** The rows of each partition, in the order they were written, as psql sees them. */
  const rows = async (): Promise<string[][]> => {
    const all = await psql(server.url, `SELECT n FROM ${names.TABLE} ORDER BY place`)
    return [0, 1].map((partition) => all.filter((line) => line.startsWith(`${partition}-`)))
  }
  const outputs = async (): Promise<string[][]> => {
    const partitions: string[][] = [[], []]
    for await (const record of cluster.read({ topic: names.OUTPUT })) partitions[record.origin.partition]?.push(String(record.value))
    return partitions
  }
  const complete = (): Promise<boolean> => outputs().then((all) => all.flat().length >= COUNT)
  const finish = async (child: Child): Promise<void> => {
    await until(complete, { within: 40_000, what: 'all records in the output' })
    child.kill('SIGTERM')
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
  }

  const steps = ['rows-written', 'database-committed', 'offsets-acknowledged']
  it.each(steps)('at %s, again and again: every record is one row and one output, in order', async (step) => {
    for (let i = 0; i < 2; i++) {
      const child = start({ KILL_AT: step, KILL_AFTER: String(i), INSTANCE: 'one' })
      expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    }
    await finish(start({ INSTANCE: 'one' }))
    expect(await rows()).toEqual([0, 1].map(expected))
    expect(await outputs()).toEqual([0, 1].map(expected))
  })

  /** Killed between the commits, with ids that come in both partitions: the rows and the outputs of all ids. */
  const claiming = async (env: Record<string, string>): Promise<{ readonly rows: string[]; readonly outputs: string[] }> => {
    await produceDuplicates()
    for (const KILL_AFTER of ['1', '9']) {
      const child = start({ KILL_AT: 'database-committed', KILL_AFTER, INSTANCE: 'one', MAX_RECORDS: '200', ...env })
      expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    }
    const child = start({ INSTANCE: 'one', ...env })
    await until(() => lagOf(child) === 0, { within: 40_000, what: 'all records' })
    child.kill('SIGTERM')
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
    return {
      rows: (await psql(server.url, `SELECT n FROM ${names.TABLE}`)).sort(),
      outputs: (await outputs()).flat().sort(),
    }
  }
  const lagOf = ({ lines }: Child): number | undefined => {
    const last = lines.at(-1)
    return last === undefined ? undefined : (JSON.parse(last) as { readonly lag: number }).lag
  }
  const each = [...expected(0), ...expected(1), ...shared].sort()

  it('passes one of each id, with one row and one output, where claims commit with the rows', async () => {
    expect(await claiming({ CLAIMS: 'yes' })).toEqual({ rows: each, outputs: each })
    expect(await psql(server.url, `SELECT count(*) FROM ${names.TABLE}_inbox`)).toEqual([String(each.length)])
  })

  it('is noticed by this test where a claim counts whoever made it', async () => {
    const { outputs: found } = await claiming({ CLAIMS: 'before' })
    expect(found.length).toBeLessThan(each.length)
  })

  it('is noticed by this test where the positions are written outside the transaction', async () => {
    const child = start({ KILL_AT: 'database-committed', KILL_AFTER: '1', INSTANCE: 'one', BROKEN: 'apart' })
    expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    await finish(start({ INSTANCE: 'one', BROKEN: 'apart' }))
    expect((await rows()).flat().length).toBeGreaterThan(COUNT)
  })

  /** It has written its rows and is stopped before it commits them, until another has its partitions; then it goes on. */
  const zombie = async (env: Record<string, string>): Promise<Child> => {
    const old = start({ STOP_AT: 'rows-written', KILL_AFTER: '2', MAX_RECORDS: '50', ...env })
    await until(() => old.lines.length >= 2, { within: 20_000, what: 'first commits' })
    const heir = start(env)
    await until(complete, { within: 45_000, what: 'the heir to take over' })
    old.kill('SIGCONT')
    await until(() => heir.lines.length > 0 && old.lines.length >= 2, { what: 'both to run' })
    await cluster.produce({ topic: names.INPUT, records: [{ value: '0-last', partition: 0 }] })
    await until(async () => (await outputs()).flat().includes('0-last'), { within: 30_000, what: 'the last record' })
    for (const child of [old, heir]) child.kill('SIGTERM')
    await heir.ended
    await old.ended
    return old
  }

  it('one that was stopped before its commit, and goes on when another has its partitions, writes nothing', async () => {
    const old = await zombie({})
    expect(old.errors).toMatch(/another member has taken the positions/)
    expect(await rows()).toEqual([[...expected(0), '0-last'], expected(1)])
  })

  it('is noticed by this test where no epoch is compared', async () => {
    await zombie({ BROKEN: 'no-epoch' })
    expect((await rows()).flat().length).toBeGreaterThan(COUNT + 1)
  })
})
