export { createTestKit, type KitReadOptions, type TestKit, type TestKitOptions } from './test-kit.js'
export type { RunningPipeline } from './running-pipeline.js'
export type { FeedRecord, TestTopic, TestTopics, TopicKey, TopicSerdes, TopicValue, WrittenRecord } from './topic-records.js'
export { sliceOf, type SliceOptions, type SliceRecords, type SliceRun, type TypedRecordStream } from './slice-of.js'
export { VirtualClock } from './virtual-clock.js'
export { clockScheduler } from './clock-scheduler.js'
export type { ClaimStoreCase } from './claim-store-case.js'
export { claimStoreContract } from './claim-store-contract.js'
export { exclusiveIdsContract } from './exclusive-ids-contract.js'

export {
  createEmbeddedBroker,
  type EmbeddedBroker,
  type EmbeddedBrokerOptions,
  type GroupSnapshot,
  type OpenTransaction,
  type StoredRecord,
} from '../embedded/broker.js'
export type { FailingCall, Fault, FaultPoint, InjectedFault, SlowCall } from '../embedded/faults.js'
export type { Clock } from '../record/clock.js'
export { record, type NewRecord } from '../record/record.js'
export { externalStoreContract, type ExternalStoreCase, type ExternalStoreHarness } from './external-store-contract.js'
