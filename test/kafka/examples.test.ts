import { describe, expect, inject, it } from 'vitest'
import { type Child } from '../support/child.js'
import { EXAMPLES, runExample } from '../support/example-outputs.js'
import { uniqueName, type Observer } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { until } from '../support/until.js'

/** The programs of examples/, as a user starts them: on the built package, as processes of their own. */
describe('examples', () => {
  const { observer, start: startProgram } = kafkaSuite()

  const start = (name: string, env: Record<string, string> = {}): Child =>
    startProgram(new URL(`../../examples/${name}`, import.meta.url), env)

  it('passthrough.ts: several instances in one group copy everything once, drain on SIGTERM and leave the group, but for the place of one with an instance id', async () => {
    const [input, output] = [await observer.createTopic({ partitions: 4 }), await observer.createTopic({ partitions: 4 })]
    const group = uniqueName('copy')
    await observer.produce(
      input,
      Array.from({ length: 2_000 }, (_, i) => ({
        key: `k${i % 50}`,
        value: `v${i}`,
        headers: { n: String(i) },
        timestamp: 1_700_000_000_000 + i,
      })),
    )
    const env = { INPUT_TOPIC: input, OUTPUT_TOPIC: output, GROUP_ID: group, COMMIT_MS: '20' }
    const both = [start('passthrough.ts', { ...env, INSTANCE_ID: 'a' }), start('passthrough.ts', env)]
    await until(async () => (await observer.readAll(output)).length >= 2_000, { within: 30_000, what: 'all records' })
    for (const child of both) child.kill('SIGTERM')
    for (const child of both) expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
    const bare = (seen: Awaited<ReturnType<Observer['readAll']>>) => seen.map(({ offset: _, ...rest }) => rest)
    expect(bare(await observer.readAllJava(output))).toEqual(bare(await observer.readAllJava(input)))
    const admin = await observer.admin()
    // Its partitions wait for it, so that a restart moves nothing. (KIP-345)
    const left = (await admin.describeGroups([group])).groups[0]?.members.map(({ memberId }) => memberId.split('-')[0])
    expect(left).toEqual(['a'])
    const lags = await Promise.all([observer.committed(group, input), observer.offsets(input)])
    for (const { partition, high } of lags[1]) expect(lags[0].get(partition) ?? 0).toBe(high)
  })

  it('map-json.ts changes one field', async () => {
    const [input, output] = [await observer.createTopic(), await observer.createTopic()]
    await observer.produce(input, [{ key: 'k', value: '{"id":1,"name":"ä"}', headers: { h: 'x' } }])
    const child = start('map-json.ts', { INPUT_TOPIC: input, OUTPUT_TOPIC: output, GROUP_ID: uniqueName('json'), COMMIT_MS: '20' })
    await until(async () => (await observer.readAll(output)).length > 0, { within: 30_000, what: 'the record' })
    child.kill('SIGTERM')
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
    const [record] = await observer.readAll(output)
    expect(JSON.parse(String(record?.value))).toEqual({ id: 1, name: 'ä', processed: true })
    expect(String(record?.key)).toBe('k')
    expect(record?.headers.map(([name, value]) => [name, String(value)])).toEqual([['h', 'x']])
  })

  it.concurrent.each(Object.keys(EXAMPLES))('%s.ts does what it says on Kafka too', async (name) => {
    expect((await runExample(name, { KAFKA_BROKERS: inject('kafkaBrokers').join(',') })).trimEnd()).toBe(EXAMPLES[name]?.trimStart())
  })

  it('demo.ts checks itself on this Kafka too', async () => {
    const child = start('demo.ts')
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
    expect(child.lines.join('\n')).toContain('one member killed; every flight is accounted for, every result is right')
  })
})
