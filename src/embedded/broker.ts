import type { LogClient, PartitionOffset } from '../log/port.js'
import { systemClock, type Clock } from '../record/clock.js'
import { EmbeddedClient, type BrokerParts } from './client.js'
import { Faults } from './faults.js'
import type { GroupState } from './group.js'
import { Groups } from './groups.js'
import { storedRecords, type StoredRecord } from './stored-records.js'
import { Topics } from './topics.js'
import { Transactions, type OpenTransaction } from './transactions.js'

export type { GroupState, OpenTransaction, StoredRecord }

export interface EmbeddedBrokerOptions {
  /** Default: the system's. Sessions, rebalances and transaction timeouts run by it. */
  readonly clock?: Clock
  /** Partitions of a topic that is created without saying how many. Default 1. */
  readonly defaultPartitions?: number
}

/** A group as it is now. */
export interface GroupSnapshot {
  readonly group: string
  readonly state: GroupState
  readonly generation: number
  readonly leader: string | undefined
  readonly members: readonly { readonly memberId: string; readonly instanceId: string | undefined }[]
}

/** A broker in this process: partitions, groups, transactions, and handles for tests. */
export interface EmbeddedBroker {
  /** One set of connections. */
  client(): LogClient
  /** Errors and delays to answer with. */
  readonly faults: Faults
  /** Has all members of a group join again. */
  rebalance(group: string): void
  /** Ends the sessions of a group's members now; of all, unless one is named. */
  expire(group: string, memberId?: string): void
  /** Deletes the records before an offset, as retention would. */
  truncate(at: PartitionOffset): void
  /**
   * Plays an unclean election: the new leader has only what lies before `offset`, in whole batches, and what is written from here on takes
   * those offsets anew.
   */
  electUncleanly(at: PartitionOffset): void
  /** Makes them `count` in all, while pipelines run. @throws LogError MISSING_TOPIC, BROKER_REFUSED */
  addPartitions(topic: string, count: number): void
  /** Readers get nothing more, of one topic or of all, until `resume`. */
  pause(topic?: string): void
  resume(topic?: string): void
  /**
   * What a topic holds, by partition and offset. 'read_committed' (default) ends at the first open transaction. @throws LogError
   * MISSING_TOPIC
   */
  records(topic: string, isolation?: 'read_committed' | 'read_uncommitted'): Promise<StoredRecord[]>
  members(group: string): readonly string[]
  groups(): readonly GroupSnapshot[]
  /** What a group has committed, without waiting for transactions that are about to move it. */
  offsets(group: string): readonly PartitionOffset[]
  openTransactions(): readonly OpenTransaction[]
}

/** Makes a broker that lives as long as this process. */
export function createEmbeddedBroker({ clock = systemClock, defaultPartitions = 1 }: EmbeddedBrokerOptions = {}): EmbeddedBroker {
  const topics = new Topics(defaultPartitions)
  const groups = new Groups(clock)
  const transactions = new Transactions(topics, groups, clock)
  const faults = new Faults(clock)
  const parts: BrokerParts = { clock, topics, groups, transactions, faults }
  const membersOf = (group: string): string[] => groups.group(group).memberList.map(({ id }) => id)
  return {
    faults,
    client: () => new EmbeddedClient(parts),
    rebalance: (group) => groups.group(group).rebalance(),
    expire(group, memberId) {
      for (const id of memberId === undefined ? membersOf(group) : [memberId]) groups.group(group).expire(id)
    },
    truncate: (at) => topics.partition(at).truncate(at.offset),
    electUncleanly: (at) => topics.partition(at).elect(at.offset),
    addPartitions: (topic, count) => topics.addPartitions(topic, count),
    pause: (topic) => topics.pause(topic),
    resume: (topic) => topics.resume(topic),
    async records(topic, isolation = 'read_committed') {
      const parts = await Promise.all(
        topics.logs(topic).map((log, partition) => storedRecords(log, topic, partition, isolation === 'read_committed')),
      )
      return parts.flat()
    },
    members: membersOf,
    groups: () =>
      groups.names.map((group) => {
        const { state, generation, leaderId, memberList } = groups.group(group)
        return {
          group,
          state,
          generation,
          leader: leaderId,
          members: memberList.map(({ id, instanceId }) => ({ memberId: id, instanceId })),
        }
      }),
    offsets: (group) => groups.offsets(group).all(),
    openTransactions: () => transactions.open(),
  }
}
