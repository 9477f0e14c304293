import { randomBytes } from 'node:crypto'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Kafka, logLevel, type Admin } from 'kafkajs'
import { Hopeless, until } from '../until.js'
import { resolveKafka } from './distribution.js'
import { startJvm, type Jvm, type JvmOptions } from './jvm.js'
import { copied, type Credentials, type KafkaConnection, type KafkaOptions } from './options.js'
import { freePorts } from './ports.js'
import { formatProperties, serverProperties, users, type NodePorts } from './properties.js'
import { createCertificate, type Certificate } from './tls.js'
import { unsignedToken } from './tokens.js'

const run = promisify(execFile)

export type { Credentials, KafkaConnection, KafkaOptions, SaslOptions } from './options.js'

export interface KafkaServer {
  /** `host:port` of each broker; the place in this list is the `brokerIndex` below. Broker `i` has node id `i + 1`. */
  readonly brokers: string[]
  /** How to connect as the administrator (or as anyone, where nobody logs in). */
  readonly connection: KafkaConnection
  /** How to connect as the user without rights; only with `authorizer`. */
  readonly unprivileged?: KafkaConnection
  /** Where the first broker logs. */
  readonly logFile: string
  /** Where each broker logs. */
  readonly logFiles: readonly string[]
  /** Where each broker has its data. */
  readonly dataDirectories: readonly string[]
  /** Sends a signal to one broker, or to all; after SIGKILL or SIGTERM resolves when they are gone. */
  kill(signal: NodeJS.Signals, brokerIndex?: number): Promise<void>
  /**
   * Starts a broker again on its data and its port (killing it first if it still runs) and waits until it serves and its
   * replicas are in sync: before that, the next broker to go would be one too many.
   */
  restart(brokerIndex?: number): Promise<void>
  /** Kills every broker and removes all data. Safe to call twice. */
  stop(): Promise<void>
}

interface Node {
  readonly id: number
  readonly config: string
  readonly logFile: string
  readonly data: string
  readonly mounted: boolean
  jvm: Jvm | undefined
}

/** A real Kafka cluster of its own, in KRaft mode, on free ports of this machine. */
export async function startKafka(options: KafkaOptions = {}): Promise<KafkaServer> {
  const libs = await resolveKafka(options.release)
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(libs, options)
    } catch (error) {
      // Ports are found free and then given up for the broker to take; now and then someone else is quicker.
      if (attempt === 3 || !String(error).includes('Address already in use')) throw error
    }
  }
}

async function startOnce(libs: string, options: KafkaOptions): Promise<KafkaServer> {
  const count = options.brokers ?? 1
  const home = await mkdtemp(join(tmpdir(), 'millrace-kafka-'))
  const nodes: Node[] = []
  try {
    const certificate = options.tls === true ? await createCertificate(home) : undefined
    const ports = await findPorts(count)
    const brokers = ports.map(({ client }) => `127.0.0.1:${client}`)
    const connection = connectionAs(options.sasl, brokers, options, certificate)
    const launch = (node: Node): void => {
      node.jvm = startJvm(launchOptions(libs, home, node, options))
    }

    const clusterId = randomBytes(16).toString('base64url')
    await Promise.all(
      ports.map(async (_, index) => {
        const node = await prepareNode(home, index, ports, options, certificate)
        nodes[index] = node
        await format(libs, home, node, clusterId, options)
        launch(node)
      }),
    )
    await Promise.all(nodes.map((node, index) => serving(node, index, nodes, connection)))

    const at = (brokerIndex: number): Node => {
      const node = nodes[brokerIndex]
      if (node === undefined) throw new RangeError(`there is no broker ${brokerIndex} among ${nodes.length}`)
      return node
    }
    return {
      brokers,
      connection,
      ...(options.authorizer === undefined
        ? {}
        : { unprivileged: connectionAs(options.authorizer.unprivileged, brokers, options, certificate) }),
      logFile: at(0).logFile,
      logFiles: nodes.map(({ logFile }) => logFile),
      dataDirectories: nodes.map(({ data }) => data),
      async kill(signal, brokerIndex) {
        await Promise.all((brokerIndex === undefined ? nodes : [at(brokerIndex)]).map((node) => send(node, signal)))
      },
      async restart(brokerIndex = 0) {
        const node = at(brokerIndex)
        await send(node, 'SIGKILL')
        launch(node)
        await serving(node, brokerIndex, nodes, connection)
        await inSync(node, { ...connection, brokers: [connection.brokers[brokerIndex] ?? ''] })
      },
      stop: () => discard(nodes, home),
    }
  } catch (error) {
    await discard(nodes, home)
    throw error
  }
}

