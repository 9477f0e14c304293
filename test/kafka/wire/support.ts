import { createKafkaLog, type KafkaLogOptions } from '../../../src/kafka/client.js'
import type { LogClient } from '../../../src/log/port.js'
import { silentLogger } from '../../../src/record/logger.js'

export { SUBSCRIPTION, batchOf, drain, producer, readAll, soleMember, uniqueName, type ReadOptions } from '../../contract/support.js'

export function client(brokers: readonly string[], options: Partial<KafkaLogOptions> = {}): LogClient {
  return createKafkaLog({ brokers, clientId: 'test', logger: silentLogger, ...options })
}
