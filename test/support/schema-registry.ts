import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Stored {
  readonly id: number
  readonly schemaType?: string
  readonly schema: string
}

/** A registry that speaks as much of Confluent's API as its client asks for; what it was asked is kept. */
export interface FakeRegistry {
  readonly host: string
  readonly asked: string[]
  /** Answered in place of all else. */
  status: number | undefined
  /** Whether a schema may follow the ones before it. */
  compatible: (schema: string) => boolean
  close(): Promise<void>
}

export async function fakeRegistry(): Promise<FakeRegistry> {
  const schemas: Stored[] = []
  const subjects = new Map<string, Stored[]>()
  const levels = new Map<string, string>()
  const register = (subject: string, { schema, schemaType }: Omit<Stored, 'id'>): [number, unknown] => {
    const versions = subjects.get(subject) ?? []
    if (versions.length > 0 && !registry.compatible(schema))
      return [409, { error_code: 409, message: 'Schema being registered is incompatible' }]
    let stored = schemas.find((one) => one.schema === schema)
    if (stored === undefined)
      schemas.push((stored = { id: schemas.length + 1, schema, ...(schemaType === undefined ? {} : { schemaType }) }))
    subjects.set(subject, [...versions, stored])
    return [200, { id: stored.id }]
  }
  const answer = (method: string, path: string, body: string): [number, unknown] => {
    const [, kind, name = '', what, version] = path.split('/').map(decodeURIComponent)
    if (registry.status !== undefined) return [registry.status, { message: 'out of order' }]
    if (kind === 'schemas') {
      const { id, ...found } = schemas.find((one) => String(one.id) === what) ?? { id: undefined }
      return id === undefined ? [404, { error_code: 40403, message: 'Schema not found' }] : [200, found]
    }
    if (kind === 'config' && method === 'PUT') levels.set(name, (JSON.parse(body) as { compatibility: string }).compatibility)
    if (kind === 'config') return levels.has(name) ? [200, { compatibilityLevel: levels.get(name) }] : [404, { message: 'no config' }]
    if (method === 'POST') return register(name, JSON.parse(body) as Stored)
    const latest = subjects.get(name)?.at(-1)
    return latest === undefined || version === undefined ? [404, { message: 'Subject not found' }] : [200, { ...latest, subject: name }]
  }
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      registry.asked.push(`${request.method} ${request.url}`)
      const [status, given] = answer(request.method ?? '', request.url ?? '', body)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(given))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const registry: FakeRegistry = {
    host: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    status: undefined,
    compatible: () => true,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
  return registry
}
