import { MillraceError, type ClusterStatus, type PipelineStatus } from '../index.js'
import { UsageError } from './usage.js'

export const STATUS_OPTIONS = {
  status: { type: 'string', multiple: true },
  token: { type: 'string' },
} as const

export const STATUS_HELP = `  --status <url>            where serveStatus of a process listens, http://host:9090; repeat it for several processes
  --token <text>            the bearer token it asks for; or MILLRACE_TOKEN`

/** One process that is asked, and what it runs. */
export interface Asked {
  readonly url: string
  readonly pipelines: readonly PipelineStatus[]
}

/** @throws UsageError; MillraceError where one does not answer */
export function statusesOf(urls: readonly string[], token: string | undefined): (signal?: AbortSignal) => Promise<readonly Asked[]> {
  const addresses = urls.map((url) => {
    if (!URL.canParse(url) || !/^https?:/.test(url))
      throw new UsageError(`--status: expected an address such as http://host:9090, got '${url}'`)
    return url.replace(/\/+$/, '').replace(/\/status$/, '')
  })
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return (signal) =>
    Promise.all(
      addresses.map(async (url) => {
        const response = await fetch(`${url}/status`, { headers, ...(signal === undefined ? {} : { signal }) }).catch((error: unknown) => {
          throw new MillraceError('TIMEOUT', `${url}/status does not answer`, { cause: error })
        })
        if (response.status === 401) throw new MillraceError('UNAUTHORIZED', `${url}/status asks for a token: --token, or MILLRACE_TOKEN`)
        if (!response.ok)
          throw new MillraceError('INVALID_OPTIONS', `${url}/status answered ${response.status}: does serveStatus listen there?`)
        return { url, pipelines: ((await response.json()) as ClusterStatus).pipelines }
      }),
    )
}
