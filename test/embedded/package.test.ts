import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** The package as a user gets it: packed, installed in an empty project, run there by plain Node. */
describe('the published package', () => {
  let project: string

  beforeAll(async () => {
    project = await mkdtemp(join(tmpdir(), 'millrace-package-'))
    // `npm test` has built dist before.
    const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], { cwd: ROOT })
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }]
    await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }))
    await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', join(project, filename), 'rxjs@7'], { cwd: project })
  }, 120_000)

  afterAll(() => rm(project, { recursive: true, force: true }))

  const node = async (program: string): Promise<string> => {
    await writeFile(join(project, 'program.mjs'), program)
    return (await run(process.execPath, ['program.mjs'], { cwd: project })).stdout.trim()
  }

  it('runs a pipeline', async () => {
    const program = `
      import { map, take, firstValueFrom } from 'rxjs'
      import { embedded, toTopic, withTransaction } from 'millrace'
      const cluster = embedded()
      await cluster.createTopics([{ topic: 'in' }, { topic: 'out' }])
      await cluster.produce({ topic: 'in', records: [{ key: 'k', value: 'hello' }] })
      const commit = await firstValueFrom(cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction((records) => records.pipe(map((r) => r.with({ value: String(r.value).toUpperCase() })), toTopic({ topic: 'out' }))),
      ))
      for await (const record of cluster.read({ topic: 'out' })) console.log(commit.records, String(record.key), String(record.value))
      await cluster.close()
    `
    expect(await node(program)).toBe('1 k HELLO')
  })

  it('loads no broker client and opens nothing when imported', async () => {
    const program = `
      import { createRequire } from 'node:module'
      await import('millrace')
      // Node's own loader may still be closing a file.
      while (process.getActiveResourcesInfo().includes('CloseReq')) await new Promise((resolve) => setImmediate(resolve))
      const loaded = Object.keys(createRequire(import.meta.url).cache).filter((path) => path.includes('kafkajs') || path.includes('ioredis'))
      console.log(JSON.stringify({ loaded, open: process.getActiveResourcesInfo().filter((kind) => /TCP|UDP|TLS|Timeout|Immediate/.test(kind)) }))
    `
    expect(JSON.parse(await node(program))).toEqual({ loaded: [], open: [] })
  })

  it('has a command line', async () => {
    const { stdout } = await run('npx', ['millrace', 'redrive', '--help'], { cwd: project })
    expect(stdout).toMatch(/^millrace redrive --brokers host:port --from <topic>/)
    await expect(run('npx', ['millrace', 'redrive', '--brokers', 'localhost:1', '--form', 'x'], { cwd: project })).rejects.toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining("Unknown option '--form'") as string,
    })
  })

  it('says what to install for what is optional', async () => {
    const program = `
      import { dedupe, recordKey, redisClaims } from 'millrace'
      const claims = redisClaims({ url: 'redis://127.0.0.1:1', prefix: 'x:' })
      const told = await claims.find('x').catch((error) => [error.code, error.message])
      let refused
      try { dedupe({ by: recordKey(), within: '1h', store: claims, bloom: { expected: 10, exclusive: true } }) } catch (error) { refused = [error.code, error.message] }
      console.log(JSON.stringify([told, refused]))
    `
    expect(JSON.parse(await node(program))).toEqual([
      ['CLAIM_STORE_FAILED', expect.stringContaining('npm install ioredis') as string],
      ['INVALID_OPTIONS', expect.stringContaining('npm install bloom-filters') as string],
    ])
  })

  it('has types for its users', async () => {
    await writeFile(
      join(project, 'user.ts'),
      `import { embedded, toTopic, withTransaction, type Commit } from 'millrace'
       import { map, type Observable } from 'rxjs'
       export const commits: Observable<Commit> = embedded().source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(map((r) => r.with({ value: 'x' })), toTopic({ topic: 'out' }))))
       // @ts-expect-error a wrong option does not compile
       embedded().source({ group: 'g', topic: 'in' })
      `,
    )
    await writeFile(
      join(project, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: { strict: true, module: 'NodeNext', target: 'ES2022', noEmit: true, skipLibCheck: true, types: [] },
        files: ['user.ts'],
      }),
    )
    const { stdout } = await run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', project], { cwd: project }).catch(
      (error: { stdout: string }) => error,
    )
    expect(stdout).toBe('')
  }, 60_000)
})
