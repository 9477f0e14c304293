import { describe, it } from 'vitest'
import { createEmbeddedBroker } from '../../src/embedded/broker.js'
import { runCase } from '../contract/case.js'
import { logContract } from '../contract/log-contract.js'

describe('the log port in this process', () => {
  const broker = createEmbeddedBroker()

  it.each(logContract)('$name', (contractCase) =>
    runCase(contractCase, { open: () => broker.client(), deleteBefore: async (at) => broker.truncate(at) }),
  )
})
