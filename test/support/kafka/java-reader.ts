import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Admin, Kafka } from 'kafkajs'
import type { Isolation, SeenRecord } from './client.js'
import { resolveKafka } from './distribution.js'
import { runJava } from './jvm.js'
import { offsetsOf } from './kafkajs-reader.js'
import type { KafkaConnection } from './options.js'
import { formatProperties } from './properties.js'

export interface JavaRead {
  readonly connection: KafkaConnection
  readonly admin: Admin
  readonly kafka: Kafka
  readonly topic: string
  readonly isolation: Isolation
  readonly within: number
}

/**
 * Reads a topic with Kafka's console consumer. That program cannot tell the end of a topic from a pause: it stops when
 * nothing came for a while. So it reads as a group, which stores how far it got, and the reading counts only if that is
 * as far as the topic went when it began; if not, it is done again with more patience.
 */
export async function readThroughJava(read: JavaRead): Promise<SeenRecord[]> {
  const { kafka, topic, isolation, within } = read
  const libs = await resolveKafka()
  const ends = await offsetsOf(kafka, topic, isolation)
  const deadline = performance.now() + within
  for (let patience = 1_500; ; patience *= 2) {
    const group = `console-${randomUUID()}`
    const { records, log } = await consume(libs, read, group, patience)
    const reached = await storedOffsets(read, group)
    if (ends.every(({ partition, low, high }) => low === high || (reached.get(partition) ?? 0) >= high)) return records
    if (performance.now() > deadline) {
      throw new Error(`Kafka's console consumer did not get to the end of ${topic} within ${within} ms:\n${log}`)
    }
  }
}

async function consume(
  libs: string,
  { connection, topic, isolation, within }: JavaRead,
  group: string,
  patience: number,
): Promise<{ records: SeenRecord[]; log: string }> {
  const scratch = await mkdtemp(join(tmpdir(), 'millrace-console-'))
  try {
    const config = join(scratch, 'consumer.properties')
    await writeFile(config, formatProperties({ ...clientProperties(connection), 'auto.offset.reset': 'earliest' }))
    const properties = { ...FORMAT, 'null.literal': NULL }
    const args = [
      ...['--bootstrap-server', connection.brokers.join(','), '--topic', topic, '--group', group],
      ...['--isolation-level', isolation, '--timeout-ms', String(patience), '--command-config', config],
      ...Object.entries(properties).flatMap(([name, value]) => ['--formatter-property', `${name}=${value}`]),
    ]
    const { stdout, stderr } = await runJava(libs, 'org.apache.kafka.tools.consumer.ConsoleConsumer', args, within)
    return { records: parse(stdout), log: stderr }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

async function storedOffsets({ admin, topic }: JavaRead, group: string): Promise<Map<number, number>> {
  const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  await admin.deleteGroups([group]).catch(() => undefined)
  return new Map((found?.partitions ?? []).map(({ partition, offset }) => [partition, Number(offset)]))
}

// This deserializer's result prints as ASCII, with any other byte, and the backslash, as \xHH: so lines and tabs part
// records and fields without doubt, whatever bytes the records hold.
const BYTES = 'org.apache.kafka.common.serialization.BytesDeserializer'
const HEADER_END = '\u0001'
/** The formatter passes its word for null through the same printing, so the word must be one that no record holds. */
const NULL = `null:${randomUUID()}`
const FORMAT = {
  'print.timestamp': 'true',
  'print.partition': 'true',
  'print.offset': 'true',
  'print.headers': 'true',
  'print.key': 'true',
  'print.value': 'true',
  'key.separator': '\t',
  'line.separator': '\n',
  'headers.separator': HEADER_END,
  'key.deserializer': BYTES,
  'value.deserializer': BYTES,
  'headers.deserializer': BYTES,
}

/** "CreateTime:1700000000000 Partition:0 Offset:12 name:value key value", parted by tabs. */
function parse(output: string): SeenRecord[] {
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [timestamp, partition, offset, headers, key, value, ...rest] = line.split('\t')
      if (value === undefined || rest.length > 0) throw new Error(`not a record of the console consumer: ${line}`)
      return {
        partition: afterColon(partition!),
        offset: afterColon(offset!),
        timestamp: afterColon(timestamp!),
        headers: parseHeaders(headers!),
        key: unprint(key!),
        value: unprint(value),
      }
    })
    .sort((a, b) => a.partition - b.partition || a.offset - b.offset)
}

function afterColon(field: string): number {
  return field === 'NO_TIMESTAMP' ? -1 : Number(field.slice(field.indexOf(':') + 1))
}

/** Names are printed as they are, so one with a colon is parted wrongly; tests have none. */
function parseHeaders(field: string): SeenRecord['headers'] {
  if (field === 'NO_HEADERS') return []
  return field.split(HEADER_END).map((header) => {
    const colon = header.indexOf(':')
    return [header.slice(0, colon), unprint(header.slice(colon + 1))] as const
  })
}

function unprint(printed: string): Buffer | null {
  if (printed === NULL) return null
  const binary = printed.replace(/\\x([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
  return Buffer.from(binary, 'latin1')
}

function clientProperties({ ssl, sasl }: KafkaConnection): Record<string, string> {
  const protocol = sasl === undefined ? (ssl === undefined ? 'PLAINTEXT' : 'SSL') : ssl === undefined ? 'SASL_PLAINTEXT' : 'SASL_SSL'
  const properties: Record<string, string> = { 'security.protocol': protocol }
  if (ssl !== undefined) {
    properties['ssl.truststore.type'] = 'PEM'
    properties['ssl.truststore.certificates'] = ssl.ca.join('\n').replaceAll('\r', '')
  }
  if (sasl !== undefined) {
    const login =
      sasl.mechanism === 'oauthbearer'
        ? `oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="${sasl.username}"`
        : `${sasl.mechanism === 'plain' ? 'plain.Plain' : 'scram.Scram'}LoginModule required username="${sasl.username}" password="${sasl.password}"`
    properties['sasl.mechanism'] = sasl.mechanism.toUpperCase()
    properties['sasl.jaas.config'] = `org.apache.kafka.common.security.${login};`
  }
  return properties
}