async function findPorts(count: number): Promise<NodePorts[]> {
  const ports = await freePorts(3 * count)
  return Array.from({ length: count }, (_, i) => {
    const [client = 0, internal = 0, controller = 0] = ports.slice(3 * i, 3 * i + 3)
    return { client, internal, controller }
  })
}

async function prepareNode(
  home: string,
  index: number,
  ports: readonly NodePorts[],
  options: KafkaOptions,
  certificate: Certificate | undefined,
): Promise<Node> {
  const id = index + 1
  const data = join(home, `data-${id}`)
  const config = join(home, `server-${id}.properties`)
  await mkdir(data)
  const mounted = options.diskMb !== undefined
  if (mounted) await run('mount', ['-t', 'tmpfs', '-o', `size=${options.diskMb}m`, 'tmpfs', data])
  await writeFile(config, formatProperties(serverProperties(index, ports, data, options, certificate)))
  return { id, config, logFile: join(home, `server-${id}.log`), data, mounted, jvm: undefined }
}

/** KRaft storage carries the cluster's id, its first feature levels and its SCRAM users from the start. */
async function format(libs: string, home: string, node: Node, clusterId: string, options: KafkaOptions): Promise<void> {
  // With "=", as the id may begin with a dash.
  const args = ['format', `--cluster-id=${clusterId}`, '--config', node.config]
  if (options.transactionVersion !== undefined) {
    args.push('--feature', `transaction.version=${options.transactionVersion}`)
  }
  const { sasl } = options
  if (sasl !== undefined && sasl.mechanism.startsWith('SCRAM')) {
    for (const { username, password } of users(options)) {
      args.push('--add-scram', `${sasl.mechanism}=[name=${username},password=${password}]`)
    }
  }
  const jvm = startJvm({ libs, main: 'kafka.tools.StorageTool', args, logFile: node.logFile, scratch: home })
  await jvm.ended()
  if (jvm.exit !== 'exit code 0') {
    throw new Error(`Kafka's storage could not be formatted (${jvm.exit}):\n${await tail(node.logFile)}`)
  }
}

function launchOptions(libs: string, home: string, node: Node, options: KafkaOptions): JvmOptions {
  return {
    libs,
    main: 'kafka.Kafka',
    args: [node.config],
    jvm: [`-Xmx${options.heap ?? '512m'}`, ...(options.jvm ?? [])],
    logFile: node.logFile,
    scratch: home,
  }
}

/**
 * Waits until a broker answers a metadata request in which it and every other running broker is in service. Listening
 * is not enough: a broker listens before the controller lets it lead partitions.
 */
async function serving(node: Node, index: number, nodes: readonly Node[], connection: KafkaConnection): Promise<void> {
  try {
    await until(
      async () => {
        if (node.jvm?.exit !== undefined) {
          const log = await tail(node.logFile)
          throw new Hopeless(new Error(`Kafka broker ${node.id} ended while starting (${node.jvm.exit}):\n${log}`))
        }
        const inService = await brokersInService({ ...connection, brokers: [connection.brokers[index] ?? ''] })
        return nodes.every(({ id, jvm }) => jvm === undefined || jvm.exit !== undefined || inService.has(id))
      },
      { what: `Kafka broker ${node.id} to serve`, within: 180_000, every: 50 },
    )
  } catch (error) {
    if (node.jvm?.exit !== undefined) throw error
    throw new Error(`Kafka broker ${node.id} did not come up:\n${await tail(node.logFile)}`, { cause: error })
  }
}

