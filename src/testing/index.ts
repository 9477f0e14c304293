export { createEmbeddedBroker, type EmbeddedBroker, type EmbeddedBrokerOptions } from '../embedded/broker.js'
export type { Fault, FaultPoint } from '../embedded/faults.js'
export type { Clock } from '../record/clock.js'
export { record, type NewRecord } from '../record/record.js'
