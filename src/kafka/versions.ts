import { logError } from '../log/error.js'
import { AddOffsetsToTxn } from './protocol/add-offsets-to-txn.js'
import { AddPartitionsToTxn } from './protocol/add-partitions-to-txn.js'
import { ApiVersions, type VersionRange } from './protocol/api-versions.js'
import { CreateTopics } from './protocol/create-topics.js'
import { DeleteTopics } from './protocol/delete-topics.js'
import { DescribeConfigs } from './protocol/describe-configs.js'
import { DescribeTransactions } from './protocol/describe-transactions.js'
import { EndTxn, EndTxnBumpingEpoch } from './protocol/end-txn.js'
import { Fetch, FetchWithoutEpoch } from './protocol/fetch.js'
import { FindCoordinator } from './protocol/find-coordinator.js'
import { Heartbeat } from './protocol/heartbeat.js'
import { INIT_PRODUCER_ID_VERSIONS, initProducerId } from './protocol/init-producer-id.js'
import { JoinGroup } from './protocol/join-group.js'
import { LeaveGroup } from './protocol/leave-group.js'
import { ListOffsets } from './protocol/list-offsets.js'
import { Metadata } from './protocol/metadata.js'
import { OffsetCommit } from './protocol/offset-commit.js'
import { OffsetFetch } from './protocol/offset-fetch.js'
import { Produce, ProduceImplicit } from './protocol/produce.js'
import { SyncGroup } from './protocol/sync-group.js'
import { TxnOffsetCommit, TxnOffsetCommitImplicit } from './protocol/txn-offset-commit.js'

/** What a request needs to be known by. */
export interface Versioned {
  readonly key: number
  readonly name: string
  readonly version: number
}

/** When a request is made: always, in one of the two transaction protocols, or where there is a log-in. */
export type Use = 'always' | 'protocol 1' | 'protocol 2' | 'sasl'

/** The versions of a request that are written here, of which the broker must know one. */
export interface Spoken {
  readonly use: Use
  readonly versions: readonly Versioned[]
}

const spoken = (use: Use, ...versions: readonly Versioned[]): Spoken => ({ use, versions })

/** What kafkajs writes of the log-in. */
const SASL_HANDSHAKE = [0, 1].map((version) => ({ key: 17, name: 'SaslHandshake', version }))
const SASL_AUTHENTICATE = [0, 1].map((version) => ({ key: 36, name: 'SaslAuthenticate', version }))

/**
 * Every request that is made, with its versions. OffsetFetch makes the brokers before Kafka 2.5 too old: they hand out offsets that are not
 * stable. (KIP-447)
 */
export const REQUESTS: readonly Spoken[] = [
  spoken('always', ApiVersions),
  spoken('always', Metadata),
  spoken('always', FindCoordinator),
  spoken('always', Fetch, FetchWithoutEpoch),
  spoken('always', ListOffsets),
  spoken('always', Produce),
  spoken('always', ...INIT_PRODUCER_ID_VERSIONS.map(initProducerId)),
  spoken('always', OffsetCommit),
  spoken('always', OffsetFetch),
  spoken('always', JoinGroup),
  spoken('always', SyncGroup),
  spoken('always', Heartbeat),
  spoken('always', LeaveGroup),
  spoken('always', CreateTopics),
  spoken('always', DeleteTopics),
  spoken('always', DescribeConfigs),
  spoken('protocol 1', AddPartitionsToTxn),
  spoken('protocol 1', AddOffsetsToTxn),
  spoken('protocol 1', TxnOffsetCommit),
  spoken('protocol 1', EndTxn),
  spoken('protocol 2', ProduceImplicit),
  spoken('protocol 2', TxnOffsetCommitImplicit),
  spoken('protocol 2', EndTxnBumpingEpoch),
  spoken('protocol 2', DescribeTransactions),
  spoken('sasl', ...SASL_HANDSHAKE),
  spoken('sasl', ...SASL_AUTHENTICATE),
]

const OLDEST_KAFKA = '2.5'

export type Versions = ReadonlyMap<number, VersionRange>

/** Whether the broker knows all that the second transaction protocol takes. */
export function knowsProtocol2(known: Versions): boolean {
  return knowsAll(known, 'protocol 2')
}

/** What both know. */
export function common(some: Versions, others: Versions): Versions {
  const both = new Map<number, VersionRange>()
  for (const [key, { min, max }] of some) {
    const other = others.get(key)
    if (other !== undefined) both.set(key, { min: Math.max(min, other.min), max: Math.min(max, other.max) })
  }
  return both
}

/**
 * Compares what is spoken here with what a broker knows.
 *
 * @throws LogError BROKER_TOO_OLD where the broker lacks what came with later versions; BROKER_REFUSED where it has dropped what is spoken
 * here, or does not offer a request at all
 */
export function checkVersions(broker: string, known: Versions, logsIn: boolean): void {
  // Either protocol will do. Where neither is whole, what is missing of the first tells most.
  const uses: Use[] = ['always', ...(logsIn ? (['sasl'] as const) : []), ...(knowsProtocol2(known) ? [] : (['protocol 1'] as const))]
  const lacking = REQUESTS.filter(({ use, versions }) => uses.includes(use) && !knowsOne(known, versions))
  if (lacking.length === 0) return
  const old = lacking.filter(({ versions }) => (known.get(keyOf(versions))?.max ?? Infinity) < lowest(versions))
  const dropped = lacking.filter(({ versions }) => (known.get(keyOf(versions))?.min ?? -Infinity) > highest(versions))
  if (old.length > 0)
    throw tooOld(
      broker,
      `it knows ${list(old, (spoken) => `${name(spoken)} up to v${range(known, spoken)?.max}, not v${lowest(spoken.versions)}`)}`,
    )
  const what =
    dropped.length > 0
      ? `no longer takes ${list(dropped, (spoken) => `${name(spoken)} v${highest(spoken.versions)}, only v${range(known, spoken)?.min} and later`)}: this version of millrace is too old for it`
      : `does not offer ${list(lacking, name)}: it is not a Kafka that this version of millrace knows`
  throw logError('BROKER_REFUSED', 'fatal', `the broker at ${broker} ${what}`)
}

/** For one that does not even know the question. */
export function tooOld(broker: string, why: string): Error {
  const text = `the broker at ${broker} is older than Kafka ${OLDEST_KAFKA} (${why}), so it cannot hand out stable offsets (KIP-447): upgrade it to ${OLDEST_KAFKA} or later`
  return logError('BROKER_TOO_OLD', 'fatal', text)
}

function knowsAll(known: Versions, use: Use): boolean {
  return REQUESTS.every((request) => request.use !== use || knowsOne(known, request.versions))
}

function knowsOne(known: Versions, versions: readonly Versioned[]): boolean {
  return versions.some(({ key, version }) => {
    const range = known.get(key)
    return range !== undefined && range.min <= version && version <= range.max
  })
}

function range(known: Versions, { versions }: Spoken): VersionRange | undefined {
  return known.get(keyOf(versions))
}

function keyOf(versions: readonly Versioned[]): number {
  return (versions[0] as Versioned).key
}

function name({ versions }: Spoken): string {
  return (versions[0] as Versioned).name
}

function lowest(versions: readonly Versioned[]): number {
  return Math.min(...versions.map(({ version }) => version))
}

function highest(versions: readonly Versioned[]): number {
  return Math.max(...versions.map(({ version }) => version))
}

function list(requests: readonly Spoken[], text: (request: Spoken) => string): string {
  return requests.map(text).join('; ')
}
