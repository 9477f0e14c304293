import { readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { initProducerId } from '../../../src/kafka/protocol/init-producer-id.js'
import { REQUESTS, checkVersions, common, knowsProtocol2, type Versioned, type Versions } from '../../../src/kafka/versions.js'

const protocol = new URL('../../../src/kafka/protocol/', import.meta.url)

/** The requests that are written in src/kafka/protocol. */
async function written(): Promise<Versioned[]> {
  const found: Versioned[] = []
  for (const file of readdirSync(protocol)) {
    const exported = Object.values((await import(new URL(file, protocol).href)) as object)
    for (const value of exported) if (typeof value === 'object' && value !== null && 'encode' in value) found.push(value as Versioned)
  }
  return [...found, ...[3, 4, 5].map((version) => initProducerId(version as 3 | 4 | 5))]
}

/** A broker that knows what is spoken here, changed as told. */
function broker(changes: Readonly<Record<string, readonly [min: number, max: number] | undefined>> = {}): Versions {
  const known = new Map<number, { min: number; max: number }>()
  for (const { versions } of REQUESTS) {
    for (const { key, name, version } of versions) {
      const { min, max } = known.get(key) ?? { min: version, max: version }
      known.set(key, { min: Math.min(min, version), max: Math.max(max, version) })
      if (name in changes) {
        const change = changes[name]
        if (change === undefined) known.delete(key)
        else known.set(key, { min: change[0], max: change[1] })
      }
    }
  }
  return known
}

const refusal = (known: Versions, logsIn = false): unknown => {
  try {
    checkVersions('host:1', known, logsIn)
    return undefined
  } catch (error) {
    return error
  }
}

describe('versions', () => {
  it('the table has every request that is written, in every version', async () => {
    const key = ({ key, name, version }: Versioned): string => `${key} ${name} v${version}`
    const spoken = REQUESTS.filter(({ use }) => use !== 'sasl').flatMap(({ versions }) => versions)
    expect(new Set(spoken.map(key))).toEqual(new Set((await written()).map(key)))
  })

  it.each(
    REQUESTS.filter(({ use }) => use !== 'protocol 2').map(({ use, versions }) => [versions[0]?.name as string, use, versions] as const),
  )('%s (%s): one version below, and one above, and which side is to be upgraded', (name, use, versions) => {
    const numbers = versions.map(({ version }) => version)
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)]
    // Without the second protocol, so that the first is needed.
    const one = { EndTxn: [1, 1] } as const
    const logsIn = use === 'sasl'
    expect(refusal(broker(one), logsIn)).toBeUndefined()
    expect(refusal(broker({ ...one, [name]: [high + 1, high + 1] }), logsIn)).toMatchObject({
      code: 'BROKER_REFUSED',
      reaction: 'fatal',
      message: `the broker at host:1 no longer takes ${name} v${high}, only v${high + 1} and later: this version of millrace is too old for it`,
    })
    if (low > 0)
      expect(refusal(broker({ ...one, [name]: [0, low - 1] }), logsIn)).toMatchObject({
        code: 'BROKER_TOO_OLD',
        reaction: 'fatal',
        message: expect.stringMatching(
          new RegExp(`^the broker at host:1 is .*${name} up to v${low - 1}, not v${low}.*upgrade it to 2.5 or later$`),
        ),
      })
    expect(refusal(broker({ ...one, [name]: undefined }), logsIn)).toMatchObject({
      code: 'BROKER_REFUSED',
      message: expect.stringContaining(`does not offer ${name}`),
    })
  })

  it('the second protocol needs all of its requests, and makes up for a first that was dropped', () => {
    expect(knowsProtocol2(broker())).toBe(true)
    for (const name of ['Produce', 'TxnOffsetCommit', 'EndTxn']) {
      const { version } = REQUESTS.filter(({ use }) => use === 'protocol 2')
        .flatMap(({ versions }) => versions)
        .find((spoken) => spoken.name === name) as Versioned
      expect([name, knowsProtocol2(broker({ [name]: [0, version - 1] }))]).toEqual([name, false])
    }
    expect(refusal(broker({ EndTxn: [2, 9], AddPartitionsToTxn: undefined }))).toBeUndefined()
  })

  it('the log-in counts only where there is one', () => {
    expect(refusal(broker({ SaslAuthenticate: [5, 9] }))).toBeUndefined()
    expect(refusal(broker({ SaslAuthenticate: [5, 9] }), true)).toMatchObject({ message: expect.stringContaining('SaslAuthenticate') })
  })

  it('of several brokers, what all know', () => {
    const both = common(broker({ InitProducerId: [0, 6] }), broker({ InitProducerId: [2, 4], Fetch: undefined }))
    expect([both.get(22), both.get(1)]).toEqual([{ min: 2, max: 4 }, undefined])
  })
})
