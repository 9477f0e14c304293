import type { Fault } from '../run.js'
import { brokerFaults, replicatedFaults } from './brokers.js'
import { diskFaults } from './disk.js'
import { foreignFaults } from './foreign.js'
import { networkFaults } from './network.js'
import { processFaults } from './processes.js'
import { redisFaults } from './redis.js'
import { topicFaults } from './topics.js'
import { idleZombie, zombieFaults } from './zombies.js'

export const FAULTS: readonly Fault[] = [
  ...processFaults,
  ...zombieFaults,
  idleZombie,
  ...networkFaults,
  ...redisFaults,
  ...foreignFaults,
  ...brokerFaults,
  ...replicatedFaults,
  ...topicFaults,
  ...diskFaults,
]
