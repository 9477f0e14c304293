import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import type { KafkaOptions } from '../index.js'
import { UsageError } from './usage.js'

type Environment = Readonly<Record<string, string | undefined>>

export const CONNECTION_OPTIONS = {
  brokers: { type: 'string', multiple: true },
  config: { type: 'string' },
} as const

export const CONNECTION_HELP = `Connection:
  --brokers host:port,...   some of the brokers; or KAFKA_BROKERS
  --config <file>           JSON: { "brokers": [...], "ssl": true | { "ca", "cert", "key", "servername", "rejectUnauthorized" },
                            "sasl": { "mechanism", "username", "password" } }; ca, cert and key are files, seen from this one
  TLS and SASL without a file: KAFKA_SSL=true, KAFKA_SSL_CA, KAFKA_SSL_CERT, KAFKA_SSL_KEY (files),
  KAFKA_SASL_MECHANISM (plain, scram-sha-256, scram-sha-512), KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD.
  Options go before the environment, the environment before the file.
`

const file = z.string().min(1)
const tls = z.strictObject({
  ca: file.optional(),
  cert: file.optional(),
  key: file.optional(),
  servername: z.string().optional(),
  rejectUnauthorized: z.boolean().optional(),
})
const sasl = z.strictObject({ mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']), username: z.string(), password: z.string() })
const schema = z.strictObject({
  brokers: z.array(z.string()).optional(),
  clientId: z.string().optional(),
  ssl: z.union([z.boolean(), tls]).optional(),
  sasl: sasl.optional(),
})

type Connection = z.output<typeof schema>

/** How to reach the brokers. @throws UsageError */
export function connectionOf(
  { brokers, config }: { readonly brokers?: readonly string[] | undefined; readonly config?: string | undefined },
  env: Environment,
): KafkaOptions {
  const stored = config === undefined ? {} : fromFile(config)
  const given = fromEnvironment(env)
  const addresses = brokers?.flatMap(listOf) ?? given.brokers ?? stored.brokers
  if (addresses === undefined) throw new UsageError('--brokers: name at least one broker, as host:port')
  const merged = { ...stored, ...given }
  return {
    brokers: addresses,
    ...(merged.clientId === undefined ? {} : { clientId: merged.clientId }),
    ...(merged.ssl === undefined ? {} : { ssl: typeof merged.ssl === 'boolean' ? merged.ssl : read(merged.ssl) }),
    ...(merged.sasl === undefined ? {} : { sasl: merged.sasl as NonNullable<KafkaOptions['sasl']> }),
  }
}

const listOf = (text: string): string[] => text.split(',').map((address) => address.trim())

function fromFile(path: string): Connection {
  let content: unknown
  try {
    content = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new UsageError(`--config: ${path}: ${(error as Error).message}`)
  }
  const connection = checked(content, `--config: ${path}`)
  if (typeof connection.ssl !== 'object') return connection
  const { ca, cert, key, ...rest } = connection.ssl
  const near = (name: string | undefined): string | undefined => (name === undefined ? undefined : resolve(dirname(path), name))
  return { ...connection, ssl: { ...rest, ca: near(ca), cert: near(cert), key: near(key) } }
}

function fromEnvironment(env: Environment): Connection {
  const {
    KAFKA_BROKERS,
    KAFKA_SSL,
    KAFKA_SSL_CA: ca,
    KAFKA_SSL_CERT: cert,
    KAFKA_SSL_KEY: key,
    KAFKA_SASL_MECHANISM,
    KAFKA_SASL_USERNAME: username = '',
    KAFKA_SASL_PASSWORD: password = '',
  } = env
  if (KAFKA_SSL !== undefined && KAFKA_SSL !== 'true' && KAFKA_SSL !== 'false')
    throw new UsageError(`KAFKA_SSL: expected true or false, got '${KAFKA_SSL}'`)
  const files = Object.fromEntries(Object.entries({ ca, cert, key }).filter(([, path]) => path !== undefined))
  const ssl = KAFKA_SSL === 'false' ? false : Object.keys(files).length > 0 ? files : KAFKA_SSL === 'true' ? true : undefined
  return checked(
    {
      ...(KAFKA_BROKERS === undefined ? {} : { brokers: listOf(KAFKA_BROKERS) }),
      ...(ssl === undefined ? {} : { ssl }),
      ...(KAFKA_SASL_MECHANISM === undefined ? {} : { sasl: { mechanism: KAFKA_SASL_MECHANISM.toLowerCase(), username, password } }),
    },
    'environment (KAFKA_*)',
  )
}

function checked(content: unknown, where: string): Connection {
  const result = schema.safeParse(content)
  if (result.success) return result.data
  const problems = result.error.issues.map((issue) =>
    issue.code === 'unrecognized_keys' ? `unknown: ${issue.keys.join(', ')}` : `${issue.path.join('.')}: ${issue.message}`,
  )
  throw new UsageError(`${where}: ${problems.join('; ')}`)
}

function read({ ca, cert, key, servername, rejectUnauthorized }: z.output<typeof tls>): Exclude<NonNullable<KafkaOptions['ssl']>, boolean> {
  const content = (name: 'ca' | 'cert' | 'key', path: string | undefined) => {
    if (path === undefined) return {}
    try {
      return { [name]: readFileSync(path, 'utf8') }
    } catch (error) {
      throw new UsageError(`${name} of TLS: ${(error as Error).message}`)
    }
  }
  return {
    ...content('ca', ca),
    ...content('cert', cert),
    ...content('key', key),
    ...(servername === undefined ? {} : { servername }),
    ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
  }
}
