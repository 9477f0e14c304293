import type { Fault } from '../run.js'
import { brokerFaults, replicatedFaults } from './brokers.js'
import { networkFaults } from './network.js'
import { processFaults } from './processes.js'

export const FAULTS: readonly Fault[] = [...processFaults, ...networkFaults, ...brokerFaults, ...replicatedFaults]
