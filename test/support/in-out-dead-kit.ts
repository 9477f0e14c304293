import { afterEach } from 'vitest'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const kits: TestKit[] = []

/** A kit with topics in, out and dead, at virtual time `start`; stopped after its test. */
export async function inOutDeadKit(partitions = 1, start = 1_000_000): Promise<TestKit> {
  const kit = (await createTestKit({ topics: { in: { partitions }, out: { partitions }, dead: { partitions } }, start })) as unknown as TestKit
  kits.push(kit)
  return kit
}

afterEach(async () => {
  for (const kit of kits.splice(0)) await kit.stop()
})
