export interface Credentials {
  readonly username: string
  readonly password: string
}

export interface SaslOptions extends Credentials {
  /** With OAUTHBEARER the password is of no use: whoever says to be a user in an unsigned token is believed. */
  readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512' | 'OAUTHBEARER'
}

export interface KafkaOptions {
  /** Which Kafka; the current one unless told. 3.9 knows the first transaction protocol only. */
  readonly release?: '4.3' | '3.9'
  /** How many; 1 unless told. From 3 on every broker is a voting controller too, so any single one may be killed. */
  readonly brokers?: number
  /** The finalised `transaction.version`: 2 (KIP-890, the default) or 0 (as before Kafka 4). */
  readonly transactionVersion?: 0 | 2
  /** Further server properties; they win over the defaults here. */
  readonly config?: Readonly<Record<string, string>>
  /** Clients must log in, as this user. */
  readonly sasl?: SaslOptions
  /** Clients must use TLS; `connection.ssl.ca` of the server holds what they need to trust. */
  readonly tls?: boolean
  /** ACLs are enforced: the `sasl` user may do everything, this second user nothing. Needs `sasl`. */
  readonly authorizer?: { readonly unprivileged: Credentials }
  /** Each broker's data is on a disk of its own of so many megabytes, which can be filled: for whoever may mount one. */
  readonly diskMb?: number
  /** Heap of each broker, as -Xmx takes it. */
  readonly heap?: string
  /** Further JVM options. They come last, so they win. */
  readonly jvm?: readonly string[]
}

/** How to reach the cluster, in the shape that kafkajs takes. */
export interface KafkaConnection {
  readonly brokers: string[]
  readonly ssl?: { readonly ca: string[] }
  readonly sasl?:
    | { readonly mechanism: 'plain'; readonly username: string; readonly password: string }
    | { readonly mechanism: 'scram-sha-256'; readonly username: string; readonly password: string }
    | { readonly mechanism: 'scram-sha-512'; readonly username: string; readonly password: string }
    | {
        readonly mechanism: 'oauthbearer'
        readonly username: string
        readonly oauthBearerProvider: () => Promise<{ readonly value: string }>
      }
}

/** kafkajs writes into the sasl object that it is given. */
export function copied(connection: KafkaConnection): KafkaConnection {
  return { ...connection, ...(connection.sasl === undefined ? {} : { sasl: { ...connection.sasl } }) }
}