/** Waits until every replica on a broker has caught up with its leader. */
async function inSync({ id }: Node, connection: KafkaConnection): Promise<void> {
  await until(
    () =>
      asking(connection, async (admin) => {
        const { topics } = await admin.fetchTopicMetadata()
        const partitions = topics.flatMap((topic) => topic.partitions)
        return partitions.every(({ replicas, isr }) => !replicas.includes(id) || isr.includes(id))
      }),
    { what: `the replicas of Kafka broker ${id} to catch up`, within: 180_000, every: 100 },
  )
}

function brokersInService(connection: KafkaConnection): Promise<Set<number>> {
  return asking(connection, async (admin) => {
    const { brokers } = await admin.describeCluster()
    return new Set(brokers.map(({ nodeId }) => nodeId))
  })
}

async function asking<T>(connection: KafkaConnection, ask: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Kafka({
    // kafkajs writes into the sasl object that it is given.
    ...copied(connection),
    clientId: 'readiness',
    logLevel: logLevel.NOTHING,
    connectionTimeout: 1_000,
    authenticationTimeout: 2_000,
    requestTimeout: 2_000,
    retry: { retries: 0 },
  }).admin()
  try {
    await admin.connect()
    return await ask(admin)
  } finally {
    await admin.disconnect()
  }
}

async function send(node: Node, signal: NodeJS.Signals): Promise<void> {
  const { jvm } = node
  if (jvm === undefined || jvm.exit !== undefined) return
  jvm.signal(signal)
  if (signal === 'SIGKILL' || signal === 'SIGTERM') await jvm.ended()
}

async function discard(nodes: readonly Node[], home: string): Promise<void> {
  await Promise.all(nodes.map((node) => send(node, 'SIGKILL')))
  for (const node of nodes.filter(({ mounted }) => mounted)) await run('umount', [node.data])
  // For a look at the brokers' logs after a failed run.
  if (process.env['MILLRACE_KEEP_KAFKA'] !== undefined) process.stderr.write(`kept ${home}\n`)
  else await rm(home, { recursive: true, force: true, maxRetries: 5 })
}

function connectionAs(
  user: Credentials | undefined,
  brokers: string[],
  { sasl }: KafkaOptions,
  certificate: Certificate | undefined,
): KafkaConnection {
  return {
    brokers,
    ...(certificate === undefined ? {} : { ssl: { ca: [certificate.pem] } }),
    ...(sasl === undefined || user === undefined
      ? {}
      : {
          sasl:
            sasl.mechanism === 'OAUTHBEARER'
              ? {
                  mechanism: 'oauthbearer',
                  username: user.username,
                  oauthBearerProvider: async () => ({ value: unsignedToken(user.username) }),
                }
              : ({
                  mechanism: sasl.mechanism.toLowerCase() as 'plain' | 'scram-sha-256' | 'scram-sha-512',
                  username: user.username,
                  password: user.password,
                } as NonNullable<KafkaConnection['sasl']>),
        }),
  }
}

/** The first complaints, which the shutdown that they lead to would push out of sight, and the end. */
async function tail(logFile: string): Promise<string> {
  const log = await readFile(logFile, 'utf8').catch(() => '')
  const lines = log.trimEnd().split('\n')
  const complaints = lines.slice(0, -20).filter((line) => /\b(ERROR|FATAL|Caused by)\b|Exception/.test(line))
  return [...complaints.slice(0, 20), ...lines.slice(-20)].join('\n')
}
