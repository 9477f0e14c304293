import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { idempotentService, type IdempotentService } from '../support/idempotent-service.js'
import { uniqueName } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { until } from '../support/until.js'

const COUNT = 600

describe('an HTTP service with idempotency keys', () => {
  const { observer, start } = kafkaSuite()
  let service: IdempotentService

  beforeEach(async () => {
    service = await idempotentService()
  })
  afterEach(() => service.close())

  it('each record takes effect once, though the caller is killed in the middle, twice, and calls fail after they took effect', async () => {
    const [input, output] = [await observer.createTopic({ partitions: 2 }), await observer.createTopic({ partitions: 2 })]
    await observer.produce(
      input,
      Array.from({ length: COUNT }, (_, i) => ({ key: `k${i % 50}`, value: `"order ${i}"` })),
    )
    // With an instance id, who comes next need not wait for the session of the killed one to end.
    const env = {
      INSTANCE_ID: 'one',
      INPUT_TOPIC: input,
      OUTPUT_TOPIC: output,
      GROUP_ID: uniqueName('billing'),
      SERVICE_URL: service.url,
      COMMIT_MS: '2000',
    }
    const run = () => start(new URL('../../examples/charge-http.ts', import.meta.url), env)
    for (const calls of [100, 350]) {
      const child = run()
      await until(() => service.calls >= calls, { within: 40_000, what: `${calls} calls` })
      child.kill('SIGKILL')
      await child.ended
    }
    const last = run()
    await until(async () => (await observer.readAll(output)).length >= COUNT, { within: 60_000, what: 'all receipts' })
    last.kill('SIGTERM')
    expect(await last.ended, last.errors).toEqual({ code: 0, signal: null })
    expect(service.repeated).toBeGreaterThan(0)
    expect(service.misused).toEqual([])
    expect(service.effects.size).toBe(COUNT)
    expect(new Set(service.effects.values())).toEqual(new Set([1]))
    expect(await observer.readAll(output)).toHaveLength(COUNT)
  }, 120_000)
})
