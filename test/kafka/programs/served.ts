import { kafka, serveStatus, silentLogger, toTopic, withTransaction, type Cluster, type StatusServer } from '../../../src/index.js'

/** A member of a group that copies, and serves its status with a page that asks the others. */
export async function servedMember(
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ readonly cluster: Cluster; readonly server: StatusServer; readonly address: string }> {
  const { KAFKA_BROKERS = '', GROUP = '', INPUT = '', OUTPUT = '', TOKEN = '' } = env
  const cluster = kafka({ brokers: KAFKA_BROKERS.split(','), logger: silentLogger })
  const server = await serveStatus(cluster, { port: 0, token: TOKEN, peers: true, commands: true })
  const address = `127.0.0.1:${server.port}`
  cluster
    .source({ group: GROUP, topics: [INPUT], address })
    .pipe(withTransaction((records) => records.pipe(toTopic({ topic: OUTPUT })), { every: '50ms' }))
    .subscribe()
  return { cluster, server, address }
}
