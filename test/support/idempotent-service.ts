import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface IdempotentService {
  readonly url: string
  /** How often each body took effect. */
  readonly effects: Map<string, number>
  /** How many calls came. */
  calls: number
  /** Those that came again with a key that was known. */
  repeated: number
  /** Keys that came with another body than before: a mistake of the caller. */
  readonly misused: string[]
  close(): Promise<void>
}

/**
 * A service that keeps its answer for each Idempotency-Key: a call with a key that it knows is answered and does nothing; with a key that is
 * being worked on it is told to come again; with a known key and another body it is refused. Every third call fails after it took effect.
 */
export async function idempotentService(): Promise<IdempotentService> {
  const answers = new Map<string, { readonly body: string; answer: string | undefined }>()
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const reply = (status: number, text: string): void =>
        void response.writeHead(status, { 'content-type': 'application/json' }).end(text)
      const key = request.headers['idempotency-key']
      service.calls++
      if (typeof key !== 'string') return reply(400, '"no key"')
      const known = answers.get(key)
      if (known !== undefined && known.body !== body) {
        service.misused.push(key)
        return reply(422, '"another body"')
      }
      if (known !== undefined) service.repeated++
      if (known?.answer !== undefined) return reply(200, known.answer)
      if (known !== undefined) return reply(409, '"under way"')
      const entry = { body, answer: undefined as string | undefined }
      answers.set(key, entry)
      const fails = service.calls % 3 === 0
      setImmediate(() => {
        service.effects.set(body, (service.effects.get(body) ?? 0) + 1)
        entry.answer = JSON.stringify({ charged: body })
        if (fails) reply(503, '"late"')
        else reply(200, entry.answer)
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const service: IdempotentService = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/charges`,
    effects: new Map(),
    calls: 0,
    repeated: 0,
    misused: [],
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
  return service
}
