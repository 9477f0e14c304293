import { afterEach } from 'vitest'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const kits: TestKit[] = []

export const START = 1_000_000

/** A kit with topics in, out and dead, at virtual time START; stopped after its test. */
export async function inOutDeadKit(partitions = 1): Promise<TestKit> {
  const kit = (await createTestKit({
    topics: { in: { partitions }, out: { partitions }, dead: { partitions } },
    start: START,
  })) as unknown as TestKit
  kits.push(kit)
  return kit
}

afterEach(async () => {
  for (const kit of kits.splice(0)) await kit.stop()
})
