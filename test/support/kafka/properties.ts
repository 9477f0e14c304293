import type { Credentials, KafkaOptions } from './options.js'
import type { Certificate } from './tls.js'

export interface NodePorts {
  readonly client: number
  readonly internal: number
  readonly controller: number
}

/** The properties of node `index` of a KRaft cluster on this machine. */
export function serverProperties(
  index: number,
  ports: readonly NodePorts[],
  dataDirectory: string,
  options: KafkaOptions,
  certificate: Certificate | undefined,
): Record<string, string> {
  const own = ports[index]
  if (own === undefined) throw new RangeError(`no node ${index} among ${ports.length}`)
  const voters = controllers(ports.length)
  const isController = index < voters
  const replicas = String(Math.min(3, ports.length))
  const minIsr = ports.length >= 3 ? '2' : '1'

  const listeners = [`CLIENT://127.0.0.1:${own.client}`, `INTERNAL://127.0.0.1:${own.internal}`]
  return {
    'process.roles': isController ? 'broker,controller' : 'broker',
    'node.id': String(index + 1),
    'log.dirs': dataDirectory,
    'controller.quorum.voters': ports
      .slice(0, voters)
      .map((node, i) => `${i + 1}@127.0.0.1:${node.controller}`)
      .join(','),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'INTERNAL',
    listeners: [...listeners, ...(isController ? [`CONTROLLER://127.0.0.1:${own.controller}`] : [])].join(','),
    'advertised.listeners': listeners.join(','),
    // Only what clients use is guarded; the nodes talk to each other in the clear, which keeps their set-up out of the way.
    'listener.security.protocol.map': `CLIENT:${clientProtocol(options)},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,

    'auto.create.topics.enable': 'false',
    'log.retention.ms': '-1',
    'offsets.topic.num.partitions': '4',
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.num.partitions': '4',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': minIsr,
    'share.coordinator.state.topic.num.partitions': '1',
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': minIsr,
    'default.replication.factor': replicas,
    // What is acknowledged survives the loss of one broker, consumer offsets included: with 1, a replica set that had
    // shrunk to the broker that is killed next would lose records, or have no leader until it comes back.
    'min.insync.replicas': minIsr,

    // Tests want to see time-outs happen: allow short ones and look for them often.
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '500',
    'transaction.abort.timed.out.transaction.cleanup.interval.ms': '500',

    // A killed broker is noticed soon, so that another takes over its partitions, and soon let in again: the controller
    // refuses a restarted broker as a duplicate until the session of its former self has run out.
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'replica.lag.time.max.ms': '5000',

    // The cleaner's default buffer alone would take a quarter of the heap.
    'log.cleaner.dedupe.buffer.size': String(8 * 1024 * 1024),
    'num.network.threads': '2',
    'num.io.threads': '4',

    ...tlsProperties(certificate),
    ...saslProperties(options),
    ...authorizerProperties(options),
    ...options.config,
  }
}

/** Two voters would be worse than one: losing either ends the quorum. */
function controllers(nodes: number): number {
  return nodes >= 3 ? 3 : 1
}

function clientProtocol({ tls = false, sasl }: KafkaOptions): string {
  if (sasl !== undefined) return tls ? 'SASL_SSL' : 'SASL_PLAINTEXT'
  return tls ? 'SSL' : 'PLAINTEXT'
}

function tlsProperties(certificate: Certificate | undefined): Record<string, string> {
  if (certificate === undefined) return {}
  return {
    'listener.name.client.ssl.keystore.type': 'PKCS12',
    'listener.name.client.ssl.keystore.location': certificate.keystore,
    'listener.name.client.ssl.keystore.password': certificate.password,
    'listener.name.client.ssl.key.password': certificate.password,
  }
}

/** The users that may log in: the administrator first. */
export function users({ sasl, authorizer }: KafkaOptions): Credentials[] {
  if (sasl === undefined) return []
  return authorizer === undefined ? [sasl] : [sasl, authorizer.unprivileged]
}

function saslProperties(options: KafkaOptions): Record<string, string> {
  const { sasl } = options
  if (sasl === undefined) return {}
  const mechanism = sasl.mechanism.toLowerCase()
  // SCRAM users live in the metadata log, written when the storage is formatted; PLAIN users only here.
  const login =
    sasl.mechanism === 'PLAIN'
      ? `org.apache.kafka.common.security.plain.PlainLoginModule required ${users(options)
          .map(({ username, password }) => `user_${username}="${password}"`)
          .join(' ')};`
      : sasl.mechanism === 'OAUTHBEARER'
        ? 'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        : 'org.apache.kafka.common.security.scram.ScramLoginModule required;'
  return {
    'sasl.enabled.mechanisms': sasl.mechanism,
    [`listener.name.client.${mechanism}.sasl.jaas.config`]: login,
  }
}

function authorizerProperties({ sasl, authorizer }: KafkaOptions): Record<string, string> {
  if (authorizer === undefined) return {}
  if (sasl === undefined) throw new Error('an authorizer needs users to tell apart: set sasl too')
  return {
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    // The nodes themselves are ANONYMOUS to each other; no client can be, as the client listener asks for a login.
    'super.users': `User:ANONYMOUS;User:${sasl.username}`,
    'allow.everyone.if.no.acl.found': 'false',
  }
}

/** As a .properties file, where backslashes are the only thing in need of escaping here. */
export function formatProperties(properties: Readonly<Record<string, string>>): string {
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n`)
    .join('')
}
