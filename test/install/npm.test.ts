import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, inject, it } from 'vitest'
import { run } from './project.js'

/** The package as a user gets it: packed, installed in an empty project, run there by plain Node. */
describe('the published package', () => {
  const project = inject('project')

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
})
