import { createHmac, timingSafeEqual } from 'node:crypto'
import type { ClusterStatus } from '../../cluster/cluster.js'
import type { Clock } from '../../record/clock.js'
import { errorMessage } from '../../record/error.js'
import type { OtherProcess } from './state.js'

export interface PeerSettings {
  readonly token: string | undefined
  readonly clock: Clock
  /** Where the status of a process is served, by its address; undefined for those that are not to be asked. */
  readonly url: (address: string) => string | undefined
}

/** Proves that a request comes from somebody who has the token, to the process of one address alone, and does not tell it. */
export const PEER_HEADER = 'x-millrace-peer'

const WITHIN_MS = 2_000
const FRESH_MS = 500
const MOST_BYTES = 16 * 1024 * 1024
const MOST_PROCESSES = 100
/** How far clocks of processes may be apart. */
const SKEW_MS = 60_000

/**
 * Asks the other processes of the groups for their status. Only addresses that the group told in its assignment are asked, so whoever sees
 * the page cannot choose any; redirects are not followed.
 */
export class Peers {
  private asked: { readonly at: number; readonly answers: Promise<readonly OtherProcess[]> } | undefined

  constructor(private readonly settings: PeerSettings) {}

  look(here: ClusterStatus): Promise<readonly OtherProcess[]> {
    const now = this.settings.clock.monotonic()
    if (this.asked === undefined || now - this.asked.at >= FRESH_MS)
      this.asked = { at: now, answers: Promise.all(addressesOf(here).map((address) => this.ask(address))) }
    return this.asked.answers
  }

  private async ask(address: string): Promise<OtherProcess> {
    try {
      const url = this.settings.url(address)
      if (url === undefined) return { address, error: 'is not asked' }
      const { token, clock } = this.settings
      const response = await fetch(`${url}/status`, {
        redirect: 'error',
        signal: AbortSignal.timeout(WITHIN_MS),
        headers: token === undefined ? {} : { [PEER_HEADER]: signed(token, address, clock.now()) },
      })
      if (!response.ok) throw new Error(`answered ${response.status}`)
      const status = JSON.parse(await textOf(response)) as ClusterStatus
      if (!Array.isArray(status.pipelines)) throw new Error('answered something else')
      return { address, status }
    } catch (error) {
      return { address, error: errorMessage(error) }
    }
  }
}

/** 'host:port', or an http address; `prefix` as of this process. */
export function urlOf(address: string, prefix: string): string | undefined {
  if (/^https?:\/\/[^/?#@]+\/?$/.test(address)) return `${address.replace(/\/$/, '')}${prefix}`
  return /^([\w.-]+|\[[\da-f:.]+\]):\d{1,5}$/i.test(address) ? `http://${address}${prefix}` : undefined
}

/** Those of the other members, without the member ids of those that have none. */
function addressesOf({ pipelines }: ClusterStatus): readonly string[] {
  const own = new Set(pipelines.flatMap(({ member }) => [member.address, member.memberId]))
  const all = new Set(pipelines.flatMap(({ member }) => member.owners))
  return [...all]
    .filter((address): address is string => address != null && !own.has(address) && /[:]/.test(address))
    .slice(0, MOST_PROCESSES)
}

/** The proof. */
export function signed(token: string, address: string, now: number): string {
  return `${now}.${createHmac('sha256', token).update(`${now}\n${address}`).digest('hex')}`
}

/** Whether that is the header of another process that has the token, meant for one that has this address, and not an old one. */
export function isFromPeer(header: unknown, token: string, { pipelines }: ClusterStatus, now: number): boolean {
  const at = typeof header === 'string' ? Number(header.split('.')[0]) : Number.NaN
  if (!(Math.abs(now - at) <= SKEW_MS)) return false
  const given = Buffer.from(header as string)
  return pipelines.some(({ member: { address } }) => {
    if (address === undefined) return false
    const expected = Buffer.from(signed(token, address, at))
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
}

async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > MOST_BYTES) throw new Error(`answered more than ${MOST_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
